//! What is in a file system: packages by the databases of their managers, and the document that lists them (SPDX).
//!
//! Owns which files are looked at and how much of them. All of it may be hostile: sizes, counts and lengths are
//! bounded, files are read as streams, nothing is executed, and what is not what it claims to be is no package.

mod apk;
mod berkeley;
mod document;
mod dpkg;
mod elf;
mod executable;
mod go;
mod jar;
mod json;
mod look;
mod ndb;
mod node;
mod php;
mod python;
mod read;
mod rpm;
mod ruby;
mod rust;
mod sqlite;
mod walk;
mod zip;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use tree::{Tree, TreeError};

use look::{Look, NAME_MAX_BYTES};

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
    /// The file in that file, an archive; empty when it is the file itself.
    pub inside: String,
}

/// Id and version of a distribution.
type Distribution = Option<(String, String)>;

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

/// Looks through a file system.
///
/// # Errors
/// The tree cannot be read. Files that are not what they should be are no error.
pub fn scan(tree: &dyn Tree) -> Result<Inventory, SbomError> {
    let mut look = Look::new(tree);
    look.distribution = distribution(&look)?;
    dpkg::scan(&look)?;
    apk::scan(&look)?;
    rpm::scan(&look)?;
    walk::scan(&look)?;
    Ok(look.finish())
}

/// Whether a text names a licence: some put the whole licence there.
fn is_short(license: &str) -> bool {
    !license.is_empty() && license.len() < 200 && license != "UNKNOWN"
}

/// ID and VERSION_ID of os-release.
fn distribution(look: &Look<'_>) -> Result<Distribution, TreeError> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let Some(file) = read::regular(look, path.as_bytes())? else { continue };
        let Some(mut lines) = read::lines(look, &file)? else { continue };
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
