//! Packages of dpkg: `status`, and `status.d` of images that are put together without dpkg.

use tree::{Tree, TreeError};

use super::read::{self, Lines};
use super::{Inventory, Package};
use crate::purl::purl;

const STATUS: &str = "var/lib/dpkg/status";
const PARTS: &str = "var/lib/dpkg/status.d";

#[derive(Default)]
struct Stanza {
    name: String,
    version: String,
    architecture: String,
    /// `source` or `source (version)`.
    source: String,
    status: Option<String>,
}

pub(super) fn scan(tree: &dyn Tree, into: &mut Inventory) -> Result<(), TreeError> {
    if let Some(lines) = read::lines(tree, STATUS.as_bytes(), into)? {
        stanzas(lines, STATUS, into)?;
    }
    let Some(dir) = read::found(tree, PARTS.as_bytes())? else { return Ok(()) };
    if !tree.entry(&dir)?.is_some_and(|entry| entry.is_dir()) {
        return Ok(());
    }
    for name in tree.children(&dir)? {
        if name.ends_with(b".md5sums") {
            continue;
        }
        let path = tree::join(&dir, &name);
        if let Some(lines) = read::lines(tree, &path, into)? {
            stanzas(lines, &String::from_utf8_lossy(&path), into)?;
        }
    }
    Ok(())
}

fn stanzas(mut lines: Lines, found_in: &str, into: &mut Inventory) -> Result<(), TreeError> {
    let mut stanza = Stanza::default();
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            end(std::mem::take(&mut stanza), found_in, into);
            continue;
        }
        // Lines that begin with a blank go on with a member that nobody here wants.
        let Some((member, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match member {
            "Package" => stanza.name = value,
            "Version" => stanza.version = value,
            "Architecture" => stanza.architecture = value,
            "Source" => stanza.source = value,
            "Status" => stanza.status = Some(value),
            _ => {}
        }
    }
    end(stanza, found_in, into);
    Ok(())
}

fn end(stanza: Stanza, found_in: &str, into: &mut Inventory) {
    // A package that was removed leaves its configuration, and a stanza that says so.
    let is_there = stanza.status.is_none_or(|status| status.ends_with(" installed"));
    if stanza.name.is_empty() || stanza.version.is_empty() || !is_there {
        return;
    }
    let source = match stanza.source.split_once(" (") {
        Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
        None => stanza.source,
    };
    let qualifiers = [
        ("arch", stanza.architecture.as_str()),
        ("distro", &into.release()),
        ("upstream", &source),
    ];
    let purl = purl("deb", &into.vendor("debian"), &stanza.name, &stanza.version, &qualifiers);
    into.add(Package {
        name: stanza.name,
        version: stanza.version,
        purl,
        license: None,
        found_in: found_in.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::super::{scan, testing::files};

    #[test]
    fn packages_that_are_installed_are_listed() {
        let status = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\n\
            Version: 5.2-1\nDescription: a shell\n Version: 9\n\nPackage: gone\n\
            Status: deinstall ok config-files\nVersion: 1\n\nPackage: libc6\nSource: glibc (2.36)\n\
            Status: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n";
        let tree = files(&[
            ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
            ("var/lib/dpkg/status", status),
            (
                "var/lib/dpkg/status.d/tzdata",
                "Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
            ),
            ("var/lib/dpkg/status.d/tzdata.md5sums", "Package: no\nVersion: 1\n"),
        ]);
        let found = scan(&*tree).expect("readable");
        let purls: Vec<&str> = found.packages.iter().map(|p| p.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12",
                "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc%402.36",
                "pkg:deb/debian/tzdata@2024a?arch=all&distro=debian-12",
            ]
        );
    }
}
