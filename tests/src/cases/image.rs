//! Reads what a build wrote, independent of shale's own code: OCI archives with a nested or plain index, archives of
//! `docker save`, plain archives and directories. Digests, sizes and diff ids are checked always.
//!
//! Owns the way from bytes to trees, configs and history. Knows nothing of what a case wants.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::tar;
use super::tree::{Layer, Tree};

/// All that a build made.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) images: Vec<Image>,
    /// index.json.
    pub(super) index: Value,
    /// The files of an output that has nothing but files.
    pub(super) files: Option<Tree>,
}

/// One image.
#[derive(Debug)]
pub(super) struct Image {
    /// The manifest's; that of the config where there is no manifest.
    pub(super) digest: String,
    pub(super) manifest: Value,
    pub(super) config: Value,
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) tree: Tree,
}

/// Layers that were read before: all images share the bases.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<String, Read>>);

/// diff id and layer.
type Read = (String, Arc<Layer>);

/// Only such layers are worth to be remembered.
const CACHED_SIZE_MIN: usize = 1 << 18;

impl Image {
    /// `os/architecture[/variant]`.
    pub(super) fn platform(&self) -> String {
        let words = ["os", "architecture", "variant"].map(|key| self.config[key].as_str());
        let words: Vec<&str> =
            words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
        words.join("/")
    }

    /// created_by and empty_layer of all entries.
    pub(super) fn history(&self) -> Vec<(String, bool)> {
        history(&self.config)
    }

    /// In the order of the layers.
    pub(super) fn diff_ids(&self) -> Vec<String> {
        strings(&self.config["rootfs"]["diff_ids"])
    }
}

/// created_by and empty_layer of a config's entries.
pub(super) fn history(config: &Value) -> Vec<(String, bool)> {
    let entries = config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |entry: &Value| {
        let text = entry["created_by"].as_str().unwrap_or_default().to_owned();
        (text, entry["empty_layer"] == true)
    };
    entries.iter().map(one).collect()
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// Reads an output by its type.
///
/// # Errors
/// What is wrong with it, as one sentence.
pub(super) fn read(kind: &str, path: &Path, cache: &Cache) -> Result<Outcome, String> {
    let show = |error: std::io::Error| format!("the output cannot be read: {error}");
    match kind {
        "local" => {
            let files = Some(Tree::of_directory(path).map_err(show)?);
            Ok(Outcome { files, ..Outcome::default() })
        }
        "tar" => {
            let files = Some(Tree::of_archive(&std::fs::read(path).map_err(show)?)?);
            Ok(Outcome { files, ..Outcome::default() })
        }
        _ => {
            let blobs = if path.is_dir() {
                Blobs::of_directory(path).map_err(show)?
            } else {
                Blobs::of_archive(std::fs::read(path).map_err(show)?)?
            };
            if kind == "docker" { docker(&blobs, cache) } else { oci(&blobs, cache) }
        }
    }
}

/// The files of an archive.
struct Blobs(HashMap<String, Vec<u8>>);

impl Blobs {
    fn of_archive(archive: Vec<u8>) -> Result<Blobs, String> {
        let mut files = HashMap::new();
        for entry in tar::read(&archive)? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            files.insert(name, archive[entry.content].to_vec());
        }
        Ok(Blobs(files))
    }

    fn of_directory(top: &Path) -> std::io::Result<Blobs> {
        let mut files = HashMap::new();
        for below in ["", "blobs/sha256"] {
            for entry in std::fs::read_dir(top.join(below))? {
                let path = entry?.path();
                if path.is_file() {
                    let name =
                        path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
                    files.insert(name, std::fs::read(path)?);
                }
            }
        }
        Ok(Blobs(files))
    }

    fn file(&self, name: &str) -> Result<&[u8], String> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| format!("no {name} in the output"))
    }

    fn json(&self, name: &str) -> Result<Value, String> {
        parse_json(name, self.file(name)?)
    }

    /// A blob that is what its descriptor says.
    fn blob<'a>(&'a self, descriptor: &'a Value) -> Result<(&'a str, &'a [u8]), String> {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let data = self.file(&format!("blobs/{}", digest.replacen(':', "/", 1)))?;
        if sha256(data) != digest {
            return Err(format!("the blob {digest} has other content"));
        }
        if descriptor["size"].as_u64() != Some(data.len() as u64) {
            let size = &descriptor["size"];
            return Err(format!("{digest} has {} bytes, its descriptor says {size}", data.len()));
        }
        Ok((digest, data))
    }
}

