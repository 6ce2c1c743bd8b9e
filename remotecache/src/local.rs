//! A cache in a directory in OCI layout (CIO-05): blobs first, then `index.json` by rename, so that a reader sees the
//! old cache or the new one. What no manifest of the directory names any more is removed after an export.

mod write;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use oci::{Descriptor, Digest, Document, Index, Reference, media};
use rustix::fs::OFlags;

use crate::manifest::{self, Form};
use crate::place::{OpenBlob, put_bytes};
use crate::verify::Verified;
use crate::{CacheDocument, CachePlace, Put, RemoteError, RemoteErrorKind};

/// The annotation that names a manifest in `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// A name as containerd writes it; looked for first, as BuildKit does.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Longest `index.json` or manifest.
const MANIFEST_MAX_BYTES: u64 = 4 << 20;

/// One name in a directory.
pub(crate) struct LocalPlace {
    name: String,
    dir: PathBuf,
    tag: String,
    digest: Option<Digest>,
    form: Form,
    reset: bool,
    /// Held while blobs lie there that no manifest names yet.
    writing: Mutex<Option<File>>,
}

impl LocalPlace {
    /// Touches nothing.
    pub(crate) fn to_read(dir: &Path, tag: &str, digest: Option<Digest>) -> LocalPlace {
        LocalPlace {
            name: format!("local cache {}", dir.display()),
            dir: dir.to_owned(),
            tag: tag.to_owned(),
            digest,
            form: Form::default(),
            reset: false,
            writing: Mutex::new(None),
        }
    }

    /// Touches nothing.
    pub(crate) fn to_write(dir: &Path, tag: &str, form: Form, reset: bool) -> LocalPlace {
        LocalPlace { form, reset, ..LocalPlace::to_read(dir, tag, None) }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    fn failed(&self, verb: &str, error: io::Error) -> RemoteError {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => RemoteErrorKind::NotFound,
            io::ErrorKind::InvalidData => RemoteErrorKind::Damaged,
            _ => RemoteErrorKind::Local,
        };
        RemoteError::new(kind, format!("{verb} {}", self.name)).because(error)
    }

    fn damaged(&self, reason: impl ToString) -> RemoteError {
        RemoteError::new(RemoteErrorKind::Damaged, format!("read {}", self.name))
            .because(reason.to_string())
    }

    /// A small blob, checked.
    fn fetch(&self, blob: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        let read = self.open(blob)?.read_to_end(&mut bytes);
        read.map_err(|error| self.failed("read", error))?;
        Ok(bytes)
    }

    /// `index.json`; `None` when there is none.
    fn index(&self) -> Result<Option<Index>, RemoteError> {
        let path = self.dir.join("index.json");
        let bytes = match read_small(&path, MANIFEST_MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        match Document::from_json(&bytes, media::OCI_INDEX) {
            Ok(Document::Index(index)) => Ok(Some(index)),
            Ok(Document::Manifest(_)) => Err(self.damaged("index.json is no index")),
            Err(error) => Err(self.damaged(format!("index.json: {error}"))),
        }
    }

    /// The manifest that is meant: digest and length; `None` when it is not there.
    fn wanted(&self) -> Result<Option<Descriptor>, RemoteError> {
        if let Some(digest) = self.digest {
            return match std::fs::metadata(self.blob_path(&digest)) {
                // Its kind is in it.
                Ok(facts) => Ok(Some(Descriptor::new("", digest, facts.len()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(self.failed("read", error)),
            };
        }
        let Some(index) = self.index()? else { return Ok(None) };
        let named = |annotation: &str| {
            let is = |entry: &&Descriptor| entry.annotations.get(annotation) == Some(&self.tag);
            index.manifests.iter().find(is).cloned()
        };
        Ok(named(IMAGE_NAME).or_else(|| named(REF_NAME)))
    }
}

impl CachePlace for LocalPlace {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
        let Some(entry) = self.wanted()? else { return Ok(None) };
        if entry.size_bytes > MANIFEST_MAX_BYTES {
            return Err(self.damaged(format!("a manifest of {} bytes", entry.size_bytes)));
        }
        let bytes = self.fetch(&entry)?;
        manifest::read(&bytes, &entry.media_type, &|blob| self.fetch(blob)).map(Some)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
        let file = open_file(&self.blob_path(&blob.digest));
        let file = file.map_err(|error| self.failed("read", error))?;
        Ok(Box::new(Verified::new(file, blob)))
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        match std::fs::symlink_metadata(self.blob_path(&blob.digest)) {
            Ok(facts) => Ok(facts.is_file() && facts.len() == blob.size_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("look into", error)),
        }
    }

    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        _elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError> {
        self.start_writing().map_err(|error| self.failed("write", error))?;
        if self.has(blob)? {
            return Ok(Put::Existed);
        }
        self.write_blob(blob, open).map_err(|error| self.failed("write", error))?;
        Ok(Put::Sent)
    }

    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError> {
        let published = manifest::write(document, self.form)?;
        for (descriptor, bytes) in published.blobs.iter().chain([&published.manifest]) {
            put_bytes(self, descriptor, bytes)?;
        }
        self.name_manifest(&published.manifest.0)
    }
}

/// A regular file: a FIFO in somebody's directory must not hang a build.
fn open_file(path: &Path) -> io::Result<File> {
    let nonblock = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    Ok(file)
}

fn read_small(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let reason = format!("{} has more than {max_bytes} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(bytes)
}
