//! The tar of a layer and the compressed blob of it.
//!
//! Owns the order of entries (IMG-24, IMG-29) and the reading of contents: small files ahead on all cores, large ones
//! hashed beside the writing. Refuses to know where the result goes. The bytes do not depend on the number of cores.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use oci::{DiffId, Digest, Hasher};

use crate::compress::{BlockWriter, Compression};
use crate::content::open_file;
use crate::ordered::Ordered;
use crate::tar_write::TarWriter;
use crate::{Entry, EntryKind, LayerError, Toc};

/// Files up to this size are read whole and ahead.
const SMALL_BYTES: u64 = 1 << 20;
/// Bytes and files that may be read ahead.
const AHEAD_BYTES: u64 = 16 << 20;
const AHEAD_FILES: usize = 512;

/// What decides a layer's tar beside its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Times later than this, in seconds since 1970, become this (rewrite-timestamp, EPO-12).
    pub clamp_to: Option<i64>,
    /// The tar is that of an eStargz blob whose gzip has this level: it has a table of contents, too.
    pub estargz: Option<u32>,
}

/// What writing a tar told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarSums {
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Its length.
    pub size_bytes: u64,
    /// Digests of files that the table did not know, by index; for [`Toc::learn`].
    pub learned: Vec<(usize, Digest)>,
}

/// What writing a compressed layer told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSums {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Digest of what was written.
    pub digest: Digest,
    /// Length of what was written.
    pub size_bytes: u64,
    /// As in [`TarSums::learned`].
    pub learned: Vec<(usize, Digest)>,
}

/// Writes the tar of a layer. Two runs give equal bytes. Files are checked against the digests that the table knows;
/// a different one is [`LayerError::Changed`]. An empty table gives the empty tar of 1,024 bytes (IMG-23).
pub fn write_tar(
    dir: BorrowedFd<'_>,
    toc: &Toc,
    encoding: &Encoding,
    out: &mut dyn Write,
) -> Result<TarSums, LayerError> {
    let mut summed = Summed { out, hasher: Hasher::new(), size_bytes: 0 };
    let learned = write_entries(dir, toc, encoding, Hashed::Yes, &mut summed)?;
    let Summed { hasher, size_bytes, .. } = summed;
    Ok(TarSums { diff_id: DiffId(hasher.finish()), size_bytes, learned })
}

/// The same tar with nothing hashed and no content checked: for a receiver that knows its digest and looks.
pub fn write_tar_unchecked(
    dir: BorrowedFd<'_>,
    toc: &Toc,
    encoding: &Encoding,
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    write_entries(dir, toc, encoding, Hashed::No, out).map(drop)
}

/// Whether files are hashed as they are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hashed {
    Yes,
    No,
}

/// Writes all entries; gives the digests that the table did not know.
fn write_entries(
    dir: BorrowedFd<'_>,
    toc: &Toc,
    encoding: &Encoding,
    hashed: Hashed,
    out: &mut dyn Write,
) -> Result<Vec<(usize, Digest)>, LayerError> {
    let mut writer = TarWriter::new(out).clamp_to(encoding.clamp_to);
    let dir = dir.try_clone_to_owned().map_err(|e| LayerError::file("open", b"", e))?;
    let mut ahead = Ahead::new(Arc::new(dir), toc, hashed);
    let mut first_names: HashMap<u32, &[u8]> = HashMap::new();
    let mut learned = Vec::new();
    for (at, entry) in toc.entries().iter().enumerate() {
        if let Some(group) = entry.link_group {
            if let Some(first) = first_names.get(&group) {
                writer.hard_link(entry, first)?;
                if hashed == Hashed::Yes {
                    learned.extend(learn_from_first(toc, &learned, at, first));
                }
                continue;
            }
            first_names.insert(group, &entry.path);
        }
        writer.header(entry)?;
        let EntryKind::File { size_bytes: size_bytes @ 1.., digest: known } = entry.kind else {
            continue;
        };
        let digest = match size_bytes <= SMALL_BYTES {
            true => {
                let (bytes, digest) = ahead.next()?;
                writer.data(&bytes)?;
                digest
            }
            false => stream_file(ahead.dir.as_fd(), entry, size_bytes, hashed, &mut writer)?,
        };
        writer.pad(size_bytes)?;
        match (known, digest) {
            (_, None) => {}
            (None, Some(digest)) => learned.push((at, digest)),
            (Some(known), Some(digest)) if known == digest => {}
            (Some(_), Some(_)) => return Err(LayerError::Changed { path: entry.path.clone() }),
        }
    }
    writer.finish()?;
    Ok(learned)
}

/// The digest of a further name, when that of the first was not known before.
fn learn_from_first(
    toc: &Toc,
    learned: &[(usize, Digest)],
    at: usize,
    first: &[u8],
) -> Option<(usize, Digest)> {
    let EntryKind::File { digest: None, .. } = toc.entries()[at].kind else { return None };
    let found = match toc.get(first)?.kind {
        EntryKind::File { digest: Some(digest), .. } => Some(digest),
        _ => learned.iter().find(|(at, _)| toc.entries()[*at].path == first).map(|(_, d)| *d),
    };
    found.map(|digest| (at, digest))
}

