//! Crates of Rust programs that were built with cargo-auditable: compressed JSON in a section of its own.

use flate2::read::ZlibDecoder;

use super::elf::Elf;
use super::look::{Found, Look, Url};
use super::{json, read};

const SECTION: &str = ".dep-v0";
/// The list of the largest programs has some hundred kilobytes.
const PACKED_MAX_BYTES: u64 = 4 << 20;
const LIST_MAX_BYTES: u64 = 16 << 20;

pub(super) fn scan(look: &Look<'_>, elf: &Elf<'_>, path: &[u8]) {
    let Some(packed) = elf.section(SECTION, PACKED_MAX_BYTES) else { return };
    let unpacker = ZlibDecoder::new(packed.as_slice());
    let Some(list) = read::unpacked(look, path, unpacker, LIST_MAX_BYTES) else { return };
    for package in json::packages(&list) {
        // What was only needed to build it is not in it.
        if package.purpose == "build" || package.purpose == "development" {
            continue;
        }
        look.add(&Found {
            name: &package.name,
            version: &package.version,
            url: Url {
                kind: "cargo",
                namespace: "",
                name: &package.name,
                version: &package.version,
                qualifiers: &[],
            },
            license: None,
            found_in: path,
            inside: "",
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::elf::Numbers;
    use super::super::testing::{check, elf};

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(text).expect("memory");
        out.finish().expect("memory")
    }

    fn program(section: &[u8]) -> Vec<u8> {
        elf(Numbers { is_64: true, is_big: false }, &[(".dep-v0", section)])
    }

    #[test]
    fn crates_stand_in_the_program() {
        let list = br#"{"packages":[
            {"name":"adler","version":"0.2.3","source":"registry","dependencies":[2]},
            {"name":"cc","version":"1.0","source":"crates.io","kind":"build"},
            {"name":"own","version":"0.1.0","source":"local","root":true}]}"#;
        let want = ["pkg:cargo/adler@0.2.3", "pkg:cargo/own@0.1.0"];
        check(&[("bin/x", program(&packed(list)))], &want);
    }

    #[test]
    fn bombs_are_none() {
        let bomb = packed(&vec![b' '; super::LIST_MAX_BYTES as usize + 1]);
        assert!(bomb.len() < 64 << 10);
        let found = check(&[("bin/x", program(&bomb))], &[]);
        assert_eq!(found.unlisted, ["what /bin/x has: it is larger than what is read"]);
        check(&[("bin/x", program(b"no zlib"))], &[]);
        check(&[("bin/x", program(&packed(b"{\"packages\":[{\"name\":3}]}")))], &[]);
    }
}
