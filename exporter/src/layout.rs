//! OCI layouts, as directories and as tars (OUT-20 to OUT-23).
//!
//! Owns `index.json` and the order in an archive: what is needed to understand the rest comes first, so that it can
//! be read from a pipe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use layer::{Entry, EntryKind, TarWriter};
use oci::{Descriptor, Digest, Document, Index, Reference, media};

use crate::ExportError;
use crate::atomic::{create_beside, write_bytes};
use crate::error::{Failure, write, write_tar};
use crate::job::Job;
use crate::prepare::Prepared;
use crate::verify::open_blob;

/// Content of the file `oci-layout`.
pub(crate) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The full name of an image, as containerd and BuildKit write it.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The tag alone.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CREATED: &str = "org.opencontainers.image.created";

/// An image, or an index over several, and what it is called in an archive.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The image.
    pub prepared: &'a Prepared,
    /// Its names; without one it is found by its digest.
    pub names: &'a [Reference],
}

/// Writes an OCI layout as a tar. The same image gives the same bytes.
pub fn write_oci_archive(
    prepared: &Prepared,
    names: &[Reference],
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    write_saved_layout(&[Saved { prepared, names }], out, job)
}

/// Writes several images as one OCI layout, as a tar. What they share is in it once.
pub fn write_saved_layout(
    images: &[Saved],
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    write_archive(images, None, out, job)
}

/// Writes an OCI layout into a directory, which is made if need be; one that is there is added to, and names that
/// it has are replaced (OUT-23). The index comes last, so a failure leaves the old layout.
pub fn write_oci_directory(
    prepared: &Prepared,
    names: &[Reference],
    dir: &Path,
    job: Job,
) -> Result<(), ExportError> {
    let shown = dir.display().to_string();
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(write(&shown))?;
    let old = read_index(dir)?;
    for descriptor in prepared.layer_blobs() {
        let path = blobs.join(descriptor.digest.hex());
        if !has_length(&path, descriptor.size_bytes) {
            copy_to_file(&mut open_blob(job, descriptor)?, &path)?;
        }
    }
    for (digest, bytes) in prepared.documents() {
        write_bytes(&blobs.join(digest.hex()), bytes)?;
    }
    write_bytes(&dir.join("oci-layout"), OCI_LAYOUT)?;
    write_bytes(&dir.join("index.json"), &merged_index(old, entries(prepared, names)).to_json())
}

/// The tar of a layout, with one more file for `docker load` if there is one.
pub(crate) fn write_archive(
    images: &[Saved],
    docker_manifest: Option<&[u8]>,
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    const WHAT: &str = "the image archive";
    let mut tar = TarWriter::new(out);
    let mut put = |path: &str, size: u64, content: &mut dyn Read| {
        job.check()?;
        tar.entry(&file_entry(path, size), Some(content)).map_err(write_tar(WHAT))
    };
    put("oci-layout", OCI_LAYOUT.len() as u64, &mut &OCI_LAYOUT[..])?;
    let listed = images.iter().flat_map(|image| entries(image.prepared, image.names));
    let index = merged_index(None, listed.collect()).to_json();
    put("index.json", index.len() as u64, &mut index.as_slice())?;
    if let Some(bytes) = docker_manifest {
        put("manifest.json", bytes.len() as u64, &mut &*bytes)?;
    }
    tar.entry(&dir_entry("blobs"), None).map_err(write_tar(WHAT))?;
    tar.entry(&dir_entry("blobs/sha256"), None).map_err(write_tar(WHAT))?;
    let mut put = |path: &str, size: u64, content: &mut dyn Read| {
        job.check()?;
        tar.entry(&file_entry(path, size), Some(content)).map_err(write_tar(WHAT))
    };
    for (digest, bytes) in by_digest(images, Prepared::documents, |(digest, _)| *digest) {
        put(&blob_path(&digest), bytes.len() as u64, &mut &*bytes)?;
    }
    for descriptor in by_digest(images, Prepared::layer_blobs, |descriptor| descriptor.digest) {
        let mut content = open_blob(job, descriptor)?;
        put(&blob_path(&descriptor.digest), descriptor.size_bytes, &mut content)?;
    }
    tar.finish().map_err(write_tar(WHAT))
}

