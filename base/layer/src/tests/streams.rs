//! Compression and decompression (ADD-10, ADD-11, security.md B11).

use std::io::Read as _;
use std::process::{Command, Stdio};

use crate::testing::{Head, Tar, skipped};
use crate::{Compression, compress, decompress, detect_archive};

fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(compression, &mut &bytes[..], &mut out).unwrap();
    out
}

fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decompress(bytes).read_to_end(&mut out)?;
    Ok(out)
}

/// Runs a command on bytes; `None` when it is not installed.
fn run(program: &str, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let mut command = Command::new(program);
    let spawned = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            skipped(&format!("{program}: {error}"));
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 26) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The same bytes in every format that can be made here.
fn all_formats(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut formats = vec![
        ("gzip", packed(Compression::gzip(), bytes)),
        ("zstd", packed(Compression::zstd(), bytes)),
    ];
    formats.extend(run("xz", &["-c"], bytes).map(|out| ("xz", out)));
    let mut bz = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast());
    let mut out = Vec::new();
    bz.read_to_end(&mut out).unwrap();
    formats.push(("bzip2", out));
    formats
}

#[test]
fn round_trips_of_all_lengths() {
    for len in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (9 << 20) + 5] {
        let bytes = noise(len);
        for level in [0, 1, 6, 12] {
            if len < 2 << 20 || level == 1 {
                assert!(unpacked(&packed(Compression::Gzip(level), &bytes)).unwrap() == bytes);
            }
        }
        assert!(unpacked(&packed(Compression::zstd(), &bytes)).unwrap() == bytes, "{len}");
        assert!(unpacked(&packed(Compression::None, &bytes)).unwrap() == bytes, "{len}");
    }
    assert!(compress(Compression::Gzip(13), &mut &b"x"[..], &mut Vec::new()).is_err());
}

#[test]
fn other_programs_read_the_blocks() {
    let bytes = noise(5 << 20);
    for (compression, program) in [(Compression::gzip(), "gzip"), (Compression::zstd(), "zstd")] {
        let out = run(program, &["-dc"], &packed(compression, &bytes));
        assert!(out.is_none_or(|out| out == bytes), "{program}");
    }
}

#[test]
fn all_members_count_and_nothing_else_may_follow() {
    let (first, second) = (b"first".repeat(50), b"second".repeat(50));
    let firsts = all_formats(&first);
    for ((format, one), (_, two)) in firsts.into_iter().zip(all_formats(&second)) {
        let both = [&one[..], &two].concat();
        let whole = [&first[..], &second].concat();
        assert_eq!(unpacked(&both).unwrap(), whole, "{format}: two members");
        for at in [7, one.len() / 2, one.len() - 1] {
            assert!(unpacked(&one[..at]).is_err(), "{format}: cut at {at} of {}", one.len());
            let cut = [&one[..], &two[..at.min(two.len() - 1)]].concat();
            assert!(unpacked(&cut).is_err(), "{format}: second member cut at {at}");
        }
        let garbage = [&one[..], b"GARBAGE and more of it"].concat();
        assert!(unpacked(&garbage).is_err(), "{format}: garbage behind");
        let mut flipped = one.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x55;
        assert!(unpacked(&flipped).map_or(true, |out| out != first), "{format}: flipped");
    }
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
    let frame = packed(Compression::zstd(), b"data");
    for frames in [[skippable, &frame[..]].concat(), [&frame[..], skippable, &frame].concat()] {
        assert!(unpacked(&frames).unwrap().starts_with(b"data"));
    }
}

#[test]
fn errors_name_the_format() {
    let gzip = packed(Compression::gzip(), b"data");
    let error = unpacked(&gzip[..gzip.len() - 3]).unwrap_err().to_string();
    assert!(error.starts_with("the gzip data ends early"), "{error}");
}

#[test]
fn archives_are_known_by_their_first_header() {
    let tar = Tar::default().file("f", b"content").end();
    let empty = Tar::default().end();
    let mut cases: Vec<(String, Vec<u8>, bool)> = vec![
        ("tar".into(), tar.clone(), true),
        ("tar without entries".into(), empty.clone(), false),
        ("nothing".into(), Vec::new(), false),
        ("text".into(), b"FROM scratch\n".repeat(100), false),
        ("zip".into(), b"PK\x03\x04".repeat(300), false),
        ("cut tar".into(), tar[..300].to_vec(), false),
        ("zeros".into(), vec![0; 4096], false),
        ("tar with a wrong checksum".into(), [b"g", &tar[1..]].concat(), false),
        // Refused, and not by taking it for something else (security.md B4).
        (
            "tar that begins with what is refused".into(),
            Tar::default().raw(b'2', b"s", Head::default(), b"x").end(),
            true,
        ),
    ];
    let packs = all_formats(&tar).into_iter().zip(all_formats(b"text"));
    for ((format, packed_tar), (_, packed_text)) in packs {
        cases.push((format!("head of {format}"), packed_tar[..20].to_vec(), false));
        cases.push((format!("tar in {format}"), packed_tar, true));
        cases.push((format!("text in {format}"), packed_text, false));
    }
    cases.push(("empty tar in gzip".into(), packed(Compression::gzip(), &empty), false));
    for (what, bytes, expect) in cases {
        assert_eq!(detect_archive(&bytes), expect, "{what}");
    }
}
