//! The kernel's list of interpreters for foreign programs (Documentation/admin-guide/binfmt-misc).

use std::fs;
use std::path::{Path, PathBuf};

/// Where the list is mounted.
pub(super) const DIRECTORY: &str = "/proc/sys/fs/binfmt_misc";

/// An interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name in the list.
    pub(super) name: String,
    /// The program.
    pub(super) interpreter: PathBuf,
    /// The flag F: the kernel opened it when it was registered, so a step needs no file of that name.
    pub(super) is_held_open: bool,
}

/// The entry that the kernel would take for a program that begins so; the one with F when several would do.
pub(super) fn find(directory: &Path, header: &[u8]) -> Option<Entry> {
    if fs::read_to_string(directory.join("status")).ok()?.trim_end() != "enabled" {
        return None;
    }
    let files = fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let mut found: Vec<Entry> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            read(name, &fs::read_to_string(file.path()).ok()?, header)
        })
        .collect();
    found.sort_by(|a, b| b.is_held_open.cmp(&a.is_held_open).then(a.name.cmp(&b.name)));
    found.into_iter().next()
}

/// An enabled entry that goes by magic bytes which `header` has.
fn read(name: String, text: &str, header: &[u8]) -> Option<Entry> {
    let mut lines = text.lines();
    if lines.next()? != "enabled" {
        return None;
    }
    let (mut interpreter, mut flags, mut offset) = (None, "", 0);
    let (mut magic, mut mask) = (None, None);
    for line in lines {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "interpreter" => interpreter = Some(PathBuf::from(value)),
            "flags:" => flags = value,
            "offset" => offset = value.parse().ok()?,
            "magic" => magic = Some(bytes(value)?),
            "mask" => mask = Some(bytes(value)?),
            _ => {}
        }
    }
    let magic = magic?; // an entry without goes by the file's name
    let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
    let part = header.get(offset..offset + magic.len())?;
    let fits =
        part.iter().zip(&magic).zip(&mask).all(|((have, want), mask)| (have ^ want) & mask == 0);
    let is_held_open = flags.contains('F');
    interpreter.filter(|_| fits).map(|interpreter| Entry { name, interpreter, is_held_open })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    if hex.len().is_multiple_of(2) { (0..hex.len()).step_by(2).map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::elf::Program;
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/bin/emulate-arm64\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn an_entry_fits_by_its_magic_bytes() {
        let arm64 = Program::of("arm64").expect("known").header();
        let check = |text: &str, want: Option<bool>| {
            let got = read("it".to_owned(), text, &arm64).map(|entry| entry.is_held_open);
            assert_eq!(got, want, "{text}");
        };
        check(ARM64, Some(true));
        check(&ARM64.replace("OCF", "OC"), Some(false));
        check(&ARM64.replace("enabled", "disabled"), None);
        check(&ARM64.replace("b700", "f300"), None);
        check("enabled\ninterpreter /x\nflags: \nextension .exe\n", None);
        check(&ARM64.replace("offset 0", "offset 4000"), None);
        let riscv = Program::of("riscv64").expect("known").header();
        assert_eq!(read("it".to_owned(), ARM64, &riscv), None);
    }

    #[test]
    fn a_list_that_is_off_has_no_entries() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let arm64 = Program::of("arm64").expect("known").header();
        assert_eq!(find(dir.path(), &arm64), None);
        let write =
            |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect(name);
        write("status", "enabled\n");
        write("register", "");
        write("a", &ARM64.replace("OCF", ""));
        write("b", ARM64);
        assert_eq!(find(dir.path(), &arm64).expect("two fit").name, "b");
        write("status", "disabled\n");
        assert_eq!(find(dir.path(), &arm64), None);
    }
}
