//! Listings: what a selection's digest is made of, kept, so that two digests can be compared file by file.
//!
//! A listing is the stream of bytes that [`crate::digest_selection`] hashes (its form is described there), so it is
//! checked by the digest that names it. Owns writing and reading it. Refuses to know where listings are kept.

use graph::{Selection, TreeDigest};
use oci::Digest;

use crate::digest::{self, Sink};
use crate::{SelectError, Tree, select};

impl Sink for Vec<u8> {
    fn update(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Selects and lists; the digest is the one that [`crate::digest_selection`] gives.
///
/// # Errors
/// As [`crate::digest_selection`].
pub fn list_selection(
    tree: &dyn Tree,
    selection: &Selection,
) -> Result<(TreeDigest, Vec<u8>), SelectError> {
    let picked = select(tree, selection)?;
    let mut listing = Vec::new();
    digest::put_selection(&mut listing, tree, &picked).map_err(SelectError::Tree)?;
    Ok((TreeDigest(Digest::of(&listing)), listing))
}

/// One thing of a listing. It borrows from the listing's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Which of the selection's picked paths it belongs to, counted from 0.
    pub picked: u32,
    /// The name of that picked path; empty for the root of a tree.
    pub name: &'a [u8],
    /// The path below a picked directory; empty for a picked file.
    pub below: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What is in it.
    pub content: Content<'a>,
    /// The extended attributes that count, as the listing has them.
    pub xattrs: &'a [u8],
    /// Its hard-link group, 0 for none.
    pub links: u32,
}

/// What a listed thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Directory,
    File,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Whiteout,
}

/// What is in a listed thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Nothing that is listed: a directory's things are listed themselves.
    Nothing,
    /// A file's bytes.
    Bytes(Digest),
    /// Where a link leads.
    Target(&'a [u8]),
    /// A device's numbers, major and minor.
    Device(u32, u32),
}

/// Takes a listing apart; `None` when it is not one.
pub fn parse_listing(listing: &[u8]) -> Option<Vec<Listed<'_>>> {
    let mut reader = Reader(listing.strip_prefix(digest::BEGIN)?);
    let mut things = Vec::new();
    let mut picked: Option<(u32, &[u8])> = None;
    loop {
        match reader.byte()? {
            b'P' => {
                let name = reader.bytes()?;
                let number = picked.map_or(0, |(number, _)| number + 1);
                picked = Some((number, name));
                if reader.byte()? == 0 {
                    things.push(reader.thing(number, name, b"")?);
                }
            }
            b'I' => {
                let (number, name) = picked?;
                let below = reader.bytes()?;
                let _implied = reader.byte()?;
                things.push(reader.thing(number, name, below)?);
            }
            b'E' => return reader.0.is_empty().then_some(things),
            _ => return None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }

    fn thing(&mut self, picked: u32, name: &'a [u8], below: &'a [u8]) -> Option<Listed<'a>> {
        let kind = match self.byte()? {
            b'd' => Kind::Directory,
            b'f' => Kind::File,
            b'l' => Kind::Symlink,
            b'c' => Kind::CharDevice,
            b'b' => Kind::BlockDevice,
            b'p' => Kind::Fifo,
            b'w' => Kind::Whiteout,
            _ => return None,
        };
        let (mode, uid, gid) = (self.number()?, self.number()?, self.number()?);
        let content = match kind {
            Kind::File => {
                let bytes = self.take(Digest::SIZE_BYTES)?;
                Content::Bytes(Digest::from_bytes(bytes.try_into().ok()?))
            }
            Kind::Symlink => Content::Target(self.bytes()?),
            Kind::CharDevice | Kind::BlockDevice => Content::Device(self.number()?, self.number()?),
            Kind::Directory | Kind::Fifo | Kind::Whiteout => Content::Nothing,
        };
        let before = self.0;
        for _ in 0..self.number()? {
            self.bytes()?;
            self.bytes()?;
        }
        let xattrs = &before[..before.len() - self.0.len()];
        let links = self.number()?;
        Some(Listed { picked, name, below, kind, mode, uid, gid, content, xattrs, links })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest_selection;
    use crate::memory::memory_tree;

    fn selection(path: &str) -> Selection {
        Selection { path: path.to_owned(), wildcards: true, ..Selection::default() }
    }

    #[test]
    fn a_listing_has_the_digest_that_names_it_and_can_be_read() {
        let mut tree = memory_tree("d/a=a d/l->a d/s/x=x f=f g=g");
        tree.entry_mut("d/a").mode = 0o750;
        tree.entry_mut("d/a").xattrs = [(b"security.capability".to_vec(), b"\0\n".to_vec())].into();
        for path in ["d", ".", "f", "[fg]", "nothing*"] {
            let (digest, listing) = list_selection(&tree, &selection(path)).expect(path);
            assert_eq!(digest, digest_selection(&tree, &selection(path)).expect(path), "{path}");
            assert!(parse_listing(&listing).is_some(), "{path}");
        }
        let (_, listing) = list_selection(&tree, &selection("d")).expect("d");
        let things = parse_listing(&listing).expect("a listing");
        let names: Vec<&[u8]> = things.iter().map(|thing| thing.below).collect();
        assert_eq!(names, [&b"a"[..], b"l", b"s", b"s/x"]);
        assert_eq!(things[0].name, b"d");
        assert_eq!((things[0].mode, things[0].content), (0o750, Content::Bytes(Digest::of(b"a"))));
        assert_eq!(things[1].content, Content::Target(b"a"));
        assert_eq!(things[2].kind, Kind::Directory);
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        let tree = memory_tree("d/a=a d/l->a");
        let (_, listing) = list_selection(&tree, &selection("d")).expect("d");
        for length in 0..listing.len() {
            assert_eq!(parse_listing(&listing[..length]), None, "{length}");
        }
        let longer = [&listing[..], b"x"].concat();
        assert_eq!(parse_listing(&longer), None);
        // A length beyond the end.
        let mut bad = listing.clone();
        bad[digest::BEGIN.len() + 8] = 0xff;
        assert_eq!(parse_listing(&bad), None);
    }
}
