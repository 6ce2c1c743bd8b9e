//! Packages of rpm: the headers in its database, of any of the forms that it has had.

use tree::TreeError;

use super::look::{Found, LINE_COSTS, Left, Look, Url};
use super::read::{self, Damaged, Region};
use super::sqlite::{Database, Value};
use super::{berkeley, ndb};

/// The places of the database; one is often a link to the other.
const PLACES: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];
/// The forms: the newest first. An older one beside it is what was left of it.
const FORMS: [(&str, Reader); 3] =
    [("rpmdb.sqlite", rows), ("Packages.db", ndb::blobs), ("Packages", berkeley::values)];
/// The header of a kernel with all its files has some megabytes.
const HEADER_MAX_BYTES: u64 = 32 << 20;
const ROW_BYTES: usize = 16;
/// Other tags than ours come between them, but not so many.
const TAGS_MAX: usize = 4096;

/// Numbers of tags.
const NAME: u64 = 1000;
const VERSION: u64 = 1001;
const RELEASE: u64 = 1002;
const EPOCH: u64 = 1003;
const LICENSE: u64 = 1014;
const ARCHITECTURE: u64 = 1022;
const SOURCE: u64 = 1044;
/// Their types.
const INT32: u64 = 4;
const STRING: u64 = 6;
const TRANSLATED: u64 = 9;

