//! The values of a hash of Berkeley DB, which rpm kept its packages in until 4.16: pages with keys and values by turns,
//! and chains of pages for what is longer.
//!
//! Buckets do not matter to somebody who wants everything: all pages are read in their order. Chains may be anything;
//! each page of one gives at least a byte, and all that is read is paid for.

use super::look::LINE_COSTS;
use super::read::{Damaged, Region};

const MAGIC: u64 = 0x06_1561;
const HEADER_BYTES: u64 = 512;
const PAGE_HEADER_BYTES: usize = 26;
/// Types of files and pages.
const HASH_FILE: u8 = 8;
const HASH_PAGES: [u8; 2] = [2, 13];
const OVERFLOW_PAGE: u8 = 7;
/// Types of items.
const HERE: u8 = 1;
const ELSEWHERE: u8 = 3;

struct Hash<'a> {
    file: &'a Region<'a>,
    is_big: bool,
    page_bytes: u64,
}

/// Calls back with each value, until that says no; returns how many were longer than allowed.
pub(super) fn values(
    file: &Region<'_>,
    max_bytes: u64,
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<u64, Damaged> {
    let header = file.read(0, HEADER_BYTES).ok_or(Damaged)?;
    let is_big = number(&header[12..16], true) == MAGIC;
    let field = |at: usize| number(&header[at..at + 4], is_big);
    let (page_bytes, last) = (field(20), field(32));
    let is_sane = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
    if field(12) != MAGIC || header[25] != HASH_FILE || !is_sane {
        return Err(Damaged);
    }
    let hash = Hash { file, is_big, page_bytes };
    let mut too_long = 0;
    for page in 1..=last {
        let page = hash.page(page)?;
        if !HASH_PAGES.contains(&page[25]) {
            continue;
        }
        for pair in hash.items(&page)?.chunks_exact(2) {
            // Behind the key of zeros is how many there are.
            if pair[0].iter().skip(1).all(|b| *b == 0) {
                continue;
            }
            match hash.value(pair[1], max_bytes)? {
                Some(value) if !each(&value) => return Ok(too_long),
                Some(_) => {}
                None => too_long += 1,
            }
        }
    }
    Ok(too_long)
}

impl Hash<'_> {
    fn number(&self, bytes: &[u8], at: usize, len: usize) -> Result<u64, Damaged> {
        bytes.get(at..at + len).map(|bytes| number(bytes, self.is_big)).ok_or(Damaged)
    }

    fn page(&self, page: u64) -> Result<Vec<u8>, Damaged> {
        self.file.read(page * self.page_bytes, self.page_bytes).ok_or(Damaged)
    }

    /// The items of a page, each from its type on. They are put into it from its end.
    fn items<'p>(&self, page: &'p [u8]) -> Result<Vec<&'p [u8]>, Damaged> {
        let count = self.number(page, 20, 2)? as usize;
        let mut end = page.len();
        let mut items = Vec::new();
        for index in 0..count {
            let at = self.number(page, PAGE_HEADER_BYTES + 2 * index, 2)? as usize;
            items.push(page.get(at..end).filter(|item| !item.is_empty()).ok_or(Damaged)?);
            end = at;
        }
        Ok(items)
    }

    /// What an item holds; `None` when that is longer than allowed.
    fn value(&self, item: &[u8], max_bytes: u64) -> Result<Option<Vec<u8>>, Damaged> {
        if !self.file.look.spend(LINE_COSTS + item.len() as u64, self.file.path) {
            return Err(Damaged);
        }
        match item[0] {
            HERE => Ok(Some(item[1..].to_vec())),
            ELSEWHERE => {
                let (first, len) = (self.number(item, 4, 4)?, self.number(item, 8, 4)?);
                if len > max_bytes { Ok(None) } else { self.chain(first, len).map(Some) }
            }
            _ => Err(Damaged),
        }
    }

    fn chain(&self, first: u64, len: u64) -> Result<Vec<u8>, Damaged> {
        let (mut next, mut value) = (first, Vec::new());
        while (value.len() as u64) < len {
            let page = self.page(next)?;
            let here = self.number(&page, 22, 2)? as usize;
            let bytes = page.get(PAGE_HEADER_BYTES..PAGE_HEADER_BYTES + here).ok_or(Damaged)?;
            if here == 0 || page[25] != OVERFLOW_PAGE {
                return Err(Damaged);
            }
            value.extend_from_slice(bytes);
            next = self.number(&page, 16, 4)?;
        }
        Ok(value)
    }
}

fn number(bytes: &[u8], is_big: bool) -> u64 {
    let join = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match is_big {
        true => bytes.iter().fold(0, join),
        false => bytes.iter().rev().fold(0, join),
    }
}
