//! Archives for `docker load`: an OCI layout with a `manifest.json` beside it (OUT-22). Engines before version 25 read
//! only that file and follow its paths into the layout.

use std::io::Write;

use oci::{Platform, Reference};
use serde::Serialize;

use crate::ExportError;
use crate::error::Failure;
use crate::job::Job;
use crate::layout::{Saved, blob_path, write_archive};
use crate::prepare::Prepared;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes an archive for `docker load`. Several platforms are refused, as Docker's builder does.
pub fn write_docker_archive(
    prepared: &Prepared,
    names: &[Reference],
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    if prepared.images.len() != 1 {
        // ERR-73
        let text = "docker exporter does not currently support exporting manifest lists";
        return Err(Failure::Unsupported(text).into());
    }
    write_saved_archive(&[Saved { prepared, names }], out, job)
}

/// Writes an archive as `docker save` does: all images with all their platforms for engines that read the layout, and
/// for older ones of each image that of this machine's platform, or the first.
pub fn write_saved_archive(
    images: &[Saved],
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    let entries = images.iter().map(entry).collect::<Result<Vec<Image>, ExportError>>()?;
    let manifest = serde_json::to_vec(&entries).expect("strings alone");
    write_archive(images, Some(&manifest), out, job)
}

fn entry(saved: &Saved) -> Result<Image, ExportError> {
    let host = Platform::host();
    let images = &saved.prepared.images;
    let image = images.iter().find(|image| image.platform == host).or(images.first());
    let Some(image) = image else {
        return Err(Failure::Unsupported("there is no image to export").into());
    };
    let mut repo_tags: Vec<String> = saved.names.iter().map(Reference::familiar).collect();
    repo_tags.sort();
    repo_tags.dedup();
    Ok(Image {
        config: blob_path(&image.config_descriptor.digest),
        repo_tags,
        layers: image.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
    })
}