/// Calls back with each header up to a length, until that says no; returns how many were longer.
type Reader = fn(&Region<'_>, u64, &mut dyn FnMut(&[u8]) -> bool) -> Result<u64, Damaged>;

pub(super) fn scan(look: &Look<'_>) -> Result<(), TreeError> {
    let mut read = Vec::new();
    for place in PLACES {
        let Some(dir) = read::found(look, place.as_bytes())? else { continue };
        if !read.contains(&dir) {
            database(look, &dir)?;
            read.push(dir);
        }
    }
    Ok(())
}

fn database(look: &Look<'_>, dir: &[u8]) -> Result<(), TreeError> {
    for (name, reader) in FORMS {
        let path = tree::join(dir, name.as_bytes());
        let Some(file) = read::regular(look, &path)? else { continue };
        let Some(region) = read::region(look, &file)? else { return Ok(()) };
        // What was written last stands there until the database is closed.
        let journal = read::regular(look, &tree::join(dir, b"rpmdb.sqlite-wal"))?;
        let mut is_whole = journal.is_none_or(|journal| journal.size_bytes == 0);
        let headers = reader(&region, HEADER_MAX_BYTES, &mut |header| {
            is_whole &= package(look, header, &path).is_some();
            !look.is_over()
        });
        match headers {
            _ if look.is_over() => {}
            Ok(0) if is_whole => {}
            Ok(too_long) if too_long > 0 => look.leave_out(Left::Large, &path),
            _ => look.leave_out(Left::Damaged, &path),
        }
        return Ok(());
    }
    Ok(())
}

/// The second column of the table `Packages`.
fn rows(
    file: &Region<'_>,
    max_bytes: u64,
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<u64, Damaged> {
    let mut database = Database::open(file).ok_or(Damaged)?;
    database.rows("Packages", max_bytes, &mut |columns| match columns {
        [_, Value::Bytes(header), ..] => each(header),
        _ => true,
    })
}

/// Adds the package of a header; `None` when it is none.
fn package(look: &Look<'_>, header: &[u8], path: &[u8]) -> Option<()> {
    let header = Header::parse(look, header, path)?;
    let (name, version) = (header.text(NAME)?, header.text(VERSION)?);
    // A key that signatures are checked with is kept as if it were a package.
    if name == "gpg-pubkey" {
        return Some(());
    }
    let release = header.text(RELEASE).unwrap_or_default();
    let version = if release.is_empty() { version } else { format!("{version}-{release}") };
    let epoch = header.number(EPOCH).map(|epoch| epoch.to_string()).unwrap_or_default();
    let shown = if epoch.is_empty() { version.clone() } else { format!("{epoch}:{version}") };
    let [architecture, source, license] =
        [ARCHITECTURE, SOURCE, LICENSE].map(|tag| header.text(tag).unwrap_or_default());
    let vendor = match look.vendor("") {
        "rhel" => "redhat",
        suse if suse.starts_with("opensuse") => "opensuse",
        other => other,
    };
    look.add(&Found {
        name: &name,
        version: &shown,
        url: Url {
            kind: "rpm",
            namespace: vendor,
            name: &name,
            version: &version,
            qualifiers: &[
                ("arch", &architecture),
                ("distro", &look.release()),
                ("epoch", &epoch),
                ("upstream", &source),
            ],
        },
        license: Some(license.as_str()).filter(|license| !license.is_empty()),
        found_in: path,
        inside: "",
    });
    Some(())
}

/// A package's header: rows of tag, type, place and count, and the data behind them.
struct Header<'a> {
    rows: &'a [u8],
    data: &'a [u8],
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl<'a> Header<'a> {
    fn parse(look: &Look<'_>, header: &'a [u8], path: &[u8]) -> Option<Header<'a>> {
        let rows = usize::try_from(number(header.get(..4)?)).ok()?.min(TAGS_MAX);
        look.spend(rows as u64 * LINE_COSTS, path).then_some(())?;
        let data_at = usize::try_from(number(header.get(..4)?)).ok()?.checked_mul(ROW_BYTES)?;
        let rows = header.get(8..8 + rows * ROW_BYTES)?;
        Some(Header { rows, data: header.get(8_usize.checked_add(data_at)?..)? })
    }

    /// The data of a tag with one of two types.
    fn value(&self, tag: u64, types: [u64; 2]) -> Option<&'a [u8]> {
        let mut rows = self.rows.chunks_exact(ROW_BYTES);
        let row = rows.find(|row| number(&row[..4]) == tag)?;
        let is_right = types.contains(&number(&row[4..8]));
        let at = usize::try_from(number(&row[8..12])).ok().filter(|_| is_right)?;
        self.data.get(at..)
    }

    fn text(&self, tag: u64) -> Option<String> {
        let data = self.value(tag, [STRING, TRANSLATED])?;
        // Twice as long as is taken for a name: it is refused there, and said.
        let end = data.iter().take(2 * super::look::NAME_MAX_BYTES).position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn number(&self, tag: u64) -> Option<u64> {
        self.value(tag, [INT32, INT32])?.get(..4).map(number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, files, linked_files};
    use super::super::{Inventory, scan};
    use super::*;

    /// Table `Packages` of a database that rpm 4.18 has made of three packages, put into pages of 512 bytes by sqlite3,
    /// so that there are inner pages and overflow.
    const DATABASE: &[u8] = include_bytes!("../../testdata/rpmdb.sqlite");
    const DATABASE_NAME: &str = "rpmdb.sqlite";
    /// The same headers in hashes of Berkeley DB 5.3, made by its `db_load` with pages of 512 bytes, for both orders of
    /// bytes.
    const HASHES: [&[u8]; 2] = [
        include_bytes!("../../testdata/rpmdb.bdb"),
        include_bytes!("../../testdata/rpmdb.big-endian.bdb"),
    ];
    const RELEASE: &[u8] = b"ID=rhel\nVERSION_ID=9.4\n";
    const PURLS: [&str; 3] = [
        "pkg:rpm/redhat/made-one@1.2-4.el9?arch=noarch&distro=rhel-9.4&upstream=made-one-1.2-4.el9.src.rpm",
        "pkg:rpm/redhat/made-three@1.2-4.el9?arch=noarch&distro=rhel-9.4&upstream=made-three-1.2-4.el9.src.rpm",
        "pkg:rpm/redhat/made-two@1.2-4.el9?arch=noarch&distro=rhel-9.4&epoch=3&upstream=made-two-1.2-4.el9.src.rpm",
    ];

    fn look(name: &str, database: &[u8]) -> Inventory {
        let path = format!("var/lib/rpm/{name}");
        scan(&*files(&[(path.as_str(), database)])).expect("readable")
    }

    /// A database of SUSE's form with the headers of the others, in slots of the second page.
    fn ndb() -> Vec<u8> {
        let tree = files(&[("db", DATABASE)]);
        let look = Look::new(&*tree);
        let file = read::regular(&look, b"db").expect("readable").expect("a file");
        let region = read::region(&look, &file).expect("readable").expect("a region");
        let mut out = vec![0; 2 * 4096];
        (32..8192).step_by(16).for_each(|at| out[at..at + 4].copy_from_slice(b"Slot"));
        out[..4].copy_from_slice(b"RpmP");
        out[12] = 2;
        let mut slot = 4096;
        let mut add = |header: &[u8]| {
            let (at, len) = (out.len() as u32 / 16, header.len() as u32);
            out[slot + 4] = 7;
            out[slot + 8..slot + 12].copy_from_slice(&at.to_le_bytes());
            slot += 16;
            out.extend_from_slice(&[b"BlbS", [7, 0, 0, 0].as_slice(), &[0; 4]].concat());
            out.extend_from_slice(&[&len.to_le_bytes(), header].concat());
            out.resize(out.len().next_multiple_of(16), 0);
            true
        };
        assert_eq!(rows(&region, HEADER_MAX_BYTES, &mut add), Ok(0));
        out
    }

    #[test]
    fn packages_of_the_database_are_listed() {
        let place = "usr/lib/sysimage/rpm/rpmdb.sqlite";
        let found = check(&[("etc/os-release", RELEASE), (place, DATABASE)], &PURLS);
        let two = found.packages.iter().find(|package| package.name == "made-two").expect("it");
        assert_eq!((two.version.as_str(), two.license.as_deref()), ("3:1.2-4.el9", Some("MIT")));
        assert_eq!((two.found_in.as_str(), found.unlisted.len()), (place, 0));
    }

    #[test]
    fn what_is_not_in_the_database_yet_is_said() {
        let list: [(&str, &[u8]); 2] =
            [("var/lib/rpm/rpmdb.sqlite", DATABASE), ("var/lib/rpm/rpmdb.sqlite-wal", b"x")];
        let found = scan(&*linked_files(&list, &[])).expect("readable");
        assert_eq!(found.packages.len(), 3);
        let want = "what /var/lib/rpm/rpmdb.sqlite has: it cannot be read to its end";
        assert_eq!(found.unlisted, [want]);
    }

    #[test]
    fn older_forms_are_read() {
        for hash in HASHES {
            check(&[("etc/os-release", RELEASE), ("var/lib/rpm/Packages", hash)], &PURLS);
        }
        check(&[("etc/os-release", RELEASE), ("var/lib/rpm/Packages.db", &ndb())], &PURLS);
        let both = [("var/lib/rpm/Packages.db", &*ndb()), ("var/lib/rpm/Packages", b"old")];
        assert_eq!(scan(&*files(&both)).expect("readable").unlisted, [""; 0]);
    }

    #[test]
    fn damaged_databases_end_and_say_so() {
        let ndb = ndb();
        let hash = ("Packages", HASHES[0]);
        for (name, database) in [(DATABASE_NAME, DATABASE), hash, ("Packages.db", &ndb)] {
            for len in (0..database.len() - 16).step_by(211) {
                let found = look(name, &database[..len]);
                let is_said = found.packages.len() < 3 && found.unlisted.len() == 1;
                assert!(is_said, "{name} {len}: {found:?}");
            }
            for at in (0..database.len()).step_by(37) {
                let mut wild = database.to_vec();
                wild[at] = !wild[at];
                assert!(look(name, &wild).packages.len() <= 4, "{name} {at}");
            }
        }
    }

    #[test]
    fn pages_that_point_in_circles_end() {
        let root = DATABASE.chunks_exact(512).position(|page| page[0] == 5).expect("an inner page");
        let mut circle = DATABASE.to_vec();
        // Its rightmost child is the page itself.
        circle[root * 512 + 8..root * 512 + 12].copy_from_slice(&(root as u32 + 1).to_be_bytes());
        let found = look(DATABASE_NAME, &circle);
        assert!(found.packages.len() < 3 && found.unlisted.len() == 1, "{found:?}");
        let mut circle = HASHES[0].to_vec();
        for page in circle.chunks_exact_mut(512).filter(|page| page[25] == 7) {
            // The next page of each chain is the third, over and over.
            page[16] = 3;
        }
        let found = look("Packages", &circle);
        assert!(found.packages.len() <= 3, "{found:?}");
    }
}
