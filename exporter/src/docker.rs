//! Archives for `docker load`: an OCI layout with a `manifest.json` beside it (OUT-22). Engines before version 25 read
//! only that file and follow its paths into the layout.

use std::io::Write;

use oci::{Platform, Reference};
use serde::Serialize;

use crate::ExportError;
use crate::error::Failure;
use crate::job::Job;
use crate::layout::{blob_path, write_archive};
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
    write_saved_archive(prepared, names, out, job)
}

/// Writes an archive as `docker save` does: all platforms for engines that read the layout, and for older ones the
/// image of this machine's platform, or the first.
pub fn write_saved_archive(
    prepared: &Prepared,
    names: &[Reference],
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    let host = Platform::host();
    let images = &prepared.images;
    let image = images.iter().find(|image| image.platform == host).or(images.first());
    let Some(image) = image else {
        return Err(Failure::Unsupported("there is no image to export").into());
    };
    let mut repo_tags: Vec<String> = names.iter().map(Reference::familiar).collect();
    repo_tags.sort();
    repo_tags.dedup();
    let entry = Image {
        config: blob_path(&image.config_descriptor.digest),
        repo_tags,
        layers: image.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
    };
    let manifest = serde_json::to_vec(&[entry]).expect("strings alone");
    write_archive(prepared, names, Some(&manifest), out, job)
}
