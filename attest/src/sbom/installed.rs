//! What package managers of languages leave beside what they install: metadata of Python distributions, `package.json`
//! below `node_modules`.
//!
//! Lock files are not read: they say what somebody meant to install, not what is there.

use serde_json::Value;
use tree::{Tree, TreeError};

use super::read;
use super::{Inventory, Package};
use crate::purl::purl;

/// A larger package.json is none.
const JSON_MAX_BYTES: u64 = 2 << 20;
/// Headers of METADATA come first; the text behind them is not read.
const HEADERS_MAX: usize = 2000;
/// Deeper is nobody's work.
const DEPTH_MAX: usize = 256;

pub(super) fn scan(tree: &dyn Tree, into: &mut Inventory) -> Result<(), TreeError> {
    tree.prefetch(b"");
    let mut todo: Vec<(Vec<u8>, usize)> = vec![(Vec::new(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        for (entry, _) in tree.list(&dir)? {
            let name = entry.name();
            if entry.is_dir() {
                look(tree, &entry.path, into)?;
                let is_kernels = dir.is_empty() && matches!(name, b"proc" | b"sys" | b"dev");
                if depth < DEPTH_MAX && !is_kernels {
                    todo.push((entry.path, depth + 1));
                }
            } else if name.ends_with(b".egg-info") {
                python(tree, &entry.path, into)?;
            }
        }
    }
    Ok(())
}

/// A directory that may be a package.
fn look(tree: &dyn Tree, dir: &[u8], into: &mut Inventory) -> Result<(), TreeError> {
    let name = dir.rsplit(|b| *b == b'/').next().unwrap_or_default();
    if name.ends_with(b".dist-info") {
        return python(tree, &tree::join(dir, b"METADATA"), into);
    }
    if name.ends_with(b".egg-info") {
        return python(tree, &tree::join(dir, b"PKG-INFO"), into);
    }
    if is_node_module(dir) {
        return node(tree, &tree::join(dir, b"package.json"), into);
    }
    Ok(())
}

/// `…/node_modules/name`, `…/node_modules/@scope/name`.
fn is_node_module(dir: &[u8]) -> bool {
    let mut parts = dir.rsplit(|b| *b == b'/');
    let (name, above) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match above {
        b"node_modules" => !name.starts_with(b"@") && !name.starts_with(b"."),
        scope => scope.starts_with(b"@") && parts.next() == Some(b"node_modules"),
    }
}

fn python(tree: &dyn Tree, path: &[u8], into: &mut Inventory) -> Result<(), TreeError> {
    let Some(mut lines) = read::lines(tree, path, into)? else { return Ok(()) };
    let (mut name, mut version, mut license) = (String::new(), String::new(), None);
    for _ in 0..HEADERS_MAX {
        let Some(line) = lines.next_line()? else { break };
        if line.is_empty() {
            break;
        }
        let Some((member, value)) = line.split_once(": ") else { continue };
        let value = value.trim();
        match member {
            "Name" if name.is_empty() => name = value.to_owned(),
            "Version" if version.is_empty() => version = value.to_owned(),
            "License-Expression" => license = Some(value.to_owned()),
            "License" if license.is_none() && is_short(value) => license = Some(value.to_owned()),
            _ => {}
        }
    }
    if name.is_empty() || version.is_empty() {
        return Ok(());
    }
    // The index takes `_` and `.` for `-`.
    let normal = name.to_lowercase().replace(['_', '.'], "-");
    let purl = purl("pypi", "", &normal, &version, &[]);
    into.add(Package { name, version, purl, license, found_in: shown(path) });
    Ok(())
}

/// Some put the whole text there.
fn is_short(license: &str) -> bool {
    !license.is_empty() && license.len() < 200 && license != "UNKNOWN"
}

fn node(tree: &dyn Tree, path: &[u8], into: &mut Inventory) -> Result<(), TreeError> {
    let Some(bytes) = read::small(tree, path, JSON_MAX_BYTES, into)? else { return Ok(()) };
    let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { return Ok(()) };
    let text = |member: &str| document.get(member).and_then(Value::as_str).map(str::to_owned);
    let (Some(name), Some(version)) = (text("name"), text("version")) else { return Ok(()) };
    if name.is_empty() || version.is_empty() || name.len() > 300 || version.len() > 300 {
        return Ok(());
    }
    let (scope, bare) = name.split_once('/').unwrap_or(("", &name));
    let purl = purl("npm", scope, bare, &version, &[]);
    let license = text("license").filter(|license| is_short(license));
    into.add(Package { name, version, purl, license, found_in: shown(path) });
    Ok(())
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{scan, testing::files};

    #[test]
    fn what_is_installed_is_found_wherever_it_is() {
        let tree = files(&[
            (
                "usr/lib/python3/site-packages/Foo_Bar-1.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nLicense: MIT\n\nVersion: 2\n",
            ),
            ("opt/x.egg-info", "Name: x\nVersion: 3\nLicense: UNKNOWN\n"),
            ("app/node_modules/left/package.json", r#"{"name":"left","version":"1.2.3"}"#),
            (
                "app/node_modules/@s/right/package.json",
                r#"{"name":"@s/right","version":"4","license":"ISC"}"#,
            ),
            ("app/node_modules/left/lib/package.json", r#"{"name":"inner","version":"1"}"#),
            ("app/node_modules/bad/package.json", "{"),
            ("app/package.json", r#"{"name":"app","version":"0"}"#),
        ]);
        let found = scan(&*tree).expect("readable");
        let purls: Vec<&str> = found.packages.iter().map(|p| p.purl.as_str()).collect();
        let want =
            ["pkg:npm/%40s/right@4", "pkg:pypi/foo-bar@1.0", "pkg:npm/left@1.2.3", "pkg:pypi/x@3"];
        assert_eq!(purls, want);
    }

    #[test]
    fn hostile_files_are_no_packages() {
        let long = format!("Name: {}\nVersion: 1\n", "x".repeat(1 << 20));
        let tree = files(&[
            ("a/x.dist-info/METADATA", long.as_str()),
            ("a/y.dist-info/METADATA", "\0\0\n\u{fffd}"),
            ("var/lib/dpkg/status", "Package\nVersion:\n\n:::\n"),
            ("lib/apk/db/installed", "P:\nV:\n"),
            ("var/lib/rpm/rpmdb.sqlite", "x"),
        ]);
        let found = scan(&*tree).expect("readable");
        assert!(found.packages.is_empty(), "{}", found.packages.len());
        assert_eq!(found.unlisted, ["packages of the rpm database in /var/lib/rpm"]);
    }
}
