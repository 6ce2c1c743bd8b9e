//! What `TarReader` makes of well-formed, odd and hostile tars (security.md B4, B9, B12).

use std::io::Read as _;

use crate::testing::{Head, Tar, sealed};
use crate::{LayerError, Mtime, TarEntry, TarKind, TarReader};

/// All entries with their contents.
fn list(bytes: &[u8]) -> Result<Vec<(TarEntry, Vec<u8>)>, LayerError> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|source| LayerError::ReadTar { source })?;
        assert_eq!(content.len() as u64, entry.size_bytes);
        all.push((entry, content));
    }
    Ok(all)
}

fn names(bytes: &[u8]) -> Result<Vec<String>, String> {
    let entries = list(bytes).map_err(|error| error.to_string())?;
    Ok(entries.iter().map(|(e, _)| String::from_utf8_lossy(&e.name).into_owned()).collect())
}

fn one(bytes: &[u8]) -> (TarEntry, Vec<u8>) {
    let mut all = list(bytes).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Entries with a size where none belongs, or a number that is none.
fn with_size(kind: u8, size: &[u8]) -> Vec<u8> {
    let head = Head { link: b"t", size: Some(size.to_vec()), ..Head::default() };
    Tar::default().raw(kind, b"n", head, b"").file("after", b"").end()
}

fn check_refused(cases: Vec<(&str, Vec<u8>)>) {
    for (what, bytes) in cases {
        assert!(names(&bytes).is_err(), "{what}: {:?}", names(&bytes));
    }
}

#[test]
fn headers_that_readers_disagree_on_are_refused() {
    let mut bad_sum = Tar::default().file("f", b"").end();
    bad_sum[0] = b'g';
    let file = Tar::default().file("a", b"").bytes;
    let gap = [&file[..], &[0; 512], &file].concat();
    let mut negative_uid = Tar::default().file("f", b"").end();
    negative_uid[108..116].copy_from_slice(&[0xff; 8]);
    let block: [u8; 512] = negative_uid[..512].try_into().unwrap();
    negative_uid[..512].copy_from_slice(&sealed(block));
    let device = Head { device: (0x1000, 0), ..Head::default() };
    let long_head = Head { size: Some(b"00010000001".to_vec()), ..Head::default() };
    check_refused(vec![
        ("hard link with size", with_size(b'1', b"00000001000")),
        ("symlink with size", with_size(b'2', b"00000001000")),
        ("device with size", with_size(b'3', b"00000001000")),
        ("directory with size", with_size(b'5', b"00000001000")),
        ("pipe with size", with_size(b'6', b"00000001000")),
        ("negative base 256", with_size(b'0', &[0xff; 12])),
        ("huge base 256", with_size(b'0', &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("octal that is none", with_size(b'0', b"0000000000x")),
        ("unknown kind", with_size(b'M', b"00000000000")),
        ("negative owner", negative_uid),
        ("checksum", bad_sum),
        ("one zero block between", gap),
        ("huge device", Tar::default().raw(b'3', b"d", device, b"").end()),
        ("big extended header", Tar::default().raw(b'L', b"l", long_head, b"").end()),
    ]);
}

#[test]
fn pax_that_readers_disagree_on_is_refused() {
    let pax = |records: &[(&str, &[u8])]| Tar::default().pax(records).file("f", b"").end();
    let global = |key| {
        let mut records = Vec::new();
        crate::pax::put_record(&mut records, key, b"9");
        Tar::default().raw(b'g', b"g", Head::default(), &records).file("f", b"").end()
    };
    let two = Tar::default().pax(&[("uid", b"1")]).pax(&[("gid", b"1")]).file("f", b"").end();
    let sized_link = Tar::default().pax(&[("size", b"512")]).symlink("l", "t");
    let both = Tar::default().pax(&[("path", b"a")]).raw(b'L', b"l", Head::default(), b"b\0");
    check_refused(vec![
        ("key twice", pax(&[("path", b"a"), ("path", b"b")])),
        ("two headers", two),
        ("symlink with PAX size", sized_link.file("smuggled", b"").end()),
        ("name by PAX and GNU", both.file("f", b"").end()),
        ("global path", global(b"path")),
        ("global linkpath", global(b"linkpath")),
        ("global size", global(b"size")),
        ("owner that means none", pax(&[("uid", b"4294967295")])),
        ("owner out of range", pax(&[("gid", b"4294967296")])),
        ("size that is none", pax(&[("size", b"-1")])),
        ("size too big", pax(&[("size", b"9223372036854775808")])),
        ("time that is none", pax(&[("mtime", b"now")])),
        ("path with zero", pax(&[("path", b"a\0b")])),
        ("sparse 0.0", pax(&[("GNU.sparse.offset", b"0"), ("GNU.sparse.size", b"1")])),
    ]);
}

#[test]
fn every_cut_is_an_error_or_a_clean_end() {
    let full = Tar::default().pax(&[("mtime", b"5.5")]).file("a", b"content").dir("b").end();
    let ends = [0, 2048, 2560, 3072, 3584];
    for at in 0..full.len() {
        let read = names(&full[..at]);
        assert_eq!(read.is_ok(), ends.contains(&at), "cut at {at}: {read:?}");
    }
}

#[test]
fn names_in_all_their_forms() {
    let long = "d/".repeat(200) + "f";
    let gnu_magic = b"ustar  \0";
    let gnu = |kind, text: &str| {
        let content = [text.as_bytes(), b"\0"].concat();
        let head = Head { magic: gnu_magic, ..Head::default() };
        Tar::default().raw(kind, b"././@LongLink", head, &content)
    };
    let prefixed = {
        let mut bytes = Tar::default().file("name", b"").end();
        bytes[345..351].copy_from_slice(b"prefix");
        let block: [u8; 512] = bytes[..512].try_into().unwrap();
        bytes[..512].copy_from_slice(&sealed(block));
        bytes
    };
    let v7 = Tar::default().raw(0, b"old/", Head { magic: &[0; 8], ..Head::default() }, b"").end();
    let cases: Vec<(Vec<u8>, String)> = vec![
        (gnu(b'L', &long).file("cut", b"x").end(), long.clone()),
        (Tar::default().pax(&[("path", long.as_bytes())]).file("cut", b"x").end(), long.clone()),
        (Tar::default().pax(&[("path", b"")]).file("kept", b"x").end(), "kept".into()),
        (prefixed, "prefix/name".into()),
        (v7.clone(), "old/".into()),
        (Tar::default().raw(b'0', &[b'x'; 100], Head::default(), b"").end(), "x".repeat(100)),
    ];
    for (bytes, name) in cases {
        assert_eq!(names(&bytes), Ok(vec![name]));
    }
    assert_eq!(one(&v7).0.kind, TarKind::Directory);
    let link = one(&gnu(b'K', &long).symlink("l", "cut").end()).0;
    assert_eq!(link.kind, TarKind::Symlink { target: long.into_bytes() });
}

#[test]
fn pax_numbers_and_attributes() {
    let value = b"\x01\n12 path=evil\n\x00";
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", value),
            ("gid", b"3000000000"),
            ("mtime", b"-1.25"),
            ("size", b"3"),
            ("uid", b"7"),
            ("comment", b"ignored"),
        ])
        .raw(b'0', b"f", Head { size: Some(b"00000000000".to_vec()), ..Head::default() }, b"abc")
        .end();
    let (entry, content) = one(&tar);
    assert_eq!((entry.uid, entry.gid, &content[..]), (7, 3_000_000_000, &b"abc"[..]));
    assert_eq!(entry.mtime, Mtime { secs: -2, nanos: 750_000_000 });
    assert_eq!(entry.xattrs[&b"security.capability"[..]], value);
    assert_eq!(entry.name, b"f");
}

#[test]
fn sparse_files_are_read_full() {
    let expect = [&b"ab"[..], &[0; 510], b"cd", &[0; 86]].concat();
    let stored = b"abcd";
    // Old GNU: the map is in the header.
    let mut old = Tar::default()
        .raw(b'S', b"f", Head { magic: b"ustar  \0", ..Head::default() }, stored)
        .file("after", b"")
        .end();
    let mut put = |at: usize, number: u64| {
        old[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
    };
    for (at, number) in [(386, 0), (398, 2), (410, 512), (422, 2), (483, 600)] {
        put(at, number);
    }
    let block: [u8; 512] = old[..512].try_into().unwrap();
    old[..512].copy_from_slice(&sealed(block));
    let in_header = Tar::default()
        .pax(&[
            ("GNU.sparse.map", b"0,2,512,2"),
            ("GNU.sparse.name", b"f"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.size", b"600"),
        ])
        .file("GNUSparseFile.0/f", stored)
        .file("after", b"")
        .end();
    let mut with_map = b"2\n0\n2\n512\n2\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend(stored);
    let pax: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"f"),
        ("GNU.sparse.realsize", b"600"),
    ];
    let before_data = Tar::default().pax(pax).file("x", &with_map).file("after", b"").end();
    for (form, tar) in [("old GNU", old), ("0.1", in_header), ("1.0", before_data)] {
        let all = list(&tar).unwrap();
        assert_eq!((&all[0].0.name[..], &all[0].1), (&b"f"[..], &expect), "{form}");
        assert_eq!(all[1].0.name, b"after", "{form}");
    }
    let bomb: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"9223372036854775807"),
    ];
    assert!(names(&Tar::default().pax(bomb).file("x", &with_map).end()).is_err());
}

