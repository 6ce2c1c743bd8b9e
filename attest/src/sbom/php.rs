//! Packages of Composer: `vendor/composer/installed.json`, in the forms of its versions 1 and 2.

use tree::TreeError;

use super::json;
use super::look::{Found, Look, Url};
use super::read::{self, Regular};

/// One entry of it has some kilobytes.
const MAX_BYTES: u64 = 16 << 20;

pub(super) fn scan(look: &Look<'_>, file: &Regular) -> Result<(), TreeError> {
    let Some(bytes) = read::small(look, file, MAX_BYTES)? else { return Ok(()) };
    for package in json::packages(&bytes) {
        if package.version.is_empty() {
            continue;
        }
        let normal = package.name.to_lowercase();
        let (vendor, bare) = normal.split_once('/').unwrap_or(("", &normal));
        look.add(&Found {
            name: &package.name,
            version: &package.version,
            url: Url {
                kind: "composer",
                namespace: vendor,
                name: bare,
                version: &package.version,
                qualifiers: &[],
            },
            license: package.license.as_deref(),
            found_in: &file.path,
            inside: "",
        });
    }
    Ok(())
}
