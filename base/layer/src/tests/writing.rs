//! The bytes of tars that this crate writes (design D8, IMG-23 to IMG-29).

use std::os::fd::AsFd as _;
use std::process::Command;

use oci::Digest;

use crate::testing::{dir, file, link, of_kind, open, skipped, whiteout};
use crate::{
    Compression, Encoding, Entry, EntryKind, LayerError, Mtime, TarKind, TarReader, TarWriter, Toc,
    write_layer, write_tar,
};

/// Entries of all kinds, and every field that needs PAX once.
fn odd_entries() -> Vec<Entry> {
    let with = |mut entry: Entry, change: fn(&mut Entry)| {
        change(&mut entry);
        entry
    };
    let long_split = format!("d/{}/{}", "a".repeat(90), "b".repeat(60));
    let long_whole = format!("d/{}", "c".repeat(150));
    vec![
        dir("d"),
        with(dir("d/sticky"), |e| e.mode = 0o1777),
        with(file("d/capable", b""), |e| {
            e.xattrs.insert(b"security.capability".to_vec(), b"\x01\n\x00\xff".to_vec());
        }),
        with(file("d/owned", b""), |e| (e.uid, e.gid) = (3_000_000_000, 2_097_152)),
        with(file("d/old", b""), |e| e.mtime = Mtime { secs: -1, nanos: 0 }),
        with(file("d/future", b""), |e| e.mtime = Mtime { secs: 1 << 40, nanos: 7 }),
        file(&long_split, b""),
        file(&long_whole, b""),
        file("d/ümlaut\n", b""),
        link("d/link", &"t".repeat(101)),
        of_kind("d/char", EntryKind::CharDevice { major: 4095, minor: 1_048_575 }),
        of_kind("d/block", EntryKind::BlockDevice { major: 8, minor: 1 }),
        of_kind("d/pipe", EntryKind::Fifo),
        whiteout("d/gone"),
        whiteout("gone"),
    ]
}

fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = TarWriter::new(&mut bytes);
    for entry in entries {
        writer.entry(entry, None).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

#[test]
fn what_was_written_is_read() {
    let entries = odd_entries();
    let bytes = tar_of(&entries);
    let mut reader = TarReader::new(&bytes[..]);
    for entry in &entries {
        let read = reader.next_entry().unwrap().unwrap();
        let name = match entry.kind {
            EntryKind::Directory { .. } => [&entry.path[..], b"/"].concat(),
            EntryKind::Whiteout => match entry.parent() {
                [] => b".wh.gone".to_vec(),
                _ => b"d/.wh.gone".to_vec(),
            },
            _ => entry.path.clone(),
        };
        let shown = String::from_utf8_lossy(&name).into_owned();
        assert_eq!(read.name, name);
        let fields = (read.mode, read.uid, read.gid, read.mtime.secs, &read.xattrs);
        let wanted = (entry.mode, entry.uid, entry.gid, entry.mtime.secs, &entry.xattrs);
        assert_eq!(fields, wanted, "{shown}");
        match (&entry.kind, &read.kind) {
            (EntryKind::Symlink { target: a }, TarKind::Symlink { target: b }) => assert_eq!(a, b),
            (
                EntryKind::CharDevice { major: a, minor: b },
                TarKind::CharDevice { major: c, minor: d },
            ) => assert_eq!((a, b), (c, d)),
            _ => {}
        }
    }
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn pax_only_where_needed() {
    let pax = |entry: Entry| tar_of(&[entry])[156] == b'x';
    let needs: Vec<String> = odd_entries()
        .into_iter()
        .filter(|entry| pax(entry.clone()))
        .map(|entry| String::from_utf8_lossy(entry.name()).chars().take(7).collect())
        .collect();
    assert_eq!(needs, ["capable", "owned", "old", "future", "ccccccc", "ümlaut\n", "link"]);
}

#[test]
fn header_bytes_are_fixed() {
    // A changed digest here changes the digest of every layer.
    assert_eq!(
        Digest::of(&tar_of(&odd_entries())).to_string(),
        "sha256:2916239c0146f5754482e16ea2f620eeabf0e4cae7967a749b508959f9f878a1"
    );
}

#[test]
fn gnu_tar_and_python_read_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("t.tar");
    let entries = odd_entries();
    std::fs::write(&path, tar_of(&entries)).unwrap();
    let python = "import sys,tarfile\nfor m in tarfile.open(sys.argv[1]): print(oct(m.mode), m.uid, m.gid, int(m.mtime), repr(m.name))";
    let readers: [(&str, Vec<&str>); 2] = [
        ("tar", vec!["--numeric-owner", "--quoting-style=c", "-tvf"]),
        ("python3", vec!["-c", python]),
    ];
    for (program, args) in readers {
        let output =
            match Command::new(program).args(&args).arg(&path).env("LC_ALL", "C.UTF-8").output() {
                Ok(output) => output,
                Err(error) => {
                    skipped(&format!("{program}: {error}"));
                    continue;
                }
            };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.lines().count(), entries.len(), "{program}: {text}");
        for part in ["3000000000", "d/.wh.gone", "ümlaut\\n", &"c".repeat(150)] {
            assert!(text.contains(part), "{program} lost {part}: {text}");
        }
    }
}

