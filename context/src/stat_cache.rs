//! Digests of files that have not changed since they were read (design D5).
//!
//! One file for each context root: a header and records of fixed width, sorted by inode, searched in place. A record
//! is only written for a file whose last change was, when it was read, longer ago than clocks are coarse: so a later
//! change shows in its change time, even with the same size and modification time. No record is written for a file with
//! capabilities, so one that has a record has none. Numbers are little-endian.
//!
//! ```text
//! header: 16 bytes "shale-stat-v3\n\0\0"
//! record: u64 inode, u64 size, i64 mtime s, i64 ctime s, u32 mtime ns, u32 ctime ns, u32 mode, 32 bytes digest,
//!         u32 checksum (FNV-1a of the bytes before in groups of four, folded)
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use layer::Mtime;
use oci::Digest;

use crate::stat::FileStat;

const HEADER: &[u8; 16] = b"shale-stat-v3\n\0\0";
const RECORD_BYTES: usize = 80;
const CHECKED_BYTES: usize = 76;

/// Records of files that this run did not see are kept up to this many times those that it saw.
const STALE_FACTOR: usize = 4;
const STALE_FREE: usize = 10_000;

type Record = [u8; RECORD_BYTES];

/// The name of the stat cache of a context root.
pub fn stat_cache_name(root: &Path) -> String {
    Digest::of(root.as_os_str().as_bytes()).hex()
}

/// The cache of one context root.
pub(crate) struct StatCache {
    path: Option<PathBuf>,
    /// The file as it was when first needed.
    old: OnceLock<Vec<u8>>,
    new: Mutex<New>,
    /// Whether there are new records, so that a look-up need not ask under the lock.
    has_new: AtomicBool,
    hits: AtomicUsize,
}

#[derive(Default)]
struct New {
    records: BTreeMap<u64, Record>,
    changed: bool,
}

impl StatCache {
    /// With no path nothing is remembered beyond this run.
    pub(crate) fn new(path: Option<PathBuf>) -> StatCache {
        StatCache {
            path,
            old: OnceLock::new(),
            new: Mutex::default(),
            has_new: AtomicBool::new(false),
            hits: AtomicUsize::new(0),
        }
    }

    /// The digest of a file with exactly this status.
    pub(crate) fn get(&self, stat: &FileStat) -> Option<Digest> {
        if self.has_new.load(Ordering::Acquire) {
            let new = self.new.lock().unwrap_or_else(|lock| lock.into_inner());
            if let Some(record) = new.records.get(&stat.inode) {
                return digest_if_same(record, stat);
            }
        }
        let record = find(self.old(), stat.inode)?;
        let digest = digest_if_same(record, stat)?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(digest)
    }

    /// Remembers a digest, unless the file is too young: `read_at` is the time before the status was taken that was
    /// the same before and after the content was read.
    pub(crate) fn put(&self, stat: &FileStat, read_at: Mtime, digest: Digest) {
        if self.path.is_none() || !stat.is_settled(read_at) {
            return;
        }
        let mut new = self.new.lock().unwrap_or_else(|lock| lock.into_inner());
        new.changed = true;
        new.records.insert(stat.inode, record(stat, digest));
        self.has_new.store(true, Ordering::Release);
    }

