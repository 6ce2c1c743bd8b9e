//! The parts of ELF files that tell what a program is made of: sections by name, and what lies at an address.

use super::read::Region;

/// A row of a table of sections or segments has 64 bytes at most.
const ROW_MAX_BYTES: u64 = 64;
/// The names of as many sections as there can be.
const NAMES_MAX_BYTES: u64 = 4 << 20;

/// An ELF file of either width and byte order.
pub(super) struct Elf<'a> {
    file: &'a Region<'a>,
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

/// How its numbers are written.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) is_64: bool,
    pub(super) is_big: bool,
}

struct Section {
    name: Vec<u8>,
    /// Where its bytes are in the file.
    at: u64,
    len: u64,
}

struct Segment {
    is_writable: bool,
    at: u64,
    address: u64,
    len: u64,
}

impl Numbers {
    /// A number of two, four or eight bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.is_big {
            true => bytes.iter().fold(0, join),
            false => bytes.iter().rev().fold(0, join),
        }
    }

    /// An address, as wide as the machine's.
    pub(super) fn address(self, bytes: &[u8]) -> Option<u64> {
        bytes.get(..self.width()).map(|bytes| self.number(bytes))
    }

    /// Bytes of an address.
    pub(super) fn width(self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    /// A field of a table's row: at its place in files of 64 bits or in those of 32.
    fn field(self, row: &[u8], wide: (usize, usize), narrow: (usize, usize)) -> u64 {
        let (at, len) = if self.is_64 { wide } else { narrow };
        row.get(at..at + len).map_or(0, |bytes| self.number(bytes))
    }
}

impl<'a> Elf<'a> {
    /// Reads the tables; `None` when it is no ELF file, or a damaged one.
    pub(super) fn open(file: &'a Region<'a>) -> Option<Elf<'a>> {
        let ident = file.read(0, 16)?;
        if !ident.starts_with(b"\x7fELF") {
            return None;
        }
        let numbers = Numbers { is_64: ident[4] == 2, is_big: ident[5] == 2 };
        let header = file.read(0, if numbers.is_64 { 64 } else { 52 })?;
        let field = |wide, narrow| numbers.field(&header, wide, narrow);
        let rows = |at: u64, size: u64, count: u64| {
            let is_sane = (1..=ROW_MAX_BYTES).contains(&size);
            file.read(at, if is_sane { size * count } else { 0 }).unwrap_or_default()
        };
        let (size, count) = (field((54, 2), (42, 2)), field((56, 2), (44, 2)));
        let programs = rows(field((32, 8), (28, 4)), size, count);
        let segments = segments(&programs, size, numbers);
        let (size, count) = (field((58, 2), (46, 2)), field((60, 2), (48, 2)));
        let table = rows(field((40, 8), (32, 4)), size, count);
        let sections = sections(file, &table, size, field((62, 2), (50, 2)), numbers);
        Some(Elf { file, sections, segments })
    }

    /// The bytes of a section, where it has no more than so many.
    pub(super) fn section(&self, name: &str, max_bytes: u64) -> Option<Vec<u8>> {
        let section = self.sections.iter().find(|section| section.name == name.as_bytes())?;
        if section.len > max_bytes {
            self.file.look.leave_out(super::look::Left::Large, self.file.path);
            return None;
        }
        self.file.read(section.at, section.len)
    }

    /// The beginning of the data that the program may write, no more than so many bytes.
    pub(super) fn data(&self, max_bytes: u64) -> Option<Vec<u8>> {
        let segment = self.segments.iter().find(|segment| segment.is_writable)?;
        self.file.read(segment.at, segment.len.min(max_bytes))
    }

    /// The bytes at an address of the running program.
    pub(super) fn at_address(&self, address: u64, len: u64) -> Option<Vec<u8>> {
        let inside = |segment: &&Segment| {
            let start = address.checked_sub(segment.address);
            let end = start.and_then(|start| start.checked_add(len));
            end.is_some_and(|end| end <= segment.len)
        };
        let segment = self.segments.iter().find(inside)?;
        self.file.read(segment.at.checked_add(address - segment.address)?, len)
    }
}

/// What is loaded into memory.
fn segments(table: &[u8], row_bytes: u64, numbers: Numbers) -> Vec<Segment> {
    let rows = table.chunks_exact(row_bytes.max(1) as usize);
    let loaded = rows.filter(|row| numbers.field(row, (0, 4), (0, 4)) == 1);
    let segment = |row: &[u8]| Segment {
        is_writable: numbers.field(row, (4, 4), (24, 4)) & 3 == 2,
        at: numbers.field(row, (8, 8), (4, 4)),
        address: numbers.field(row, (16, 8), (8, 4)),
        len: numbers.field(row, (32, 8), (16, 4)),
    };
    loaded.map(segment).collect()
}

fn sections(
    file: &Region<'_>,
    table: &[u8],
    row_bytes: u64,
    names_index: u64,
    numbers: Numbers,
) -> Vec<Section> {
    let rows: Vec<&[u8]> = table.chunks_exact(row_bytes.max(1) as usize).collect();
    let place =
        |row: &[u8]| (numbers.field(row, (24, 8), (16, 4)), numbers.field(row, (32, 8), (20, 4)));
    let Some(names) = rows.get(names_index as usize) else { return Vec::new() };
    let (at, len) = place(names);
    let Some(names) = file.read(at, len.min(NAMES_MAX_BYTES)) else { return Vec::new() };
    let section = |row: &&[u8]| {
        let (at, len) = place(row);
        let start = numbers.field(row, (0, 4), (0, 4)) as usize;
        let name = names.get(start..).unwrap_or_default();
        // Many rows may name one long text.
        let end = name.iter().take(64).position(|b| *b == 0).unwrap_or(0);
        Section { name: name[..end].to_vec(), at, len }
    };
    // One without bytes in the file (type 8) is none.
    rows.iter().filter(|row| numbers.field(row, (4, 4), (4, 4)) != 8).map(section).collect()
}
