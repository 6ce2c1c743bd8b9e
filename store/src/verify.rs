//! Proof of a store's state: every name is the digest of its content, every reference leads somewhere (security.md 3.1,
//! I1 to I3). Reports all that is wrong and changes nothing.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use graph::LayerId;
use layer::{Entry, EntryKind};
use oci::{Digest, Hasher};
use rustix::fs::OFlags;

use crate::disk::Disk;
use crate::error::{StoreError, at};
use crate::layout::{DIRECTORIES, Store};
use crate::{blobs, census, generation, images, layers, manifests, records, refs};

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyDepth {
    /// All small files and what they refer to.
    Records,
    /// Blobs and the files in layers too. Needs the namespace in which the layers were made.
    Contents,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path below the store's root.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

struct Verifier<'a> {
    store: &'a Store,
    layers: HashSet<String>,
    problems: Vec<Problem>,
}

impl Store {
    /// Checks everything; an empty list means that all is well. Collections wait meanwhile, builds do not.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub fn verify(&self, depth: VerifyDepth) -> Result<Vec<Problem>, StoreError> {
        let _alone = self.lock_out_gc()?;
        let mut verifier = Verifier { store: self, layers: HashSet::new(), problems: Vec::new() };
        let run = |verifier: &mut Verifier<'_>| {
            verifier.layout()?;
            verifier.users()?;
            verifier.tags()?;
            verifier.small_files()?;
            verifier.layers(depth)?;
            verifier.blobs(depth)
        };
        run(&mut verifier).map_err(at("verify", "."))?;
        Ok(verifier.problems)
    }
}

