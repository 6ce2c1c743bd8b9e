//! One look through a file system: what was found so far, what was left out, and how much work may still be done.
//!
//! Every kind of work has a price, and all of it comes out of one purse: whatever a hostile image has many of (files,
//! lines, packages, pages, entries of archives), the look ends. What is left out for a limit is counted and said.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};

use layer::Mtime;
use tree::Tree;

use super::read::Regular;
use super::{Distribution, Inventory, Package};
use crate::purl::purl;

/// More packages than this are no image: what follows is not listed, and the document says so.
pub(super) const PACKAGES_MAX: usize = 200_000;
/// The same for the length of all that is said of them.
pub(super) const TEXT_MAX_BYTES: usize = 64 << 20;
/// Longer names and versions are none: a few files with many names would fill the memory.
pub(super) const NAME_MAX_BYTES: usize = 1000;
/// All the work of one look, in bytes that are read; the other kinds have their prices below.
pub(super) const WORK_MAX: u64 = 4 << 30;
/// To look at a name.
pub(super) const NAME_COSTS: u64 = 128;
/// To find and open a file.
pub(super) const FILE_COSTS: u64 = 4 << 10;
/// Each directory of a path that is looked up: every layer may have it.
pub(super) const COMPONENT_COSTS: u64 = 1 << 10;
/// A line, or an entry of a table, whatever its length.
pub(super) const LINE_COSTS: u64 = 64;
/// To read somewhere in a file.
pub(super) const READ_COSTS: u64 = 512;
/// A package.
pub(super) const PACKAGE_COSTS: u64 = 1 << 10;
/// A byte that comes out of a decompressor or goes into a JSON parser.
pub(super) const PARSED_BYTE_COSTS: u64 = 4;
/// Of a path that is shown to people, no more.
const SHOWN_MAX_CHARS: usize = 200;

/// Why something is not in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// A file is larger than what is read of its kind.
    Large,
    /// A name or version is longer than [`NAME_MAX_BYTES`].
    Long,
    /// Directories, or archives in archives, are nested too deep.
    Deep,
    /// A database that is damaged, or still being written.
    Damaged,
}

/// Files of which something is left out.
struct LeftOut {
    count: u64,
    /// The first, for people.
    first: String,
    /// Each is read through before the next.
    last: Vec<u8>,
}

/// A package as a reader has found it.
pub(super) struct Found<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) url: Url<'a>,
    pub(super) license: Option<&'a str>,
    pub(super) found_in: &'a [u8],
    /// The file inside that file.
    pub(super) inside: &'a str,
}

/// The parts of a package URL.
pub(super) struct Url<'a> {
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) qualifiers: &'a [(&'a str, &'a str)],
}

/// See the module.
pub(super) struct Look<'a> {
    pub(super) tree: &'a dyn Tree,
    pub(super) distribution: Distribution,
    packages: RefCell<BTreeSet<Package>>,
    text_bytes: Cell<usize>,
    work_left: Cell<u64>,
    /// Where the work, or the place for packages, came to its end.
    ended: RefCell<Option<String>>,
    left: RefCell<BTreeMap<Left, LeftOut>>,
    /// Files with several names that were read, each with what it was read for.
    seen: RefCell<HashSet<(u8, Identity)>>,
}

/// Which file it is, for files that are reached in several ways.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    /// Numbers of groups are cut; length and time make those of different files different.
    Linked(u32, u64, Mtime),
    Path(Vec<u8>),
}

