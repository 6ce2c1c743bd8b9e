//! The blobs of rpm's own database `Packages.db`, which SUSE uses: a table of slots, each with the place of a blob.

use super::read::{Damaged, Region};

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
const PAGE_BYTES: u64 = 4096;
/// Places are counted in these; slots and the heads of blobs have as many, the file's head two.
const BLOCK_BYTES: usize = 16;

/// Calls back with each blob, until that says no; returns how many were longer than allowed.
pub(super) fn blobs(
    file: &Region<'_>,
    max_bytes: u64,
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<u64, Damaged> {
    let read = |at: u64, len: u64| file.read(at, len).ok_or(Damaged);
    let head = read(0, 2 * BLOCK_BYTES as u64)?;
    // The version has been zero since there is one.
    if !head.starts_with(MAGIC) || number(&head, 4) != 0 {
        return Err(Damaged);
    }
    let mut too_long = 0;
    for page_number in 0..number(&head, 12) {
        let page = read(page_number * PAGE_BYTES, PAGE_BYTES)?;
        let skipped = if page_number == 0 { 2 } else { 0 };
        for slot in page.chunks_exact(BLOCK_BYTES).skip(skipped) {
            let at = number(slot, 8) * BLOCK_BYTES as u64;
            if !slot.starts_with(SLOT) {
                return Err(Damaged);
            }
            if at == 0 {
                continue;
            }
            let blob = read(at, BLOCK_BYTES as u64)?;
            let len = number(&blob, 12);
            if !blob.starts_with(BLOB) || blob[4..8] != slot[4..8] {
                return Err(Damaged);
            }
            if len > max_bytes {
                too_long += 1;
            } else if !each(&read(at + BLOCK_BYTES as u64, len)?) {
                return Ok(too_long);
            }
        }
    }
    Ok(too_long)
}

/// Four bytes, the lowest first.
fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