fn parse_json(name: &str, data: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(data).map_err(|error| format!("{name} is not JSON: {error}"))
}

/// `sha256:HEX`.
pub(super) fn sha256(data: &[u8]) -> String {
    let hex: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn oci(blobs: &Blobs, cache: &Cache) -> Result<Outcome, String> {
    let layout = blobs.json("oci-layout")?;
    if layout["imageLayoutVersion"] != "1.0.0" {
        return Err(format!("oci-layout is {layout}"));
    }
    let index = blobs.json("index.json")?;
    let mut images: Vec<Image> = Vec::new();
    let mut pending: VecDeque<Value> = list(&index["manifests"]).iter().cloned().collect();
    while let Some(descriptor) = pending.pop_front() {
        let (digest, data) = blobs.blob(&descriptor)?;
        let document = parse_json(digest, data)?;
        let kind = &descriptor["annotations"]["vnd.docker.reference.type"];
        let is_seen = images.iter().any(|image| image.digest == digest);
        if *kind == "attestation-manifest" || is_seen {
            continue;
        }
        if document["manifests"].is_array() {
            for (at, nested) in list(&document["manifests"]).iter().enumerate() {
                pending.insert(at, nested.clone());
            }
            continue;
        }
        images.push(image(blobs, digest, document, cache)?);
    }
    if images.is_empty() {
        return Err("no image in the archive".to_owned());
    }
    Ok(Outcome { images, index, files: None })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn image(blobs: &Blobs, digest: &str, manifest: Value, cache: &Cache) -> Result<Image, String> {
    let (config_digest, config) = blobs.blob(&manifest["config"])?;
    let config = parse_json(config_digest, config)?;
    let mut layers = Vec::new();
    for descriptor in list(&manifest["layers"]) {
        let (digest, data) = blobs.blob(descriptor)?;
        layers.push(cache.layer(digest, data)?);
    }
    assembled(digest.to_owned(), manifest, config, layers)
}

/// The image of a `docker save` archive.
fn docker(blobs: &Blobs, cache: &Cache) -> Result<Outcome, String> {
    let mut images = Vec::new();
    let index = blobs.json("manifest.json")?;
    for entry in list(&index) {
        let name = entry["Config"].as_str().unwrap_or_default();
        let raw = blobs.file(name)?;
        let mut layers = Vec::new();
        for layer in strings(&entry["Layers"]) {
            let data = blobs.file(&layer)?;
            layers.push(cache.layer(&sha256(data), data)?);
        }
        images.push(assembled(sha256(raw), entry.clone(), parse_json(name, raw)?, layers)?);
    }
    Ok(Outcome { images, index, files: None })
}

/// Checks that config and layers fit together.
fn assembled(
    digest: String,
    manifest: Value,
    config: Value,
    read: Vec<Read>,
) -> Result<Image, String> {
    let mut image = Image { digest, manifest, config, layers: Vec::new(), tree: Tree::default() };
    let diff_ids = image.diff_ids();
    let found: Vec<String> = read.iter().map(|(diff_id, _)| diff_id.clone()).collect();
    if diff_ids != found {
        return Err(format!("the config's diff_ids are {diff_ids:?}, the layers' {found:?}"));
    }
    let full = image.history().iter().filter(|(_, empty)| !empty).count();
    if full != found.len() {
        return Err(format!("the history tells of {full} layers, there are {}", found.len()));
    }
    for (_, layer) in read {
        image.tree.apply(&layer)?;
        image.layers.push(layer);
    }
    Ok(image)
}

impl Cache {
    /// A layer whose blob has this digest.
    pub(super) fn layer(&self, digest: &str, blob: &[u8]) -> Result<Read, String> {
        let lock = || self.0.lock().expect("no holder panics");
        if let Some(known) = lock().get(digest) {
            return Ok(known.clone());
        }
        let archive = decompressed(blob)?;
        let layer = Layer::read(&archive).map_err(|error| format!("layer {digest}: {error}"))?;
        let read = (sha256(&archive), Arc::new(layer));
        if archive.len() >= CACHED_SIZE_MIN {
            lock().insert(digest.to_owned(), read.clone());
        }
        Ok(read)
    }
}

fn decompressed(blob: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let done = match blob {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut out),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(blob).and_then(|mut decoder| decoder.read_to_end(&mut out))
        }
        _ => return Ok(blob.to_vec()),
    };
    done.map_err(|error| format!("a layer does not decompress: {error}"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;
    use serde_json::json;
    use testkit::rootfs::TarBuilder;

    /// An OCI layout directory in the making.
    struct Layout(tempfile::TempDir);

    impl Layout {
        fn new() -> Layout {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
            let layout = Layout(directory);
            layout.write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
            layout
        }

        fn write(&self, name: &str, document: &Value) {
            std::fs::write(self.0.path().join(name), document.to_string()).unwrap();
        }

        fn blob(&self, data: &[u8]) -> Value {
            let digest = sha256(data);
            let name = digest.replace(':', "/");
            std::fs::write(self.0.path().join("blobs").join(name), data).unwrap();
            json!({"digest": digest, "size": data.len()})
        }

        /// The descriptor of a manifest of these layers, with diff ids of others if wanted.
        fn image(&self, layers: &[Vec<u8>], diff_ids: &[String], history: &Value) -> Value {
            let config =
                json!({"os": "linux", "rootfs": {"diff_ids": diff_ids}, "history": history});
            let config = self.blob(config.to_string().as_bytes());
            let layers: Vec<Value> = layers.iter().map(|layer| self.blob(layer)).collect();
            self.blob(json!({"config": config, "layers": layers}).to_string().as_bytes())
        }

        fn read(&self, manifests: &[Value]) -> Result<Outcome, String> {
            self.write("index.json", &json!({ "manifests": manifests }));
            read("oci", self.0.path(), &Cache::default())
        }
    }

    fn tars() -> [Vec<u8>; 3] {
        let below =
            TarBuilder::new().dir("d", 0o755).file("d/a", 0o644, b"a").file("b", 0o644, b"b");
        let opaque = TarBuilder::new().dir("d", 0o755).file("d/.wh..wh..opq", 0o644, b"");
        let opaque = opaque.file("d/new", 0o644, b"n").file(".wh.b", 0o644, b"");
        let above = TarBuilder::new().hard_link("link", 0o644, "d/new").symlink("s", "d");
        [below.finish(), opaque.finish(), above.finish()]
    }

    fn diff_ids() -> Vec<String> {
        tars().iter().map(|tar| sha256(tar)).collect()
    }

    #[test]
    fn all_encodings_and_nested_indexes() {
        let [plain, second, third] = tars();
        let layers =
            [plain, testkit::image::gzip(&second), zstd::encode_all(&third[..], 1).unwrap()];
        let layout = Layout::new();
        let history = json!([{}, {"empty_layer": true}, {}, {}]);
        let image = layout.image(&layers, &diff_ids(), &history);
        let nested = layout.blob(json!({ "manifests": [image] }).to_string().as_bytes());
        let outcome = layout.read(&[nested]).unwrap();
        let tree = &outcome.images[0].tree;
        let paths: Vec<String> = tree.0.keys().map(|path| shown(path)).collect();
        assert_eq!(paths, ["d", "d/new", "link", "s"]);
        assert_eq!(tree.hard_links(), [[b"/d/new".to_vec(), b"/link".to_vec()]]);
        assert_eq!(outcome.images[0].platform(), "linux");
    }

    #[test]
    fn what_does_not_fit_together() {
        let layout = Layout::new();
        let says = |manifests: &[Value], words: &str| {
            let error = layout.read(manifests).expect_err(words);
            assert!(error.contains(words), "{error}");
        };
        let history = json!([{}, {}, {}]);
        says(&[], "no image");
        says(&[layout.image(&tars(), &diff_ids()[..2], &history)], "diff_ids");
        says(&[layout.image(&tars(), &diff_ids(), &json!([{}, {}]))], "2 layers, there are 3");
        let mut size = layout.image(&tars(), &diff_ids(), &history);
        size["size"] = 1.into();
        says(&[size], "its descriptor says 1");
        says(&[json!({"digest": "sha256:0", "size": 1})], "no blobs/sha256/0");
        let image = layout.image(&tars(), &diff_ids(), &history);
        let blob = layout.0.path().join("blobs").join(diff_ids()[0].replace(':', "/"));
        std::fs::write(blob, b"other").unwrap();
        says(&[image], "has other content");
        let torn = vec![tars()[0][..700].to_vec()];
        let ids = [sha256(&torn[0])];
        says(&[layout.image(&torn, &ids, &json!([{}]))], "no end mark");
    }
}
