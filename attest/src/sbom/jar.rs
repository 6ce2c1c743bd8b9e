//! Archives of Java: what Maven leaves in them, otherwise their name and manifest; and the archives inside.

use tree::TreeError;

use super::is_short;
use super::look::{Found, Left, Look, Url};
use super::read::{self, Region, Regular};
use super::zip::{Member, Zip};

/// A file with an archive for each library has these inside: an application of applications, not more.
const DEPTH_MAX: usize = 2;
const MANIFEST: &str = "META-INF/MANIFEST.MF";
/// Of each text file inside.
const TEXT_MAX_BYTES: u64 = 1 << 20;
/// Deep names are no place of a library, and would fill the list.
const INSIDE_MAX_BYTES: usize = 500;
const ENDS: [&[u8]; 8] = [b".jar", b".war", b".ear", b".par", b".sar", b".nar", b".jpi", b".hpi"];

/// Whether a name is one of an archive of Java.
pub(super) fn is_archive(name: &[u8]) -> bool {
    let end = name.len().checked_sub(4).map(|at| &name[at..]);
    end.is_some_and(|end| name.len() > 4 && ENDS.iter().any(|e| e.eq_ignore_ascii_case(end)))
}

pub(super) fn scan(look: &Look<'_>, file: &Regular) -> Result<(), TreeError> {
    let Some(region) = read::region(look, file)? else { return Ok(()) };
    archive(&region, "", 0);
    Ok(())
}

fn archive(file: &Region<'_>, inside: &str, depth: usize) {
    let Some(zip) = Zip::open(file) else { return };
    // The manifest first, so that nothing of the other members is kept, however many there are.
    let manifest = zip.members().filter(|member| member.name == MANIFEST.as_bytes()).last();
    let text = manifest.and_then(|member| zip.read(&member, TEXT_MAX_BYTES)).unwrap_or_default();
    let manifest = Manifest::parse(&String::from_utf8_lossy(&text));
    let own = Own::of(file, inside, &manifest);
    let mut is_told = false;
    for member in zip.members() {
        if is_pom(member.name) {
            is_told |= pom(&zip, &member, file, inside).is_some_and(|pom| own.is(&pom));
        } else if is_archive(member.name) {
            within(&zip, &member, file, inside, depth);
        }
    }
    if !is_told {
        own.add(file, inside, &manifest);
    }
}

/// An archive in an archive.
fn within(zip: &Zip<'_>, member: &Member<'_>, file: &Region<'_>, inside: &str, depth: usize) {
    let name = String::from_utf8_lossy(member.name);
    if depth >= DEPTH_MAX || inside.len() + name.len() > INSIDE_MAX_BYTES {
        return file.look.leave_out(Left::Deep, file.path);
    }
    let inner = if inside.is_empty() { name.into_owned() } else { format!("{inside}!{name}") };
    if let Some(region) = zip.region(member) {
        archive(&region, &inner, depth + 1);
    }
}

/// `META-INF/maven/GROUP/ARTIFACT/pom.properties`.
fn is_pom(name: &[u8]) -> bool {
    let inner = name.strip_prefix(b"META-INF/maven/");
    let inner = inner.and_then(|inner| inner.strip_suffix(b"/pom.properties"));
    inner.is_some_and(|inner| inner.iter().filter(|b| **b == b'/').count() == 1)
}

/// What Maven says of something that was put into an archive: artifact and version.
type Pom = (String, String);

/// Adds what Maven says was put into the archive; of one that is made of several there are several.
fn pom(zip: &Zip<'_>, member: &Member<'_>, file: &Region<'_>, inside: &str) -> Option<Pom> {
    let text = zip.read(member, TEXT_MAX_BYTES)?;
    let text = String::from_utf8_lossy(&text);
    let value = |name: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.filter(|(n, _)| n.trim() == name).map(|(_, v)| v.trim()).next().unwrap_or_default()
    };
    let (group, name, version) = (value("groupId"), value("artifactId"), value("version"));
    // `${…}` is what nobody has filled in.
    let is_filled = [group, name, version].iter().all(|text| !text.contains('$'));
    if name.is_empty() || version.is_empty() || !is_filled {
        return None;
    }
    add(file, inside, (group, name, version), None);
    Some((name.to_owned(), version.to_owned()))
}

fn add(
    file: &Region<'_>,
    inside: &str,
    (group, name, version): (&str, &str, &str),
    license: Option<&str>,
) {
    file.look.add(&Found {
        name,
        version,
        url: Url { kind: "maven", namespace: group, name, version, qualifiers: &[] },
        license,
        found_in: file.path,
        inside,
    });
}

/// The members of a manifest that name what an archive is.
#[derive(Default)]
struct Manifest {
    title: String,
    symbolic_name: String,
    vendor_id: String,
    /// Of the implementation, the bundle, the specification.
    versions: [String; 3],
    license: String,
}

