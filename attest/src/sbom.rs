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
}

/// A file system could not be looked through.
#[derive(Debug, thiserror::Error)]
#[error("cannot list what is installed")]
pub struct SbomError(#[from] TreeError);

/// More packages than this are no image: what follows is not listed, and the document says so.
const PACKAGES_MAX: usize = 200_000;

/// Looks through a file system.
///
/// # Errors
/// The tree cannot be read. Files that are not what they should be are no error.
pub fn scan(tree: &dyn Tree) -> Result<Inventory, SbomError> {
    let mut inventory = Inventory { distribution: distribution(tree)?, ..Inventory::default() };
    dpkg::scan(tree, &mut inventory)?;
    apk::scan(tree, &mut inventory)?;
    installed::scan(tree, &mut inventory)?;
    for path in ["var/lib/rpm", "usr/lib/sysimage/rpm"] {
        if tree::resolve(tree, path.as_bytes(), true)?.is_some_and(|dir| is_rpm(tree, &dir)) {
            inventory.unlisted.push(format!("packages of the rpm database in /{path}"));
        }
    }
    Ok(inventory)
}

impl Inventory {
    pub(crate) fn add(&mut self, package: Package) {
        if self.packages.len() < PACKAGES_MAX {
            self.packages.insert(package);
        } else if self.unlisted.last().is_none_or(|last| !last.starts_with("more than")) {
            self.unlisted.push(format!("more than {PACKAGES_MAX} packages"));
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
fn distribution(tree: &dyn Tree) -> Result<Option<(String, String)>, TreeError> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let Some(mut lines) = read::lines(tree, path.as_bytes())? else { continue };
        let (mut id, mut version) = (String::new(), String::new());
        while let Some(line) = lines.next_line()? {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
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
