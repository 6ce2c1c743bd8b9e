//! What is in a file system: packages by the databases of their managers, and the document that lists them (SPDX).
//!
//! Owns which files are looked at and how much of them. All of it may be hostile: sizes, counts and lengths are
//! bounded, files are read as streams, nothing is executed, and what is not what it claims to be is no package.

mod apk;
mod document;
mod dpkg;
mod installed;
mod read;

#[cfg(test)]
mod testing;

use std::collections::BTreeSet;

use tree::{Tree, TreeError};

pub use document::{SpdxDocument, is_spdx, spdx, supplement};

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Package URL.
    pub purl: String,
    /// The licence as the package states it.
    pub license: Option<String>,
    /// The file that says so, from the root, without a leading slash.
    pub found_in: String,
}

/// The packages of a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The packages, sorted, each once.
    pub packages: BTreeSet<Package>,
    /// The distribution as os-release has it: id and version.
    pub distribution: Option<(String, String)>,
    /// What is there and is not listed, for people.
    pub unlisted: Vec<String>,
    /// Of the packages' texts.
    text_bytes: usize,
    /// Lengths of the files that were opened.
    read_bytes: u64,
}

/// A file system could not be looked through.
#[derive(Debug, thiserror::Error)]
#[error("cannot list what is installed")]
pub struct SbomError(#[from] TreeError);

/// More packages than this are no image: what follows is not listed, and the document says so.
const PACKAGES_MAX: usize = 200_000;
/// The same for the length of all that is said of them.
const TEXT_MAX_BYTES: usize = 64 << 20;
/// Longer names and versions are none: a few files with many names would fill the memory.
const NAME_MAX_BYTES: usize = 1000;
/// Of all databases no more than this is read.
const READ_MAX_BYTES: u64 = 4 << 30;

/// Looks through a file system.
///
/// # Errors
/// The tree cannot be read. Files that are not what they should be are no error.
pub fn scan(tree: &dyn Tree) -> Result<Inventory, SbomError> {
    let mut inventory = Inventory::default();
    inventory.distribution = distribution(tree, &mut inventory)?;
    dpkg::scan(tree, &mut inventory)?;
    apk::scan(tree, &mut inventory)?;
    installed::scan(tree, &mut inventory)?;
    for path in ["var/lib/rpm", "usr/lib/sysimage/rpm"] {
        if read::found(tree, path.as_bytes())?.is_some_and(|dir| is_rpm(tree, &dir)) {
            inventory.unlisted.push(format!("packages of the rpm database in /{path}"));
        }
    }
    Ok(inventory)
}

impl Inventory {
    pub(crate) fn add(&mut self, package: Package) {
        let Package { name, version, purl, license, found_in } = &package;
        if name.len().max(version.len()) > NAME_MAX_BYTES || purl.len() > 8 * NAME_MAX_BYTES {
            return;
        }
        let license_bytes = license.as_ref().map_or(0, String::len);
        let bytes = name.len() + version.len() + purl.len() + license_bytes + found_in.len();
        if self.packages.len() >= PACKAGES_MAX || self.text_bytes + bytes > TEXT_MAX_BYTES {
            self.leave_out(format!("more than {} packages", self.packages.len()));
        } else if self.packages.insert(package) {
            self.text_bytes += bytes;
        }
    }

    /// Whether a file of this length may still be read.
    pub(crate) fn may_read(&mut self, size_bytes: u64) -> bool {
        let all = self.read_bytes.saturating_add(size_bytes);
        if all > READ_MAX_BYTES {
            self.leave_out("more than 4 GiB of package databases".to_owned());
            return false;
        }
        self.read_bytes = all;
        true
    }

    fn leave_out(&mut self, what: String) {
        if !self.unlisted.iter().any(|known| known.starts_with("more than")) {
            self.unlisted.push(what);
        }
    }

    /// `debian`, for package URLs; the given word where nothing says.
    pub(crate) fn vendor(&self, default: &str) -> String {
        let known = self.distribution.as_ref().map(|(id, _)| id.clone());
        known.unwrap_or_else(|| default.to_owned())
    }

    /// `debian-12`.
    pub(crate) fn release(&self) -> String {
        match &self.distribution {
            Some((id, version)) if !version.is_empty() => format!("{id}-{version}"),
            Some((id, _)) => id.clone(),
            None => String::new(),
        }
    }
}

fn is_rpm(tree: &dyn Tree, dir: &[u8]) -> bool {
    let names = tree.children(dir).unwrap_or_default();
    let database =
        |name: &Vec<u8>| matches!(name.as_slice(), b"rpmdb.sqlite" | b"Packages" | b"Packages.db");
    names.iter().any(database)
}

/// ID and VERSION_ID of os-release.
fn distribution(
    tree: &dyn Tree,
    into: &mut Inventory,
) -> Result<Option<(String, String)>, TreeError> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let Some(mut lines) = read::lines(tree, path.as_bytes(), into)? else { continue };
        let (mut id, mut version) = (String::new(), String::new());
        while let Some(line) = lines.next_line()? {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            if value.len() > NAME_MAX_BYTES {
                continue;
            }
            match name.trim() {
                "ID" => id = value,
                "VERSION_ID" => version = value,
                _ => {}
            }
        }
        if !id.is_empty() {
            return Ok(Some((id, version)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purl;

    fn package(name: &str, found_in: usize) -> Package {
        Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            purl: purl::purl("npm", "", name, "1", &[]),
            license: None,
            found_in: format!("{found_in}/package.json"),
        }
    }

    #[test]
    fn a_file_with_many_names_does_not_fill_the_memory() {
        let mut inventory = Inventory::default();
        inventory.add(package(&"x".repeat(NAME_MAX_BYTES + 1), 0));
        assert_eq!(inventory, Inventory::default());
        let long = "x".repeat(NAME_MAX_BYTES);
        for number in 0..TEXT_MAX_BYTES / NAME_MAX_BYTES {
            inventory.add(package(&long, number));
        }
        let count = inventory.packages.len();
        assert!((20_000..TEXT_MAX_BYTES / NAME_MAX_BYTES / 2).contains(&count), "{count}");
        assert_eq!(inventory.unlisted, [format!("more than {count} packages")]);
    }

    #[test]
    fn a_file_with_many_names_is_not_read_for_ever() {
        let mut inventory = Inventory::default();
        assert!(inventory.may_read(READ_MAX_BYTES));
        assert!(!inventory.may_read(1) && !inventory.may_read(u64::MAX));
        assert_eq!(inventory.unlisted, ["more than 4 GiB of package databases"]);
        let tree = testing::files(&[("lib/apk/db/installed", "P:a\nV:1\n")]);
        apk::scan(&*tree, &mut inventory).expect("readable");
        assert!(inventory.packages.is_empty());
    }
}
