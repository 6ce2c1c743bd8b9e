//! Writes tars: ustar headers, with PAX records only for what does not fit (design D8, IMG-24 to IMG-29).
//!
//! Owns the bytes of an entry. Refuses to choose and order entries (`write_layer`, exporters). Equal entries give equal
//! bytes: no user and group names, no access and change times, whole seconds, PAX keys sorted, sparse files full.

use std::io::{self, Read, Write};

use crate::pax;
use crate::{Entry, EntryKind, LayerError};

pub(crate) const BLOCK_BYTES: u64 = 512;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
const OCTAL_7_MAX: u64 = 0o7_777_777;
const OCTAL_11_MAX: u64 = 0o77_777_777_777;

/// Writes a tar entry by entry. Parents must come before their children.
pub struct TarWriter<'a> {
    out: &'a mut dyn Write,
    clamp_to: Option<i64>,
    exact_times: bool,
}

impl<'a> TarWriter<'a> {
    /// Starts a tar. Nothing is written yet.
    pub fn new(out: &'a mut dyn Write) -> TarWriter<'a> {
        TarWriter { out, clamp_to: None, exact_times: false }
    }

    /// Makes times later than this one this one, in seconds since 1970 (EPO-12).
    pub fn clamp_to(mut self, epoch: Option<i64>) -> TarWriter<'a> {
        self.clamp_to = epoch;
        self
    }

    /// Keeps the nanoseconds of times, in PAX records.
    pub(crate) fn exact_times(mut self) -> TarWriter<'a> {
        self.exact_times = true;
        self
    }

    /// Writes an entry; a whiteout under its `.wh.` name. A regular file that is not empty needs its content, of
    /// exactly the length that the entry says. The hard-link group is not looked at: see [`TarWriter::hard_link`].
    pub fn entry(
        &mut self,
        entry: &Entry,
        content: Option<&mut dyn Read>,
    ) -> Result<(), LayerError> {
        self.header(entry)?;
        let EntryKind::File { size_bytes, .. } = entry.kind else { return Ok(()) };
        let changed = || LayerError::Changed { path: entry.path.clone() };
        let mut left = size_bytes;
        let mut buffer = vec![0; left.min(128 * 1024) as usize];
        let Some(content) = content else {
            return if size_bytes == 0 { Ok(()) } else { Err(changed()) };
        };
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let len = content
                .read(&mut buffer[..want])
                .map_err(|source| LayerError::file("read", &entry.path, source))?;
            if len == 0 {
                return Err(changed());
            }
            self.data(&buffer[..len])?;
            left -= len as u64;
        }
        if content.read(&mut [0]).map_err(|source| LayerError::file("read", &entry.path, source))?
            > 0
        {
            return Err(changed());
        }
        self.pad(size_bytes)
    }

    /// Writes an entry as a further name of an earlier one.
    pub fn hard_link(&mut self, entry: &Entry, target: &[u8]) -> Result<(), LayerError> {
        self.write(&encode(entry, Some(target), self.clamp_to, self.exact_times))
    }

    /// Ends the tar with two zero blocks.
    pub fn finish(self) -> Result<(), LayerError> {
        let mut writer = self;
        writer.write(&[0; 2 * BLOCK_BYTES as usize])
    }

    /// Adds a file whose content `fill` writes: as many bytes as the entry says, which is looked at.
    pub fn filled(
        &mut self,
        entry: &Entry,
        fill: &mut dyn FnMut(&mut dyn Write) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let EntryKind::File { size_bytes, .. } = entry.kind else {
            return Err(LayerError::Changed { path: entry.path.clone() });
        };
        self.header(entry)?;
        let mut content = Counted { out: &mut *self.out, count_bytes: 0 };
        fill(&mut content)?;
        if content.count_bytes != size_bytes {
            return Err(LayerError::Changed { path: entry.path.clone() });
        }
        self.pad(size_bytes)
    }

    /// Writes the headers of an entry; its content must follow by `data` and `pad`.
    pub(crate) fn header(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.write(&encode(entry, None, self.clamp_to, self.exact_times))
    }

    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.write(bytes)
    }

    /// Fills the last block after `size_bytes` of content.
    pub(crate) fn pad(&mut self, size_bytes: u64) -> Result<(), LayerError> {
        let over = size_bytes % BLOCK_BYTES;
        match over {
            0 => Ok(()),
            over => self.write(&[0; BLOCK_BYTES as usize][over as usize..]),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.out.write_all(bytes).map_err(|source: io::Error| LayerError::WriteTar { source })
    }
}

/// Counts what passes.
struct Counted<'a> {
    out: &'a mut dyn Write,
    count_bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.count_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The header blocks of an entry, PAX ones first.
