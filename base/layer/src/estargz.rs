//! eStargz: a gzip of a layer's tar from which single files can be read.
//!
//! Owns its form: every file's content in gzip members of its own, a table of contents behind the entries
//! (`stargz.index.json`, an entry of the tar itself), and a footer of 51 bytes that says where that begins. So the tar
//! is another one than the plain one, and depends on the level, as the table has the members' places. Refuses to know
//! what a snapshotter does with it.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{DiffId, Digest, Hasher};
use serde_json::{Map, Value, json};

use crate::compress::gzip_member;
use crate::content::open_file;
use crate::ordered::Ordered;
use crate::tar_write::{TarWriter, tar_name};
use crate::{Encoding, Entry, EntryKind, LayerError, LayerSums, Toc};

/// Larger files are cut into chunks of this.
const CHUNK_BYTES: u64 = 4 << 20;
/// Headers of entries without content are gathered up to this.
const HEADERS_BYTES: usize = 1 << 20;
const TOC_NAME: &str = "stargz.index.json";
/// Empty files with which other makers say what is to be fetched ahead. Here nothing is said of that.
const LANDMARKS: [&str; 2] = [".prefetch.landmark", ".no.prefetch.landmark"];
/// Length of the footer.
pub const FOOTER_BYTES: usize = 51;
/// A larger table is none.
const TOC_MAX_BYTES: u64 = 256 << 20;

/// Writes the blob of a layer; tells the length of its tar, too. Two runs give equal bytes. Files are checked as
/// [`crate::write_tar`] does. A table and landmarks that the layer has from another eStargz blob are left out: the tar
/// would have two tables, and a snapshotter would fetch ahead what another layer's order says.
///
/// # Errors
/// A file cannot be read or is another one than the table says, the layer has a directory of the table's name, or the
/// output cannot be written.
pub fn write_estargz(
    dir: BorrowedFd<'_>,
    toc: &Toc,
    encoding: &Encoding,
    level: u32,
    out: &mut dyn Write,
) -> Result<(LayerSums, u64), LayerError> {
    let mut members = Members::new(level, out);
    let mut first_names: HashMap<u32, &[u8]> = HashMap::new();
    let mut learned = Vec::new();
    for (at, entry) in toc.entries().iter().enumerate() {
        if is_of_another_blob(entry)? {
            continue;
        }
        let first = entry.link_group.and_then(|group| first_names.get(&group).copied());
        let mut header = Vec::new();
        let mut writer = TarWriter::new(&mut header).clamp_to(encoding.clamp_to);
        let mut listed = listed(entry, first, encoding);
        if let Some(first) = first {
            writer.hard_link(entry, first)?;
            members.write(&header)?;
            members.list(listed);
            continue;
        }
        first_names.extend(entry.link_group.map(|group| (group, &entry.path[..])));
        writer.header(entry)?;
        members.write(&header)?;
        let EntryKind::File { size_bytes: size_bytes @ 1.., digest: known } = entry.kind else {
            members.list(listed);
            continue;
        };
        let digest = members.file(dir, entry, size_bytes, &mut listed)?;
        match known {
            None => learned.push((at, digest)),
            Some(known) if known == digest => {}
            Some(_) => return Err(LayerError::Changed { path: entry.path.clone() }),
        }
    }
    members.finish(learned)
}

/// Whether an entry is a table or landmark that was unpacked from an eStargz blob.
fn is_of_another_blob(entry: &Entry) -> Result<bool, LayerError> {
    let is_table = entry.path == TOC_NAME.as_bytes();
    match entry.kind {
        EntryKind::Directory { .. } if is_table => {
            Err(LayerError::entry(&entry.path, "an eStargz layer has its table of contents there"))
        }
        EntryKind::Directory { .. } | EntryKind::Whiteout => Ok(false),
        _ => Ok(is_table || LANDMARKS.iter().any(|name| entry.path == name.as_bytes())),
    }
}

/// The gzip members of a blob, compressed on all cores, written in order.
struct Members<'a> {
    level: u32,
    out: &'a mut dyn Write,
    jobs: Ordered<io::Result<Vec<u8>>>,
    jobs_max: usize,
    /// For each job under way the entry of the table that begins with it.
    begins: VecDeque<Option<usize>>,
    /// Bytes of the tar that are in no member yet.
    pending: Vec<u8>,
    table: Vec<Map<String, Value>>,
    /// Of the tar.
    hasher: Hasher,
    tar_bytes: u64,
    /// Of the blob.
    blob_hasher: Hasher,
    size_bytes: u64,
}

