use proptest::prelude::*;

use super::testing::{digest, entry, layer};
use super::*;
use crate::RemoteErrorKind;

fn document() -> CacheDocument {
    CacheDocument {
        layers: ["a", "b", "unused"].map(layer).to_vec(),
        records: vec![entry("one", &[0]), entry("two", &[0, 1])],
        mounts: vec![MountBlob {
            namespace: "ns".to_owned(),
            id: "go".to_owned(),
            owner: Some((5, 6, 0o700)),
            origin: Some("00".to_owned()),
            descriptor: Descriptor::new("m", digest("m"), 7),
        }],
        listings: vec![(TreeDigest(digest("t")), Descriptor::new("l", digest("l"), 8))],
    }
}

fn same(a: &CacheDocument, b: &CacheDocument) {
    assert_eq!(a.in_order(), b.in_order());
}

#[test]
fn what_was_written_is_read() {
    let written = document();
    let read = CacheDocument::decode(&written.encode().expect("encode")).expect("decode");
    same(&read, &written);
    assert_eq!(read.layers.len(), 2); // what no record names is left out
    assert_eq!(read.blobs().len(), 4);
}

#[test]
fn the_order_of_work_does_not_show() {
    let first = document();
    let mut second = first.clone();
    second.layers.reverse();
    for entry in &mut second.records {
        for place in entry.layers.iter_mut().chain(&mut entry.layer) {
            *place = 2 - *place;
        }
        entry.keys.reverse();
    }
    second.records.reverse();
    assert_eq!(first.encode().expect("encode"), second.encode().expect("encode"));
}

#[test]
fn equal_bytes_of_two_times_are_two_layers() {
    let mut document = document();
    let later = "2026-01-02T03:04:06Z".to_owned();
    document.layers[1] = CacheLayer { created: later.clone(), ..document.layers[0].clone() };
    let read = CacheDocument::decode(&document.encode().expect("encode")).expect("decode");
    let times: Vec<&str> = read.layers.iter().map(|layer| &*layer.created).collect();
    assert!(times.contains(&&*later) && times.len() == 2, "{times:?}"); // CIO-12
    assert_eq!(read.blobs().len(), 3); // one blob for both
}

#[test]
fn a_merge_keeps_both_and_nothing_twice() {
    let mut all = document();
    all.merge(document());
    same(&all, &document());
    let other = CacheDocument {
        layers: vec![layer("c"), layer("a")],
        records: vec![entry("three", &[1, 0])],
        ..CacheDocument::default()
    };
    all.merge(other);
    assert_eq!((all.layers.len(), all.records.len()), (4, 3));
    let third = &all.records[2];
    let names: Vec<Digest> =
        all.layers_of(third).expect("in range").iter().map(|l| l.descriptor.digest).collect();
    assert_eq!(names, [digest("a"), digest("c")]);
    assert_eq!(third.layer, third.layers.last().copied());
}

