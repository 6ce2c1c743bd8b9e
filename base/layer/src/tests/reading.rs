//! What `TarReader` makes of well-formed, odd and hostile tars (security.md B4, B9, B12).

use std::io::Read as _;

use crate::testing::{Head, Tar, sealed};
use crate::{LayerError, Mtime, TarEntry, TarReader};

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

#[test]
fn what_readers_disagree_on_is_refused() {
    let smuggled = Tar::default().file("smuggled", b"").bytes;
    let with_size = |kind, size: &str| {
        let head = Head { link: b"t", size: Some(size.into()), ..Head::default() };
        Tar::default().raw(kind, b"n", head, b"").file("after", b"").end()
    };
    let base256 = |bytes: [u8; 12]| {
        let head = Head { size: Some(bytes.to_vec()), ..Head::default() };
        Tar::default().raw(b'0', b"n", head, b"").end()
    };
    let global = |key| {
        let mut records = Vec::new();
        crate::pax::put_record(&mut records, key, b"9");
        Tar::default().raw(b'g', b"g", Head::default(), &records).file("f", b"").end()
    };
    let mut bad_sum = Tar::default().file("f", b"").end();
    bad_sum[0] = b'g';
    let gap = [Tar::default().file("a", b"").bytes, vec![0; 512], smuggled.clone()].concat();
    let negative_uid = {
        let mut bytes = Tar::default().file("f", b"").end();
        bytes[108..116].copy_from_slice(&[0xff; 8]);
        let block: [u8; 512] = bytes[..512].try_into().unwrap();
        bytes[..512].copy_from_slice(&sealed(block));
        bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("PAX key twice", Tar::default().pax(&[("path", b"a"), ("path", b"b")]).file("f", b"").end()),
        ("two PAX headers", Tar::default().pax(&[("uid", b"1")]).pax(&[("gid", b"1")]).file("f", b"").end()),
        ("hard link with size", with_size(b'1', "00000001000")),
        ("symlink with size", with_size(b'2', "00000001000")),
        ("device with size", with_size(b'3', "00000001000")),
        ("directory with size", with_size(b'5', "00000001000")),
        ("pipe with size", with_size(b'6', "00000001000")),
        ("symlink with PAX size", Tar::default().pax(&[("size", b"512")]).symlink("l", "t").file("smuggled", b"").end()),
        ("global path", global(b"path")),
        ("global linkpath", global(b"linkpath")),
        ("global size", global(b"size")),
        ("negative base 256", base256([0xff; 12])),
        ("huge base 256", base256([0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("negative owner", negative_uid),
        ("owner that means none", Tar::default().pax(&[("uid", b"4294967295")]).file("f", b"").end()),
        ("owner out of range", Tar::default().pax(&[("gid", b"4294967296")]).file("f", b"").end()),
        ("PAX size that is none", Tar::default().pax(&[("size", b"-1")]).file("f", b"").end()),
        ("PAX size too big", Tar::default().pax(&[("size", b"9223372036854775808")]).file("f", b"").end()),
        ("PAX time that is none", Tar::default().pax(&[("mtime", b"now")]).file("f", b"").end()),
        ("PAX path with zero", Tar::default().pax(&[("path", b"a\0b")]).file("f", b"").end()),
        ("checksum", bad_sum),
        ("one zero block between", gap),
        ("octal that is none", with_size(b'0', "0000000000x")),
        ("unknown kind", with_size(b'M', "00000000000")),
        ("name by PAX and GNU", Tar::default().pax(&[("path", b"a")]).raw(b'L', b"l", Head::default(), b"b\0").file("f", b"").end()),
        ("big extended header", Tar::default().raw(b'L', b"l", Head { size: Some(b"00010000001".to_vec()), ..Head::default() }, b"").end()),
        ("PAX sparse 0.0", Tar::default().pax(&[("GNU.sparse.offset", b"0"), ("GNU.sparse.size", b"1")]).file("f", b"").end()),
        ("huge device", Tar::default().raw(b'3', b"d", Head { device: (0x1000, 0), ..Head::default() }, b"").end()),
    ];
    for (what, bytes) in cases {
        assert!(names(&bytes).is_err(), "{what}: {:?}", names(&bytes));
    }
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
    assert_eq!(one(&v7).0.kind, crate::TarKind::Directory);
    let link = one(&gnu(b'K', &long).symlink("l", "cut").end()).0;
    assert_eq!(link.kind, crate::TarKind::Symlink { target: long.into_bytes() });
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
        .pax(&[("GNU.sparse.map", b"0,2,512,2"), ("GNU.sparse.name", b"f"), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.size", b"600")])
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
