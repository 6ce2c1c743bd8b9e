//! COPY and ADD: files of trees, downloads and heredocs into a new layer (COPY-10 to COPY-114, ADD-10 to ADD-34).
//!
//! Owns where things are put and what they become. Refuses to know where trees come from. Nothing runs in the file
//! system meanwhile, and every name is used relative to a descriptor of its directory (security.md A7).

mod content;
mod error;
mod merge;
mod mode;
mod notes;
mod place;
mod root;

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};

use graph::{CopySource, InlineFile, Mode, Unpack};
use layer::{Entry, EntryKind, Mtime, UnpackOptions};
use oci::Digest;
use sys::Cancel;
use tree::{ACCOUNT_FILE_MAX_BYTES, Picked, Tree, lookup_owner, select};

pub(crate) use error::CopyError;
pub(crate) use notes::Notes;
pub(crate) use root::Root;

use crate::{CopyStep, ExecError, Level, NewLayer, StepSource};
use place::Meta;

/// Mode of directories that are made for the destination (COPY-34).
const DIR_MODE: u32 = 0o755;

/// Carries out a COPY or ADD. The table of contents of the result has the digests of the files that were read.
///
/// # Errors
/// [`ExecError::Files`] for sources that are missing and destinations that cannot be made, [`ExecError::User`] for
/// owners that are not found.
pub(crate) fn copy(
    step: &CopyStep<'_>,
    level: Level,
    cancel: &Cancel,
) -> Result<NewLayer, ExecError> {
    // A linked copy is made on nothing: it does not know what will lie below (COPY-80).
    let layers = if step.copy.link { &[] } else { step.layers };
    let root = Root::open(layers, step.ingest, level)?;
    let owner = match &step.copy.chown {
        Some(who) => Some(owner(who, &root)?),
        None => None,
    };
    let job = Job {
        root: &root,
        copy: step.copy,
        owner,
        cancel,
        no_clone: AtomicBool::new(false),
        notes: Mutex::default(),
    };
    for (source, reads) in step.copy.sources.iter().zip(step.sources) {
        job.source(source, reads)?;
    }
    let notes = job.notes.into_inner().unwrap_or_else(|lock| lock.into_inner());
    let toc = root.finish(&notes)?;
    Ok(NewLayer { toc: Some(toc) })
}

/// Looks up an owner in the file system below (COPY-55, COPY-57).
pub(crate) fn owner(who: &graph::Who, root: &Root) -> Result<(u32, u32), ExecError> {
    let read = |path: &[u8]| sys::read_small(root.fd(), path, ACCOUNT_FILE_MAX_BYTES);
    let owner = match root.is_empty() {
        true => lookup_owner(who, None),
        false => lookup_owner(who, Some(&read)),
    };
    Ok(owner?)
}

/// One COPY while it is made. Shared by the threads that copy.
struct Job<'a> {
    root: &'a Root,
    copy: &'a graph::Copy,
    owner: Option<(u32, u32)>,
    cancel: &'a Cancel,
    /// The file system has refused to share blocks once.
    no_clone: AtomicBool,
    notes: Mutex<Notes>,
}

/// Where one file goes.
struct Place {
    dir: OwnedFd,
    /// Path in the image.
    path: Vec<u8>,
}