impl Manifest {
    fn parse(text: &str) -> Manifest {
        let mut manifest = Manifest::default();
        let mut member: Option<String> = None;
        for line in text.lines() {
            // A line holds 72 bytes; what is longer goes on behind a blank.
            match (line.strip_prefix(' '), &mut member) {
                (Some(more), Some(member)) => member.push_str(more),
                _ => manifest.learn(&member.replace(line.to_owned()).unwrap_or_default()),
            }
            // Behind the first empty line come sections for single classes.
            if line.is_empty() {
                break;
            }
        }
        manifest.learn(&member.unwrap_or_default());
        manifest
    }

    fn learn(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let value = value.trim().to_owned();
        match name {
            "Implementation-Title" => self.title = value,
            "Bundle-SymbolicName" => {
                self.symbolic_name = value.split(';').next().unwrap_or_default().trim().to_owned();
            }
            "Implementation-Vendor-Id" => self.vendor_id = value,
            "Implementation-Version" => self.versions[0] = value,
            "Bundle-Version" => self.versions[1] = value,
            "Specification-Version" => self.versions[2] = value,
            "Bundle-License" if is_short(&value) => self.license = value,
            _ => {}
        }
    }
}

/// What an archive is by the name of its file, as repositories name them, and by its manifest.
struct Own {
    name: String,
    version: String,
}

impl Own {
    fn of(file: &Region<'_>, inside: &str, manifest: &Manifest) -> Own {
        let path = match inside {
            "" => String::from_utf8_lossy(file.path),
            inside => inside.into(),
        };
        let stem = path.rsplit(['/', '!']).next().unwrap_or_default();
        let stem = stem.get(..stem.len().saturating_sub(4)).unwrap_or_default();
        let (name, version) = split_version(stem);
        let name = if name.is_empty() { manifest.title.as_str() } else { name };
        let versions = manifest.versions.iter().map(String::as_str);
        let mut versions = std::iter::once(version).chain(versions);
        let version = versions.find(|version| !version.is_empty()).unwrap_or_default();
        Own { name: name.to_owned(), version: version.to_owned() }
    }

    /// Whether Maven speaks of the archive itself, and not of something that was packed into it too.
    fn is(&self, (name, version): &Pom) -> bool {
        *name == self.name || *version == self.version
    }

    fn add(&self, file: &Region<'_>, inside: &str, manifest: &Manifest) {
        let Own { name, version } = self;
        if version.is_empty() {
            return;
        }
        let group = match (&manifest.vendor_id, &manifest.symbolic_name) {
            (vendor, _) if vendor.contains('.') => vendor.as_str(),
            (_, symbolic) => {
                let group = symbolic.strip_suffix(name.as_str());
                group.and_then(|group| group.strip_suffix('.')).unwrap_or_default()
            }
        };
        let license = Some(manifest.license.as_str()).filter(|license| !license.is_empty());
        add(file, inside, (group, name, version), license);
    }
}

