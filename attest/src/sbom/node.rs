//! Packages below `node_modules`: what the package.json of each says of itself.

use tree::TreeError;

use super::look::{Found, Look, Url};
use super::read::{self, Regular};
use super::{is_short, json};

/// A larger package.json is none.
const MAX_BYTES: u64 = 2 << 20;

pub(super) fn scan(look: &Look<'_>, file: &Regular) -> Result<(), TreeError> {
    let Some(bytes) = read::small(look, file, MAX_BYTES)? else { return Ok(()) };
    let Some(package) = json::package(&bytes) else { return Ok(()) };
    if package.version.is_empty() {
        return Ok(());
    }
    let (scope, bare) = package.name.split_once('/').unwrap_or(("", &package.name));
    look.add(&Found {
        name: &package.name,
        version: &package.version,
        url: Url {
            kind: "npm",
            namespace: scope,
            name: bare,
            version: &package.version,
            qualifiers: &[],
        },
        license: package.license.as_deref().filter(|license| is_short(license)),
        found_in: &file.path,
        inside: "",
    });
    Ok(())
}
