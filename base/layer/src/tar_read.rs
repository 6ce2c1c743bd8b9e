//! Reads tars as Go's `archive/tar` does, which decides what the field's engines see (security.md B4).
//!
//! Owns the sequence of headers and where an entry's content ends. Refuses, with an error, what readers understand
//! differently: PAX keys given twice, two extended headers of one kind before an entry, a name given by PAX and by
//! GNU, content behind links and directories, global headers with names or sizes, negative numbers but for times.
//! Refuses to know what is done with the entries: names come as they are.

use std::io::{self, BufRead, BufReader, Read, Seek};

use crate::pax::{self, Records};
use crate::sparse::{self, PaxSparse, Span, SparseMap};
use crate::tar_write::BLOCK_BYTES;
use crate::{LayerError, Mtime};

type Block = [u8; BLOCK_BYTES as usize];

/// An entry of a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// The name as it is in the tar.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: TarKind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of the content that [`TarReader`] will give; zero but for files.
    pub size_bytes: u64,
    /// Modification time.
    pub mtime: Mtime,
    /// All extended attributes that the tar has for it.
    pub xattrs: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    /// The tar says where the file has holes; the content that is given has zeros there.
    pub is_sparse: bool,
}

/// Kinds of tar entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A further name of an earlier entry.
    HardLink {
        /// The earlier name, as it is in the tar.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Reads an uncompressed tar. Between two entries it is itself the content of the first ([`Read`]).
pub struct TarReader<R> {
    src: R,
    offset: u64,
    /// Stored bytes of the current entry that have not been read.
    left: u64,
    /// What fills its last block.
    padding: u64,
    sparse: Option<SparseMap>,
    ended: bool,
    /// Leaves out so many bytes; gives how many there were.
    pass: fn(&mut R, u64) -> io::Result<u64>,
}

/// Headers that belong to the entry after them.
#[derive(Default)]
struct Extended {
    pax: Option<Records>,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
}

impl<R: Read + Seek> TarReader<BufReader<R>> {
    /// Reads a tar that lies somewhere: content that nobody asks for is not read, nor is it noticed where the end is
    /// missing.
    pub fn seeking(src: R) -> TarReader<BufReader<R>> {
        let pass = |src: &mut BufReader<R>, bytes: u64| {
            src.seek_relative(i64::try_from(bytes).map_err(io::Error::other)?)?;
            Ok(bytes)
        };
        TarReader { pass, ..TarReader::new(BufReader::new(src)) }
    }
}

impl<R: BufRead> TarReader<R> {
    /// Bytes in the regular files from here to the end of the tar, a file with several names once.
    pub fn file_bytes(&mut self) -> Result<u64, LayerError> {
        let mut sum = 0u64;
        while let Some(entry) = self.next_entry()? {
            sum = sum.saturating_add(entry.size_bytes);
        }
        Ok(sum)
    }

    /// Starts at the first header.
    pub fn new(src: R) -> TarReader<R> {
        let pass = |src: &mut R, bytes| io::copy(&mut src.take(bytes), &mut io::sink());
        TarReader { src, offset: 0, left: 0, padding: 0, sparse: None, ended: false, pass }
    }

    /// The next entry; what was not read of the content before is skipped. `None` at the end: two zero blocks, or the
    /// end of the stream between two entries.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, LayerError> {
        if self.ended {
            return Ok(None);
        }
        self.sparse = None;
        self.skip(self.left + self.padding)?;
        (self.left, self.padding) = (0, 0);
        let mut extended = Extended::default();
        loop {
            let at = self.offset;
            let bad = |reason| LayerError::BadHeader { offset: at, reason };
            let Some(block) = self.header_block()? else {
                self.ended = true;
                return match extended.is_empty() {
                    true => Ok(None),
                    false => Err(bad("an extended header without its entry")),
                };
            };
            let header = Header::parse(&block).map_err(bad)?;
            match header.type_flag {
                b'x' | b'g' | b'L' | b'K' => {
                    let content = self.small_content(&header, at)?;
                    extended.add(header.type_flag, content).map_err(bad)?;
                }
                _ => return self.entry(header, extended, &block, at).map(Some),
            }
        }
    }

    /// Reads to the end of the stream; whether anything but zeros came after the end of the tar.
    pub fn finish(&mut self) -> Result<bool, LayerError> {
        let mut trailing = false;
        loop {
            let chunk = self.src.fill_buf().map_err(|source| LayerError::ReadTar { source })?;
            if chunk.is_empty() {
                return Ok(trailing);
            }
            trailing |= chunk.iter().any(|byte| *byte != 0);
            let len = chunk.len();
            self.src.consume(len);
        }
    }

    /// The next block; `None` at the end of the tar.
    fn header_block(&mut self) -> Result<Option<Block>, LayerError> {
        let at = self.offset;
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => Err(LayerError::BadHeader {
                offset: at,
                reason: "a zero block stands between two entries",
            }),
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<Block>, LayerError> {
        let fail = |source| LayerError::ReadTar { source };
        if self.src.fill_buf().map_err(fail)?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK_BYTES as usize];
        self.src.read_exact(&mut block).map_err(fail)?;
        self.offset += BLOCK_BYTES;
        Ok(Some(block))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), LayerError> {
        let skipped =
            (self.pass)(&mut self.src, bytes).map_err(|source| LayerError::ReadTar { source })?;
        self.offset += skipped;
        match skipped == bytes {
            true => Ok(()),
            false => Err(LayerError::ReadTar { source: cut_short() }),
        }
    }

    /// The content of an extended header.
    fn small_content(&mut self, header: &Header, at: u64) -> Result<Vec<u8>, LayerError> {
        if header.size_bytes > pax::SIZE_MAX_BYTES {
            let reason = "an extended header of more than a megabyte";
            return Err(LayerError::BadHeader { offset: at, reason });
        }
        let mut content = vec![0; header.size_bytes as usize];
        self.src.read_exact(&mut content).map_err(|source| LayerError::ReadTar { source })?;
        self.offset += header.size_bytes;
        self.skip(padding_of(header.size_bytes))?;
        Ok(content)
    }

    fn entry(
        &mut self,
        mut header: Header,
        extended: Extended,
        block: &Block,
        at: u64,
    ) -> Result<TarEntry, LayerError> {
        let bad = |reason| LayerError::BadHeader { offset: at, reason };
        let (xattrs, pax_sparse) = extended.apply_to(&mut header).map_err(bad)?;
        let kind = header.kind().map_err(bad)?;
        if kind != TarKind::File && header.size_bytes != 0 {
            return Err(bad("a link, directory or device with content"));
        }
        (self.left, self.padding) = (header.size_bytes, padding_of(header.size_bytes));
        let sparse = match (header.type_flag, pax_sparse) {
            (b'S', None) => Some(self.gnu_sparse(block, at)?),
            (b'S', Some(_)) => return Err(bad("two sparse maps")),
            (_, Some(_)) if kind != TarKind::File => return Err(bad("a sparse link or device")),
            (_, None) => None,
            (_, Some(PaxSparse::InHeader { pieces, size_bytes })) => Some((pieces, size_bytes)),
            (_, Some(PaxSparse::BeforeData { size_bytes })) => {
                Some((self.map_before_data(at)?, size_bytes))
            }
        };
        if let Some((pieces, size_bytes)) = sparse {
            let mut map = SparseMap::new(pieces, size_bytes, self.left).map_err(bad)?;
            map.skip_finished();
            header.size_bytes = map.size_bytes();
            self.sparse = Some(map);
        }
        Ok(TarEntry {
            name: header.name,
            kind,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            size_bytes: header.size_bytes,
            mtime: header.mtime,
            xattrs,
            is_sparse: self.sparse.is_some(),
        })
    }

    /// The map in and behind an old GNU header: pieces and the file's length.
    fn gnu_sparse(&mut self, block: &Block, at: u64) -> Result<(Vec<(u64, u64)>, u64), LayerError> {
        let bad = |reason| LayerError::BadHeader { offset: at, reason };
        let size_bytes = unsigned(&block[483..495]).map_err(bad)?;
        let mut pieces = Vec::new();
        let mut take = |fields: &[u8]| -> Result<(), &'static str> {
            for field in fields.chunks_exact(24) {
                // The first empty field ends the map.
                if field[0] == 0 {
                    break;
                }
                pieces.push((unsigned(&field[..12])?, unsigned(&field[12..])?));
            }
            Ok(())
        };
        take(&block[386..482]).map_err(bad)?;
        let mut more = block[482] != 0;
        let mut blocks = 0;
        while more {
            let extra = self.block()?.ok_or(LayerError::ReadTar { source: cut_short() })?;
            take(&extra[..504]).map_err(bad)?;
            more = extra[504] != 0;
            blocks += 1;
            if blocks * 21 > sparse::PIECES_MAX {
                return Err(bad("a sparse map of too many pieces"));
            }
        }
        Ok((pieces, size_bytes))
    }

    /// The decimal lines of PAX form 1.0; they count as stored bytes of the entry.
    fn map_before_data(&mut self, at: u64) -> Result<Vec<(u64, u64)>, LayerError> {
        let bad = |reason| LayerError::BadHeader { offset: at, reason };
        let mut lines = MapLines { block: Vec::new(), used: 0 };
        let count = lines.number(self, at)?;
        if count > sparse::PIECES_MAX {
            return Err(bad("a sparse map of too many pieces"));
        }
        (0..count).map(|_| Ok((lines.number(self, at)?, lines.number(self, at)?))).collect()
    }
}