/// Writes the compressed blob of a layer: [`write_tar`] and [`crate::compress`] in one pass.
pub fn write_layer(
    dir: BorrowedFd<'_>,
    toc: &Toc,
    encoding: &Encoding,
    compression: Compression,
    out: &mut dyn Write,
) -> Result<LayerSums, LayerError> {
    let mut blocks = BlockWriter::new(compression, out);
    let TarSums { diff_id, learned, .. } = write_tar(dir, toc, encoding, &mut blocks)?;
    let (digest, size_bytes) = blocks.finish()?;
    Ok(LayerSums { diff_id, digest, size_bytes, learned })
}

struct Summed<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    size_bytes: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

type Content = (Vec<u8>, Option<Digest>);

/// Small files, read before the writer comes to them.
struct Ahead<'a> {
    dir: Arc<OwnedFd>,
    hashed: Hashed,
    files: Box<dyn Iterator<Item = &'a Entry> + 'a>,
    jobs: Ordered<Result<Content, LayerError>>,
    /// Sizes of the files under way.
    sizes: VecDeque<u64>,
    bytes: u64,
}

impl<'a> Ahead<'a> {
    fn new(dir: Arc<OwnedFd>, toc: &'a Toc, hashed: Hashed) -> Ahead<'a> {
        let mut groups = std::collections::HashSet::new();
        let files = toc.entries().iter().filter(move |entry| {
            matches!(entry.kind, EntryKind::File { size_bytes: 1..=SMALL_BYTES, .. })
                && entry.link_group.is_none_or(|group| groups.insert(group))
        });
        let files = Box::new(files);
        Ahead { dir, hashed, files, jobs: Ordered::new(), sizes: VecDeque::new(), bytes: 0 }
    }

    /// The next small file of the table.
    fn next(&mut self) -> Result<Content, LayerError> {
        while self.bytes < AHEAD_BYTES && self.jobs.len() < AHEAD_FILES {
            let Some(entry) = self.files.next() else { break };
            let EntryKind::File { size_bytes, .. } = entry.kind else { continue };
            let (dir, path) = (Arc::clone(&self.dir), entry.path.clone());
            let hashed = self.hashed;
            self.jobs.push(move || read_small(dir.as_fd(), path, size_bytes, hashed));
            self.sizes.push_back(size_bytes);
            self.bytes += size_bytes;
        }
        self.bytes -= self.sizes.pop_front().unwrap_or(0);
        self.jobs.pop().expect("the writer asks once for each small file")
    }
}

fn read_small(
    dir: BorrowedFd<'_>,
    path: Vec<u8>,
    size_bytes: u64,
    hashed: Hashed,
) -> Result<Content, LayerError> {
    let file = open_file(dir, &path)?;
    let mut bytes = Vec::with_capacity(size_bytes as usize + 1);
    file.take(size_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| LayerError::file("read", &path, source))?;
    match bytes.len() as u64 == size_bytes {
        true => {
            let digest = (hashed == Hashed::Yes).then(|| Digest::of(&bytes));
            Ok((bytes, digest))
        }
        false => Err(LayerError::Changed { path }),
    }
}

/// Writes a large file; another thread hashes it if that is wanted.
fn stream_file(
    dir: BorrowedFd<'_>,
    entry: &Entry,
    size_bytes: u64,
    hashed: Hashed,
    writer: &mut TarWriter<'_>,
) -> Result<Option<Digest>, LayerError> {
    let mut file = open_file(dir, &entry.path)?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Arc<Vec<u8>>>(2);
        let hashing = (hashed == Hashed::Yes).then(|| {
            scope.spawn(move || {
                let mut hasher = Hasher::new();
                receiver.iter().for_each(|chunk| hasher.update(&chunk));
                hasher.finish()
            })
        });
        let mut chunks: VecDeque<Arc<Vec<u8>>> = VecDeque::new();
        let mut left = size_bytes;
        while left > 0 {
            let chunk = read_chunk(&mut file, left, &mut chunks)
                .map_err(|source| LayerError::file("read", &entry.path, source))?;
            if chunk.is_empty() {
                return Err(LayerError::Changed { path: entry.path.clone() });
            }
            left -= chunk.len() as u64;
            // The receiver, if there is one, lives until the sender goes.
            let _ = sender.send(Arc::clone(&chunk));
            writer.data(&chunk)?;
            chunks.push_back(chunk);
        }
        drop(sender);
        let digest = hashing.map(|hashing| hashing.join().expect("hashing does not panic"));
        match file.read(&mut [0]) {
            Ok(0) => Ok(digest),
            Ok(_) => Err(LayerError::Changed { path: entry.path.clone() }),
            Err(source) => Err(LayerError::file("read", &entry.path, source)),
        }
    })
}

/// Reads up to a megabyte into a buffer that nobody uses any more, or a new one.
fn read_chunk(
    file: &mut File,
    left: u64,
    used: &mut VecDeque<Arc<Vec<u8>>>,
) -> io::Result<Arc<Vec<u8>>> {
    let free = used.front_mut().is_some_and(|oldest| Arc::get_mut(oldest).is_some());
    let mut chunk = match free {
        true => used.pop_front().unwrap_or_default(),
        false => Arc::default(),
    };
    let buffer = Arc::get_mut(&mut chunk).expect("nobody else has it");
    buffer.clear();
    file.take(left.min(SMALL_BYTES)).read_to_end(buffer)?;
    Ok(chunk)
}
