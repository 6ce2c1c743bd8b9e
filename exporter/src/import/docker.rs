//! Archives of `docker save`: `manifest.json` with paths of configs and layer tars.

use std::collections::HashMap;

use oci::Reference;
use serde::Deserialize;

use super::source::Source;
use super::{ImportedImage, Listed, Target, assemble};
use crate::ExportError;
use crate::error::{Failure, show};

/// One image in `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of `manifest.json`; nothing when there is no such file.
pub(super) fn entries(source: &Source) -> Result<Vec<DockerEntry>, ExportError> {
    let Some(bytes) = source.try_read(b"manifest.json")? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = "manifest.json".to_owned();
        Failure::Malformed { what, reason: error.to_string() }.into()
    })
}

/// An entry with its names.
pub(super) fn listed(entry: DockerEntry) -> Result<Listed, ExportError> {
    let names = references(&entry)?;
    Ok(Listed { names, tags: Vec::new(), target: Target::Docker(entry) })
}

/// Gives names to entries of an OCI index that have none: both files may describe one image.
pub(super) fn add_names(source: &Source, docker: Vec<DockerEntry>, listed: &mut [Listed]) {
    if docker.is_empty() {
        return;
    }
    // Ids of those that have none: each image is looked at once, for an archive may list very many.
    let mut ids: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, target) in listed.iter().enumerate() {
        let Target::Oci(descriptor) = &target.target else { continue };
        if target.names.is_empty()
            && target.tags.is_empty()
            && let Ok(image) = super::layout::image(source, descriptor, &oci::Platform::host())
        {
            ids.entry(image.id.0.hex()).or_default().push(at);
        }
    }
    for entry in docker {
        let Ok(names) = references(&entry) else { continue };
        for at in id_within(&entry.config).and_then(|id| ids.get(id)).into_iter().flatten() {
            listed[*at].names.extend(names.iter().cloned());
        }
    }
}

/// The id that a config's path has: `ID.json`, `blobs/sha256/ID`.
fn id_within(config: &str) -> Option<&str> {
    let last = config.rsplit('/').next()?;
    Some(last.strip_suffix(".json").unwrap_or(last))
}

/// The image of an entry.
pub(super) fn image(source: &Source, entry: &DockerEntry) -> Result<ImportedImage, ExportError> {
    let config = source.read(entry.config.as_bytes())?;
    let layers = entry.layers.clone().unwrap_or_default();
    let places = layers.into_iter().map(|path| (None, path.into_bytes())).collect();
    assemble(config, None, places)
}

fn references(entry: &DockerEntry) -> Result<Vec<Reference>, ExportError> {
    let parse = |text: &String| {
        text.parse().map_err(|error: oci::ParseReferenceError| {
            let what = format!("tag `{}` in manifest.json", show(text.as_bytes()));
            Failure::Malformed { what, reason: error.to_string() }.into()
        })
    };
    entry.repo_tags.iter().flatten().map(parse).collect()
}
