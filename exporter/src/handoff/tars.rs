//! Layers as plain tars: what engines unpack fastest, and know layers by.
//!
//! Owns where a tar comes from: written from the layer's directory as it is sent, or unpacked from the store's blob.
//! Its length must be known when it begins: the store notes it of tars that somebody has read, and gzip says it in its
//! last bytes, for blobs of one piece below 4 GiB. What is found not to be so as it is sent is sent anew, with lengths
//! that were counted by unpacking once for nothing.
//!
//! What is sent is not hashed: engines do that themselves, and refuse what is not the layer that it is said to be.
//! [`check`] finds out afterwards whose fault that was.

use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use layer::{Encoding, LayerError, TarWriter};
use oci::{Descriptor, DiffId, Document};
use store::TarSizes;

use crate::ExportError;
use crate::blob::{encoding_name, open_layer};
use crate::error::{Failure, store, write_tar};
use crate::image::{BuiltImage, LayerSource};
use crate::job::{Job, Ticker};
use crate::layout::{dir_entry, file_entry};
use crate::verify::{Hashing, open_blob, open_file, short};

/// A layer's tar, its length known.
pub(super) struct LayerTar {
    pub(super) diff_id: DiffId,
    pub(super) size_bytes: u64,
    bytes: Bytes,
}

enum Bytes {
    /// They are made of a directory.
    Layer(graph::LayerId, Encoding),
    /// The store's blob is the tar.
    Blob(Descriptor),
    /// The tar is packed in it. Whether its length is only said, and was not counted now.
    Packed { blob: Descriptor, is_said: bool },
}

/// Layers of an image that are on their way to being sendable, in the order in which they are wanted.
pub(super) struct Tars<'s>(Vec<&'s Receiver<Result<LayerTar, ExportError>>>);

impl Iterator for Tars<'_> {
    type Item = Result<LayerTar, ExportError>;

    /// The next one, when it is ready.
    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            let gone = || Err(Failure::Cancelled.into());
            self.0.remove(0).recv().unwrap_or_else(|_| gone())
        })
    }
}

/// Makes the wanted layers ready, some at a time, while `send` sends those that are. It is called a second time when a
/// length was not what a blob had said.
pub(super) fn ready<T>(
    image: &BuiltImage,
    wanted: &[usize],
    job: Job,
    mut send: impl FnMut(Tars<'_>) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    match ready_once(image, wanted, Lengths::Said, job, &mut send) {
        Err(error) if error.is_other_length() => {
            ready_once(image, wanted, Lengths::Counted, job, &mut send)
        }
        sent => sent,
    }
}

/// Where lengths come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    /// From notes of the store, and blobs that say them.
    Said,
    Counted,
}

fn ready_once<T>(
    image: &BuiltImage,
    wanted: &[usize],
    lengths: Lengths,
    job: Job,
    send: &mut dyn FnMut(Tars<'_>) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let threads = thread::available_parallelism().map_or(2, usize::from).min(wanted.len());
    let (senders, receivers): (Vec<_>, Vec<_>) = wanted.iter().map(|_| sync_channel(1)).unzip();
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while !over.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(layer), Some(sender)) = (wanted.get(at), senders.get(at)) else { return };
            // Nobody waits for it when sending has failed.
            let _ = sender.send(tar(image, *layer, lengths, job));
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
        let sent = send(Tars(receivers.iter().collect()));
        over.store(true, Ordering::Relaxed);
        sent
    })
}

/// Writes layers into an archive, each under the name that `name` gives it.
pub(super) fn write(
    tars: &mut dyn Iterator<Item = Result<LayerTar, ExportError>>,
    name: &dyn Fn(&LayerTar) -> String,
    archive: &mut TarWriter<'_>,
    job: Job,
) -> Result<(), ExportError> {
    for tar in tars {
        let tar = tar?;
        job.check()?;
        let entry = file_entry(&name(&tar), tar.size_bytes);
        let ticker = Ticker::new(job, short(&tar.diff_id.0), tar.size_bytes);
        let mut ticker = Some(ticker);
        let mut failed = None;
        let written = archive.filled(&entry, &mut |out| {
            let ticker = ticker.take().expect("a tar is written once");
            let mut out = Ticking { out, ticker };
            copy(&tar, Hashed::No, &mut out, job).map_err(|error| {
                let source = io::Error::other("a layer cannot be read");
                failed = Some(error);
                LayerError::WriteTar { source }
            })
        });
        let is_said = matches!(tar.bytes, Bytes::Packed { is_said: true, .. });
        match (failed, written) {
            (None, Err(LayerError::Changed { .. })) if is_said => {
                return Err(Failure::OtherLength(tar.diff_id).into());
            }
            (Some(error), _) => return Err(error),
            (None, written) => written.map_err(write_tar(ARCHIVE))?,
        }
    }
    Ok(())
}

/// What is written, for people.
pub(super) const ARCHIVE: &str = "the image archive";

