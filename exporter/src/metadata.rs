//! What --metadata-file and --iidfile say of an image (OUT-13, OUT-40, OUT-41).

use oci::{ImageId, Reference};
use serde_json::{Map, Value};

use crate::Prepared;

/// The `containerimage.*` and `image.name` members.
pub fn metadata(prepared: &Prepared, names: &[Reference]) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(image) = prepared.single() {
        let digest = image.config_descriptor.digest.to_string();
        out.insert("containerimage.config.digest".to_owned(), digest.into());
    }
    let mut target = prepared.target.clone();
    if let Some(created) = prepared.created() {
        let key = "org.opencontainers.image.created".to_owned();
        target.annotations.insert(key, created.to_owned());
    }
    let descriptor =
        serde_json::to_value(&target).expect("a descriptor has only strings and numbers");
    out.insert("containerimage.descriptor".to_owned(), descriptor);
    let digest = prepared.target.digest.to_string();
    out.insert("containerimage.digest".to_owned(), digest.into());
    add_names(&mut out, names);
    out
}

/// The members for an image that an engine got, which calls it by the digest of its config, as that engine's own
/// builder says them.
pub fn engine_metadata(id: &ImageId, names: &[Reference]) -> Map<String, Value> {
    let mut out = Map::new();
    for name in ["containerimage.config.digest", "containerimage.digest"] {
        out.insert(name.to_owned(), id.0.to_string().into());
    }
    add_names(&mut out, names);
    out
}

fn add_names(out: &mut Map<String, Value>, names: &[Reference]) {
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(Reference::to_string).collect();
        out.insert("image.name".to_owned(), names.join(",").into());
    }
}

/// What --iidfile gets, without a newline: the config's digest, or the index's when there is one.
pub fn image_id_text(prepared: &Prepared) -> String {
    match prepared.single() {
        Some(image) => image.config_descriptor.digest.to_string(),
        None => prepared.target.digest.to_string(),
    }
}
