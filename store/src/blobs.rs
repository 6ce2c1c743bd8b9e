//! Blobs: content under its own digest in `blobs/sha256/`, and which blobs encode which layer's tar. Nothing gets its
//! name before digest and size were checked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

use oci::{DiffId, Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Failure, StoreError, at};
use crate::layout::{Store, locked};
use crate::lease::Lease;
use crate::{partial, seal};

const BUFFER_SIZE_BYTES: usize = 128 * 1024;
const LAYER_BLOBS_KIND: &str = "layer-blobs";

/// One compressed form of a layer's tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// How it was made: `gzip`, `zstd`, `none`, or a name that also tells the level.
    pub compression: String,
    /// Its media type where it came from, or that of OCI.
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Length of the blob in bytes.
    pub size_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct LayerBlobFile {
    compression: String,
    media_type: String,
    digest: String,
    size_bytes: u64,
    /// Bytes in the regular files of the tar, where somebody has counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files_bytes: Option<u64>,
    /// Length of the tar in bytes, where somebody has read it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tar_bytes: Option<u64>,
    /// Known to be this tar, but not the blob that is taken for its compression. It keeps no blob.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_other: bool,
}

/// How large a layer's tar is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TarSizes {
    /// Its own length in bytes, padding and all.
    pub tar_bytes: Option<u64>,
    /// Bytes in its regular files, hard links once.
    pub files_bytes: Option<u64>,
}

impl TarSizes {
    /// What one of the two knows.
    fn or(self, other: TarSizes) -> TarSizes {
        TarSizes {
            tar_bytes: self.tar_bytes.or(other.tar_bytes),
            files_bytes: self.files_bytes.or(other.files_bytes),
        }
    }

    fn of(notes: &[LayerBlobFile]) -> TarSizes {
        notes.iter().fold(TarSizes::default(), |known, note| {
            known.or(TarSizes { tar_bytes: note.tar_bytes, files_bytes: note.files_bytes })
        })
    }
}

/// Blobs of one tar that are remembered beside those that are taken.
const OTHERS_MAX: usize = 16;

/// Writes a blob whose digest may not be known yet. Dropped without [`BlobWriter::finish`] it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    lease: Lease,
    file: File,
    temp: String,
    hasher: Hashing,
    size_bytes: u64,
    /// What is there when this is dropped unfinished is kept for the next transfer.
    is_kept: bool,
}

/// [`Hasher`] with a `Debug` that says nothing.
struct Hashing(Hasher);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

/// Path of a blob below the store's root.
pub(crate) fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(crate) fn layer_blobs_path(diff_id: &DiffId) -> String {
    format!("layer-blobs/{}", diff_id.0.hex())
}

impl Lease {
    /// Stores what `body` yields. With `expect` (digest and length in bytes) nothing else is accepted, reading stops at
    /// the first byte too many, and a blob that is already there is not read at all.
    ///
    /// # Errors
    /// The content is not what was expected ([`StoreError::is_wrong_content`]), `body` fails, or the store cannot be
    /// written.
    pub fn put_blob(
        &self,
        expect: Option<(Digest, u64)>,
        body: &mut dyn Read,
    ) -> Result<(Digest, u64), StoreError> {
        if let Some((digest, size_bytes)) = expect
            && self.has_blob_of(&digest, size_bytes)?
        {
            return Ok((digest, size_bytes));
        }
        self.fill_blob(self.blob_writer()?, expect, body)
    }

    /// Writes what `body` yields behind what a blob has already, and gives it its name. As [`Lease::put_blob`].
    ///
    /// # Errors
    /// As [`Lease::put_blob`].
    pub fn fill_blob(
        &self,
        mut writer: BlobWriter,
        expect: Option<(Digest, u64)>,
        body: &mut dyn Read,
    ) -> Result<(Digest, u64), StoreError> {
        let mut buffer = vec![0; BUFFER_SIZE_BYTES];
        loop {
            let length = match body.read(&mut buffer) {
                Ok(0) => return writer.finish(expect),
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(input_failure(expect, source)),
            };
            writer.append(&buffer[..length]).map_err(at("write", writer.temp.as_str()))?;
            if let Some((digest, expected)) = expect
                && writer.size_bytes > expected
            {
                writer.is_kept = false;
                return Err(
                    Failure::WrongSize { digest, expected, found: "more".to_owned() }.into()
                );
            }
        }
    }