    /// Writes what is new, merged with what was there, by rename.
    pub(crate) fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let merged = {
            let mut new = self.new.lock().unwrap_or_else(|lock| lock.into_inner());
            if !std::mem::take(&mut new.changed) {
                return Ok(());
            }
            merge(self.old(), &new.records, self.hits.load(Ordering::Relaxed))
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(HEADER)?;
        file.write_all(&merged)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// A file that is missing, torn or of another version is an empty one.
    fn old(&self) -> &[u8] {
        let file = self.old.get_or_init(|| {
            let bytes = self.path.as_deref().and_then(|p| fs::read(p).ok()).unwrap_or_default();
            if bytes.starts_with(HEADER) { bytes } else { HEADER.to_vec() }
        });
        let records = &file[HEADER.len()..];
        &records[..records.len() / RECORD_BYTES * RECORD_BYTES]
    }
}

/// Old records beside the new ones, sorted by inode; a new one replaces the old one of its inode.
fn merge(old: &[u8], new: &BTreeMap<u64, Record>, hits: usize) -> Vec<u8> {
    let count = old.len() / RECORD_BYTES;
    let keep = count <= (new.len() + hits) * STALE_FACTOR + STALE_FREE;
    let old = if keep { old } else { &[] };
    let mut merged = Vec::with_capacity(old.len() + new.len() * RECORD_BYTES);
    let mut fresh = new.iter().peekable();
    for record in old.chunks_exact(RECORD_BYTES) {
        let inode = inode_of(record);
        while let Some((_, record)) = fresh.next_if(|(new, _)| **new < inode) {
            merged.extend_from_slice(record);
        }
        if fresh.peek().is_none_or(|(new, _)| **new != inode) {
            merged.extend_from_slice(record);
        }
    }
    fresh.for_each(|(_, record)| merged.extend_from_slice(record));
    merged
}

fn inode_of(record: &[u8]) -> u64 {
    u64::from_le_bytes(record[..8].try_into().expect("a record is longer than 8 bytes"))
}

fn find(records: &[u8], inode: u64) -> Option<&[u8]> {
    let (mut low, mut high) = (0, records.len() / RECORD_BYTES);
    while low < high {
        let middle = low + (high - low) / 2;
        let record = &records[middle * RECORD_BYTES..][..RECORD_BYTES];
        match inode_of(record).cmp(&inode) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Some(record),
        }
    }
    None
}

/// A record's digest, if the rest of the record is what this status would make.
fn digest_if_same(found: &[u8], stat: &FileStat) -> Option<Digest> {
    let digest =
        found[CHECKED_BYTES - 32..CHECKED_BYTES].try_into().map(Digest::from_bytes).ok()?;
    (record(stat, digest) == *found).then_some(digest)
}

fn record(stat: &FileStat, digest: Digest) -> Record {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&stat.inode.to_le_bytes());
    bytes[8..16].copy_from_slice(&stat.size_bytes.to_le_bytes());
    bytes[16..24].copy_from_slice(&stat.mtime.secs.to_le_bytes());
    bytes[24..32].copy_from_slice(&stat.ctime.secs.to_le_bytes());
    bytes[32..36].copy_from_slice(&stat.mtime.nanos.to_le_bytes());
    bytes[36..40].copy_from_slice(&stat.ctime.nanos.to_le_bytes());
    bytes[40..44].copy_from_slice(&stat.mode.to_le_bytes());
    bytes[44..CHECKED_BYTES].copy_from_slice(digest.as_bytes());
    let checksum = checksum(&bytes[..CHECKED_BYTES]);
    bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(4).map(|word| {
        u64::from(u32::from_le_bytes(word.try_into().expect("chunks of four have four bytes")))
    });
    let hash = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64, ctime: i64) -> FileStat {
        let time = |secs| Mtime { secs, nanos: 1 };
        FileStat {
            inode,
            device: 1,
            size_bytes: 3,
            mtime: time(10),
            ctime: time(ctime),
            mode: 0o100_644,
            links: 1,
            device_number: 0,
        }
    }

    #[test]
    fn records_survive_and_change() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("stat");
        let now = Mtime { secs: 100, nanos: 0 };
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = StatCache::new(Some(path.clone()));
        for inode in [9, 3, 7, 1] {
            first.put(&stat(inode, 20), now, a);
        }
        first.put(&stat(5, 100), now, a); // racy
        first.save().expect("save");

        let second = StatCache::new(Some(path.clone()));
        assert_eq!(second.get(&stat(7, 20)), Some(a));
        assert_eq!(second.get(&stat(7, 21)), None, "same size and mtime, other ctime");
        assert_eq!(second.get(&stat(5, 100)), None);
        second.put(&stat(7, 21), now, b);
        second.put(&stat(4, 21), now, b);
        second.save().expect("save");

        let third = StatCache::new(Some(path.clone()));
        let inodes: Vec<u64> = third.old().chunks(RECORD_BYTES).map(inode_of).collect();
        assert_eq!(inodes, [1, 3, 4, 7, 9]);
        assert_eq!(third.get(&stat(7, 21)), Some(b));
        assert_eq!(third.get(&stat(1, 20)), Some(a));

        let mut bytes = fs::read(&path).expect("read");
        bytes[HEADER.len() + 50] ^= 1;
        fs::write(&path, &bytes[..bytes.len() - 7]).expect("write");
        let torn = StatCache::new(Some(path));
        assert_eq!((torn.get(&stat(1, 20)), torn.get(&stat(3, 20))), (None, Some(a)));
        assert_eq!(torn.get(&stat(9, 20)), None);
    }
}