impl<'a> Members<'a> {
    fn new(level: u32, out: &'a mut dyn Write) -> Members<'a> {
        Members {
            level,
            out,
            jobs: Ordered::new(),
            jobs_max: (2 * rayon::current_num_threads()).min(32),
            begins: VecDeque::new(),
            pending: Vec::new(),
            table: Vec::new(),
            hasher: Hasher::new(),
            tar_bytes: 0,
            blob_hasher: Hasher::new(),
            size_bytes: 0,
        }
    }

    fn list(&mut self, entry: Map<String, Value>) {
        self.table.push(entry);
    }

    /// Bytes of the tar, in whatever member.
    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= HEADERS_BYTES { self.cut() } else { Ok(()) }
    }

    /// Ends the member.
    fn cut(&mut self) -> Result<(), LayerError> {
        match self.pending.is_empty() {
            true => Ok(()),
            false => {
                let bytes = std::mem::take(&mut self.pending);
                self.member(bytes, None)
            }
        }
    }

    fn member(&mut self, bytes: Vec<u8>, begins: Option<usize>) -> Result<(), LayerError> {
        if self.jobs.len() >= self.jobs_max {
            self.write_oldest()?;
        }
        self.hasher.update(&bytes);
        self.tar_bytes += bytes.len() as u64;
        let level = self.level;
        self.jobs.push(move || gzip_member(level, &bytes));
        self.begins.push_back(begins);
        Ok(())
    }

    fn write_oldest(&mut self) -> Result<(), LayerError> {
        let fail = |source| LayerError::Compress { source };
        let Some(member) = self.jobs.pop() else { return Ok(()) };
        let member = member.map_err(fail)?;
        if let Some(at) = self.begins.pop_front().flatten() {
            self.table[at].insert("offset".to_owned(), self.size_bytes.into());
        }
        self.emit(&member).map_err(fail)
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.blob_hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// The content of a file, in members of its own, and its entries of the table.
    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &Entry,
        size_bytes: u64,
        listed: &mut Map<String, Value>,
    ) -> Result<Digest, LayerError> {
        self.cut()?;
        let mut file = open_file(dir, &entry.path)?;
        let changed = || LayerError::Changed { path: entry.path.clone() };
        let read = |e| LayerError::file("read", &entry.path, e);
        let first = self.table.len();
        let mut whole = Hasher::new();
        let mut begin = 0;
        while begin < size_bytes {
            let want = CHUNK_BYTES.min(size_bytes - begin);
            let mut bytes = Vec::new();
            (&mut file).take(want).read_to_end(&mut bytes).map_err(read)?;
            if bytes.len() as u64 != want {
                return Err(changed());
            }
            whole.update(&bytes);
            let mut chunk = match begin {
                0 => std::mem::take(listed),
                _ => {
                    let mut chunk = Map::new();
                    chunk.insert("name".to_owned(), text(&tar_name(entry)));
                    chunk.insert("type".to_owned(), "chunk".into());
                    chunk.insert("chunkOffset".to_owned(), begin.into());
                    chunk
                }
            };
            // The last one goes to the end of the file, whatever its size.
            if begin + want < size_bytes {
                chunk.insert("chunkSize".to_owned(), want.into());
            }
            chunk.insert("chunkDigest".to_owned(), Digest::of(&bytes).to_string().into());
            self.table.push(chunk);
            self.member(bytes, Some(self.table.len() - 1))?;
            begin += want;
        }
        if file.read(&mut [0]).map_err(read)? > 0 {
            return Err(changed());
        }
        let digest = whole.finish();
        self.table[first].insert("digest".to_owned(), digest.to_string().into());
        let padding = size_bytes.next_multiple_of(512) - size_bytes;
        self.write(&vec![0; padding as usize])?;
        Ok(digest)
    }

    /// The table and the footer.
    fn finish(mut self, learned: Vec<(usize, Digest)>) -> Result<(LayerSums, u64), LayerError> {
        self.cut()?;
        while self.jobs.len() > 0 {
            self.write_oldest()?;
        }
        let begin = self.size_bytes;
        let table = json!({ "version": 1, "entries": std::mem::take(&mut self.table) });
        let table = serde_json::to_vec(&table).expect("values can be written");
        let kind = EntryKind::File { size_bytes: table.len() as u64, digest: None };
        let entry = Entry::plain(TOC_NAME.as_ref(), kind);
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        writer.entry(&entry, Some(&mut table.as_slice()))?;
        writer.finish()?;
        self.member(bytes, None)?;
        self.write_oldest()?;
        let fail = |source| LayerError::Compress { source };
        self.emit(&footer(begin)).and_then(|()| self.out.flush()).map_err(fail)?;
        let sums = LayerSums {
            diff_id: DiffId(self.hasher.finish()),
            digest: self.blob_hasher.finish(),
            size_bytes: self.size_bytes,
            learned,
        };
        Ok((sums, self.tar_bytes))
    }
}