fn encode(
    entry: &Entry,
    hard_link: Option<&[u8]>,
    clamp_to: Option<i64>,
    exact_times: bool,
) -> Vec<u8> {
    let name = tar_name(entry);
    let (type_flag, link, size_bytes) = match (&entry.kind, hard_link) {
        (_, Some(target)) => (b'1', target, 0),
        (EntryKind::File { size_bytes, .. }, None) => (b'0', &[][..], *size_bytes),
        (EntryKind::Symlink { target }, None) => (b'2', &target[..], 0),
        (EntryKind::CharDevice { .. }, None) => (b'3', &[][..], 0),
        (EntryKind::BlockDevice { .. }, None) => (b'4', &[][..], 0),
        (EntryKind::Directory { .. }, None) => (b'5', &[][..], 0),
        (EntryKind::Fifo, None) => (b'6', &[][..], 0),
        (EntryKind::Whiteout | EntryKind::Socket, None) => (b'0', &[][..], 0),
    };
    let device = match entry.kind {
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            (major, minor)
        }
        _ => (0, 0),
    };
    let secs = entry.mtime.secs.min(clamp_to.unwrap_or(i64::MAX));
    let mut pax = Vec::new();
    let mut block = Block::default();
    let mut fit = |key: &str, fits: bool, value: &[u8]| {
        if !fits {
            pax::put_record(&mut pax, key.as_bytes(), value);
        }
    };
    // In the order of their keys; `SCHILY` sorts first.
    for (attribute, value) in &entry.xattrs {
        let key = format!("SCHILY.xattr.{}", String::from_utf8_lossy(attribute));
        fit(&key, false, value);
    }
    fit("gid", block.number(116, 8, entry.gid.into()), entry.gid.to_string().as_bytes());
    fit("linkpath", block.text(157, NAME_BYTES, link), link);
    let time_fits = secs >= 0 && block.number(136, 12, secs as u64);
    // Before 1970 a fraction counts the other way; nobody needs it there.
    let nanos = if exact_times && secs >= 0 { entry.mtime.nanos } else { 0 };
    let time = match nanos {
        0 => secs.to_string(),
        nanos => format!("{secs}.{nanos:09}"),
    };
    fit("mtime", time_fits && nanos == 0, time.as_bytes());
    fit("path", block.path(&name), &name);
    fit("size", block.number(124, 12, size_bytes), size_bytes.to_string().as_bytes());
    fit("uid", block.number(108, 8, entry.uid.into()), entry.uid.to_string().as_bytes());
    block.number(100, 8, entry.mode.into());
    block.number(329, 8, device.0.into());
    block.number(337, 8, device.1.into());
    let mut out = Vec::with_capacity(BLOCK_BYTES as usize);
    if !pax.is_empty() {
        out.extend(pax_block(&name, pax.len() as u64).sealed(b'x'));
        let padded = pax.len().next_multiple_of(BLOCK_BYTES as usize);
        pax.resize(padded, 0);
        out.extend(pax);
    }
    out.extend(block.sealed(type_flag));
    out
}

/// The header of a PAX header: a name that tells a person what it belongs to, nothing else.
fn pax_block(name: &[u8], size_bytes: u64) -> Block {
    let base = name.strip_suffix(b"/").unwrap_or(name);
    let base = base.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let mut pax_name = b"PaxHeaders.0/".to_vec();
    pax_name.extend(base.iter().filter(|b| b.is_ascii_graphic()).take(80));
    let mut block = Block::default();
    block.text(0, NAME_BYTES, &pax_name);
    for (at, len, number) in
        [(100, 8, 0), (108, 8, 0), (116, 8, 0), (124, 12, size_bytes), (136, 12, 0)]
    {
        block.number(at, len, number);
    }
    block
}

/// The name in the tar: a directory's with a slash, a whiteout's with its prefix.
pub(crate) fn tar_name(entry: &Entry) -> Vec<u8> {
    match entry.kind {
        EntryKind::Directory { .. } if entry.path.is_empty() => b"./".to_vec(),
        EntryKind::Directory { .. } => [&entry.path[..], b"/"].concat(),
        EntryKind::Whiteout => match entry.parent() {
            [] => [b".wh.", entry.name()].concat(),
            parent => [parent, b"/.wh.", entry.name()].concat(),
        },
        _ => entry.path.clone(),
    }
}

/// One header block.
struct Block([u8; BLOCK_BYTES as usize]);

impl Default for Block {
    fn default() -> Block {
        let mut bytes = [0; BLOCK_BYTES as usize];
        bytes[257..265].copy_from_slice(b"ustar\x0000");
        Block(bytes)
    }
}

impl Block {
    /// Octal digits and a zero byte; zero and `false` when the number does not fit.
    fn number(&mut self, at: usize, len: usize, number: u64) -> bool {
        let fits = number <= if len == 8 { OCTAL_7_MAX } else { OCTAL_11_MAX };
        let number = if fits { number } else { 0 };
        let digits = format!("{number:0width$o}", width = len - 1);
        self.0[at..at + len - 1].copy_from_slice(digits.as_bytes());
        fits
    }

    /// Bytes of a text; what fits of its ASCII and `false` when that is not all.
    fn text(&mut self, at: usize, len: usize, text: &[u8]) -> bool {
        let ascii = text.iter().copied().filter(u8::is_ascii).take(len);
        for (place, byte) in self.0[at..at + len].iter_mut().zip(ascii) {
            *place = byte;
        }
        text.len() <= len && text.is_ascii()
    }

    /// A path, split over the two fields when that makes it fit.
    fn path(&mut self, path: &[u8]) -> bool {
        if path.len() <= NAME_BYTES || !path.is_ascii() {
            return self.text(0, NAME_BYTES, path);
        }
        // The last slash that leaves a name in each field; a slash at the end belongs to the name.
        let first = path.len().saturating_sub(NAME_BYTES + 1);
        let last = PREFIX_BYTES.min(path.len().saturating_sub(2));
        let slash = (first.max(1)..=last).rev().find(|at| path[*at] == b'/');
        match slash {
            Some(at) => {
                self.text(345, PREFIX_BYTES, &path[..at])
                    && self.text(0, NAME_BYTES, &path[at + 1..])
            }
            None => self.text(0, NAME_BYTES, path),
        }
    }

    fn sealed(mut self, type_flag: u8) -> [u8; BLOCK_BYTES as usize] {
        self.0[156] = type_flag;
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0
    }
}
