//! OCI layouts: `index.json` and the documents that it leads to.

use oci::{Descriptor, Digest, Document, Index, Manifest, Platform, Reference, media};
use store::{AttachedManifest, StoredManifest};

use super::source::Source;
use super::{DOCUMENT_MAX_BYTES, ImportedImage, ImportedIndex, Listed, Target, Whole, assemble};
use crate::ExportError;
use crate::error::Failure;
use crate::layout::{IMAGE_NAME, REF_NAME, blob_path};

/// Says of an entry of an index that it belongs to another one.
const ATTACHED_KIND: &str = "vnd.docker.reference.type";
/// Indexes in indexes (spec/security.md C7).
const NESTING_MAX: usize = 8;
/// Documents of all that one index lists, which are in memory together.
const LISTED_MAX_BYTES: u64 = 64 << 20;
/// Manifests in one index.
const LISTED_MAX: usize = 1000;

/// What the index lists, entries of one content merged; nothing when there is no index.
pub(super) fn entries(source: &Source) -> Result<Vec<Listed>, ExportError> {
    let Some(bytes) = source.try_read(b"index.json")? else { return Ok(Vec::new()) };
    let index = match parse("index.json", &bytes, media::OCI_INDEX)? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(malformed("index.json", "it is no index")),
    };
    let mut listed: Vec<Listed> = Vec::new();
    for descriptor in index.manifests {
        let (name, tag) = names(&descriptor);
        let is_same =
            |l: &&mut Listed| matches!(&l.target, Target::Oci(d) if d.digest == descriptor.digest);
        match listed.iter_mut().find(is_same) {
            Some(known) => {
                known.names.extend(name);
                known.tags.extend(tag);
            }
            None => listed.push(Listed {
                names: name.into_iter().collect(),
                tags: tag.into_iter().collect(),
                target: Target::Oci(Box::new(descriptor)),
            }),
        }
    }
    Ok(listed)
}

/// Full name and bare tag of an entry. Tools disagree on where a full name goes.
fn names(descriptor: &Descriptor) -> (Option<Reference>, Option<String>) {
    let get = |key: &str| descriptor.annotations.get(key);
    if let Some(name) = get(IMAGE_NAME).and_then(|text| text.parse().ok()) {
        return (Some(name), None);
    }
    match get(REF_NAME) {
        Some(text) if text.contains([':', '/']) => (text.parse().ok(), None),
        Some(tag) => (None, Some(tag.clone())),
        None => (None, None),
    }
}

/// The descriptor of a manifest that only its digest is known of.
pub(super) fn describe(source: &Source, digest: Digest) -> Result<Descriptor, ExportError> {
    let name = blob_path(&digest);
    let bytes = source.read(name.as_bytes())?;
    let media_type = match parse(&name, &bytes, "")? {
        Document::Index(index) => or(index.media_type, media::OCI_INDEX),
        Document::Manifest(manifest) => or(manifest.media_type.clone(), media::OCI_MANIFEST),
    };
    Ok(Descriptor::new(&media_type, digest, bytes.len() as u64))
}