/// `guava-31.1-jre` is `guava` of version `31.1-jre`.
fn split_version(stem: &str) -> (&str, &str) {
    let is_version = |at: &usize| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let cut = stem.match_indices('-').map(|(at, _)| at).find(is_version);
    cut.map_or((stem, ""), |at| (&stem[..at], &stem[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::super::look::{PARSED_BYTE_COSTS, WORK_MAX};
    use super::super::testing::{check, files};
    use super::super::zip::zip;
    use super::*;

    const POM: &[u8] = b"#Created by Maven\nversion=1.2.3\ngroupId=org.example\nartifactId=lib\n";

    fn pom() -> Vec<u8> {
        zip(&[
            ("META-INF/maven/org.example/lib/pom.properties", POM, true),
            ("A.class", b"", false),
        ])
    }

    #[test]
    fn maven_says_what_it_is() {
        let found = check(&[("app/any.jar", pom())], &["pkg:maven/org.example/lib@1.2.3"]);
        assert_eq!(found.packages.first().map(|p| p.inside.as_str()), Some(""));
        // Behind a script that starts it.
        let script = [b"#!/bin/sh\nexec java -jar $0\n".as_slice(), &pom()].concat();
        check(&[("app/run.jar", script)], &["pkg:maven/org.example/lib@1.2.3"]);
    }

    #[test]
    fn archives_with_large_numbers_are_read_too() {
        let jar = pom();
        let (members, end) = jar.split_at(jar.len() - 22);
        let wide = |number: &[u8]| u64::from(u32::from_le_bytes(number.try_into().expect("four")));
        let [len, offset] = [&end[12..16], &end[16..20]].map(wide).map(u64::to_le_bytes);
        let record = [b"PK\x06\x06".as_slice(), &[0; 36], &len, &offset].concat();
        let at = (members.len() as u64).to_le_bytes();
        let place = [b"PK\x06\x07".as_slice(), &[0; 4], &at, &[1, 0, 0, 0]].concat();
        let end = [&end[..8], &[0xff; 12], &[0; 2]].concat();
        let jar = [members, &record, &place, &end].concat();
        check(&[("a.jar", &jar)], &["pkg:maven/org.example/lib@1.2.3"]);
        let script = [b"#!/bin/sh\nexec java -jar $0\n".as_slice(), &jar].concat();
        check(&[("a.jar", script)], &["pkg:maven/org.example/lib@1.2.3"]);
    }

    #[test]
    fn otherwise_names_and_manifests_do() {
        let manifest =
            b"Manifest-Version: 1.0\r\nBundle-SymbolicName: com.goo\r\n gle.guava;singleton=1\r\n\
            Bundle-Version: 9.9\r\nBundle-License: Apache-2.0\r\n\r\nImplementation-Version: 5\r\n";
        let jar = |manifest: &[u8]| zip(&[("META-INF/MANIFEST.MF", manifest, true)]);
        let list = [
            ("lib/guava-31.1-jre.jar", jar(manifest)),
            ("lib/guava.jar", jar(manifest)),
            ("lib/tool.war", jar(b"Implementation-Version: 2\nImplementation-Vendor-Id: org.t\n")),
            ("lib/nothing.jar", jar(b"Manifest-Version: 1.0\n")),
            ("lib/no-zip-1.0.jar", b"PK".to_vec()),
        ];
        let want = [
            "pkg:maven/com.google/guava@31.1-jre",
            "pkg:maven/com.google/guava@9.9",
            "pkg:maven/org.t/tool@2",
        ];
        let found = check(&list, &want);
        let first = found.packages.first().expect("guava");
        assert_eq!(first.license.as_deref(), Some("Apache-2.0"));
    }

    #[test]
    fn what_is_packed_into_an_archive_does_not_hide_it() {
        let manifest: &[u8] = b"Implementation-Version: 4.2.3\n";
        let pom_name = "META-INF/maven/org.example/lib/pom.properties";
        let jar = zip(&[(pom_name, POM, false), ("META-INF/MANIFEST.MF", manifest, false)]);
        check(
            &[("guice.jar", &jar)],
            &["pkg:maven/guice@4.2.3", "pkg:maven/org.example/lib@1.2.3"],
        );
        // Under another name, but of the version that it says.
        check(&[("x-1.2.3.jar", &jar)], &["pkg:maven/org.example/lib@1.2.3"]);
    }

    #[test]
    fn archives_in_archives_are_looked_into() {
        let library = pom();
        let war = zip(&[
            ("WEB-INF/lib/lib.jar", &library, true),
            ("WEB-INF/lib/other-2.jar", &zip(&[("x", b"", false)]), false),
        ]);
        let ear = zip(&[("a.war", &war, false), ("META-INF/MANIFEST.MF", b"", false)]);
        let found = check(
            &[("opt/all.ear", &ear)],
            &["pkg:maven/org.example/lib@1.2.3", "pkg:maven/other@2"],
        );
        let inside: Vec<&str> = found.packages.iter().map(|p| p.inside.as_str()).collect();
        assert_eq!(inside, ["a.war!WEB-INF/lib/lib.jar", "a.war!WEB-INF/lib/other-2.jar"]);
        let deeper = zip(&[("b.ear", &ear, true)]);
        let found = check(&[("opt/deep.ear", &deeper)], &[]);
        assert_eq!(found.unlisted, ["what /opt/deep.ear has: it is nested too deep"]);
    }

    #[test]
    fn bombs_and_damage_end() {
        let zeros = vec![0; read::AT_ONCE_MAX_BYTES as usize + 1];
        let bomb = zip(&[("a-1.jar", &zeros, true)]);
        let found = check(&[("x.jar", &bomb)], &[]);
        assert_eq!(found.unlisted, ["what /x.jar has: it is larger than what is read"]);
        let whole = zip(&[("a-1.jar", &pom(), true), ("b-1.jar", &pom(), false)]);
        for at in 0..whole.len() {
            let mut wild = whole.clone();
            wild[at] = !wild[at];
            for bytes in [&whole[..at], &wild] {
                let found = super::super::scan(&*files(&[("x.jar", bytes)])).expect("readable");
                assert!(found.packages.len() <= 4, "{at}");
            }
        }
    }

    #[test]
    fn many_members_that_are_one_archive_come_to_an_end() {
        let zeros = vec![0; 1 << 20];
        let mut bomb = zip(&[("a-1.jar", &zeros, true)]);
        // The directory again and again, each time the same member.
        let row_at = bomb.windows(4).position(|w| w == b"PK\x01\x02").expect("a row");
        let row = bomb[row_at..bomb.len() - 22].to_vec();
        let mut end = bomb.split_off(bomb.len() - 22);
        (0..999).for_each(|_| bomb.extend_from_slice(&row));
        end[12..16].copy_from_slice(&(1000 * row.len() as u32).to_le_bytes());
        bomb.extend_from_slice(&end);
        let tree = files(&[("x.jar", &bomb)]);
        let look = Look::new(&*tree);
        // Each of the thousand costs four for each byte that comes out.
        assert!(look.spend(WORK_MAX - 6 * PARSED_BYTE_COSTS * zeros.len() as u64, b""));
        let file = read::regular(&look, b"x.jar").expect("readable").expect("a file");
        scan(&look, &file).expect("readable");
        assert!(look.is_over());
    }
}
