//! Packages of apk: the file `installed` of its database, which has a paragraph of one-letter members for each.

use tree::TreeError;

use super::look::{Found, Look, Url};
use super::read;

const PLACES: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

#[derive(Default)]
struct Paragraph {
    name: String,
    version: String,
    architecture: String,
    origin: String,
    license: Option<String>,
}

pub(super) fn scan(look: &Look<'_>) -> Result<(), TreeError> {
    for place in PLACES {
        let Some(file) = read::regular(look, place.as_bytes())? else { continue };
        let Some(mut lines) = read::lines(look, &file)? else { continue };
        let mut paragraph = Paragraph::default();
        while let Some(line) = lines.next_line()? {
            if line.is_empty() {
                end(look, &std::mem::take(&mut paragraph), place);
                continue;
            }
            let Some((member, value)) = line.split_once(':') else { continue };
            match member {
                "P" => paragraph.name = value.to_owned(),
                "V" => paragraph.version = value.to_owned(),
                "A" => paragraph.architecture = value.to_owned(),
                "o" => paragraph.origin = value.to_owned(),
                "L" => paragraph.license = Some(value.to_owned()),
                _ => {}
            }
        }
        end(look, &paragraph, place);
        // One of the two may be a link to the other.
        return Ok(());
    }
    Ok(())
}

fn end(look: &Look<'_>, found: &Paragraph, place: &str) {
    if found.version.is_empty() {
        return;
    }
    let upstream = if found.origin == found.name { "" } else { &found.origin };
    look.add(&Found {
        name: &found.name,
        version: &found.version,
        url: Url {
            kind: "apk",
            namespace: look.vendor("alpine"),
            name: &found.name,
            version: &found.version,
            qualifiers: &[
                ("arch", &found.architecture),
                ("distro", &look.release()),
                ("upstream", upstream),
            ],
        },
        license: found.license.as_deref(),
        found_in: place.as_bytes(),
        inside: "",
    });
}

#[cfg(test)]
mod tests {
    use super::super::{scan, testing::files};

    #[test]
    fn paragraphs_are_packages() {
        let installed = "C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nL:MIT\nF:lib\nR:x\n\n\
            P:ssl_client\nV:1.36\nA:x86_64\no:busybox\nL:GPL-2.0-only\n";
        let tree = files(&[
            ("etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n"),
            ("lib/apk/db/installed", installed),
        ]);
        let found = scan(&*tree).expect("readable");
        let packages: Vec<_> = found.packages.iter().collect();
        assert_eq!(
            packages[0].purl,
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.1"
        );
        assert_eq!(packages[0].license.as_deref(), Some("MIT"));
        assert!(packages[1].purl.ends_with("upstream=busybox"), "{}", packages[1].purl);
    }
}
