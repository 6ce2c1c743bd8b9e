//! Writing into the directory: whole files by rename, names under a lock, and what nobody names any more away.
//!
//! Two locks, both left to the kernel at a process's end: whoever is about to add blobs holds `ingest/lock` shared
//! until they are named, and only who can get it alone removes anything; `index.json.lock` is held while the index is
//! read and written anew, by BuildKit's client too.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use oci::{Descriptor, Digest, Index, media};
use rustix::fs::OFlags;

use super::{LocalPlace, MANIFEST_MAX_BYTES, REF_NAME, read_small};
use crate::parts::lock;
use crate::place::OpenBlob;
use crate::verify::Verified;
use crate::{RemoteError, RemoteErrorKind, manifest};

static NEXT_FILE: AtomicU64 = AtomicU64::new(0);

impl LocalPlace {
    /// Makes the directories and keeps what is added from being removed by others.
    pub(super) fn start_writing(&self) -> io::Result<()> {
        let mut writing = lock(&self.writing);
        if writing.is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(self.dir.join("blobs/sha256"))?;
        std::fs::create_dir_all(self.dir.join("ingest"))?;
        let lock = lock_file(self.dir.join("ingest/lock"))?;
        lock.lock_shared()?;
        *writing = Some(lock);
        Ok(())
    }

    /// Writes one blob, checked, under its name.
    pub(super) fn write_blob(&self, blob: &Descriptor, open: OpenBlob<'_>) -> io::Result<()> {
        let temporary = self.temporary();
        let written = (|| {
            let mut file = File::create_new(&temporary)?;
            io::copy(&mut Verified::new(open()?, blob), &mut file)?;
            // A blob that is there with its length counts as whole from now on, after a power cut too.
            file.sync_data()?;
            std::fs::rename(&temporary, self.blob_path(&blob.digest))
        })();
        written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
    }

    fn temporary(&self) -> PathBuf {
        let number = NEXT_FILE.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("ingest/shale-{}-{number}", std::process::id()))
    }

    /// Lets the tag mean a manifest, then removes what no manifest names any more.
    pub(super) fn name_manifest(&self, manifest: &Descriptor) -> Result<(), RemoteError> {
        let failed = |error| self.failed("write", error);
        {
            let lock = lock_file(self.dir.join("index.json.lock")).map_err(failed)?;
            lock.lock().map_err(failed)?;
            // What is there and is no index is not ours to replace.
            let mut index = self.index()?.unwrap_or_else(|| Index {
                schema_version: 2,
                media_type: media::OCI_INDEX.to_owned(),
                manifests: Vec::new(),
                annotations: Default::default(),
            });
            index.manifests.retain(|entry| entry.annotations.get(REF_NAME) != Some(&self.tag));
            let mut entry = manifest.clone();
            entry.annotations.insert(REF_NAME.to_owned(), self.tag.clone());
            index.manifests.push(entry);
            self.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
            self.replace("index.json", &index.to_json()).map_err(failed)?;
        }
        let writing = lock(&self.writing).take();
        drop(writing);
        match self.reset {
            // Not being able to tidy up does not unmake the export.
            true => self.prune().or_else(|error| match error.kind() {
                RemoteErrorKind::Cancelled => Err(error),
                _ => Ok(()),
            }),
            false => Ok(()),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temporary();
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, self.dir.join(name))
    }

    /// Removes blobs that no manifest of the directory leads to. Nothing is removed while somebody adds blobs, or
    /// when a manifest cannot be read: it may name any of them.
    fn prune(&self) -> Result<(), RemoteError> {
        let failed = |error| self.failed("tidy up", error);
        let lock = lock_file(self.dir.join("ingest/lock")).map_err(failed)?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        let Some(index) = self.index()? else { return Ok(()) };
        let Some(needed) = self.reachable(&index) else { return Ok(()) };
        for entry in std::fs::read_dir(self.dir.join("blobs/sha256")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|hex| Digest::from_hex(hex).ok());
            if digest.is_some_and(|digest| !needed.contains(&digest)) {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        for entry in std::fs::read_dir(self.dir.join("ingest")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Nobody writes now: what lies there was left by a process that has ended.
            if entry.file_name().to_string_lossy().starts_with("shale-") {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// All blobs that the index leads to; `None` when something on the way cannot be read.
    fn reachable(&self, index: &Index) -> Option<HashSet<Digest>> {
        let mut needed = HashSet::new();
        let mut open: Vec<Descriptor> = index.manifests.clone();
        while let Some(blob) = open.pop() {
            if !needed.insert(blob.digest) {
                continue;
            }
            if !is_manifest(&blob.media_type) {
                continue;
            }
            let path = self.blob_path(&blob.digest);
            let bytes = match read_small(&path, MANIFEST_MAX_BYTES) {
                Ok(bytes) => bytes,
                // Gone already: it keeps nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => return None,
            };
            open.extend(manifest::references(&bytes)?);
        }
        Some(needed)
    }
}

/// Kinds that name further blobs; an entry without a kind may be one.
fn is_manifest(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | media::OCI_INDEX | media::OCI_MANIFEST | media::DOCKER_INDEX | media::DOCKER_MANIFEST
    )
}

/// A link there could make us make a file elsewhere: whoever else writes to the directory need not be trusted with more
/// than it.
fn lock_file(path: PathBuf) -> io::Result<File> {
    let nofollow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    OpenOptions::new().create(true).truncate(false).write(true).custom_flags(nofollow).open(path)
}