/// Numbers, one a line, in blocks.
struct MapLines {
    block: Vec<u8>,
    used: usize,
}

impl MapLines {
    fn number<R: BufRead>(&mut self, tar: &mut TarReader<R>, at: u64) -> Result<u64, LayerError> {
        let bad = || LayerError::BadHeader { offset: at, reason: "malformed sparse map" };
        let mut digits = Vec::new();
        loop {
            if self.used == self.block.len() {
                tar.left = tar.left.checked_sub(BLOCK_BYTES).ok_or_else(bad)?;
                let block = tar.block()?.ok_or(LayerError::ReadTar { source: cut_short() })?;
                self.block = block.to_vec();
                self.used = 0;
            }
            let byte = self.block[self.used];
            self.used += 1;
            match byte {
                b'\n' => return pax::parse_decimal(&digits).ok_or_else(bad),
                byte if digits.len() < 20 => digits.push(byte),
                _ => return Err(bad()),
            }
        }
    }
}

impl<R: BufRead> Read for TarReader<R> {
    /// Reads the current entry's content; holes of a sparse file are zeros.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let span = match &self.sparse {
            None => Span::Data(self.left),
            Some(map) => map.span().unwrap_or(Span::Data(0)),
        };
        let (Span::Hole(limit) | Span::Data(limit)) = span;
        let want = buffer.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let len = match span {
            Span::Hole(_) => {
                buffer[..want].fill(0);
                want
            }
            Span::Data(_) => {
                let len = self.src.read(&mut buffer[..want])?;
                self.left -= len as u64;
                self.offset += len as u64;
                len
            }
        };
        if len == 0 {
            return Err(cut_short());
        }
        if let Some(map) = &mut self.sparse {
            map.advance(len as u64);
        }
        Ok(len)
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar ends in the middle of an entry")
}

