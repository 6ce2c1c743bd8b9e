//! Sparse maps of tars: old GNU, and GNU's PAX forms 0.1 and 1.0.
//!
//! Owns where the stored bytes lie in the file. Refuses to know the stream they come from. Form 0.0 repeats its keys,
//! which this reader refuses like every repeated key.

use crate::pax::{Records, parse_decimal};

/// Pieces that one file may have (security.md B9).
pub(crate) const PIECES_MAX: u64 = 100_000;
/// Length that a sparse file may claim: its holes cost nothing in the tar but are written full.
const SIZE_MAX_BYTES: u64 = 64 << 30;

/// Stored pieces in the order of the file: offset and length.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pieces: Vec<(u64, u64)>,
    size_bytes: u64,
    /// The piece that is next or under way, and how far the file has been read.
    at: usize,
    position: u64,
}

/// What comes next in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// So many zero bytes.
    Hole(u64),
    /// So many bytes from the stream.
    Data(u64),
}

impl SparseMap {
    /// Checks a map: pieces in order, without overlap, inside the file, and as long together as what is stored.
    pub(crate) fn new(
        pieces: Vec<(u64, u64)>,
        size_bytes: u64,
        stored_bytes: u64,
    ) -> Result<SparseMap, &'static str> {
        const BAD: &str = "malformed sparse map";
        if size_bytes > SIZE_MAX_BYTES {
            return Err("sparse file of more than 64 GiB");
        }
        let mut end = 0u64;
        let mut sum = 0u64;
        for (offset, len) in &pieces {
            if *offset < end {
                return Err(BAD);
            }
            end = offset.checked_add(*len).filter(|end| *end <= size_bytes).ok_or(BAD)?;
            sum += len;
        }
        match sum == stored_bytes {
            true => Ok(SparseMap { pieces, size_bytes, at: 0, position: 0 }),
            false => Err(BAD),
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What is next; `None` at the end of the file.
    pub(crate) fn span(&self) -> Option<Span> {
        let piece = self.pieces[self.at..].first();
        match piece {
            Some((offset, _)) if *offset > self.position => {
                Some(Span::Hole(offset - self.position))
            }
            Some((offset, len)) => Some(Span::Data(offset + len - self.position)),
            None if self.position < self.size_bytes => {
                Some(Span::Hole(self.size_bytes - self.position))
            }
            None => None,
        }
    }

    /// Goes on by bytes of the span that is next.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        self.skip_finished();
    }

    /// Steps over pieces that are at their end; empty ones too.
    pub(crate) fn skip_finished(&mut self) {
        while self.pieces.get(self.at).is_some_and(|(offset, len)| offset + len <= self.position) {
            self.at += 1;
        }
    }
}

/// The PAX form that a header announces.
pub(crate) enum PaxSparse {
    /// The map is in the header (0.1).
    InHeader { pieces: Vec<(u64, u64)>, size_bytes: u64 },
    /// The map is before the data (1.0).
    BeforeData { size_bytes: u64 },
}

/// Finds out about a PAX sparse form; its records are taken out.
pub(crate) fn from_pax(records: &mut Records) -> Result<Option<PaxSparse>, &'static str> {
    const BAD: &str = "malformed GNU.sparse record";
    let mut number = |key: &str| match records.remove(key.as_bytes()) {
        None => Ok(None),
        Some(value) => parse_decimal(&value).map(Some).ok_or(BAD),
    };
    let version = (number("GNU.sparse.major")?, number("GNU.sparse.minor")?);
    let real_size = number("GNU.sparse.realsize")?;
    let size = number("GNU.sparse.size")?;
    let count = number("GNU.sparse.numblocks")?;
    let map = records.remove(&b"GNU.sparse.map"[..]);
    if records.contains_key(&b"GNU.sparse.offset"[..]) {
        return Err("sparse file in PAX form 0.0, which readers understand differently");
    }
    match (version, map) {
        ((Some(1), Some(0)), None) => {
            Ok(Some(PaxSparse::BeforeData { size_bytes: real_size.or(size).ok_or(BAD)? }))
        }
        ((None | Some(0), None | Some(1)), Some(map)) => {
            let numbers: Vec<u64> = map
                .split(|b| *b == b',')
                .filter(|text| !(text.is_empty() && map.is_empty()))
                .map(|text| parse_decimal(text).ok_or(BAD))
                .collect::<Result<_, _>>()?;
            let pieces: Vec<(u64, u64)> = pairs(&numbers).ok_or(BAD)?;
            if count.is_some_and(|count| count != pieces.len() as u64) {
                return Err(BAD);
            }
            let size_bytes = size.or(real_size).ok_or(BAD)?;
            Ok(Some(PaxSparse::InHeader { pieces, size_bytes }))
        }
        ((None, None), None) if real_size.is_none() && size.is_none() => Ok(None),
        _ => Err(BAD),
    }
}

fn pairs(numbers: &[u64]) -> Option<Vec<(u64, u64)>> {
    let whole = numbers.len().is_multiple_of(2);
    whole.then(|| numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        type Case = (&'static [(u64, u64)], u64, u64, bool);
        let cases: &[Case] = &[
            (&[], 0, 0, true),
            (&[], 10, 0, true),
            (&[(0, 4), (8, 2)], 10, 6, true),
            (&[(0, 4), (10, 0)], 10, 4, true),
            (&[(0, 4), (3, 2)], 10, 6, false),
            (&[(4, 4), (0, 2)], 10, 6, false),
            (&[(0, 11)], 10, 11, false),
            (&[(u64::MAX, 2)], 10, 2, false),
            (&[(0, 4)], 10, 5, false),
            (&[], 1 << 63, 0, false),
        ];
        for (pieces, size, stored, good) in cases {
            let map = SparseMap::new(pieces.to_vec(), *size, *stored);
            assert_eq!(map.is_ok(), *good, "{pieces:?} of {size}");
        }
    }

    #[test]
    fn spans_alternate() {
        let mut map = SparseMap::new(vec![(0, 0), (2, 3), (5, 1), (9, 0)], 9, 4).unwrap();
        map.skip_finished();
        let mut spans = Vec::new();
        while let Some(span) = map.span() {
            let (Span::Hole(len) | Span::Data(len)) = span;
            map.advance(len);
            spans.push(span);
        }
        assert_eq!(spans, [Span::Hole(2), Span::Data(3), Span::Data(1), Span::Hole(3)]);
    }
}
