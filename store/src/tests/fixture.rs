//! A store in a temporary directory, and things to put into it.

use std::path::PathBuf;

use graph::{CacheKey, ContentId, InstructionDigest, LayerId, NearKey, OperationDigest, Stack};
use layer::{Entry, EntryKind, Toc};
use oci::{ChainId, DiffId, Digest, ImageId, Reference};

use crate::{
    CacheRecord, GcPolicy, GcReport, ItemKind, LayerBlob, Lease, Reached, RecordKeys, Store,
    StoreError, StoreOptions, StoredImage, Tagged, VerifyDepth,
};

pub(crate) const CREATED: &str = "2026-11-21T10:00:00Z";
pub(crate) const CONTENT: &[u8] = b"hello\n";

/// A directory for a store. It lives as long as this.
pub(crate) struct Root {
    pub(crate) dir: tempfile::TempDir,
}

impl Root {
    pub(crate) fn new() -> Root {
        Root { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// In memory where the machine has such a place: for tests that sync thousands of times.
    pub(crate) fn in_memory() -> Root {
        tempfile::tempdir_in("/dev/shm").map_or_else(|_| Root::new(), |dir| Root { dir })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn open_in(&self, boot_id: &str) -> Result<Store, StoreError> {
        let options = StoreOptions { boot_id: Some(boot_id.to_owned()), userxattr: false };
        Store::open(&self.path(), &options)
    }

    pub(crate) fn open(&self) -> Store {
        self.open_in("boot-1").expect("open the store")
    }
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().expect("a valid reference")
}

pub(crate) fn keys(text: &str) -> RecordKeys {
    RecordKeys {
        instruction: InstructionDigest(digest(&format!("{text} instruction"))),
        operation: Some(OperationDigest(digest(&format!("{text} operation")))),
        cache: ["weak", "strong"].map(|form| CacheKey(digest(&format!("{text} {form}")))).to_vec(),
        near: Some(NearKey(digest(&format!("{text} near")))),
    }
}

pub(crate) fn record(layers: &[LayerId]) -> CacheRecord {
    CacheRecord {
        stack: Stack { base: None, layers: layers.to_vec() },
        layer: layers.last().copied(),
        created: CREATED.to_owned(),
        took_ms: 1500,
        step: "COPY a".to_owned(),
        inputs: vec![("COPY a".to_owned(), digest("a").to_string())],
    }
}

pub(crate) fn toc() -> Toc {
    let digest = Some(Digest::of(CONTENT));
    let kind = EntryKind::File { size_bytes: CONTENT.len() as u64, digest };
    Toc::from_entries(vec![Entry::plain(b"file", kind)])
}

/// A layer with one file, and its table of contents.
pub(crate) fn commit(lease: &Lease) -> Result<LayerId, StoreError> {
    let id = commit_bare(lease)?;
    let toc = toc();
    let content_id: ContentId = layer::content_id(&toc);
    lease.set_toc(id, toc, content_id)?;
    Ok(id)
}

pub(crate) fn commit_bare(lease: &Lease) -> Result<LayerId, StoreError> {
    let ingest = lease.new_ingest()?;
    std::fs::create_dir(ingest.path().join("diff")).expect("a new directory");
    std::fs::write(ingest.path().join("diff/file"), CONTENT).expect("a new file");
    std::fs::create_dir(ingest.path().join("work")).expect("a new directory");
    lease.commit_layer(ingest, "diff", CREATED)
}

pub(crate) fn image(layers: &[LayerId], config: &str) -> StoredImage {
    StoredImage {
        id: ImageId(digest(config)),
        config: config.as_bytes().to_vec(),
        stack: Stack { base: None, layers: layers.to_vec() },
        diff_ids: layers.iter().map(|_| DiffId(digest("tar"))).collect(),
        manifest: None,
        built_at: CREATED.to_owned(),
    }
}

/// Everything that a build of one step with a tag does, in its order. `name` tells builds apart.
pub(crate) fn build(store: &Store, name: &str, durable: bool) -> Result<ImageId, StoreError> {
    let lease = store.lease()?;
    let keys = keys(name);
    let near = keys.near.expect("the fixture's keys have one");
    let found = lease.find_near(&near)?;
    let layers = match found {
        Some(record) if lease.hold_layers(&record.stack.layers)? => record.stack.layers,
        _ => vec![run_step(&lease, &keys)?],
    };
    let diff_id = DiffId(digest("tar"));
    let (blob, size_bytes) = lease.put_blob(None, &mut format!("{name} blob").as_bytes())?;
    lease.set_diff_id(layers[0], "plain", diff_id, 10)?;
    let (compression, media_type) = ("gzip".to_owned(), oci::media::OCI_LAYER_GZIP.to_owned());
    let blob = LayerBlob { compression, media_type, digest: blob, size_bytes };
    lease.set_layer_blob(diff_id, &blob)?;
    lease.put_chain(&ChainId(diff_id.0), &layers)?;
    let image = image(&layers, &format!("{{\"name\":\"{name}\"}}"));
    lease.put_image(&image)?;
    lease.finish(durable, &Reached { layers: &[], images: &[image.id] })?;
    if durable {
        lease.set_tags(&[(reference(name), Tagged::Image(image.id))])?;
    }
    Ok(image.id)
}

fn run_step(lease: &Lease, keys: &RecordKeys) -> Result<LayerId, StoreError> {
    let id = commit(lease)?;
    lease.put_record(keys, &record(&[id]))?;
    Ok(id)
}

pub(crate) fn assert_sound(store: &Store, when: &str) {
    let problems = store.verify(VerifyDepth::Contents).expect("verify the store");
    assert!(problems.is_empty(), "{when}: {problems:#?}");
}

/// Everything that no tag needs.
pub(crate) fn all() -> GcPolicy {
    GcPolicy { all: true, ..GcPolicy::default() }
}

/// How many layers a collection has removed, whoever made them.
pub(crate) fn layers_of(report: &GcReport) -> usize {
    report.count(ItemKind::Step) + report.count(ItemKind::Base)
}

/// Names in a directory of the store.
pub(crate) fn names(store: &Store, dir: &str) -> Vec<String> {
    store.disk().list(dir).expect("list a directory of the store")
}