fn padding_of(size_bytes: u64) -> u64 {
    (BLOCK_BYTES - size_bytes % BLOCK_BYTES) % BLOCK_BYTES
}

impl Extended {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.gnu_name.is_none() && self.gnu_link.is_none()
    }

    fn add(&mut self, type_flag: u8, content: Vec<u8>) -> Result<(), &'static str> {
        let first = match type_flag {
            b'x' => self.pax.replace(pax::parse(&content)?).is_none(),
            b'L' => self.gnu_name.replace(up_to_zero(&content).to_vec()).is_none(),
            b'K' => self.gnu_link.replace(up_to_zero(&content).to_vec()).is_none(),
            _ => {
                let global = pax::parse(&content)?;
                if [&b"path"[..], b"linkpath", b"size"].iter().any(|k| global.contains_key(*k)) {
                    return Err("a global header with a name or size");
                }
                true
            }
        };
        if first { Ok(()) } else { Err("two extended headers of one kind before an entry") }
    }

    /// Puts what was read over the header's own fields; returns what has no field there.
    fn apply_to(self, header: &mut Header) -> Result<(Records, Option<PaxSparse>), &'static str> {
        let mut records = self.pax.unwrap_or_default();
        records.retain(|_, value| !value.is_empty());
        let sparse = sparse::from_pax(&mut records)?;
        let sparse_name = records.remove(&b"GNU.sparse.name"[..]);
        let mut xattrs = Records::new();
        for (key, value) in records {
            match &key[..] {
                b"path" if self.gnu_name.is_some() => return Err("a name given by PAX and by GNU"),
                b"linkpath" if self.gnu_link.is_some() => {
                    return Err("a link given by PAX and by GNU");
                }
                b"path" => header.name = value,
                b"linkpath" => header.link = value,
                b"size" => header.size_bytes = decimal(&value, i64::MAX as u64)?,
                b"uid" => header.uid = id(decimal(&value, u64::MAX)?)?,
                b"gid" => header.gid = id(decimal(&value, u64::MAX)?)?,
                b"mtime" => {
                    header.mtime = pax::parse_time(&value).ok_or("a PAX time that is none")?;
                }
                key => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        xattrs.insert(name.to_vec(), value);
                    }
                }
            }
        }
        if let (Some(name), true) = (sparse_name, sparse.is_some()) {
            header.name = name;
        }
        header.name = self.gnu_name.unwrap_or(std::mem::take(&mut header.name));
        header.link = self.gnu_link.unwrap_or(std::mem::take(&mut header.link));
        Ok((xattrs, sparse))
    }
}