impl<'a> Look<'a> {
    pub(super) fn new(tree: &'a dyn Tree) -> Look<'a> {
        Look {
            tree,
            distribution: None,
            packages: RefCell::default(),
            text_bytes: Cell::new(0),
            work_left: Cell::new(WORK_MAX),
            ended: RefCell::default(),
            left: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    /// Takes work out of the purse; `false` when there is not enough left, from then on always.
    pub(super) fn spend(&self, work: u64, path: &[u8]) -> bool {
        let left = self.work_left.get().checked_sub(work);
        self.work_left.set(left.unwrap_or(0));
        if left.is_none() {
            self.end(format!("what comes after {}: there is too much to read", shown(path)));
        }
        left.is_some()
    }

    /// The work of finding a path, whatever is done with it.
    pub(super) fn spend_on(&self, path: &[u8]) -> bool {
        let components = 1 + path.iter().filter(|b| **b == b'/').count() as u64;
        self.spend(components * COMPONENT_COSTS, path)
    }

    /// Whether the look has come to its end before all was seen.
    pub(super) fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    fn end(&self, what: String) {
        self.work_left.set(0);
        self.ended.borrow_mut().get_or_insert(what);
    }

    /// Notes that something of a file is left out.
    pub(super) fn leave_out(&self, why: Left, path: &[u8]) {
        let mut left = self.left.borrow_mut();
        let noted = left.entry(why).or_insert_with(|| {
            let first = shown(path);
            LeftOut { count: 1, first, last: path.to_owned() }
        });
        if noted.last != path {
            noted.count += 1;
            noted.last = path.to_owned();
        }
    }

    /// Whether a file with several names is seen for the first time by this reader; others always are.
    pub(super) fn is_new(&self, reader: u8, file: &Regular, by_link: bool) -> bool {
        let identity = match file.link_group {
            Some(group) => Identity::Linked(group, file.size_bytes, file.mtime),
            None if by_link => Identity::Path(file.path.clone()),
            None => return true,
        };
        self.seen.borrow_mut().insert((reader, identity))
    }

    /// Adds a package, unless its name says that it is none.
    pub(super) fn add(&self, found: &Found<'_>) {
        if found.name.is_empty() || !self.spend(PACKAGE_COSTS, found.found_in) {
            return;
        }
        let Url { kind, namespace, name, version, qualifiers } = found.url;
        let names = [found.name, found.version, namespace, name, version, found.inside];
        if names.iter().any(|name| name.len() > NAME_MAX_BYTES) {
            return self.leave_out(Left::Long, found.found_in);
        }
        let is_short = |(_, value): &&(&str, &str)| value.len() <= NAME_MAX_BYTES;
        let qualifiers: Vec<_> = qualifiers.iter().filter(is_short).copied().collect();
        let license = found.license.filter(|license| license.len() <= NAME_MAX_BYTES);
        self.keep(Package {
            name: found.name.to_owned(),
            version: found.version.to_owned(),
            purl: purl(kind, namespace, name, version, &qualifiers),
            license: license.map(str::to_owned),
            found_in: String::from_utf8_lossy(found.found_in).into_owned(),
            inside: found.inside.to_owned(),
        });
    }

    fn keep(&self, package: Package) {
        let Package { name, version, purl, license, found_in, inside } = &package;
        let license_bytes = license.as_ref().map_or(0, String::len);
        let texts = [name, version, purl, found_in, inside];
        let bytes = license_bytes + texts.map(String::len).iter().sum::<usize>();
        let mut packages = self.packages.borrow_mut();
        let all_bytes = self.text_bytes.get() + bytes;
        if packages.len() >= PACKAGES_MAX || all_bytes > TEXT_MAX_BYTES {
            self.end(format!("more than {} packages", packages.len()));
        } else if packages.insert(package) {
            self.text_bytes.set(all_bytes);
        }
    }

    /// What was found, and what was left out.
    pub(super) fn finish(self) -> Inventory {
        let left = self.left.into_inner().into_iter();
        let mut unlisted: Vec<String> =
            left.map(|(why, noted)| why.text(noted.count, &noted.first)).collect();
        unlisted.extend(self.ended.into_inner());
        Inventory {
            packages: self.packages.into_inner(),
            distribution: self.distribution,
            unlisted,
        }
    }

    /// `debian`, for package URLs; the given word where nothing says.
    pub(super) fn vendor(&self, default: &'static str) -> &str {
        self.distribution.as_ref().map_or(default, |(id, _)| id)
    }

    /// `debian-12`.
    pub(super) fn release(&self) -> String {
        match &self.distribution {
            Some((id, version)) if !version.is_empty() => format!("{id}-{version}"),
            Some((id, _)) => id.clone(),
            None => String::new(),
        }
    }

    /// How much work was done.
    #[cfg(test)]
    pub(super) fn work(&self) -> u64 {
        WORK_MAX - self.work_left.get()
    }
}

impl Left {
    fn text(self, count: u64, first: &str) -> String {
        let (one, many) = match self {
            Left::Large => ("is larger than what is read", "are larger than what is read"),
            Left::Long => {
                ("has a name of more than 1000 bytes", "have names of more than 1000 bytes")
            }
            Left::Deep => ("is nested too deep", "are nested too deep"),
            Left::Damaged => ("cannot be read to its end", "cannot be read to their end"),
        };
        match count {
            1 => format!("what {first} has: it {one}"),
            _ => format!("what {first} and {} more have: they {many}", count - 1),
        }
    }
}

/// A path of an image for people: nothing in it is a control character, and it is not longer than a line or two.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut cut: String = text.chars().take(SHOWN_MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX_CHARS).is_some() {
        cut.push('…');
    }
    format!("/{cut}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::files;
    use super::*;

    fn found<'a>(name: &'a str, found_in: &'a str) -> Found<'a> {
        Found {
            name,
            version: "1",
            url: Url { kind: "npm", namespace: "", name, version: "1", qualifiers: &[] },
            license: None,
            found_in: found_in.as_bytes(),
            inside: "",
        }
    }

    #[test]
    fn a_file_with_many_names_does_not_fill_the_memory() {
        let tree = files::<&str>(&[]);
        let look = Look::new(&*tree);
        look.add(&found(&"x".repeat(NAME_MAX_BYTES + 1), "a"));
        look.add(&found(&"y".repeat(NAME_MAX_BYTES + 1), "a"));
        let long = "x".repeat(NAME_MAX_BYTES);
        for number in 0..TEXT_MAX_BYTES / NAME_MAX_BYTES {
            look.add(&found(&long, &format!("{number}/package.json")));
        }
        let found = look.finish();
        let count = found.packages.len();
        assert!((20_000..TEXT_MAX_BYTES / NAME_MAX_BYTES / 2).contains(&count), "{count}");
        let want = [
            "what /a has: it has a name of more than 1000 bytes".to_owned(),
            format!("more than {count} packages"),
        ];
        assert_eq!(found.unlisted, want);
    }

    #[test]
    fn work_comes_to_an_end_once() {
        let tree = files::<&str>(&[]);
        let look = Look::new(&*tree);
        assert!(look.spend(WORK_MAX - PACKAGE_COSTS, b"a"));
        look.add(&found("x", "b"));
        assert!(!look.spend(1, b"c\n") && look.is_over());
        assert!(!look.spend(u64::MAX, b"d"));
        look.add(&found("y", "f"));
        let found = look.finish();
        assert_eq!(found.packages.len(), 1);
        assert_eq!(found.unlisted, [r"what comes after /c\n: there is too much to read"]);
    }
}