    /// Starts a blob.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let temp = self.temp_name()?;
        let file = self.disk().create(&temp).map_err(at("make", temp.as_str()))?;
        let hasher = Hashing(Hasher::new());
        let lease = self.clone();
        Ok(BlobWriter { lease, file, temp, hasher, size_bytes: 0, is_kept: false })
    }

    /// Opens a blob, which is protected by this; `None` when it is not in the store. The reader checks the digest.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let path = path(digest);
        if !self.hold(std::slice::from_ref(&path))?[0] {
            return Ok(None);
        }
        self.disk().open(&path).map_err(at("open", path))
    }

    /// Whether a blob is in the store; it is protected by this.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.hold(&[path(digest)])?[0])
    }

    /// Whether a blob of this length is in the store; it is protected by this. Of another length it is damaged, or not
    /// what is wanted.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn has_blob_of(&self, digest: &Digest, size_bytes: u64) -> Result<bool, StoreError> {
        if !self.has_blob(digest)? {
            return Ok(false);
        }
        let path = path(digest);
        let stat = self.disk().stat(&path).map_err(at("look at", path))?;
        Ok(stat.is_some_and(|stat| u64::try_from(stat.st_size) == Ok(size_bytes)))
    }

    /// Notes that a blob is the tar `diff_id` in some compression. There is one for each compression;
    /// a new one replaces it.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn set_layer_blob(&self, diff_id: DiffId, blob: &LayerBlob) -> Result<(), StoreError> {
        let _updating = locked(&self.store().shared.updating);
        let blobs = self.store().layer_blobs(diff_id)?;
        let path = layer_blobs_path(&diff_id);
        if blobs.contains(blob) {
            // As fresh as one that is written: a collection may not know yet what leads to it.
            let _ = self.disk().touch(&path);
            self.note_used(&path);
            return Ok(());
        }
        let mut file = self.store().layer_blob_notes(diff_id)?;
        // Also when the only one that knows is replaced.
        let TarSizes { tar_bytes, files_bytes } = TarSizes::of(&file);
        file.retain(|old| old.digest != blob.digest.to_string());
        for old in file.iter_mut().filter(|old| old.compression == blob.compression) {
            old.is_other = true;
        }
        file.push(LayerBlobFile { tar_bytes, files_bytes, ..to_file(blob.clone(), false) });
        self.put_notes(&path, file)
    }

    /// Notes that a blob is the tar `diff_id`, and takes it for nothing: its first bytes are not those of its media
    /// type, for instance.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn note_other_layer_blob(
        &self,
        diff_id: DiffId,
        blob: &LayerBlob,
    ) -> Result<(), StoreError> {
        let _updating = locked(&self.store().shared.updating);
        let mut file = self.store().layer_blob_notes(diff_id)?;
        let path = layer_blobs_path(&diff_id);
        if file.iter().any(|note| note.digest == blob.digest.to_string()) {
            let _ = self.disk().touch(&path);
            self.note_used(&path);
            return Ok(());
        }
        file.push(to_file(blob.clone(), true));
        self.put_notes(&path, file)
    }

    /// Writes the notes on a tar. What one knows of its sizes all know.
    fn put_notes(&self, path: &str, file: Vec<LayerBlobFile>) -> Result<(), StoreError> {
        let mut file = file;
        let TarSizes { tar_bytes, files_bytes } = TarSizes::of(&file);
        let others = file.iter().filter(|note| note.is_other).count();
        let mut too_many = others.saturating_sub(OTHERS_MAX);
        // The oldest ones go.
        file.retain(|note| {
            let goes = note.is_other && too_many > 0;
            too_many -= usize::from(goes);
            !goes
        });
        for note in &mut file {
            (note.tar_bytes, note.files_bytes) = (tar_bytes, files_bytes);
        }
        self.publish_result(path, &seal::seal_json(LAYER_BLOBS_KIND, path, &file))
    }

    /// Adds to the notes on a tar how large it is. Without a note there is nothing to add to.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn set_tar_sizes(&self, diff_id: DiffId, sizes: TarSizes) -> Result<(), StoreError> {
        let _updating = locked(&self.store().shared.updating);
        let mut file = self.store().layer_blob_notes(diff_id)?;
        let known = TarSizes::of(&file);
        let whole = sizes.or(known);
        if file.is_empty() || known == whole {
            return Ok(());
        }
        for note in &mut file {
            (note.tar_bytes, note.files_bytes) = (whole.tar_bytes, whole.files_bytes);
        }
        self.put_notes(&layer_blobs_path(&diff_id), file)
    }

    /// Whether somebody has read a blob through and found that it is the tar `diff_id`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_layer_blob(&self, diff_id: DiffId, blob: &Digest) -> Result<bool, StoreError> {
        let notes = self.store().layer_blob_notes(diff_id)?;
        let is_known = notes.iter().any(|note| note.digest == blob.to_string());
        if is_known {
            // As fresh as one that is written: a collection may not know yet what leads to it.
            let path = layer_blobs_path(&diff_id);
            let _ = self.disk().touch(&path);
            self.note_used(&path);
        }
        Ok(is_known)
    }

    /// The blobs of a tar that are in the store; they are protected by this.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn layer_blobs(&self, diff_id: DiffId) -> Result<Vec<LayerBlob>, StoreError> {
        let blobs = self.store().layer_blobs(diff_id)?;
        let paths: Vec<String> = blobs.iter().map(|blob| path(&blob.digest)).collect();
        let there = self.hold(&paths)?;
        if !blobs.is_empty() {
            self.note_used(&layer_blobs_path(&diff_id));
        }
        Ok(blobs.into_iter().zip(there).filter_map(|(blob, there)| there.then_some(blob)).collect())
    }
}