fn decimal(text: &[u8], max: u64) -> Result<u64, &'static str> {
    let number = pax::parse_decimal(text).filter(|number| *number <= max);
    number.ok_or("a PAX number that is none")
}

/// An owner. The largest number means "unchanged" to the kernel, so nobody has it.
fn id(number: u64) -> Result<u32, &'static str> {
    let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
    id.ok_or("an owner that is out of range")
}

/// The fields of one header block.
struct Header {
    type_flag: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    mtime: Mtime,
    device: (u64, u64),
}

impl Header {
    fn parse(block: &Block) -> Result<Header, &'static str> {
        check_sum(block)?;
        let ustar = &block[257..263] == b"ustar\0";
        let star = ustar && &block[508..512] == b"tar\0";
        let gnu = &block[257..265] == b"ustar  \0";
        let prefix = match (ustar, star) {
            (_, true) => up_to_zero(&block[345..476]),
            (true, false) => up_to_zero(&block[345..500]),
            (false, false) => &[],
        };
        let own = up_to_zero(&block[..100]);
        let name = match prefix {
            [] => own.to_vec(),
            prefix => [prefix, b"/", own].concat(),
        };
        let type_flag = block[156];
        let has_devices = (ustar || gnu) && matches!(type_flag, b'3' | b'4');
        let device = match has_devices {
            true => (unsigned(&block[329..337])?, unsigned(&block[337..345])?),
            false => (0, 0),
        };
        let is_extended = matches!(type_flag, b'x' | b'g' | b'L' | b'K');
        let owner = |field: &[u8]| match is_extended {
            true => Ok(0),
            false => id(unsigned(field)?),
        };
        Ok(Header {
            type_flag,
            name,
            link: up_to_zero(&block[157..257]).to_vec(),
            mode: (unsigned(&block[100..108])? & 0o7777) as u32,
            uid: owner(&block[108..116])?,
            gid: owner(&block[116..124])?,
            size_bytes: unsigned(&block[124..136])?,
            mtime: Mtime { secs: number(&block[136..148])?, nanos: 0 },
            device,
        })
    }

    fn kind(&self) -> Result<TarKind, &'static str> {
        let device = || -> Result<(u32, u32), &'static str> {
            let fits = |number, max| u32::try_from(number).ok().filter(|number| *number <= max);
            let (major, minor) = (fits(self.device.0, 0xfff), fits(self.device.1, 0xf_ffff));
            major.zip(minor).ok_or("a device number out of range")
        };
        Ok(match self.type_flag {
            0 if self.name.ends_with(b"/") => TarKind::Directory,
            0 | b'0' | b'7' | b'S' => TarKind::File,
            b'1' => TarKind::HardLink { target: self.link.clone() },
            b'2' => TarKind::Symlink { target: self.link.clone() },
            b'3' => device().map(|(major, minor)| TarKind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| TarKind::BlockDevice { major, minor })?,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            _ => return Err("an entry of a kind that cannot be unpacked"),
        })
    }
}

/// Whether a block's checksum makes it a header, whatever else it says.
pub(crate) fn is_header(block: &Block) -> bool {
    check_sum(block).is_ok()
}

fn check_sum(block: &Block) -> Result<(), &'static str> {
    let written = number(&block[148..156])?;
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    match written == unsigned || written == signed {
        true => Ok(()),
        false => Err("the checksum is wrong, so this is no tar or a damaged one"),
    }
}

fn up_to_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// A numeric field: octal digits between spaces and zeros, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Result<i64, &'static str> {
    const BAD: &str = "a number that is none";
    if let Some(first @ 0x80..) = field.first().copied() {
        let negative = first & 0x40 != 0;
        let mut number: i128 = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
        for byte in &field[1..] {
            number = number << 8 | i128::from(*byte);
        }
        return i64::try_from(number).map_err(|_| BAD);
    }
    let is_filler = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|b| !is_filler(b)).unwrap_or(field.len());
    let end = field.iter().rposition(|b| !is_filler(b)).map_or(start, |at| at + 1);
    let digits = up_to_zero(&field[start..end]);
    digits.iter().try_fold(0i64, |number, digit| match digit {
        b'0'..=b'7' => Ok(number << 3 | i64::from(digit - b'0')),
        _ => Err(BAD),
    })
}

fn unsigned(field: &[u8]) -> Result<u64, &'static str> {
    u64::try_from(number(field)?).map_err(|_| "a negative number")
}
