//! What the kernel says of a file, and the clock that its times come from.

use layer::{EntryKind, Mtime};
use oci::Digest;
use rustix::fs::{FileType, Stat};
use rustix::time::{ClockId, clock_gettime};

/// The part of a file's status by which a change is noticed (design D5), and what an entry needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStat {
    pub(crate) inode: u64,
    pub(crate) device: u64,
    pub(crate) size_bytes: u64,
    pub(crate) mtime: Mtime,
    pub(crate) ctime: Mtime,
    /// Type and permissions, as `st_mode`.
    pub(crate) mode: u32,
    pub(crate) links: u64,
    pub(crate) device_number: u64,
}

impl FileStat {
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    pub(crate) fn new(stat: &Stat) -> FileStat {
        let time = |secs: i64, nanos: u64| Mtime { secs, nanos: nanos as u32 };
        FileStat {
            inode: stat.st_ino,
            device: stat.st_dev,
            size_bytes: stat.st_size as u64,
            mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            mode: stat.st_mode,
            links: stat.st_nlink as u64,
            device_number: stat.st_rdev,
        }
    }

    /// Whether content cannot have changed between two looks, as far as a status can tell.
    pub(crate) fn same_content(&self, other: &FileStat) -> bool {
        let key = |s: &FileStat| (s.inode, s.device, s.size_bytes, s.mtime, s.ctime, s.mode);
        key(self) == key(other)
    }

    /// Whether a write after `now` would be seen by another change time: the last one is longer ago than file
    /// systems' clocks are coarse. A change time without fractions may come from one that counts whole seconds.
    pub(crate) fn is_settled(&self, now: Mtime) -> bool {
        let granularity: i128 = if self.ctime.nanos == 0 { 2_100_000_000 } else { 50_000_000 };
        let nanos = |t: Mtime| i128::from(t.secs) * 1_000_000_000 + i128::from(t.nanos);
        let last = nanos(self.ctime).max(nanos(self.mtime).min(nanos(now)));
        last + granularity < nanos(now)
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// The kind of entry; `target` is what a link says.
    pub(crate) fn kind(&self, target: Option<&[u8]>) -> EntryKind {
        let (major, minor) =
            (rustix::fs::major(self.device_number), rustix::fs::minor(self.device_number));
        match self.file_type() {
            FileType::Directory => EntryKind::Directory { opaque: false },
            FileType::Symlink => EntryKind::Symlink { target: target.unwrap_or_default().to_vec() },
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::RegularFile | FileType::Unknown => EntryKind::File {
                size_bytes: self.size_bytes,
                digest: (self.size_bytes == 0).then(|| Digest::of(b"")),
            },
        }
    }
}

/// The time by the clock that the kernel stamps files with. No result of a build depends on it: it only decides
/// whether a digest may be remembered.
pub(crate) fn file_clock() -> Mtime {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    Mtime { secs: now.tv_sec as i64, nanos: now.tv_nsec as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racy_files_are_not_settled() {
        let at = |secs, nanos| Mtime { secs, nanos };
        let check = |mtime, ctime, now, want: bool| {
            let file = std::fs::File::open("/dev/null").expect("open");
            let stat = rustix::fs::fstat(&file).expect("fstat");
            let stat = FileStat { mtime, ctime, ..FileStat::new(&stat) };
            assert_eq!(stat.is_settled(now), want, "{mtime:?} {ctime:?} {now:?}");
        };
        check(at(5, 1), at(5, 1), at(5, 2), false);
        check(at(5, 1), at(5, 1), at(6, 0), true);
        check(at(5, 0), at(5, 0), at(6, 0), false); // perhaps whole seconds
        check(at(5, 0), at(5, 0), at(8, 0), true);
        check(at(1, 1), at(5, 1), at(5, 2), false); // an old time set just now
        check(at(9_000, 1), at(5, 1), at(50, 0), false); // a time in the future
    }
}