/// Adds a small file to an archive.
pub(super) fn put(
    archive: &mut TarWriter<'_>,
    name: &str,
    bytes: &[u8],
) -> Result<(), ExportError> {
    let entry = file_entry(name, bytes.len() as u64);
    archive.entry(&entry, Some(&mut &*bytes)).map_err(write_tar(ARCHIVE))
}

/// Adds the directories of blobs.
pub(super) fn put_directories(archive: &mut TarWriter<'_>) -> Result<(), ExportError> {
    for name in ["blobs", "blobs/sha256"] {
        archive.entry(&dir_entry(name), None).map_err(write_tar(ARCHIVE))?;
    }
    Ok(())
}

/// Writes a layer's tar with nothing around it.
pub(super) fn write_alone(
    tar: &LayerTar,
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    let ticker = Ticker::new(job, short(&tar.diff_id.0), tar.size_bytes);
    copy(tar, Hashed::No, &mut Ticking { out, ticker }, job)
}

/// Whether all layers of an image are here what the image says: the reason why an engine did not take it may be that
/// they are not.
pub(super) fn check(image: &BuiltImage, job: Job) -> Result<(), ExportError> {
    let silent = progress::Emitter::silent();
    let job = Job { events: &silent, ..job };
    for at in 0..image.layers.len() {
        let tar = tar(image, at, Lengths::Said, job)?;
        copy(&tar, Hashed::Yes, &mut io::sink(), job)?;
    }
    Ok(())
}

/// Whether what is written is compared with its digest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hashed {
    Yes,
    No,
}

fn copy(tar: &LayerTar, hashed: Hashed, out: &mut dyn Write, job: Job) -> Result<(), ExportError> {
    match (&tar.bytes, hashed) {
        (Bytes::Layer(layer, encoding), Hashed::No) => {
            let (toc, dir) = open_layer(job.lease, *layer)?;
            layer::write_tar_unchecked(dir.as_fd(), &toc, encoding, out)
                .map_err(write_tar(ARCHIVE))?;
        }
        (Bytes::Layer(layer, encoding), Hashed::Yes) => {
            let (toc, dir) = open_layer(job.lease, *layer)?;
            let sums = layer::write_tar(dir.as_fd(), &toc, encoding, out);
            let sums = sums.map_err(write_tar(ARCHIVE))?;
            if sums.diff_id != tar.diff_id {
                let (expected, found) = (tar.diff_id, sums.diff_id);
                return Err(Failure::OtherTar { layer: *layer, expected, found }.into());
            }
        }
        (Bytes::Blob(descriptor), Hashed::No) => {
            pour(&mut open_file(job, descriptor)?, None, tar.diff_id, out, job)?;
        }
        (Bytes::Blob(descriptor), Hashed::Yes) => {
            pour(&mut open_blob(job, descriptor)?, None, tar.diff_id, out, job)?;
        }
        (Bytes::Packed { blob, is_said }, Hashed::No) => {
            let longest = is_said.then_some(tar.size_bytes);
            let mut tar_within = layer::decompress(open_file(job, blob)?);
            pour(&mut tar_within, longest, tar.diff_id, out, job)?;
        }
        (Bytes::Packed { blob, .. }, Hashed::Yes) => {
            unpack_checked(blob, tar.diff_id, out, job)?;
        }
    }
    Ok(())
}

/// Finds a layer's tar and its length.
fn tar(image: &BuiltImage, at: usize, lengths: Lengths, job: Job) -> Result<LayerTar, ExportError> {
    job.check()?;
    let source = &image.layers[at];
    let diff_id = source.diff_id;
    // A directory gives the same tar again if it was made here. One that came may have been written in other ways.
    if !source.is_base
        && let Some(made) = of_directory(source, job)?
    {
        return Ok(made);
    }
    let Some(blob) = blob_of(image, at, job)? else {
        return of_directory(source, job)?.ok_or_else(|| Failure::NoContent(diff_id).into());
    };
    if blob.digest == diff_id.0 {
        let size_bytes = blob.size_bytes;
        return Ok(LayerTar { diff_id, size_bytes, bytes: Bytes::Blob(blob) });
    }
    let said = match lengths {
        Lengths::Said => match noted_length(diff_id, job)? {
            Some(noted) => Some(noted),
            None => said_length(&blob, job)?,
        },
        Lengths::Counted => None,
    };
    let size_bytes = match said {
        Some(size_bytes) => size_bytes,
        None => counted(&blob, diff_id, job)?,
    };
    let bytes = Bytes::Packed { blob, is_said: said.is_some() };
    Ok(LayerTar { diff_id, size_bytes, bytes })
}

/// What the store knows of the length of a tar.
fn noted_length(diff_id: DiffId, job: Job) -> Result<Option<u64>, ExportError> {
    let sizes = job.lease.store().tar_sizes(diff_id);
    Ok(sizes.map_err(store("look for a layer's length"))?.tar_bytes)
}