/// An empty gzip member with the place of the table in its extra field.
fn footer(table_begin: u64) -> Vec<u8> {
    let place = format!("{table_begin:016x}STARGZ");
    let mut out = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    out.extend((place.len() as u16 + 4).to_le_bytes());
    out.extend(b"SG");
    out.extend((place.len() as u16).to_le_bytes());
    out.extend(place.as_bytes());
    // One stored block, the last, of nothing; checksum and length of nothing.
    out.extend([1, 0, 0, 0xff, 0xff]);
    out.extend([0; 8]);
    out
}

/// Where the table begins, as the footer of a blob says; `None` when it is no such footer.
pub fn table_begin(footer: &[u8]) -> Option<u64> {
    let head = [0x1f, 0x8b, 8, 4];
    if footer.len() != FOOTER_BYTES || footer[..4] != head || footer[12..14] != *b"SG" {
        return None;
    }
    let place = std::str::from_utf8(&footer[16..38]).ok()?;
    u64::from_str_radix(place.strip_suffix("STARGZ")?, 16).ok()
}

/// The table of contents of a blob, from the member that it begins with: its JSON.
///
/// # Errors
/// There is none, or a larger one than any real one.
pub fn read_table(member: impl Read) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no table of an eStargz layer");
    let mut tar = flate2::read::GzDecoder::new(member);
    let mut header = [0; 512];
    tar.read_exact(&mut header)?;
    let name = header.split(|b| *b == 0).next().unwrap_or_default();
    let digits = std::str::from_utf8(&header[124..135]).map_err(|_| invalid())?;
    let size_bytes = u64::from_str_radix(digits.trim(), 8).map_err(|_| invalid())?;
    if name != TOC_NAME.as_bytes() || size_bytes > TOC_MAX_BYTES {
        return Err(invalid());
    }
    let mut table = Vec::new();
    tar.take(size_bytes).read_to_end(&mut table)?;
    if table.len() as u64 == size_bytes { Ok(table) } else { Err(invalid()) }
}

/// What the table says of an entry besides where its content is.
fn listed(entry: &Entry, first: Option<&[u8]>, encoding: &Encoding) -> Map<String, Value> {
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
    set("name", text(&tar_name(entry)));
    let kind = match (&entry.kind, first) {
        (_, Some(_)) => "hardlink",
        (EntryKind::Directory { .. }, _) => "dir",
        (EntryKind::Symlink { .. }, _) => "symlink",
        (EntryKind::CharDevice { .. }, _) => "char",
        (EntryKind::BlockDevice { .. }, _) => "block",
        (EntryKind::Fifo, _) => "fifo",
        (EntryKind::File { .. } | EntryKind::Whiteout | EntryKind::Socket, _) => "reg",
    };
    set("type", kind.into());
    match (&entry.kind, first) {
        (_, Some(first)) => set("linkName", text(first)),
        (EntryKind::Symlink { target }, _) => set("linkName", text(target)),
        (EntryKind::File { size_bytes: size_bytes @ 1.., .. }, _) => {
            set("size", (*size_bytes).into());
        }
        (EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }, _) => {
            set("devMajor", (*major).into());
            set("devMinor", (*minor).into());
        }
        _ => {}
    }
    if matches!(&entry.kind, EntryKind::File { size_bytes: 0, .. }) && first.is_none() {
        set("digest", Digest::of(b"").to_string().into());
    }
    set("mode", entry.mode.into());
    set("uid", entry.uid.into());
    set("gid", entry.gid.into());
    let secs = entry.mtime.secs.min(encoding.clamp_to.unwrap_or(i64::MAX));
    if let Some(time) = rfc3339(secs) {
        set("modtime", time.into());
    }
    if !entry.xattrs.is_empty() {
        let one = |(name, value): (&Vec<u8>, &Vec<u8>)| {
            (String::from_utf8_lossy(name).into_owned(), STANDARD.encode(value).into())
        };
        set("xattrs", Value::Object(entry.xattrs.iter().map(one).collect()));
    }
    out
}

/// A name in the table, which has no other bytes than those of texts.
fn text(name: &[u8]) -> Value {
    String::from_utf8_lossy(name).into_owned().into()
}

/// A time as the table has it; `None` for years that it cannot say.
fn rfc3339(secs: i64) -> Option<String> {
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Days since the first of March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    (0..=9999)
        .contains(&year)
        .then(|| format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z"))
}