/// The image for a platform below an entry.
pub(super) fn image(
    source: &Source,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<ImportedImage, ExportError> {
    let mut descriptor = descriptor.clone();
    for _ in 0..NESTING_MAX {
        let bytes = read_blob(source, &descriptor)?;
        match parse(&descriptor.digest.to_string(), &bytes, &descriptor.media_type)? {
            Document::Manifest(manifest) => {
                return from_manifest(source, &descriptor, bytes, &manifest);
            }
            Document::Index(index) => descriptor = select(&index, platform)?,
        }
    }
    Err(malformed("index.json", "its indexes are nested too deep"))
}

/// What an entry is with all that the archive has of it: see [`super::ImageArchive::whole`].
pub(super) fn whole(
    source: &Source,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Whole, ExportError> {
    let bytes = read_blob(source, descriptor)?;
    let index = match parse(&descriptor.digest.to_string(), &bytes, &descriptor.media_type)? {
        Document::Manifest(manifest) => {
            return from_manifest(source, descriptor, bytes, &manifest).map(Whole::Image);
        }
        Document::Index(index) => index,
    };
    let known = list(source, &index)?;
    if let Some((images, attached)) = known.all
        && !images.is_empty()
    {
        let media_type = or(index.media_type, &descriptor.media_type);
        let index = StoredManifest { media_type, bytes, digest: descriptor.digest };
        return Ok(Whole::Index(ImportedIndex { index, images, attached }));
    }
    // Whoever wrote the archive chose among the platforms already.
    if let Some(only) = known.only
        && only.platform != *platform
    {
        return Ok(Whole::Image(only));
    }
    image(source, descriptor, platform).map(Whole::Image)
}

/// What the archive has of an index.
struct Known {
    /// All of it, unless something is missing or is none of what an index of images has.
    all: Option<(Vec<ImportedImage>, Vec<AttachedManifest>)>,
    /// The only image of which all is there.
    only: Option<ImportedImage>,
}

fn list(source: &Source, index: &Index) -> Result<Known, ExportError> {
    if index.manifests.len() > LISTED_MAX {
        let why = format!("an index lists more than {LISTED_MAX} manifests");
        return Err(malformed("index.json", &why));
    }
    let mut all = Some(Vec::new());
    let mut found = Vec::new();
    let mut bytes = 0;
    for entry in &index.manifests {
        if is_attached(entry) {
            match (attached(source, entry), &mut all) {
                (Ok(manifest), Some(list)) => {
                    let blobs = manifest.blobs.iter().map(|blob| blob.bytes.len() as u64);
                    bytes += entry.size_bytes + blobs.sum::<u64>();
                    list.push(manifest);
                }
                (Ok(_), None) => {}
                (Err(_), _) => all = None,
            }
        } else {
            match complete(source, entry) {
                Some(image) => {
                    bytes += entry.size_bytes + image.config.len() as u64;
                    found.push(image);
                }
                None => all = None,
            }
        }
        if bytes > LISTED_MAX_BYTES {
            let why = format!("an index lists documents of more than {LISTED_MAX_BYTES} bytes");
            return Err(malformed("index.json", &why));
        }
    }
    Ok(match all {
        Some(attached) => Known { all: Some((found, attached)), only: None },
        None => Known { all: None, only: found.pop().filter(|_| found.is_empty()) },
    })
}

/// Whether an entry of an index is no image (ATT-04).
fn is_attached(entry: &Descriptor) -> bool {
    let is_unknown = |p: &Platform| p.os == "unknown" && p.architecture == "unknown";
    entry.annotations.contains_key(ATTACHED_KIND) || entry.platform.as_ref().is_some_and(is_unknown)
}

/// The image of an entry, if the archive has all its blobs.
fn complete(source: &Source, entry: &Descriptor) -> Option<ImportedImage> {
    let bytes = read_blob(source, entry).ok()?;
    let Ok(Document::Manifest(manifest)) = parse("", &bytes, &entry.media_type) else {
        return None;
    };
    let image = from_manifest(source, entry, bytes, &manifest).ok()?;
    image.layers.iter().all(|layer| source.has(&layer.place)).then_some(image)
}

/// A manifest of small documents; one of anything else is an error.
fn attached(source: &Source, entry: &Descriptor) -> Result<AttachedManifest, ExportError> {
    let bytes = read_blob(source, entry)?;
    let manifest = match parse(&entry.digest.to_string(), &bytes, &entry.media_type)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => return Err(malformed("index.json", "an index lists another index")),
    };
    let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
    let sum = blobs.clone().fold(0_u64, |sum, blob| sum.saturating_add(blob.size_bytes));
    if sum > LISTED_MAX_BYTES {
        return Err(malformed(&entry.digest.to_string(), "its documents are too long"));
    }
    let blobs = blobs.map(|blob| text_blob(source, blob)).collect::<Result<Vec<_>, _>>()?;
    let media_type = or(manifest.media_type.clone(), &entry.media_type);
    let manifest = StoredManifest { media_type, bytes, digest: entry.digest };
    Ok(AttachedManifest { manifest, blobs })
}

fn text_blob(source: &Source, blob: &Descriptor) -> Result<StoredManifest, ExportError> {
    let bytes = read_blob(source, blob)?;
    if std::str::from_utf8(&bytes).is_err() {
        return Err(malformed(&blob.digest.to_string(), "it is no text"));
    }
    Ok(StoredManifest { media_type: blob.media_type.clone(), bytes, digest: blob.digest })
}

fn select(index: &Index, platform: &Platform) -> Result<Descriptor, ExportError> {
    // Indexes of one image often say nothing of its platform.
    let only = match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    let what = || Failure::Missing { what: format!("an image for platform {platform}") };
    index.select(platform).or(only).cloned().ok_or_else(|| what().into())
}

fn from_manifest(
    source: &Source,
    descriptor: &Descriptor,
    bytes: Vec<u8>,
    manifest: &Manifest,
) -> Result<ImportedImage, ExportError> {
    let config = read_blob(source, &manifest.config)?;
    let media_type = or(manifest.media_type.clone(), &descriptor.media_type);
    let places = manifest
        .layers
        .iter()
        .map(|layer| (Some(layer.clone()), blob_path(&layer.digest).into_bytes()))
        .collect();
    let manifest = StoredManifest { media_type, bytes, digest: descriptor.digest };
    assemble(config, Some(manifest), places)
}

/// A document by its descriptor: size and digest are checked.
fn read_blob(source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>, ExportError> {
    if descriptor.size_bytes > DOCUMENT_MAX_BYTES {
        return Err(malformed(&descriptor.digest.to_string(), "it is too long for a document"));
    }
    let bytes = source.read(blob_path(&descriptor.digest).as_bytes())?;
    let found = Digest::of(&bytes);
    if found != descriptor.digest || bytes.len() as u64 != descriptor.size_bytes {
        let what = format!("`{}` in the archive", blob_path(&descriptor.digest));
        return Err(Failure::Digest { what, expected: descriptor.digest, found }.into());
    }
    Ok(bytes)
}

fn parse(what: &str, bytes: &[u8], media_type: &str) -> Result<Document, ExportError> {
    Document::from_json(bytes, media_type).map_err(|e| malformed(what, &e.to_string()))
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn malformed(what: &str, reason: &str) -> ExportError {
    Failure::Malformed { what: what.to_owned(), reason: reason.to_owned() }.into()
}