fn decoded(json: &str) -> Result<CacheDocument, (RemoteErrorKind, String)> {
    let bytes = zstd::bulk::compress(json.as_bytes(), 1).expect("compress");
    CacheDocument::decode(&bytes).map_err(|error| {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        (error.kind(), reason.unwrap_or_default())
    })
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let newer = decoded(r#"{"version":2,"layers":{"quite":"different"}}"#);
    assert_eq!(newer.expect_err("newer").0, RemoteErrorKind::Newer);
    let empty = decoded(r#"{"version":1,"something":{"new":[1]}}"#);
    assert_eq!(empty, Ok(CacheDocument::default()));
    for damaged in ["", "{}", "[]", r#"{"version":1,"layers":5}"#, r#"{"version":1,"layers":[{}]}"#]
    {
        assert_eq!(decoded(damaged).expect_err(damaged).0, RemoteErrorKind::Damaged);
    }
    let not_zstd = CacheDocument::decode(b"{\"version\":1}").expect_err("plain JSON");
    assert_eq!(not_zstd.kind(), RemoteErrorKind::Damaged);
    let truncated = document().encode().expect("encode");
    let error = CacheDocument::decode(&truncated[..truncated.len() - 3]).expect_err("truncated");
    assert_eq!(error.kind(), RemoteErrorKind::Damaged);
}

#[test]
fn what_cannot_be_true_is_refused() {
    let json = |change: &dyn Fn(&mut serde_json::Value)| {
        let bytes = document().encode().expect("encode");
        let text = zstd::decode_all(&bytes[..]).expect("decompress");
        let mut value = serde_json::from_slice(&text).expect("JSON");
        change(&mut value);
        value.to_string()
    };
    assert!(decoded(&json(&|_| {})).is_ok());
    let check = |change: &dyn Fn(&mut serde_json::Value), want: &str| {
        let (kind, reason) = decoded(&json(change)).expect_err(want);
        assert_eq!(kind, RemoteErrorKind::Damaged, "{reason}");
        assert!(reason.contains(want), "{reason}");
    };
    check(&|v| v["records"][0]["layers"][0] = 9.into(), "not in the list");
    check(&|v| v["records"][0]["layer"] = 9.into(), "not in the list");
    check(&|v| v["records"][1]["layer"] = serde_json::Value::from(0), "not its last");
    check(&|v| v["records"][0]["keys"] = serde_json::json!([]), "no key");
    check(&|v| v["records"][0]["keys"][0] = "md5:1".into(), "digest");
    check(&|v| v["records"][0]["created"] = "yesterday\u{1b}[31m".into(), "a time that is none");
    check(&|v| v["layers"][0]["created"] = "".into(), "a time that is none");
    check(&|v| v["records"][0]["step"] = "x".repeat(70_000).into(), "too long");
    check(&|v| drop(v["layers"][0].as_object_mut().expect("layer").remove("diffId")), "diffId");
    let many = serde_json::json!(vec![0; 5_000]);
    check(&|v| v["records"][0]["layers"] = many.clone(), "too many layers");
    // A layer without a blob can only be meant in an image: its records cannot be used here.
    let without = json(&|v| drop(v["layers"][0].as_object_mut().expect("layer").remove("blob")));
    assert!(decoded(&without).expect("no damage").records.len() < 2);
}

#[test]
fn a_layer_brings_nothing_but_what_it_is_found_by() {
    let json = |change: &dyn Fn(&mut serde_json::Value)| {
        let text = zstd::decode_all(&document().encode().expect("encode")[..]).expect("zstd");
        let mut value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        change(&mut value["layers"][0]["blob"]);
        decoded(&value.to_string()).expect("no damage")
    };
    let more = json(&|blob| {
        blob["urls"] = serde_json::json!(["http://elsewhere/x"]);
        blob["annotations"] = serde_json::json!({ "a": "b" });
        blob["data"] = "eA==".into();
    });
    same(&more, &document());
    // A layer of a kind that nobody here can unpack makes its own records useless.
    let other = json(&|blob| blob["mediaType"] = "application/vnd.oci.image.layer.v9".into());
    assert!(other.records.len() < 2 && other.layers.len() == 1);
}

#[test]
fn a_bomb_is_given_up_in_time() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..300 {
        std::io::Write::write_all(&mut encoder, &zeros).expect("write");
    }
    let bytes = encoder.finish().expect("finish");
    let error = CacheDocument::decode(&bytes).expect_err("300 MiB");
    assert_eq!(error.kind(), RemoteErrorKind::TooLarge);
}

#[test]
fn nothing_is_written_that_could_not_be_read() {
    let mut long = document();
    long.records[0].step = "x".repeat(70_000);
    assert_eq!(long.encode().expect_err("too long").kind(), RemoteErrorKind::TooLarge);
    let mut wrong = document();
    wrong.records[0].layer = Some(77);
    // A record that names none of our layers cannot be used by anybody.
    assert_eq!(
        CacheDocument::decode(&wrong.encode().expect("left out")).expect("read").records.len(),
        1
    );
}

#[test]
fn only_times_that_everybody_reads_are_times() {
    for good in
        ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678901234Z", "2026-01-02T03:04:05+02:00"]
    {
        assert!(format::is_time(good), "{good}");
    }
    for bad in [
        "",
        "2026-01-02",
        "2026-01-02T03:04Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04:05-04[America/New_York]",
        "-002026-01-02T03:04:05Z",
        "2026-01-02T03:04:05,5Z",
        "2026-13-02T03:04:05Z",
    ] {
        assert!(!format::is_time(bad), "{bad}");
    }
}

#[test]
fn a_layer_without_a_time_does_not_keep_a_cache_from_being_written() {
    let mut document = document();
    document.layers[0].created = String::new();
    let read = CacheDocument::decode(&document.encode().expect("encode")).expect("decode");
    assert_eq!(read.layers[0].created, "1970-01-01T00:00:00Z");
}

#[test]
fn short_words_do_not_fill_the_memory() {
    let mut document = document();
    let many = entry("many", &[0; 1_000]);
    document.records = vec![many; 2_001];
    let reason = format::check_limits(&document).expect_err("two million places");
    assert!(reason.contains("2000000"), "{reason}");
    document.records.truncate(1_500);
    assert_eq!(format::check_limits(&document), Ok(()));
}

fn any_document() -> impl Strategy<Value = CacheDocument> {
    let records = prop::collection::vec((0u8..20, prop::collection::vec(0u32..6, 0..5)), 0..12);
    records.prop_map(|records| CacheDocument {
        layers: ["a", "b", "c", "d", "e", "f"].map(layer).to_vec(),
        records: records.iter().map(|(name, layers)| entry(&name.to_string(), layers)).collect(),
        ..CacheDocument::default()
    })
}

proptest! {
    #[test]
    fn every_document_comes_back(document in any_document()) {
        let bytes = document.encode().expect("encode");
        let read = CacheDocument::decode(&bytes).expect("decode");
        prop_assert_eq!(read.in_order(), document.in_order());
        prop_assert_eq!(read.encode().expect("encode"), bytes);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = CacheDocument::decode(&bytes);
    }

    #[test]
    fn no_text_makes_the_reader_panic(at in 0usize..2000, byte in 32u8..127) {
        let bytes = document().encode().expect("encode");
        let mut text = zstd::decode_all(&bytes[..]).expect("decompress");
        let at = at % text.len();
        text[at] = byte;
        if let Ok(read) = CacheDocument::decode(&zstd::bulk::compress(&text, 1).expect("compress")) {
            prop_assert!(read.records.iter().all(|entry| read.layers_of(entry).is_some()));
        }
    }
}
