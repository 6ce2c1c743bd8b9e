//! Unpacks an archive that ADD names into a directory of a mounted root file system (ADD-10 to ADD-19).
//!
//! Owns how an archive's entries meet what is there. The destination counts as the root: `..`, absolute names and
//! symlinks on the way cannot leave it. Refuses names that mean deletions in layers (ADD-23), and to make the
//! destination or to decompress.

use std::io::{BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::apply::{clean_name, to_entry};
use crate::disk::{self, Maker};
use crate::{Entry, EntryKind, LayerError, TarEntry, TarKind, TarReader};

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnpackOptions {
    /// Owner and group of all entries instead of the archive's (ADD-14). Directories that the archive only implies
    /// belong to 0:0 nevertheless, as in BuildKit.
    pub owner: Option<(u32, u32)>,
    /// The archive is the whole of a directory that is no layer: its root's metadata counts, names beginning with
    /// `.wh.` are names, and a device is an error.
    pub whole_directory: bool,
    /// Leave all owners as they are: the namespace maps a single id.
    pub keep_own_ids: bool,
    /// How much it may be; `None` for no bounds.
    pub limits: Option<UnpackLimits>,
}

/// Bounds of what an archive may become.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Bytes in its files, holes included.
    pub size_bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// What unpacking an archive told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Devices left out because a user namespace cannot make them.
    pub skipped_devices: Vec<Vec<u8>>,
    /// Bytes in its files.
    pub size_bytes: u64,
}

/// Unpacks an uncompressed tar (see [`crate::decompress`]) into a directory that exists. Nobody else may change the
/// directory meanwhile. Existing directories take the metadata of entries of their name, anything else is replaced and
/// never written through (ADD-16). On an error what was unpacked stays.
pub fn unpack_archive(
    tar: &mut dyn Read,
    into: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked, LayerError> {
    let mut reader = TarReader::new(BufReader::with_capacity(256 * 1024, tar));
    let mut unpack = Unpack {
        into,
        options: *options,
        parent: disk::open_in_root(into, b"")
            .map_err(|errno| LayerError::file("open", b"", errno))?,
        parent_path: None,
        dirs: Vec::new(),
        root: None,
        told: Unpacked::default(),
        // A directory that is there may hand its group down, so what the kernel gives is never relied on.
        maker: Maker::new(true, options.keep_own_ids),
        buffer: vec![0; 128 * 1024],
        is_sparse: false,
    };
    while let Some(entry) = reader.next_entry()? {
        unpack.told.entries += 1;
        unpack.told.size_bytes += entry.size_bytes;
        unpack.check_limits(&entry)?;
        unpack.entry(entry, &mut reader)?;
    }
    if reader.finish()? {
        let reason = "something follows the end of the archive";
        return Err(LayerError::BadEntry { name: Vec::new(), reason });
    }
    unpack.finish_dirs()?;
    Ok(unpack.told)
}

struct Unpack<'a> {
    into: BorrowedFd<'a>,
    options: UnpackOptions,
    /// The directory of the current entry, and its path in the archive while that still leads there.
    parent: OwnedFd,
    parent_path: Option<Vec<u8>>,
    /// Directories of the archive: their times are set when nothing is made in them any more.
    dirs: Vec<Entry>,
    /// What the archive says of the destination itself, when that counts.
    root: Option<Entry>,
    told: Unpacked,
    maker: Maker,
    buffer: Vec<u8>,
    /// Whether the current entry's file has holes.
    is_sparse: bool,
}