#[test]
fn trailing_data_is_told() {
    let end = Tar::default().file("f", b"").end();
    for (extra, told) in [(&b""[..], false), (&[0; 4096], false), (b"x", true)] {
        let bytes = [&end[..], extra].concat();
        let mut reader = TarReader::new(&bytes[..]);
        while reader.next_entry().unwrap().is_some() {}
        assert_eq!(reader.finish().unwrap(), told);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(
        flips in proptest::collection::vec((0usize..4096, proptest::prelude::any::<u8>()), 0..8)
    ) {
        let mut bytes = Tar::default()
            .pax(&[("GNU.sparse.map", b"0,2,512,2"), ("GNU.sparse.size", b"600")])
            .file("f", b"abcd")
            .raw(b'S', b"s", Head { magic: b"ustar  \0", ..Head::default() }, b"")
            .end();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
            let start = at / 512 * 512;
            let block: [u8; 512] = bytes[start..start + 512].try_into().unwrap();
            bytes[start..start + 512].copy_from_slice(&sealed(block));
        }
        let _ = names(&bytes);
    }
}

/// Tars of other programs, read as another reader reads them (`testdata/tar/README.md`).
#[test]
fn tars_of_other_programs() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tar");
    let mut read = 0;
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".tar.gz")) else {
            continue;
        };
        let mut tar = Vec::new();
        let packed = std::fs::File::open(&path).unwrap();
        crate::decompress(packed).read_to_end(&mut tar).unwrap();
        if name.ends_with("sparse-0.0") {
            assert!(names(&tar).unwrap_err().contains("given twice"), "{name}");
            continue;
        }
        let expect = std::fs::read_to_string(format!("{name}.expect")).unwrap();
        let lines: Vec<String> = list(&tar).unwrap().iter().map(line).collect();
        assert_eq!(lines, expect.lines().collect::<Vec<_>>(), "{name}");
        read += 1;
    }
    assert_eq!(read, 7);
}

fn line((entry, content): &(TarEntry, Vec<u8>)) -> String {
    let (kind, link) = match &entry.kind {
        TarKind::File => ("file", &b""[..]),
        TarKind::Directory => ("dir", &b""[..]),
        TarKind::HardLink { target } => ("hardlink", &target[..]),
        TarKind::Symlink { target } => ("symlink", &target[..]),
        TarKind::CharDevice { .. } | TarKind::BlockDevice { .. } => ("device", &b""[..]),
        TarKind::Fifo => ("pipe", &b""[..]),
    };
    let digest = match entry.kind {
        TarKind::File => oci::Digest::of(content).hex()[..16].to_owned(),
        _ => "-".to_owned(),
    };
    let [name, link] = [&entry.name[..], link].map(String::from_utf8_lossy);
    let name = name.trim_end_matches('/');
    let TarEntry { mode, uid, gid, mtime, .. } = entry;
    let len = content.len();
    let line = format!("{kind} {mode:o} {uid}:{gid} {} {len} {digest} {name} {link}", mtime.secs);
    line.trim_end().to_owned()
}
