//! Zip archives: the central directory and single members, also of archives behind a script and of those with more than
//! 65,535 members.

use flate2::read::DeflateDecoder;

use super::look::{LINE_COSTS, Left};
use super::read::{self, Region};

/// The record at the end, and the longest comment that may stand behind it.
const END_BYTES: u64 = 22;
const COMMENT_MAX_BYTES: u64 = 65_535;
const END: &[u8] = b"PK\x05\x06";
const WIDE_PLACE: &[u8] = b"PK\x06\x07";
const WIDE_PLACE_BYTES: u64 = 20;
const WIDE_END: &[u8] = b"PK\x06\x06";
const WIDE_END_BYTES: u64 = 56;
const MEMBER: &[u8] = b"PK\x01\x02";
const MEMBER_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;
/// Of all names together.
const DIRECTORY_MAX_BYTES: u64 = 32 << 20;

/// An archive: where its members are counted from, and its directory.
pub(super) struct Zip<'a> {
    file: &'a Region<'a>,
    /// What stands before the archive.
    start: u64,
    directory: Vec<u8>,
}

/// A member as the directory has it.
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    method: u64,
    packed_bytes: u64,
    at: u64,
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + len)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

impl<'a> Zip<'a> {
    /// Reads the directory; `None` when it is no archive, or has a directory without bounds, which is noted.
    pub(super) fn open(file: &'a Region<'a>) -> Option<Zip<'a>> {
        let tail_bytes = file.len().min(END_BYTES + COMMENT_MAX_BYTES + WIDE_PLACE_BYTES);
        let tail_at = file.len() - tail_bytes;
        let tail = file.read(tail_at, tail_bytes)?;
        let last = (tail.len() + 1).checked_sub(END_BYTES as usize)?;
        let found = (0..last).rev().find(|at| tail[*at..].starts_with(END))?;
        let end = &tail[found..];
        let (mut len, mut offset) = (number(end, 12, 4)?, number(end, 16, 4)?);
        let mut directory_end = tail_at + found as u64;
        if let Some((at, wide)) = wide_end(file, &tail[..found], tail_at) {
            (len, offset) = (number(&wide, 40, 8)?, number(&wide, 48, 8)?);
            directory_end = at;
        }
        if len > DIRECTORY_MAX_BYTES {
            file.look.leave_out(Left::Large, file.path);
            return None;
        }
        let at = directory_end.checked_sub(len)?;
        let directory = file.read(at, len)?;
        Some(Zip { file, start: at.checked_sub(offset)?, directory })
    }

    /// The members, until the directory ends or makes no sense, or the work is done.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'_>> {
        let mut rest = self.directory.as_slice();
        std::iter::from_fn(move || {
            let fixed = rest.get(..MEMBER_BYTES).filter(|fixed| fixed.starts_with(MEMBER))?;
            let field = |at, len| number(fixed, at, len).unwrap_or_default();
            let lens = [field(28, 2), field(30, 2), field(32, 2)].map(|len| len as usize);
            let name = rest.get(MEMBER_BYTES..MEMBER_BYTES + lens[0])?;
            let (method, packed_bytes, at) = (field(10, 2), field(20, 4), field(42, 4));
            rest = rest.get(MEMBER_BYTES + lens.iter().sum::<usize>()..)?;
            let is_paid = self.file.look.spend(LINE_COSTS, self.file.path);
            is_paid.then_some(Member { name, method, packed_bytes, at })
        })
    }

    /// The bytes of a member, no more than so many.
    pub(super) fn read(&self, member: &Member<'_>, max_bytes: u64) -> Option<Vec<u8>> {
        let packed = self.packed(member)?;
        if packed.len() > max_bytes {
            self.file.look.leave_out(Left::Large, self.file.path);
            return None;
        }
        let bytes = packed.read(0, packed.len())?;
        match member.method {
            0 => Some(bytes),
            _ => {
                let unpacker = DeflateDecoder::new(bytes.as_slice());
                read::unpacked(self.file.look, self.file.path, unpacker, max_bytes)
            }
        }
    }

    /// A member for reading here and there: where it lies when it is stored as it is, otherwise in memory.
    pub(super) fn region(&self, member: &Member<'_>) -> Option<Region<'a>> {
        match member.method {
            0 => self.packed(member),
            _ => {
                let bytes = self.read(member, read::AT_ONCE_MAX_BYTES)?;
                Some(Region::of_bytes(self.file.look, self.file.path, bytes))
            }
        }
    }

    fn packed(&self, member: &Member<'_>) -> Option<Region<'a>> {
        let at = self.start.checked_add(member.at)?;
        let local = self.file.read(at, LOCAL_BYTES)?;
        if !local.starts_with(LOCAL) || !matches!(member.method, 0 | 8) {
            return None;
        }
        let skipped = LOCAL_BYTES + number(&local, 26, 2)? + number(&local, 28, 2)?;
        self.file.part(at + skipped, member.packed_bytes)
    }
}

/// The record that stands before the end where numbers are larger, with its place. `before` begins at `start`.
fn wide_end(file: &Region<'_>, before: &[u8], start: u64) -> Option<(u64, Vec<u8>)> {
    let place_at = before.len().checked_sub(WIDE_PLACE_BYTES as usize)?;
    let place = before[place_at..].strip_prefix(WIDE_PLACE)?;
    // The place that is said does not count what stands before the archive.
    let usual = (start + place_at as u64).checked_sub(WIDE_END_BYTES);
    let places = [usual, number(place, 4, 8)].into_iter().flatten();
    let mut found = places.filter_map(|at| Some((at, file.read(at, WIDE_END_BYTES)?)));
    found.find(|(_, wide)| wide.starts_with(WIDE_END))
}

/// Makes archives for tests: each member stored or deflated.
#[cfg(test)]
pub(super) fn zip(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
    use std::io::Write as _;
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content, is_deflated) in members {
        let mut bytes = content.to_vec();
        if *is_deflated {
            let mut out = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
            out.write_all(content).expect("memory");
            bytes = out.finish().expect("memory");
        }
        let at = file.len() as u32;
        let method = [8 * u8::from(*is_deflated), 0];
        // Method, time and date, checksum; then the lengths.
        let mut middle = [method.as_slice(), &[0; 8]].concat();
        for number in [bytes.len() as u32, content.len() as u32, name.len() as u32] {
            middle.extend_from_slice(&number.to_le_bytes());
        }
        let local = [LOCAL, &[20, 0, 0, 0], &middle, name.as_bytes(), &bytes].concat();
        let row = [MEMBER, &[20, 0, 20, 0, 0, 0], &middle, &[0; 10], &at.to_le_bytes()].concat();
        file.extend_from_slice(&local);
        directory.extend_from_slice(&[row.as_slice(), name.as_bytes()].concat());
    }
    let numbers = [directory.len() as u32, file.len() as u32].map(u32::to_le_bytes).concat();
    [file.as_slice(), &directory, END, &[0; 8], &numbers, &[0; 2]].concat()
}
