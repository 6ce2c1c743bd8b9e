//! Packages of dpkg: `status`, and `status.d` of images that are put together without dpkg.

use tree::TreeError;

use super::look::{Found, Look, Url};
use super::read::{self, Lines};

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

pub(super) fn scan(look: &Look<'_>) -> Result<(), TreeError> {
    file(look, STATUS.as_bytes())?;
    let Some(dir) = read::found(look, PARTS.as_bytes())? else { return Ok(()) };
    if !look.tree.entry(&dir)?.is_some_and(|entry| entry.is_dir()) {
        return Ok(());
    }
    for name in look.tree.children(&dir)? {
        if name.ends_with(b".md5sums") {
            continue;
        }
        file(look, &tree::join(&dir, &name))?;
    }
    Ok(())
}

fn file(look: &Look<'_>, path: &[u8]) -> Result<(), TreeError> {
    let Some(file) = read::regular(look, path)? else { return Ok(()) };
    match read::lines(look, &file)? {
        Some(lines) => stanzas(look, lines, path),
        None => Ok(()),
    }
}

fn stanzas(look: &Look<'_>, mut lines: Lines<'_>, found_in: &[u8]) -> Result<(), TreeError> {
    let mut stanza = Stanza::default();
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            end(look, std::mem::take(&mut stanza), found_in);
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
    end(look, stanza, found_in);
    Ok(())
}

fn end(look: &Look<'_>, stanza: Stanza, found_in: &[u8]) {
    // A package that was removed leaves its configuration, and a stanza that says so.
    let is_there = stanza.status.is_none_or(|status| status.ends_with(" installed"));
    if stanza.version.is_empty() || !is_there {
        return;
    }
    let source = match stanza.source.split_once(" (") {
        Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
        None => stanza.source,
    };
    look.add(&Found {
        name: &stanza.name,
        version: &stanza.version,
        url: Url {
            kind: "deb",
            namespace: look.vendor("debian"),
            name: &stanza.name,
            version: &stanza.version,
            qualifiers: &[
                ("arch", &stanza.architecture),
                ("distro", &look.release()),
                ("upstream", &source),
            ],
        },
        license: None,
        found_in,
        inside: "",
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
