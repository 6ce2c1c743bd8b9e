//! Blobs that a transfer has left unfinished: kept under the digest that they are to have, so that the next one goes on
//! where it was, also when the first was killed.
//!
//! Nothing reads them but the next transfer, which checks the whole. One process at a time writes to one: it holds a
//! lock on the file.

use std::fs::File;
use std::io::{self, Read};

use oci::{Digest, Hasher};
use rustix::fs::{FlockOperation, Stat};

use crate::blobs::BlobWriter;
use crate::disk::{self, Disk};
use crate::error::{StoreError, at};
use crate::flight;
use crate::lease::Lease;

pub(crate) const AREA: &str = "partial";
/// Less than this is fetched again.
pub(crate) const KEEP_MIN_BYTES: u64 = 1 << 20;
/// What nobody has gone on with for this long is given up.
const KEEP_SECS: i64 = 3 * 24 * 3600;

fn path(digest: &Digest) -> String {
    format!("{AREA}/{}", digest.hex())
}

impl Lease {
    /// Starts a blob, or goes on with what an earlier transfer of it has left. What is written stays for the next one
    /// when this ends without [`BlobWriter::finish`], unless it was wrong.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn resumed_blob_writer(
        &self,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<BlobWriter, StoreError> {
        if size_bytes <= KEEP_MIN_BYTES {
            return self.blob_writer();
        }
        let (disk, path) = (self.disk(), path(digest));
        disk.make_dir(AREA).map_err(at("make", AREA))?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        let Some(mut file) = flight::try_lock_named(disk, &path, operation)? else {
            // Somebody else is at it.
            return self.blob_writer();
        };
        let there = hash(&mut file).map_err(at("read", path.as_str()))?;
        let is_too_long = there.1 > size_bytes;
        let mut writer = BlobWriter::going_on(self.clone(), file, path, there);
        if is_too_long {
            writer.restart()?;
        }
        Ok(writer)
    }

    /// Drops what an earlier transfer of a blob has left: it was wrong.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_partial_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = path(digest);
        self.disk().unlink(&path).map(drop).map_err(at("remove", path))
    }
}

/// Whether nobody has gone on with it for so long that a collection takes it unasked.
pub(crate) fn is_given_up(used_secs: i64, now_secs: i64) -> bool {
    used_secs.saturating_add(KEEP_SECS) < now_secs
}

/// Whether a transfer goes on with it right now. One that begins in this very moment is told so too, and begins anew.
pub(crate) fn is_in_use(disk: &Disk, path: &str) -> io::Result<bool> {
    let Some(file) = disk.open(path)? else { return Ok(false) };
    Ok(!disk::try_lock(&file, FlockOperation::NonBlockingLockShared)?)
}

/// Removes one unless a transfer goes on with it, or has since it was looked at; `false` when it stays, or was gone.
pub(crate) fn remove(
    disk: &Disk,
    path: &str,
    is_as_seen: impl Fn(Option<&Stat>) -> bool,
) -> Result<bool, StoreError> {
    if disk.stat(path).map_err(at("look at", path))?.is_none() {
        return Ok(false);
    }
    let operation = FlockOperation::NonBlockingLockExclusive;
    let Some(_locked) = flight::try_lock_named(disk, path, operation)? else { return Ok(false) };
    match is_as_seen(disk.stat(path).map_err(at("look at", path))?.as_ref()) {
        true => disk.unlink(path).map_err(at("remove", path)),
        false => Ok(false),
    }
}

/// What a file's bytes hash to, and how many there are.
fn hash(file: &mut File) -> io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher, size_bytes)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size_bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