impl Job<'_> {
    fn source(&self, source: &CopySource, reads: &StepSource) -> Result<(), ExecError> {
        match (source, reads) {
            (CopySource::Tree { selection, unpack, .. }, StepSource::Tree(tree)) => {
                let picked = select(&**tree, selection)
                    .map_err(|source| CopyError::Select { path: selection.path.clone(), source })?;
                for one in picked {
                    self.picked(&**tree, &one, *unpack)?;
                }
            }
            (CopySource::Http { unpack, .. }, StepSource::Http { tree, name, last_modified }) => {
                let entry = tree.entry(name).map_err(|source| CopyError::Tree { source })?;
                let missing = || CopyError::NoDownload { name: name.clone() };
                let mtime = Mtime { secs: last_modified.unwrap_or(0), nanos: 0 };
                let entry = Entry { mtime, ..entry.ok_or_else(missing)? };
                self.file(&**tree, &entry, name, *unpack)?;
            }
            (CopySource::Inline(file), StepSource::Inline) => self.inline(file)?,
            _ => return Err(CopyError::Mismatch.into()),
        }
        Ok(())
    }

    fn picked(&self, tree: &dyn Tree, picked: &Picked, unpack: Unpack) -> Result<(), CopyError> {
        self.check_cancelled()?;
        match picked.entry.is_dir() {
            true => self.merge(tree, picked),
            false => self.file(tree, &picked.entry, &picked.name, unpack),
        }
    }

    /// Copies what was named and is no directory, or unpacks it.
    fn file(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        name: &[u8],
        unpack: Unpack,
    ) -> Result<(), CopyError> {
        let is_file = matches!(entry.kind, EntryKind::File { size_bytes: 1.., .. });
        if unpack == Unpack::Archives && is_file {
            let mut file = tree.open(&entry.path).map_err(|source| CopyError::Tree { source })?;
            if layer::is_archive(&file) {
                let rewound = file.rewind();
                rewound.map_err(CopyError::file("read again", &entry.path))?;
                return self.unpack(file, name);
            }
        }
        let place = self.place(name)?;
        self.put(tree, entry, &place.dir, &place.path)
    }

    /// Unpacks an archive into the destination, which is a directory always (ADD-12).
    fn unpack(&self, archive: File, name: &[u8]) -> Result<(), CopyError> {
        let dest = self.root.resolve(self.copy.dest.as_bytes())?;
        let dir = self.make_dirs(&dest.path, DIR_MODE)?; // ADD-15
        // Where one id is mapped everything is root's; the archive's owners cannot be noted from here.
        let owner = if self.root.gives_owners() { self.owner } else { Some((0, 0)) };
        let options = UnpackOptions { owner, ..UnpackOptions::default() };
        let mut tar = layer::decompress(archive);
        let unpacked = layer::unpack_archive(&mut tar, dir.as_fd(), &options);
        unpacked.map_err(|source| CopyError::Unpack { name: name.to_vec(), source })?;
        // The archive may have replaced what this copy put there.
        let inside = |path: &[u8]| {
            dest.path.is_empty()
                || path.strip_prefix(&dest.path[..]).is_some_and(|rest| rest.starts_with(b"/"))
        };
        let mut notes = self.notes();
        notes.digests.retain(|path, _| !inside(path));
        notes.owners.retain(|path, _| !inside(path));
        notes.devices.retain(|path, _| !inside(path));
        Ok(())
    }

    /// Writes a heredoc (COPY-110, COPY-111).
    fn inline(&self, file: &InlineFile) -> Result<(), CopyError> {
        let place = self.place(file.name.as_bytes())?;
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        let mode = mode::of(self.copy.chmod.as_ref(), 0o644, false);
        let owner = self.owner_of(&place.path, uid, gid);
        let meta = Meta { mode, owner, mtime: None, xattrs: None };
        place::write_bytes(&place.dir, &place.path, &file.content, &meta)?;
        self.notes().digests.insert(place.path, Digest::of(&file.content));
        Ok(())
    }

    /// Where a file goes: into the destination if that is a directory, else under its name (COPY-31, COPY-32).
    fn place(&self, name: &[u8]) -> Result<Place, CopyError> {
        let dest = self.root.resolve(self.copy.dest.as_bytes())?;
        let into = self.copy.dest_is_dir || (dest.exists && self.root.is_dir(&dest.path)?);
        let path = if into { tree::join(&dest.path, name) } else { dest.path.clone() };
        let parent = path.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &path[..at]);
        let dir = self.make_dirs(parent, self.dir_mode())?;
        Ok(Place { dir, path })
    }

    /// An octal --chmod counts for the directories on the way too, without its upper bits (COPY-35).
    fn dir_mode(&self) -> u32 {
        match self.copy.chmod {
            Some(Mode::Octal(mode)) => mode & 0o777,
            _ => DIR_MODE,
        }
    }

    /// Opens a literal directory; what is missing is made and noted.
    fn make_dirs(&self, path: &[u8], mode: u32) -> Result<OwnedFd, CopyError> {
        let owner = self.owner.unwrap_or((0, 0));
        let (fd, made) = self.root.make_dirs(path, mode, owner)?;
        for path in &made {
            self.owner_of(path, owner.0, owner.1);
        }
        Ok(fd)
    }

    /// The owner that the kernel is to give to what is made at a path; the others are noted.
    fn owner_of(&self, path: &[u8], uid: u32, gid: u32) -> Option<(u32, u32)> {
        let mut notes = self.notes();
        notes.forget(path);
        if self.root.gives_owners() {
            return Some((uid, gid));
        }
        notes.owners.insert(path.to_vec(), (uid, gid));
        None
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(|lock| lock.into_inner())
    }

    fn check_cancelled(&self) -> Result<(), CopyError> {
        match self.cancel.is_cancelled() {
            true => Err(CopyError::Cancelled),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