impl Store {
    /// What is noted for a tar, whether the blobs are there or not.
    pub(crate) fn layer_blobs(&self, diff_id: DiffId) -> Result<Vec<LayerBlob>, StoreError> {
        let mut notes = self.layer_blob_notes(diff_id)?;
        notes.retain(|note| !note.is_other);
        Ok(notes.into_iter().map(from_file).collect::<Option<Vec<_>>>().unwrap_or_default())
    }

    /// How large a layer's tar is, as far as somebody has read it through.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tar_sizes(&self, diff_id: DiffId) -> Result<TarSizes, StoreError> {
        Ok(TarSizes::of(&self.layer_blob_notes(diff_id)?))
    }

    fn layer_blob_notes(&self, diff_id: DiffId) -> Result<Vec<LayerBlobFile>, StoreError> {
        let path = layer_blobs_path(&diff_id);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        let notes = bytes.and_then(|bytes| seal::unseal_json(LAYER_BLOBS_KIND, &path, &bytes));
        Ok(notes.unwrap_or_default())
    }
}

/// `None` when the file is not whole.
pub(crate) fn parse_layer_blobs(path: &str, bytes: &[u8]) -> Option<Vec<LayerBlob>> {
    let file: Vec<LayerBlobFile> = seal::unseal_json(LAYER_BLOBS_KIND, path, bytes)?;
    file.into_iter().map(from_file).collect()
}

impl BlobWriter {
    /// Checks the content against `expect` (digest and length in bytes) and gives the blob its name.
    ///
    /// # Errors
    /// The content is not what was expected, or the store cannot be written; nothing is left then.
    pub fn finish(mut self, expect: Option<(Digest, u64)>) -> Result<(Digest, u64), StoreError> {
        let found = std::mem::replace(&mut self.hasher, Hashing(Hasher::new())).0.finish();
        // Wrong bytes help nobody.
        self.is_kept = false;
        if let Some((digest, expected)) = expect {
            if expected != self.size_bytes {
                let found = self.size_bytes.to_string();
                return Err(Failure::WrongSize { digest, expected, found }.into());
            }
            if digest != found {
                return Err(Failure::WrongDigest { expected: digest, found }.into());
            }
        }
        let path = path(&found);
        if self.lease.has_blob_of(&found, self.size_bytes)? {
            // The one that is there may be durable, this one is not: it must not take its place.
            return Ok((found, self.size_bytes));
        }
        if self.lease.has_blob(&found)? {
            // Damaged, and perhaps promised: its promise must not pass to this one.
            self.lease.unlist(&BTreeSet::from([path.clone()]))?;
        }
        self.lease.disk().rename(&self.temp, &path).map_err(at("commit", path.as_str()))?;
        self.temp.clear();
        self.lease.made(&path);
        self.lease.note_added_file(self.size_bytes);
        Ok((found, self.size_bytes))
    }

    /// Goes on with a file at whose end it stands, and which has another name than those of the lease.
    pub(crate) fn going_on(
        lease: Lease,
        file: File,
        temp: String,
        (hasher, size_bytes): (Hasher, u64),
    ) -> BlobWriter {
        BlobWriter { lease, file, temp, hasher: Hashing(hasher), size_bytes, is_kept: true }
    }

    /// The file that is written to, to be read beside: from any byte on, and also when it has its name.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn reader(&self) -> Result<File, StoreError> {
        self.file.try_clone().map_err(at("read", self.temp.as_str()))
    }

    /// Bytes written so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What the bytes written so far hash to.
    pub fn hasher(&self) -> Hasher {
        self.hasher.0.clone()
    }

    /// Forgets what was written so far.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(at("empty", self.temp.as_str()))?;
        (self.hasher, self.size_bytes) = (Hashing(Hasher::new()), 0);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        disk::write(&mut self.file, bytes)?;
        self.hasher.0.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let is_kept = self.is_kept && self.size_bytes >= partial::KEEP_MIN_BYTES;
        if !self.temp.is_empty() && !is_kept {
            let _ = self.lease.disk().unlink(&self.temp);
        }
    }
}

fn input_failure(expect: Option<(Digest, u64)>, source: io::Error) -> StoreError {
    let object = expect.map_or("a new blob".to_owned(), |(digest, _)| format!("blob {digest}"));
    Failure::Input { object, source }.into()
}

fn to_file(blob: LayerBlob, is_other: bool) -> LayerBlobFile {
    let LayerBlob { compression, media_type, digest, size_bytes } = blob;
    let digest = digest.to_string();
    let (files_bytes, tar_bytes) = (None, None);
    LayerBlobFile { compression, media_type, digest, size_bytes, files_bytes, tar_bytes, is_other }
}

fn from_file(file: LayerBlobFile) -> Option<LayerBlob> {
    let LayerBlobFile { compression, media_type, digest, size_bytes, .. } = file;
    Some(LayerBlob { compression, media_type, digest: digest.parse().ok()?, size_bytes })
}
