//! eStargz blobs, read as the format's public description says.

use std::io::Read as _;
use std::os::fd::AsFd as _;

use oci::Digest;
use serde_json::Value;

use crate::estargz::{FOOTER_BYTES, read_table, table_begin, write_estargz};
use crate::testing::{dir, file, link, of_kind, open, whiteout};
use crate::{Encoding, EntryKind, TarReader, Toc};

fn blob() -> (Vec<u8>, crate::LayerSums, Vec<u8>) {
    let temp = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..9_500_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::create_dir(temp.path().join("d")).unwrap();
    std::fs::write(temp.path().join("d/large"), &large).unwrap();
    std::fs::write(temp.path().join("d/small"), b"small").unwrap();
    std::fs::hard_link(temp.path().join("d/small"), temp.path().join("d/twin")).unwrap();
    std::fs::write(temp.path().join("empty"), b"").unwrap();
    let grouped = |mut entry: crate::Entry| {
        entry.link_group = Some(1);
        entry
    };
    let entries = vec![
        dir("d"),
        whiteout("d/gone"),
        file("d/large", &large),
        grouped(file("d/small", b"small")),
        grouped(file("d/twin", b"small")),
        file("empty", b""),
        link("link", "d/small"),
        of_kind("pipe", EntryKind::Fifo),
    ];
    let toc = Toc::from_entries(entries);
    let mut out = Vec::new();
    let root = open(temp.path());
    let encoding = Encoding { clamp_to: Some(1_600_000_000), estargz: Some(4) };
    let (sums, tar_bytes) = write_estargz(root.as_fd(), &toc, &encoding, 4, &mut out).unwrap();
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&out[..]).read_to_end(&mut tar).unwrap();
    assert_eq!((Digest::of(&tar), tar.len() as u64), (sums.diff_id.0, tar_bytes));
    assert_eq!((Digest::of(&out), out.len() as u64), (sums.digest, sums.size_bytes));
    let mut again = Vec::new();
    write_estargz(root.as_fd(), &toc, &encoding, 4, &mut again).unwrap();
    assert!(again == out, "two runs, two blobs");
    (out, sums, large)
}

#[test]
fn every_file_can_be_read_by_the_table() {
    let (blob, _, large) = blob();
    let begin = table_begin(&blob[blob.len() - FOOTER_BYTES..]).expect("a footer") as usize;
    let table = read_table(&blob[begin..]).unwrap();
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["version"], 1);
    let entries = table["entries"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|e| e["name"].as_str().unwrap()).collect();
    let large_three = ["d/large"; 3];
    let want =
        [&["d/", "d/.wh.gone"][..], &large_three, &["d/small", "d/twin", "empty", "link", "pipe"]];
    assert_eq!(names, want.concat());
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry["offset"].is_u64()) {
        let offset = entry["offset"].as_u64().unwrap() as usize;
        let mut chunk = Vec::new();
        flate2::read::GzDecoder::new(&blob[offset..]).read_to_end(&mut chunk).unwrap();
        assert_eq!(entry["chunkDigest"], Digest::of(&chunk).to_string());
        if entry["name"] == "d/large" {
            assert_eq!(entry["chunkOffset"].as_u64().unwrap_or(0), found.len() as u64);
            found.extend(chunk);
        } else {
            assert_eq!(
                (&chunk[..], &entry["digest"]),
                (&b"small"[..], &Digest::of(b"small").to_string().into())
            );
        }
    }
    assert!(found == large);
    let by_name = |name: &str| entries.iter().find(|e| e["name"] == name).unwrap();
    assert_eq!(by_name("d/large")["digest"], Digest::of(&large).to_string());
    assert_eq!(by_name("d/large")["size"], large.len());
    assert_eq!(by_name("d/twin")["type"], "hardlink");
    assert_eq!(by_name("d/twin")["linkName"], "d/small");
    assert_eq!(by_name("link")["linkName"], "d/small");
    assert_eq!(by_name("empty")["modtime"], "2020-09-13T12:26:40Z");
}

#[test]
fn as_a_tar_it_is_the_layer_and_the_table() {
    let (blob, _, _) = blob();
    let tar = flate2::bufread::MultiGzDecoder::new(&blob[..]);
    let mut reader = TarReader::new(std::io::BufReader::new(tar));
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8_lossy(&entry.name).into_owned());
    }
    assert_eq!(names.last().map(String::as_str), Some("stargz.index.json"));
    assert_eq!(names.len(), 9);
}

#[test]
fn what_another_blob_has_left_in_the_layer_is_not_in_it_twice() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("stargz.index.json"), b"old").unwrap();
    std::fs::hard_link(temp.path().join("stargz.index.json"), temp.path().join("twin")).unwrap();
    let mut grouped = [file("stargz.index.json", b"old"), file("twin", b"old")];
    grouped.iter_mut().for_each(|entry| entry.link_group = Some(1));
    let [table, twin] = grouped;
    let landmarks = [file(".no.prefetch.landmark", b""), link(".prefetch.landmark", "x")];
    let [inner, gone] = [dir("d"), whiteout("d/.prefetch.landmark")];
    let entries = landmarks.into_iter().chain([inner, gone, table, twin]).collect();
    let encoding = Encoding { clamp_to: None, estargz: Some(4) };
    let root = open(temp.path());
    let mut out = Vec::new();
    let toc = Toc::from_entries(entries);
    write_estargz(root.as_fd(), &toc, &encoding, 4, &mut out).unwrap();
    let begin = table_begin(&out[out.len() - FOOTER_BYTES..]).expect("a footer") as usize;
    let table: Value = serde_json::from_slice(&read_table(&out[begin..]).unwrap()).unwrap();
    let rows = table["entries"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["d/", "d/.wh..prefetch.landmark", "twin"]);
    assert_eq!((&rows[2]["type"], &rows[2]["size"]), (&"reg".into(), &3.into()));
    let tar = flate2::bufread::MultiGzDecoder::new(&out[..]);
    let mut reader = TarReader::new(std::io::BufReader::new(tar));
    let mut count = 0;
    while reader.next_entry().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 4);
    // A directory of that name would be replaced by the table, with all that is in it.
    let toc = Toc::from_entries(vec![dir("stargz.index.json")]);
    let refused = write_estargz(root.as_fd(), &toc, &encoding, 4, &mut Vec::new());
    assert!(refused.unwrap_err().to_string().contains("stargz.index.json"));
}

#[test]
fn other_footers_are_none() {
    assert_eq!(table_begin(b"short"), None);
    assert_eq!(table_begin(&[0; FOOTER_BYTES]), None);
    assert!(read_table(&b"no gzip"[..]).is_err());
}
