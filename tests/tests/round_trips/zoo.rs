//! Layers with all that tars can say, written byte by byte: what a library would put right stays as it is.

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// A capability as the kernel keeps it: `cap_net_raw+ep`, revision 2.
const CAPABILITY: &[u8] = b"\x01\x00\x00\x02\x00\x20\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0";

/// One entry's header fields that are not everybody's.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) owner: u64,
    pub(crate) mtime: &'a str,
    pub(crate) link: &'a [u8],
    pub(crate) device: (u32, u32),
    pub(crate) xattr: Option<(&'a str, &'a [u8])>,
}

pub(crate) const FILE: Facts<'static> = Facts {
    kind: b'0',
    mode: 0o644,
    owner: 0,
    mtime: "1000000000",
    link: b"",
    device: (0, 0),
    xattr: None,
};
pub(crate) const DIR: Facts<'static> = Facts { kind: b'5', mode: 0o755, ..FILE };

/// Writes tars.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn add(mut self, name: impl AsRef<[u8]>, facts: Facts, content: &[u8]) -> Tar {
        let name = name.as_ref();
        let mut records = Vec::new();
        let mut record = |key: &str, value: &[u8]| {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            records.extend(format!("{length} {key}=").into_bytes());
            records.extend(value);
            records.push(b'\n');
        };
        if name.len() > 100 {
            record("path", name);
        }
        if facts.link.len() > 100 {
            record("linkpath", facts.link);
        }
        let mtime = facts.mtime.parse::<u64>().ok().filter(|mtime| *mtime < 1 << 33);
        if mtime.is_none() {
            record("mtime", facts.mtime.as_bytes());
        }
        if facts.owner >= 1 << 21 {
            record("uid", facts.owner.to_string().as_bytes());
            record("gid", facts.owner.to_string().as_bytes());
        }
        if let Some((key, value)) = facts.xattr {
            record(&format!("SCHILY.xattr.{key}"), value);
        }
        if !records.is_empty() {
            let extended = Facts { kind: b'x', ..FILE };
            self.block(b"PaxHeaders.0/entry", extended, records.len(), 0);
            self.content(&records);
        }
        self.block(name, facts, content.len(), mtime.unwrap_or(0));
        self.content(content);
        self
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    fn content(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn block(&mut self, name: &[u8], facts: Facts, size: usize, mtime: u64) {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let owner = if facts.owner < 1 << 21 { facts.owner } else { 0 };
        put(0, &name[..name.len().min(100)]);
        put(100, format!("{:07o}\0", facts.mode).as_bytes());
        put(108, format!("{owner:07o}\0").as_bytes());
        put(116, format!("{owner:07o}\0").as_bytes());
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, format!("{mtime:011o}\0").as_bytes());
        put(148, b"        ");
        put(156, &[facts.kind]);
        put(157, &facts.link[..facts.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", facts.device.0).as_bytes());
        put(337, format!("{:07o}\0", facts.device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
    }
}

/// The layers of the image: everything in the lowest, then what changes it.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    let small = || Tar::default().add("twice", FILE, b"the same layer twice").finish();
    let empty = Tar::default().finish();
    vec![lowest(), changes(), empty.clone(), small(), empty, small()]
}

fn lowest() -> Vec<u8> {
    let mut holes = vec![0; 3 << 20];
    holes[1 << 20..][..4].copy_from_slice(b"data");
    let long = format!("long/{}", "n".repeat(140));
    let deep = ["d".repeat(100), "e".repeat(100), "f".repeat(100)];
    let mut tar = Tar::default()
        .add("etc/", DIR, b"")
        .add("etc/keep", FILE, b"kept")
        .add("etc/gone", FILE, b"gone")
        .add("etc/other", FILE, b"replaced above")
        .add("whole/", DIR, b"")
        .add("whole/file", FILE, b"goes with its directory")
        .add("opaque/", DIR, b"")
        .add("opaque/below", FILE, b"hidden")
        .add("opaque/sub/", DIR, b"")
        .add("opaque/sub/below", FILE, b"hidden")
        .add("bin/", DIR, b"")
        .add("bin/tool", Facts { mode: 0o4755, ..FILE }, b"#!/bin/sh\n")
        .add("bin/tool2", Facts { kind: b'1', mode: 0o4755, link: b"bin/tool", ..FILE }, b"")
        .add("bin/link", Facts { kind: b'2', mode: 0o777, link: b"tool", ..FILE }, b"")
        .add("shared/", Facts { mode: 0o2775, owner: 1000, ..DIR }, b"")
        .add("tmp/", Facts { mode: 0o1777, ..DIR }, b"")
        .add("cap", Facts { xattr: Some(("security.capability", CAPABILITY)), ..FILE }, b"cap")
        .add("noted", Facts { xattr: Some(("user.note", b"a note")), ..FILE }, b"noted")
        .add("owner", Facts { owner: 3_000_000, ..FILE }, b"of somebody far away")
        .add("old", Facts { mtime: "-1000000", ..FILE }, b"before 1970")
        .add("new", Facts { mtime: "8589934592", ..FILE }, b"in 2242")
        .add("exact", Facts { mtime: "1000000000.123456789", ..FILE }, b"to the nanosecond")
        .add("holes", FILE, &holes)
        .add("empty", FILE, b"")
        .add("long/", DIR, b"")
        .add(&long, FILE, b"long")
        .add("gr\u{fc}\u{df}e-\u{65e5}\u{672c}-\u{1f600}", FILE, b"unicode")
        .add(b"no-\xff\xfe-text", FILE, b"bytes");
    let mut path = String::new();
    for part in &deep {
        path.push_str(part);
        path.push('/');
        tar = tar.add(&path, DIR, b"");
    }
    path.push_str("file");
    let to_deep = Facts { kind: b'1', link: path.as_bytes(), ..FILE };
    tar.add(&path, FILE, b"deep")
        .add("to-deep", to_deep, b"")
        .add("dev/", DIR, b"")
        .add("dev/null-like", Facts { kind: b'3', mode: 0o666, device: (1, 3), ..FILE }, b"")
        .add("dev/disk-like", Facts { kind: b'4', mode: 0o660, device: (7, 200), ..FILE }, b"")
        .add("pipe", Facts { kind: b'6', mode: 0o600, ..FILE }, b"")
        .finish()
}

fn changes() -> Vec<u8> {
    Tar::default()
        .add("etc/", Facts { mode: 0o700, ..DIR }, b"")
        .add("etc/.wh.gone", FILE, b"")
        .add("etc/other", FILE, b"new content")
        .add(".wh.whole", FILE, b"")
        .add("opaque/", DIR, b"")
        .add("opaque/.wh..wh..opq", FILE, b"")
        .add("opaque/above", FILE, b"seen")
        // As overlayfs leaves it: the file is copied up, its other name below stays what it was.
        .add("bin/", DIR, b"")
        .add("bin/tool", Facts { mode: 0o4755, ..FILE }, b"#!/bin/sh\n")
        .add("bin/tool3", Facts { kind: b'1', mode: 0o4755, link: b"bin/tool", ..FILE }, b"")
        .finish()
}

/// An archive as old versions of `docker save` make it: layers in directories of their own.
pub(crate) fn docker_archive(layers: &[Vec<u8>], name: &str) -> Vec<u8> {
    let hex = |bytes: &[u8]| {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let diff_ids: Vec<String> = layers.iter().map(|tar| format!("sha256:{}", hex(tar))).collect();
    let history = diff_ids.iter().map(|_| json!({ "created_by": "COPY . /" }));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2001-02-03T04:05:06Z",
        "config": { "Cmd": ["/bin/tool", "an argument"], "Env": ["PATH=/bin", "NAME=v\u{e4}lue"],
            "Labels": { "a.label": "with \"quotes\"" }, "WorkingDir": "/etc" },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history.collect::<Vec<_>>(),
    })
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let mut tar = Tar::default().add(&config_name, FILE, config.as_bytes());
    let mut paths = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let directory = format!("{}/", hex(format!("layer {at}").as_bytes()));
        let path = format!("{directory}layer.tar");
        tar = tar.add(&directory, DIR, b"");
        // docker writes a layer once and lets links point to it.
        tar = match layers[..at].iter().position(|other| other == layer) {
            Some(first) => {
                let target = format!("../{}", paths[first]);
                let link = Facts { kind: b'2', link: target.as_bytes(), ..FILE };
                tar.add(&path, link, b"")
            }
            None => tar.add(&path, FILE, layer),
        };
        paths.push(path);
    }
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": paths }]);
    tar.add("manifest.json", FILE, manifest.to_string().as_bytes()).finish()
}