#[test]
fn empty_layer_is_the_shared_empty_tar() {
    let temp = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let sums =
        write_tar(open(temp.path()).as_fd(), &Toc::default(), &Encoding::default(), &mut bytes)
            .unwrap();
    assert_eq!(bytes, [0; 1024]);
    assert_eq!(sums.size_bytes, 1024);
    assert_eq!(
        sums.diff_id.to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
}

/// A directory with small and large files and hard links, and its table.
fn sample(temp: &std::path::Path) -> Toc {
    std::fs::create_dir(temp.join("d")).unwrap();
    let mut entries = vec![dir("d")];
    for n in 0..40usize {
        let content = vec![n as u8; n * 7919];
        std::fs::write(temp.join(format!("d/{n:02}")), &content).unwrap();
        entries.push(file(&format!("d/{n:02}"), &content));
    }
    let big: Vec<u8> = (0..3_500_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
    std::fs::write(temp.join("big"), &big).unwrap();
    let mut first = file("big", &big);
    first.link_group = Some(3);
    let second = Entry { path: b"d/again".to_vec(), ..first.clone() };
    entries.extend([first, second, whiteout("gone")]);
    Toc::from_entries(entries)
}

fn without_digests(toc: &Toc) -> Toc {
    let mut entries = toc.entries().to_vec();
    for entry in &mut entries {
        if let EntryKind::File { size_bytes: 1.., digest } = &mut entry.kind {
            *digest = None;
        }
    }
    Toc::from_entries(entries)
}

#[test]
fn layers_do_not_depend_on_threads() {
    let temp = tempfile::tempdir().unwrap();
    let toc = sample(temp.path());
    let dir = open(temp.path());
    for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
        let mut results = Vec::new();
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut bytes = Vec::new();
            let sums = pool.install(|| {
                let encoding = Encoding::default();
                write_layer(dir.as_fd(), &toc, &encoding, compression, &mut bytes).unwrap()
            });
            assert_eq!(sums.digest, Digest::of(&bytes));
            assert_eq!(sums.size_bytes, bytes.len() as u64);
            results.push((sums, bytes));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{compression:?}");
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut crate::decompress(&results[0].1[..]), &mut plain).unwrap();
        assert_eq!(Digest::of(&plain), results[0].0.diff_id.0, "{compression:?}");
    }
}

#[test]
fn digests_are_checked_and_learned() {
    let temp = tempfile::tempdir().unwrap();
    let known = sample(temp.path());
    let dir = open(temp.path());
    let write = |toc: &Toc| write_tar(dir.as_fd(), toc, &Encoding::default(), &mut std::io::sink());
    let sums = write(&known).unwrap();
    assert_eq!(sums.learned, []);
    let mut unknown = without_digests(&known);
    let again = write(&unknown).unwrap();
    assert_eq!(again.diff_id, sums.diff_id);
    unknown.learn(&again.learned);
    assert_eq!(unknown, known);
    let mut hashed = without_digests(&known);
    crate::digest_files(dir.as_fd(), &mut hashed, &|| false).unwrap();
    assert_eq!(hashed, known);
    let cancelled = crate::digest_files(dir.as_fd(), &mut without_digests(&known), &|| true);
    assert!(cancelled.unwrap_err().is_cancelled());
    for name in ["d/07", "big"] {
        let path = temp.path().join(name);
        let mut content = std::fs::read(&path).unwrap();
        content[5] ^= 1;
        std::fs::write(&path, &content).unwrap();
        assert!(matches!(write(&known), Err(LayerError::Changed { .. })), "{name} changed");
        content[5] ^= 1;
        for other in [&content[..content.len() - 1], &[&content[..], b"x"].concat()] {
            std::fs::write(&path, other).unwrap();
            assert!(matches!(write(&known), Err(LayerError::Changed { .. })), "{name} resized");
        }
        std::fs::write(&path, &content).unwrap();
    }
    assert_eq!(write(&known).unwrap(), sums);
}

#[test]
fn times_are_clamped_and_never_raised() {
    let mut bytes = Vec::new();
    let mut writer = TarWriter::new(&mut bytes).clamp_to(Some(1_000));
    let [mut early, mut late] = [dir("a"), dir("b")];
    early.mtime.secs = 999;
    late.mtime = Mtime { secs: 1_000, nanos: 5 };
    for entry in [early, late, dir("c")] {
        writer.entry(&entry, None).unwrap();
    }
    writer.finish().unwrap();
    let mut reader = TarReader::new(&bytes[..]);
    let times = std::iter::from_fn(|| reader.next_entry().unwrap().map(|e| e.mtime.secs));
    assert_eq!(times.collect::<Vec<_>>(), [999, 1_000, 1_000]);
}
