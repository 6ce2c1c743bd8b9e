//! Modules of Go programs: the build information that the linker puts into each.
//!
//! Two forms: since Go 1.18 the texts themselves stand there, each behind its length; before that pointers to the
//! headers of two strings.

use super::elf::{Elf, Numbers};
use super::look::{Found, LINE_COSTS, Look, Url};

const SECTION: &str = ".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Without sections it lies at the beginning of the data.
const SEARCHED_BYTES: u64 = 64 << 10;
/// The section: of the newer form with all modules.
const SECTION_MAX_BYTES: u64 = 16 << 20;
const ALIGNED: usize = 16;
const HEADER_BYTES: usize = 32;
/// Of each text no more is read.
const TEXT_MAX_BYTES: u64 = 16 << 20;

/// What the linker says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BuildInfo {
    /// Of the toolchain: `go1.22.1`.
    version: String,
    modules: String,
}

/// The build information of a program that Go has made.
pub(super) fn build_info(elf: &Elf<'_>) -> Option<BuildInfo> {
    let data = elf.section(SECTION, SECTION_MAX_BYTES).or_else(|| elf.data(SEARCHED_BYTES))?;
    let start = (0..data.len()).step_by(ALIGNED).find(|at| data[*at..].starts_with(MAGIC))?;
    let header = data.get(start..start + HEADER_BYTES)?;
    let (width, flags) = (header[14], header[15]);
    let (version, modules) = if flags & 2 != 0 {
        let (version, rest) = counted(data.get(start + HEADER_BYTES..)?)?;
        let (modules, _) = counted(rest)?;
        (version.to_vec(), modules.to_vec())
    } else {
        let numbers = Numbers { is_64: width == 8, is_big: flags & 1 != 0 };
        let pointer = |at: usize| numbers.address(header.get(at..)?);
        let version = pointed(elf, pointer(16)?, numbers)?;
        (version, pointed(elf, pointer(16 + numbers.width())?, numbers).unwrap_or_default())
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let is_version = version.starts_with(b"go") || version.starts_with(b"devel");
    is_version.then(|| BuildInfo { version: text(&version), modules: text(unframed(&modules)) })
}

/// A text behind its length, seven bits in each byte; and what follows.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(len);
        }
    }
    None
}

/// The text whose header, an address and a length, lies at an address.
fn pointed(elf: &Elf<'_>, header: u64, numbers: Numbers) -> Option<Vec<u8>> {
    let width = numbers.width();
    let header = elf.at_address(header, 2 * width as u64)?;
    let (at, len) = (numbers.address(&header)?, numbers.address(&header[width..])?);
    if len > TEXT_MAX_BYTES { None } else { elf.at_address(at, len) }
}

/// The linker puts sixteen bytes before and behind the modules, for those who search all of a program.
fn unframed(modules: &[u8]) -> &[u8] {
    let is_framed = modules.len() >= 33 && modules[modules.len() - 17] == b'\n';
    if is_framed { &modules[16..modules.len() - 16] } else { b"" }
}

/// A line that names a module: its path and its version.
type Module<'a> = (&'a str, &'a str);

