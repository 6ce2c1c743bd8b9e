//! Reads tar archives: every entry with its PAX and GNU extensions, the content as ranges of the archive. Writes those
//! that a case describes, hostile ones too.
//!
//! Written for the tests alone, so that it shares no mistake with shale's own reader. Knows no layers.

use std::collections::BTreeMap;
use std::ops::Range;

const BLOCK: usize = 512;

/// An entry of an archive.
#[derive(Clone, Debug, Default)]
pub(super) struct TarEntry {
    pub(super) name: Vec<u8>,
    /// The type flag.
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds since the epoch, rounded down.
    pub(super) mtime: i64,
    pub(super) link: Vec<u8>,
    pub(super) device: (u32, u32),
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// Where the content lies in the archive.
    pub(super) content: Range<usize>,
}

/// All entries in their order.
///
/// # Errors
/// What is wrong with the archive.
pub(super) fn read(archive: &[u8]) -> Result<Vec<TarEntry>, String> {
    let mut entries = Vec::new();
    let mut global = Pax::new();
    let mut local = Pax::new();
    let mut long: (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
    let mut at = 0;
    while let Some(header) = archive.get(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        check_sum(header, at)?;
        let kind = header[156];
        let is_meta = matches!(kind, b'x' | b'g' | b'L' | b'K');
        let size = match local.get("size").filter(|_| !is_meta) {
            Some(size) => text(size).parse().map_err(|_| format!("size of entry at {at}"))?,
            None => usize::try_from(number(&header[124..136])?).map_err(|e| e.to_string())?,
        };
        let start = at + BLOCK;
        let end = start.checked_add(size).filter(|end| *end <= archive.len());
        let end = end.ok_or_else(|| format!("the entry at {at} is cut off"))?;
        let body = &archive[start..end];
        at = end.div_ceil(BLOCK) * BLOCK;
        match kind {
            b'x' => local = pax(body)?,
            b'g' => global.extend(pax(body)?),
            b'L' => long.0 = Some(until_nul(body).to_vec()),
            b'K' => long.1 = Some(until_nul(body).to_vec()),
            _ => {
                let mut records = global.clone();
                records.append(&mut local);
                let mut entry = plain(header, start..end)?;
                entry.name = long.0.take().unwrap_or(entry.name);
                entry.link = long.1.take().unwrap_or(entry.link);
                apply(&mut entry, &records)?;
                entries.push(entry);
            }
        }
    }
    Err("no end mark".to_owned())
}

type Pax = BTreeMap<String, Vec<u8>>;

fn check_sum(header: &[u8], at: usize) -> Result<(), String> {
    let blanked = |(index, byte): (usize, &u8)| match index {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    };
    let sum: u64 = header.iter().enumerate().map(blanked).sum();
    if number(&header[148..156]) == Ok(sum) {
        return Ok(());
    }
    Err(format!("the header at {at} has a wrong sum"))
}

fn plain(header: &[u8], content: Range<usize>) -> Result<TarEntry, String> {
    let mut name = until_nul(&header[..100]).to_vec();
    let prefix = until_nul(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        name = [prefix, b"/", &name].concat();
    }
    let small = |range: Range<usize>| -> Result<u32, String> {
        u32::try_from(number(&header[range])?).map_err(|e| e.to_string())
    };
    Ok(TarEntry {
        name,
        kind: header[156],
        mode: small(100..108)? & 0o7777,
        uid: number(&header[108..116])?,
        gid: number(&header[116..124])?,
        // A negative time in base 256 has all bits of its upper bytes set.
        mtime: number(&header[136..148])?.cast_signed(),
        link: until_nul(&header[157..257]).to_vec(),
        device: (small(329..337)?, small(337..345)?),
        xattrs: BTreeMap::new(),
        content,
    })
}

fn apply(entry: &mut TarEntry, records: &Pax) -> Result<(), String> {
    for (key, value) in records {
        let wrong = |_| format!("PAX record {key}={}", text(value));
        match key.as_str() {
            "path" => entry.name.clone_from(value),
            "linkpath" => entry.link.clone_from(value),
            "uid" => entry.uid = text(value).parse().map_err(wrong)?,
            "gid" => entry.gid = text(value).parse().map_err(wrong)?,
            "mtime" => entry.mtime = seconds(&text(value)).ok_or_else(|| text(value))?,
            _ => {
                if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                    entry.xattrs.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    Ok(())
}

/// Whole seconds of a decimal number, rounded down.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    Some(seconds - i64::from(below))
}

/// `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn pax(mut body: &[u8]) -> Result<Pax, String> {
    let mut records = Pax::new();
    while !body.is_empty() {
        let wrong = || "a PAX record that is none".to_owned();
        let blank = body.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length: usize = text(&body[..blank]).parse().map_err(|_| wrong())?;
        let record = body.get(blank + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        records.insert(text(&record[..equals]), record[equals + 1..].to_vec());
        body = &body[length..];
    }
    Ok(records)
}

/// Octal digits, or base 256 where the first bit is set.
fn number(field: &[u8]) -> Result<u64, String> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] == 0xff;
        let first = if negative { u64::MAX } else { u64::from(field[0] & 0x7f) };
        return Ok(field[1..].iter().fold(first, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let digits = text(until_nul(field));
    let digits = digits.trim();
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| format!("not an octal number: {digits:?}"))
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An entry to be written. Its name is written as it is, whatever is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewEntry {
    pub(super) name: String,
    /// The type flag.
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) mtime: i64,
    pub(super) link: String,
    pub(super) device: (u32, u32),
    pub(super) content: Vec<u8>,
}

/// An archive of these entries. Names over 100 bytes get a PAX record.
pub(super) fn write(entries: &[NewEntry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let long = [("path", &entry.name), ("linkpath", &entry.link)];
        let long = long.into_iter().filter(|(_, value)| value.len() > 100);
        let records: String = long.map(|(key, value)| pax_record(key, value)).collect();
        if !records.is_empty() {
            let pax = NewEntry {
                name: "pax".to_owned(),
                kind: b'x',
                link: String::new(),
                content: records.into_bytes(),
                ..entry.clone()
            };
            append(&mut archive, &pax);
        }
        append(&mut archive, entry);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// The length counts its own digits.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    format!("{length} {key}={value}\n")
}

fn append(archive: &mut Vec<u8>, entry: &NewEntry) {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, &entry.name.as_bytes()[..entry.name.len().min(100)]);
    put(100, format!("{:07o}", entry.mode).as_bytes());
    put(108, format!("{:07o}", entry.owner.0).as_bytes());
    put(116, format!("{:07o}", entry.owner.1).as_bytes());
    put(124, format!("{:011o}", entry.content.len()).as_bytes());
    put(136, format!("{:011o}", entry.mtime).as_bytes());
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.link.as_bytes()[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", entry.device.0).as_bytes());
    put(337, format!("{:07o}", entry.device.1).as_bytes());
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend_from_slice(&header);
    archive.extend_from_slice(&entry.content);
    archive.resize(archive.len().div_ceil(BLOCK) * BLOCK, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let file = NewEntry {
            name: format!("{}/../f", "d".repeat(150)),
            kind: b'0',
            mode: 0o4755,
            owner: (70000, 1),
            mtime: 1_600_000_000,
            link: String::new(),
            device: (0, 0),
            content: b"text".to_vec(),
        };
        let long = "x".repeat(300);
        let link = NewEntry { kind: b'2', link: long.clone(), content: Vec::new(), ..file.clone() };
        let archive = write(&[file.clone(), link]);
        let read = super::read(&archive).unwrap();
        let names: Vec<&[u8]> = read.iter().map(|entry| entry.name.as_slice()).collect();
        assert_eq!(names, [file.name.as_bytes(); 2]);
        assert_eq!(&archive[read[0].content.clone()], b"text");
        assert_eq!((read[0].mode, read[0].uid, read[0].mtime), (0o4755, 70000, 1_600_000_000));
        assert_eq!(read[1].link, long.as_bytes());
        assert!(super::read(&archive[..600]).is_err());
        let end = read[1].content.end;
        assert!(super::read(&archive[..end]).is_err());
    }

    #[test]
    fn numbers_and_times() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(number(&[0xff; 12]).map(u64::cast_signed), Ok(-1));
        assert!(number(b"9").is_err());
        assert_eq!(seconds("-1.5"), Some(-2));
        assert_eq!(seconds("12.25"), Some(12));
    }
}