/// The length of the tar in a blob by unpacking it; it is noted, so that this is done once.
fn counted(blob: &Descriptor, diff_id: DiffId, job: Job) -> Result<u64, ExportError> {
    let size_bytes = unpack_checked(blob, diff_id, &mut io::sink(), job)?;
    let sizes = TarSizes { tar_bytes: Some(size_bytes), files_bytes: None };
    job.lease.set_tar_sizes(diff_id, sizes).map_err(store("note a layer's length"))?;
    Ok(size_bytes)
}

/// What a gzip blob says of the length of what it holds; `None` when it is no gzip, or cannot mean that.
fn said_length(blob: &Descriptor, job: Job) -> Result<Option<u64>, ExportError> {
    // Brings it if it is not there.
    drop(open_blob(job, blob)?);
    let file = job.lease.open_blob(&blob.digest).map_err(store("open a blob of the store"))?;
    let Some(file) = file else { return Ok(None) };
    let (mut head, mut tail) = ([0; 2], [0; 4]);
    let end = blob.size_bytes.saturating_sub(4);
    let read = file.read_exact_at(&mut head, 0).and_then(|()| file.read_exact_at(&mut tail, end));
    let said = u64::from(u32::from_le_bytes(tail));
    // A tar is longer than its gzip, and has whole blocks.
    let can_be = read.is_ok() && head == [0x1f, 0x8b] && said >= end && said.is_multiple_of(512);
    Ok(can_be.then_some(said))
}

fn of_directory(source: &LayerSource, job: Job) -> Result<Option<LayerTar>, ExportError> {
    let Some(layer) = source.layer else { return Ok(None) };
    let info = job.lease.layer(layer).map_err(store("look at a layer"))?;
    let Some(info) = info.filter(|info| info.present) else { return Ok(None) };
    let name = encoding_name(&source.encoding);
    if info.diff_ids.get(&name) != Some(&source.diff_id) {
        return Ok(None);
    }
    let size_bytes = info.tar_sizes_bytes.get(&name);
    Ok(size_bytes.map(|size_bytes| LayerTar {
        diff_id: source.diff_id,
        size_bytes: *size_bytes,
        bytes: Bytes::Layer(layer, source.encoding),
    }))
}

/// A blob of a layer: one that the image or the store names, here or where it can be fetched.
fn blob_of(image: &BuiltImage, at: usize, job: Job) -> Result<Option<Descriptor>, ExportError> {
    let source = &image.layers[at];
    let descriptor =
        |blob: &store::LayerBlob| Descriptor::new(&blob.media_type, blob.digest, blob.size_bytes);
    let blobs = job.lease.layer_blobs(source.diff_id).map_err(store("look for a layer's blobs"))?;
    // The tar itself needs no unpacking.
    let plain = blobs.iter().find(|blob| blob.digest == source.diff_id.0);
    if let Some(blob) = plain.or(source.own.as_ref()).or(blobs.first()) {
        return Ok(Some(descriptor(blob)));
    }
    let Some(manifest) = &image.manifest else { return Ok(None) };
    Ok(match Document::from_json(&manifest.bytes, &manifest.media_type) {
        Ok(Document::Manifest(manifest)) => manifest.layers.get(at).cloned(),
        Ok(Document::Index(_)) | Err(_) => None,
    })
}

/// Writes the tar in a blob and sees that it is the right one; gives its length.
fn unpack_checked(
    blob: &Descriptor,
    diff_id: DiffId,
    out: &mut dyn Write,
    job: Job,
) -> Result<u64, ExportError> {
    let mut tar = Hashing::new(layer::decompress(open_blob(job, blob)?));
    let size_bytes = pour(&mut tar, None, diff_id, out, job)?;
    let found = tar.finish();
    if found != diff_id.0 {
        let what = format!("the tar in blob {}", blob.digest);
        return Err(Failure::Digest { what, expected: diff_id.0, found }.into());
    }
    Ok(size_bytes)
}

/// Writes what a reader gives; gives its length. What is longer than `longest` is not written to its end.
fn pour(
    from: &mut dyn Read,
    longest: Option<u64>,
    diff_id: DiffId,
    out: &mut dyn Write,
    job: Job,
) -> Result<u64, ExportError> {
    let mut buffer = vec![0; 256 << 10];
    let mut size_bytes = 0;
    loop {
        job.check()?;
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(size_bytes),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let source = LayerError::WriteTar { source: error };
                return Err(Failure::Compress { diff_id, source }.into());
            }
        };
        size_bytes += count as u64;
        if longest.is_some_and(|longest| size_bytes > longest) {
            return Err(Failure::OtherLength(diff_id).into());
        }
        out.write_all(&buffer[..count]).map_err(crate::error::write(ARCHIVE))?;
    }
}

/// Tells the progress of what is written.
struct Ticking<'a, 'j> {
    out: &'a mut dyn Write,
    ticker: Ticker<'j>,
}

impl Write for Ticking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.ticker.add(count).map_err(io::Error::other)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