/// What all images have of something, each once, sorted by digest.
fn by_digest<'a, T>(
    images: &[Saved<'a>],
    of: impl Fn(&'a Prepared) -> Vec<T>,
    digest: impl Fn(&T) -> Digest,
) -> Vec<T> {
    let mut all: Vec<T> = images.iter().flat_map(|image| of(image.prepared)).collect();
    all.sort_by_key(&digest);
    all.dedup_by_key(|one| digest(one));
    all
}

/// `index.json` of one image.
pub(crate) fn index_of(prepared: &Prepared, names: &[Reference]) -> Vec<u8> {
    merged_index(None, entries(prepared, names)).to_json()
}

/// Path of a blob in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// One entry of the index for each name, one without a name if there are none.
fn entries(prepared: &Prepared, names: &[Reference]) -> Vec<Descriptor> {
    let mut unnamed = prepared.target.clone();
    if let Some(created) = prepared.created() {
        unnamed.annotations.insert(CREATED.to_owned(), created.to_owned());
    }
    let referrers = prepared.attached.iter().filter(|attached| attached.refers_to.is_some());
    let referrers = referrers.map(|attached| attached.descriptor.clone());
    if names.is_empty() {
        return [unnamed].into_iter().chain(referrers).collect();
    }
    let mut names: Vec<&Reference> = names.iter().collect();
    names.sort();
    names.dedup();
    let named = |name: &&Reference| {
        let mut entry = unnamed.clone();
        entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
        if let Some(tag) = name.tag() {
            entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
        entry
    };
    names.iter().map(named).chain(referrers).collect()
}

/// The old index with new entries: an entry of the same name, or the same content without a name, is replaced.
fn merged_index(old: Option<Index>, new: Vec<Descriptor>) -> Index {
    let mut index = old.unwrap_or_else(|| Index {
        schema_version: 2,
        media_type: media::OCI_INDEX.to_owned(),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    });
    // The full name where there is one: two images may have the same tag.
    let name = |d: &Descriptor| {
        let get = |key: &str| d.annotations.get(key).cloned();
        get(IMAGE_NAME).or_else(|| get(REF_NAME))
    };
    let same = |a: &Descriptor, b: &Descriptor| {
        name(a) == name(b) && (name(a).is_some() || a.digest == b.digest)
    };
    index.manifests.retain(|old| !new.iter().any(|new| same(old, new)));
    index.manifests.extend(new);
    tell_apart(&mut index.manifests);
    index
}

/// Tools that choose by the bare tag cannot choose between two images of one tag: these have the full name instead.
fn tell_apart(entries: &mut [Descriptor]) {
    let mut by_tag: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    let tag_of = |entry: &Descriptor| {
        let name = entry.annotations.get(IMAGE_NAME)?.parse::<Reference>().ok()?;
        Some((name.tag()?.to_owned(), name))
    };
    for entry in &*entries {
        if let Some((tag, _)) = tag_of(entry) {
            by_tag.entry(tag).or_default().insert(entry.digest);
        }
    }
    for entry in entries {
        if let Some((tag, name)) = tag_of(entry)
            && by_tag.get(&tag).is_some_and(|digests| digests.len() > 1)
        {
            entry.annotations.insert(REF_NAME.to_owned(), name.to_string());
        }
    }
}

fn read_index(dir: &Path) -> Result<Option<Index>, ExportError> {
    let path = dir.join("index.json");
    let malformed = |reason: String| {
        ExportError::from(Failure::Malformed { what: path.display().to_string(), reason })
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Failure::Open { path, source }.into()),
    };
    match Document::from_json(&bytes, media::OCI_INDEX) {
        Ok(Document::Index(index)) => Ok(Some(index)),
        Ok(Document::Manifest(_)) => Err(malformed("it is no index".to_owned())),
        Err(error) => Err(malformed(error.to_string())),
    }
}

fn copy_to_file(content: &mut dyn Read, path: &Path) -> Result<(), ExportError> {
    let shown = path.display().to_string();
    let (temp, mut file) = create_beside(path).map_err(write(&shown))?;
    let result =
        io::copy(content, &mut file).and_then(|_| fs::rename(&temp, path)).map_err(write(&shown));
    if result.is_err() {
        // The error that led here says more than a failure to clean up.
        let _ = fs::remove_file(&temp);
    }
    result
}

fn has_length(path: &Path, size_bytes: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size_bytes)
}

pub(crate) fn file_entry(path: &str, size_bytes: u64) -> Entry {
    entry(path, 0o644, EntryKind::File { size_bytes, digest: None })
}

pub(crate) fn dir_entry(path: &str) -> Entry {
    entry(path, 0o755, EntryKind::Directory { opaque: false })
}

/// An entry of the archive itself: root's, without a time (design D8).
fn entry(path: &str, mode: u32, kind: EntryKind) -> Entry {
    Entry { mode, ..Entry::plain(path.as_bytes(), kind) }
}