impl Verifier<'_> {
    fn disk(&self) -> &Disk {
        self.store.disk()
    }

    fn report(&mut self, path: &str, what: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), what: what.into() });
    }

    fn layout(&mut self) -> io::Result<()> {
        for dir in DIRECTORIES {
            if !self.disk().stat(dir)?.is_some_and(|stat| crate::disk::is_dir(&stat)) {
                self.report(dir, "the directory is missing");
            }
        }
        Ok(())
    }

    /// Records, images and chains: whole, and their layers are there.
    fn users(&mut self) -> io::Result<()> {
        for path in census::layer_users(self.disk())? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            // Looked at for each file: a layer is older than what needs it, but may be newer than any list.
            match census::layers_needed(&path, &bytes) {
                None => self.report(&path, "the file is damaged"),
                Some(needed) => {
                    for id in needed {
                        if !self.has_layer(&id)? {
                            self.report(&path, format!("layer {id} is missing"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn has_layer(&mut self, id: &LayerId) -> io::Result<bool> {
        let path = format!("{}/diff", layers::path(id));
        if self.layers.contains(&path) {
            return Ok(true);
        }
        let there = self.disk().stat(&path)?.is_some();
        if there {
            self.layers.insert(path);
        }
        Ok(there)
    }

    fn tags(&mut self) -> io::Result<()> {
        for path in census::in_dir(self.disk(), "tags")? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            let Some((reference, tagged)) = refs::parse(&path, &bytes) else {
                self.report(&path, "the file is damaged");
                continue;
            };
            if refs::path(&reference) != path {
                self.report(&path, format!("it holds the tag {reference}"));
            }
            for image in tagged.images() {
                if self.disk().stat(&images::path(&image))?.is_none() {
                    self.report(&path, format!("image {image} of tag {reference} is missing"));
                }
            }
        }
        Ok(())
    }

    /// Manifests, notes on blobs, generations, and that images are what their names say.
    fn small_files(&mut self) -> io::Result<()> {
        for path in census::in_dir(self.disk(), "manifests")? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            let digest = manifests::parse(&path, &bytes).map(|(_, bytes)| Digest::of(&bytes));
            if digest.map(|digest| manifests::path(&digest)).as_ref() != Some(&path) {
                self.report(&path, "the file is damaged");
            }
        }
        for path in census::in_dir(self.disk(), "images")? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            let image = images::parse(&path, &bytes);
            if image.is_some_and(|image| images::path(&image.id) != path) {
                self.report(&path, "the config has another digest");
            }
        }
        for path in census::in_dir(self.disk(), "layer-blobs")? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            if blobs::parse_layer_blobs(&path, &bytes).is_none() {
                self.report(&path, "the file is damaged");
            }
        }
        for path in census::in_dir(self.disk(), "records/instruction")? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            if records::parse_list(&path, &bytes).is_none() {
                self.report(&path, "the list is damaged");
            }
        }
        for path in generation::list(self.disk())? {
            let Some(bytes) = self.disk().read(&path)? else { continue };
            if generation::parse(&path, &bytes).is_none() {
                self.report(&path, "the list is damaged");
            }
        }
        Ok(())
    }

    fn layers(&mut self, depth: VerifyDepth) -> io::Result<()> {
        for path in census::in_dir(self.disk(), "layers")? {
            let Some(id) = path.strip_prefix("layers/").and_then(|name| name.parse().ok()) else {
                self.report(&path, "the name is not a layer id");
                continue;
            };
            let Ok(Some(info)) = self.store.layer_info(id) else {
                if self.disk().stat(&path)?.is_some() {
                    self.report(&path, "`info` is missing or damaged");
                }
                continue;
            };
            if !info.present {
                self.report(&path, "`diff` is missing");
            }
            let Ok(Some(toc)) = self.store.read_toc(id) else {
                if info.toc {
                    self.report(&path, "`toc` is missing or damaged");
                }
                continue;
            };
            // A content id needs every digest; a table may lack some until somebody wants one.
            let found = toc.has_all_digests().then(|| layer::content_id(&toc));
            if info.content_id.is_some() && info.content_id != found {
                self.report(&path, "`toc` does not have the content id in `facts`");
            }
            if depth == VerifyDepth::Contents {
                self.layer_files(&path, &toc)?;
            }
        }
        Ok(())
    }

    fn layer_files(&mut self, path: &str, toc: &layer::Toc) -> io::Result<()> {
        let diff = match self.disk().open_dir(&format!("{path}/diff")) {
            Ok(diff) => diff,
            Err(e) => {
                self.report(path, format!("`diff` cannot be opened: {e}"));
                return Ok(());
            }
        };
        for entry in toc.entries() {
            if let Some(what) = file_problem(diff.as_fd(), entry) {
                let name = String::from_utf8_lossy(&entry.path);
                self.report(path, format!("file `{}` {what}", name.escape_default()));
            }
        }
        Ok(())
    }

    fn blobs(&mut self, depth: VerifyDepth) -> io::Result<()> {
        for path in census::in_dir(self.disk(), "blobs/sha256")? {
            let name = path.rsplit('/').next().unwrap_or_default();
            let Ok(expected) = Digest::from_hex(name) else {
                self.report(&path, "the name is not a digest");
                continue;
            };
            if depth == VerifyDepth::Records {
                continue;
            }
            let Some(mut file) = self.disk().open(&path)? else { continue };
            match hash(&mut file) {
                Ok((found, _)) if found == expected => {}
                Ok((found, _)) => self.report(&path, format!("the content has digest {found}")),
                Err(e) => self.report(&path, format!("it cannot be read: {e}")),
            }
        }
        Ok(())
    }
}

/// What is wrong with a regular file of a layer, if its digest is known.
fn file_problem(diff: std::os::fd::BorrowedFd<'_>, entry: &Entry) -> Option<String> {
    let EntryKind::File { size_bytes, digest: Some(digest) } = &entry.kind else { return None };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = sys::open_beneath(diff, &entry.path, flags, rustix::fs::Mode::empty());
    let mut file = match opened {
        Ok(fd) => File::from(fd),
        Err(e) => return Some(format!("cannot be opened: {e}")),
    };
    match hash(&mut file) {
        Ok((found, size)) if (found, size) == (*digest, *size_bytes) => None,
        Ok((found, size)) => Some(format!("has {size} bytes with digest {found}")),
        Err(e) => Some(format!("cannot be read: {e}")),
    }
}

fn hash(file: &mut File) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size_bytes = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok((hasher.finish(), size_bytes));
        }
        size_bytes += length as u64;
        hasher.update(&buffer[..length]);
    }
}
