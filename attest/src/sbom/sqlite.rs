//! The rows of one table of an SQLite database, read as the format is documented: pages, B-trees, records, overflow.
//!
//! Each page is used at most once, so whatever points in circles ends; a table of a database that is damaged ends
//! early, and the caller is told.

use super::look::LINE_COSTS;
use super::read::{Damaged, Region};

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: u64 = 100;
/// Trees of more levels cannot be: each page has two children at least.
const DEPTH_MAX: usize = 40;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Columns that are looked at.
const COLUMNS_MAX: usize = 64;

/// A database.
pub(super) struct Database<'a> {
    file: &'a Region<'a>,
    page_bytes: u64,
    /// Without what is reserved at the end of each page.
    usable_bytes: u64,
    /// Pages that were read, one bit each.
    used: Vec<u8>,
}

/// A value of a row. Numbers with fractions are nobody's here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Nothing,
    Number(i64),
    Bytes(&'a [u8]),
}

impl<'a> Database<'a> {
    /// Reads the header; `None` when it is no database.
    pub(super) fn open(file: &'a Region<'a>) -> Option<Database<'a>> {
        let header = file.read(0, HEADER_BYTES)?;
        if !header.starts_with(MAGIC) {
            return None;
        }
        let page_bytes = match number(&header[16..18]) {
            1 => 65_536,
            bytes if bytes >= 512 && bytes.is_power_of_two() => bytes,
            _ => return None,
        };
        let usable_bytes = page_bytes.checked_sub(u64::from(header[20]))?;
        // The work does not reach further: a page costs a kilobyte at least. What is to do has no more rows.
        let pages = (file.len() / page_bytes).min(1 << 22);
        let used = vec![0; (pages / 8 + 1) as usize];
        Some(Database { file, page_bytes, usable_bytes, used })
    }

    /// Calls back with each row of a table, until that says no. Rows longer than allowed are left out and counted.
    pub(super) fn rows(
        &mut self,
        table: &str,
        row_max_bytes: u64,
        row: &mut dyn FnMut(&[Value<'_>]) -> bool,
    ) -> Result<u64, Damaged> {
        let mut root = None;
        self.tree(1, row_max_bytes, &mut |columns| {
            // type, name, table, root page, text
            if let [Value::Bytes(b"table"), Value::Bytes(name), _, Value::Number(page), ..] =
                columns
                && *name == table.as_bytes()
            {
                root = u64::try_from(*page).ok();
            }
            root.is_none()
        })?;
        self.used.fill(0);
        self.tree(root.ok_or(Damaged)?, row_max_bytes, row)
    }

    /// All rows of a B-tree in their order; returns how many were too long.
    fn tree(
        &mut self,
        root: u64,
        row_max_bytes: u64,
        row: &mut dyn FnMut(&[Value<'_>]) -> bool,
    ) -> Result<u64, Damaged> {
        let mut too_long = 0;
        let mut todo = vec![(root, 0)];
        while let Some((number_of_page, depth)) = todo.pop() {
            let page = self.page(number_of_page)?;
            // The first page begins with the database's header.
            let start = if number_of_page == 1 { HEADER_BYTES as usize } else { 0 };
            let kind = *page.get(start).ok_or(Damaged)?;
            let cells = number(page.get(start + 3..start + 5).ok_or(Damaged)?) as usize;
            let pointers = start + if kind == INTERIOR { 12 } else { 8 };
            let pointers = page.get(pointers..pointers + 2 * cells).ok_or(Damaged)?;
            let places = pointers.chunks_exact(2).map(|pointer| number(pointer) as usize);
            match kind {
                INTERIOR if depth < DEPTH_MAX => {
                    let child = |at: usize| page.get(at..at + 4).map(number).ok_or(Damaged);
                    let mut children = places.map(child).collect::<Result<Vec<u64>, _>>()?;
                    children.push(child(start + 8)?);
                    todo.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
                    // There are not so many pages: some are named twice.
                    if todo.len() > 8 * self.used.len() {
                        return Err(Damaged);
                    }
                }
                LEAF => {
                    for at in places {
                        let payload =
                            self.payload(page.get(at..).ok_or(Damaged)?, row_max_bytes)?;
                        // Many places may be one cell.
                        let row_bytes = payload.as_ref().map_or(0, Vec::len) as u64;
                        if !self.file.look.spend(LINE_COSTS + row_bytes, self.file.path) {
                            return Err(Damaged);
                        }
                        match payload {
                            Some(payload) if !row(&columns(&payload)?) => return Ok(too_long),
                            Some(_) => {}
                            None => too_long += 1,
                        }
                    }
                }
                _ => return Err(Damaged),
            }
        }
        Ok(too_long)
    }

    /// A page by its number, from one; each once.
    fn page(&mut self, number_of_page: u64) -> Result<Vec<u8>, Damaged> {
        let index = number_of_page.checked_sub(1).ok_or(Damaged)?;
        let byte = self.used.get_mut((index / 8) as usize).ok_or(Damaged)?;
        let bit = 1 << (index % 8);
        if *byte & bit != 0 {
            return Err(Damaged);
        }
        *byte |= bit;
        self.file.read(index * self.page_bytes, self.page_bytes).ok_or(Damaged)
    }

    /// What a cell of a leaf holds: in the page as much as the format says, the rest in a chain of pages.
    fn payload(&mut self, cell: &[u8], max_bytes: u64) -> Result<Option<Vec<u8>>, Damaged> {
        let (len, cell) = varint(cell)?;
        let (_row_id, cell) = varint(cell)?;
        if len > max_bytes {
            return Ok(None);
        }
        let usable = self.usable_bytes;
        let most = usable.checked_sub(35).ok_or(Damaged)?;
        if len <= most {
            return cell.get(..len as usize).map(|payload| Some(payload.to_vec())).ok_or(Damaged);
        }
        let least = (usable.saturating_sub(12)) * 32 / 255 - 23;
        let fitting = least + (len - least) % (usable - 4);
        let here = if fitting <= most { fitting } else { least } as usize;
        let mut payload = cell.get(..here).ok_or(Damaged)?.to_vec();
        let mut next = number(cell.get(here..here + 4).ok_or(Damaged)?);
        while (payload.len() as u64) < len {
            let page = self.page(next)?;
            let missing = (len as usize - payload.len()).min(usable as usize - 4);
            next = number(&page[..4]);
            payload.extend_from_slice(page.get(4..4 + missing).ok_or(Damaged)?);
        }
        Ok(Some(payload))
    }
}

/// The columns of a record: types first, values behind.
fn columns(record: &[u8]) -> Result<Vec<Value<'_>>, Damaged> {
    let (header_bytes, _) = varint(record)?;
    let header_bytes = usize::try_from(header_bytes).map_err(|_| Damaged)?;
    let (header, mut values) = record.split_at_checked(header_bytes).ok_or(Damaged)?;
    let mut types = varint(header)?.1;
    let mut columns = Vec::new();
    while !types.is_empty() && columns.len() < COLUMNS_MAX {
        let (kind, rest) = varint(types)?;
        types = rest;
        let len = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(Damaged),
            kind => (kind - 12) / 2,
        };
        let len = usize::try_from(len).map_err(|_| Damaged)?;
        let (value, rest) = values.split_at_checked(len).ok_or(Damaged)?;
        values = rest;
        columns.push(match kind {
            0 | 7 => Value::Nothing,
            8 | 9 => Value::Number(kind as i64 - 8),
            1..=6 => Value::Number(signed(value)),
            _ => Value::Bytes(value),
        });
    }
    Ok(columns)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len() as u32;
    (number(bytes) << unused) as i64 >> unused
}

/// A number of up to nine bytes, and what follows.
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Damaged> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Ok((value << 8 | u64::from(*byte), &bytes[9..]));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[at + 1..]));
        }
    }
    Err(Damaged)
}