impl Unpack<'_> {
    fn check_limits(&self, entry: &TarEntry) -> Result<(), LayerError> {
        let Some(limits) = self.options.limits else { return Ok(()) };
        let is_over =
            self.told.size_bytes > limits.size_bytes || self.told.entries > limits.entries;
        match is_over {
            true => Err(LayerError::entry(&entry.name, "the archive is larger than allowed")),
            false => Ok(()),
        }
    }

    fn entry(&mut self, entry: TarEntry, content: &mut dyn Read) -> Result<(), LayerError> {
        let names = clean_name(&entry.name).map_err(|e| LayerError::entry(&entry.name, e))?;
        let is_whole = self.options.whole_directory;
        if !is_whole && names.iter().any(|name| name.starts_with(b".wh.")) {
            return Err(LayerError::ReservedName { path: names.join(&b'/') });
        }
        if names.is_empty() {
            return match entry.kind {
                TarKind::Directory if is_whole => {
                    self.root = Some(to_entry(entry, Vec::new()));
                    Ok(())
                }
                TarKind::Directory => Ok(()),
                _ => Err(LayerError::entry(&entry.name, "the root can only be a directory")),
            };
        }
        let link = match &entry.kind {
            TarKind::HardLink { target } => Some(target.clone()),
            _ => None,
        };
        self.is_sparse = entry.is_sparse;
        let mut entry = to_entry(entry, names.join(&b'/'));
        if let Some((uid, gid)) = self.options.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if is_whole
            && matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. })
        {
            return Err(LayerError::entry(&entry.path, "a device has no place here"));
        }
        let exists = self.make_room(&entry)?;
        let done = match (link, &entry.kind) {
            (Some(target), _) => return self.hard_link(&entry, &target),
            (None, EntryKind::Directory { .. }) => self.directory(&entry, exists),
            (None, EntryKind::File { .. }) => return self.file(&entry, content),
            (None, EntryKind::CharDevice { major: 0, minor: 0 }) => {
                let reason = "a character device 0:0 would delete what is below";
                return Err(LayerError::entry(&entry.path, reason));
            }
            (None, _) => self.special(&entry),
        };
        done.map_err(|errno| LayerError::file("create", &entry.path, errno))
    }

    /// Removes what stands at the entry's place, but for a directory that stays one; whether it did.
    fn make_room(&mut self, entry: &Entry) -> Result<bool, LayerError> {
        let parent = self.open_parent(entry.parent())?;
        let name = entry.name();
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            stat => stat.map_err(|errno| LayerError::file("look at", &entry.path, errno))?,
        };
        if FileType::from_raw_mode(stat.st_mode).is_dir() && entry.is_dir() {
            return Ok(true);
        }
        disk::remove_tree(parent, name)
            .map_err(|errno| LayerError::file("replace", &entry.path, errno))?;
        if FileType::from_raw_mode(stat.st_mode).is_dir()
            || FileType::from_raw_mode(stat.st_mode).is_symlink()
        {
            // Links can lead through what was just removed: the next entry looks again.
            self.parent_path = None;
        }
        Ok(false)
    }

    /// Opens the directory of an entry; missing ones are made, a dangling symlink on the way is an error.
    fn open_parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, LayerError> {
        if self.parent_path.as_deref() != Some(path) {
            let fd = match disk::open_in_root(self.into, path) {
                Err(Errno::NOENT) => self.make_parents(path),
                opened => opened,
            };
            self.parent =
                fd.map_err(|errno| LayerError::file("find or create the directory", path, errno))?;
            self.parent_path = Some(path.to_vec());
        }
        Ok(self.parent.as_fd())
    }

    fn make_parents(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let mut at = disk::open_in_root(self.into, b"")?;
        let mut end = 0;
        for name in path.split(|b| *b == b'/') {
            end += name.len();
            at = match disk::open_in_root(self.into, &path[..end]) {
                Err(Errno::NOENT) => {
                    // A dangling link: `mkdirat` says that it exists, which would tell nobody what is wrong.
                    rustix::fs::mkdirat(&at, name, Mode::RWXU).map_err(|errno| match errno {
                        Errno::EXIST => Errno::NOENT,
                        errno => errno,
                    })?;
                    self.implied_directory(&at, name)?
                }
                opened => opened?,
            };
            end += 1;
        }
        Ok(at)
    }

    fn implied_directory(&self, parent: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        let fd = open_dir(parent.as_fd(), name)?;
        let root = (Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT));
        rustix::fs::fchown(&fd, root.0, root.1)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
        Ok(fd)
    }

    fn directory(&mut self, entry: &Entry, exists: bool) -> rustix::io::Result<()> {
        let parent = self.parent.as_fd();
        if !exists {
            rustix::fs::mkdirat(parent, entry.name(), Mode::RWXU)?;
        }
        let fd = open_dir(parent, entry.name())?;
        disk::set_metadata(fd.as_fd(), entry, self.maker)?;
        self.dirs.push(entry.clone());
        Ok(())
    }

    fn file(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), LayerError> {
        let parent = self.parent.as_fd();
        let mut file = disk::create_file(parent, entry.name())
            .map_err(|errno| LayerError::file("create", &entry.path, errno))?;
        let mut out = disk::Filled { file: &mut file, is_sparse: self.is_sparse };
        disk::copy_stream(content, &mut out, None, &mut self.buffer).map_err(
            |error| match error {
                Ok(source) => LayerError::ReadTar { source },
                Err(source) => LayerError::file("write", &entry.path, source),
            },
        )?;
        disk::set_metadata(file.as_fd(), entry, self.maker)
            .map_err(|errno| LayerError::file("set the metadata of", &entry.path, errno))
    }

    fn special(&mut self, entry: &Entry) -> rustix::io::Result<()> {
        let parent = self.parent.as_fd();
        match (disk::make_special(parent, entry.name(), &entry.kind), &entry.kind) {
            (Err(Errno::PERM), EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. }) => {
                self.told.skipped_devices.push(entry.path.clone());
                return Ok(());
            }
            (made, _) => made?,
        }
        disk::set_special_metadata(parent, entry.name(), entry, self.maker)
    }

    fn hard_link(&mut self, entry: &Entry, target: &[u8]) -> Result<(), LayerError> {
        let bad = |reason| LayerError::entry(&entry.path, reason);
        let names = clean_name(target).map_err(bad)?;
        let (last, dirs) = names.split_last().ok_or_else(|| bad("a hard link to the root"))?;
        let fail = |errno| LayerError::file("link", &entry.path, errno);
        let from = disk::open_in_root(self.into, &dirs.join(&b'/')).map_err(fail)?;
        let stat = rustix::fs::statat(&from, &last[..], AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        let parent = self.parent.as_fd();
        rustix::fs::linkat(&from, &last[..], parent, entry.name(), AtFlags::empty())
            .map_err(fail)?;
        let done = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => disk::open_beneath(parent, entry.name(), disk::read_flags())
                .and_then(|fd| disk::set_metadata(fd.as_fd(), entry, self.maker)),
            _ => Ok(()),
        };
        done.map_err(|errno| LayerError::file("set the metadata of", &entry.path, errno))
    }

    fn finish_dirs(&mut self) -> Result<(), LayerError> {
        for entry in std::mem::take(&mut self.dirs).iter().rev() {
            let fail = |errno| LayerError::file("set the time of", &entry.path, errno);
            let parent = match disk::open_in_root(self.into, entry.parent()) {
                // A later entry put something else there.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                opened => opened.map_err(fail)?,
            };
            match open_dir(parent.as_fd(), entry.name()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                fd => fd.and_then(|fd| disk::set_time(fd.as_fd(), entry.mtime)).map_err(fail)?,
            }
        }
        if let Some(root) = self.root.take() {
            let fd = open_dir(self.into, b".");
            fd.and_then(|fd| disk::set_metadata(fd.as_fd(), &root, self.maker))
                .map_err(|errno| LayerError::file("set the metadata of", b"", errno))?;
        }
        Ok(())
    }
}

fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}