/// Adds the toolchain's library and all modules of a program, the main one first.
pub(super) fn list(look: &Look<'_>, info: &BuildInfo, path: &[u8]) {
    let version = info.version.split(' ').next().unwrap_or_default();
    add(look, ("stdlib", version), version.trim_start_matches("go"), path);
    let mut waiting: Option<Module<'_>> = None;
    for line in info.modules.lines() {
        if !look.spend(LINE_COSTS, path) {
            return;
        }
        let mut words = line.split('\t');
        let (word, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let module = (name, words.next().unwrap_or_default());
        match word {
            // What was built in the place of the line before: `replace` in go.mod. A directory has no name for others.
            "=>" if !name.starts_with(['.', '/']) => waiting = Some(module),
            "mod" | "dep" => {
                if let Some(before) = waiting.replace(module) {
                    add(look, before, before.1, path);
                }
            }
            _ => {}
        }
    }
    if let Some(last) = waiting {
        add(look, last, last.1, path);
    }
}

fn add(look: &Look<'_>, (name, version): Module<'_>, url_version: &str, path: &[u8]) {
    let lower = name.to_lowercase();
    let (namespace, bare) = lower.rsplit_once('/').unwrap_or(("", &lower));
    look.add(&Found {
        name,
        version,
        url: Url { kind: "golang", namespace, name: bare, version: url_version, qualifiers: &[] },
        license: None,
        found_in: path,
        inside: "",
    });
}

#[cfg(test)]
mod tests {
    use super::super::elf::Numbers;
    use super::super::testing::{IMAGE_BASE, SECTIONS_AT, check, elf};

    const WIDE: Numbers = Numbers { is_64: true, is_big: false };
    const NARROW: Numbers = Numbers { is_64: false, is_big: true };
    const FRAME: &str = "0123456789abcdef";
    const MODULES: &str = "path\texample.com/app/cmd/x\nmod\texample.com/App\t(devel)\t\n\
        dep\tgithub.com/x/y\tv1.2.3\th1:abc=\ndep\texample.com/z\tv1.0.0\n\
        =>\texample.com/fork/z\tv2.0.0\th1:x=\ndep\tlocal\tv0.1.0\n=>\t./local\t(devel)\t\n\
        build\t-compiler=gc\n";
    const PURLS: [&str; 5] = [
        "pkg:golang/example.com/app@%28devel%29",
        "pkg:golang/example.com/fork/z@v2.0.0",
        "pkg:golang/github.com/x/y@v1.2.3",
        "pkg:golang/local@v0.1.0",
        "pkg:golang/stdlib@1.22.1",
    ];

    fn counted(text: &str) -> Vec<u8> {
        let len = text.len();
        [&[len as u8 | 0x80, (len >> 7) as u8], text.as_bytes()].concat()
    }

    fn inline(modules: &str) -> Vec<u8> {
        let header = [b"\xff Go buildinf:".as_slice(), &[8, 2], &[0; 16]].concat();
        let modules = format!("{FRAME}{modules}{FRAME}");
        [header, counted("go1.22.1 X:boringcrypto"), counted(&modules)].concat()
    }

    #[test]
    fn modules_stand_in_the_program() {
        let program = elf(WIDE, &[(".text", b"x"), (".go.buildinfo", &inline(MODULES))]);
        let found = check(&[("bin/app", &program)], &PURLS);
        let names: Vec<&str> = found.packages.iter().map(|p| p.name.as_str()).collect();
        assert!(names.contains(&"example.com/App") && names.contains(&"stdlib"));
        // Without a section of that name it is found in the data.
        check(&[("bin/app", &elf(WIDE, &[(".other", &inline(MODULES))]))], &PURLS);
    }

    #[test]
    fn older_programs_have_pointers() {
        let texts = format!("go1.22.1{FRAME}{MODULES}{FRAME}");
        let word = |number: usize| (number as u32).to_be_bytes();
        let base = IMAGE_BASE as usize + SECTIONS_AT;
        // The section, the headers of two strings, the strings.
        let (headers, start) = (base + 32, base + 48);
        let section = [
            b"\xff Go buildinf:".as_slice(),
            &[4, 1],
            &word(headers),
            &word(headers + 8),
            &[0; 8],
            &word(start),
            &word(8),
            &word(start + 8),
            &word(texts.len() - 8),
            texts.as_bytes(),
        ]
        .concat();
        check(&[("bin/app", elf(NARROW, &[(".go.buildinfo", &section)]))], &PURLS);
    }

    #[test]
    fn damaged_programs_are_none() {
        let whole = elf(WIDE, &[(".go.buildinfo", &inline(MODULES))]);
        for len in (0..whole.len()).step_by(7) {
            let found = super::super::scan(&*super::super::testing::files(&[("a", &whole[..len])]));
            assert!(found.expect("readable").packages.len() <= PURLS.len());
        }
        let mut wild = whole;
        for at in 16..64 {
            let old = std::mem::replace(&mut wild[at], 0xff);
            let found = super::super::scan(&*super::super::testing::files(&[("a", &wild)]));
            assert!(found.expect("readable").packages.len() <= PURLS.len());
            wild[at] = old;
        }
        check(&[("a", elf(WIDE, &[(".go.buildinfo", b"\xff Go buildinf:\x08\x02")]))], &[]);
        let endless = [b"\xff Go buildinf:".as_slice(), &[8, 2], &[0; 16], &[0xff; 64]].concat();
        check(&[("a", elf(WIDE, &[(".go.buildinfo", &endless)]))], &[]);
    }
}
