//! A store with images in it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use exporter::{BuiltImage, ExportError, ImageOptions, Job, LayerSource, Prepared, prepare};
use graph::LayerId;
use layer::{ApplyOptions, Encoding, Toc};
use oci::{History, ImageConfig, Platform, Reference};
use progress::Emitter;
use store::{Lease, Store, StoreOptions};
use sys::Cancel;
use testkit::rootfs::TarBuilder;
use tree::{LayerDir, StackTree};

/// A store, and all that a job needs.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) lease: Lease,
    pub(crate) events: Emitter,
    pub(crate) cancel: Cancel,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let dir = testkit::temp_store_root();
        let options = StoreOptions { boot_id: Some("test".to_owned()), userxattr: !is_root() };
        let store = Store::open(&dir.path().join("store"), &options).expect("open a store");
        let lease = store.lease().expect("lease");
        Fixture { dir, lease, events: Emitter::silent(), cancel: Cancel::new() }
    }

    pub(crate) fn job(&self) -> Job<'_> {
        let Fixture { lease, events, cancel, .. } = self;
        Job { lease, events, vertex: 0, cancel, fetch: None }
    }

    /// Unpacks layer tars, lowest first, as layers of the store.
    pub(crate) fn layers(&self, tars: &[Vec<u8>]) -> Vec<LayerId> {
        let mut ids: Vec<LayerId> = Vec::new();
        for tar in tars {
            let tocs: Vec<Arc<Toc>> = ids.iter().rev().map(|id| self.toc(*id)).collect();
            let below: Vec<&Toc> = tocs.iter().map(|toc| &**toc).collect();
            let dirs = ids.clone();
            let lower_dir = |at: usize| self.lease.layer_dir(dirs[dirs.len() - 1 - at]).ok();
            let options = ApplyOptions {
                userxattr: !is_root(),
                owners_in_toc_only: !is_root(),
                lower_dir: &lower_dir,
            };
            let ingest = self.lease.new_ingest().expect("ingest");
            let diff = ingest.path().join("diff");
            std::fs::create_dir(&diff).expect("mkdir");
            let into = File::open(&diff).expect("open");
            let applied = layer::apply_tar(&mut tar.as_slice(), into.as_fd(), &below, &options)
                .expect("apply");
            let id =
                self.lease.commit_layer(ingest, "diff", "2001-02-03T04:05:06Z").expect("commit");
            let content = layer::content_id(&applied.toc);
            self.lease.set_toc(id, applied.toc, content).expect("set toc");
            ids.push(id);
        }
        ids
    }

    pub(crate) fn toc(&self, id: LayerId) -> Arc<Toc> {
        self.lease.layer_toc(id).expect("read").expect("has a toc")
    }

    /// An image of the layers for a platform.
    pub(crate) fn image(&self, layers: &[LayerId], platform: &str) -> BuiltImage {
        let platform: Platform = platform.parse().expect("platform");
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            created: Some("2001-02-03T04:05:06Z".to_owned()),
            ..ImageConfig::default()
        };
        let mut sources = Vec::new();
        for id in layers {
            let encoding = Encoding::default();
            let diff_id = exporter::layer_diff_id(&self.lease, *id, &encoding).expect("diff id");
            config.rootfs.diff_ids.push(diff_id);
            config.history.push(History::default());
            sources.push(LayerSource {
                diff_id,
                layer: Some(*id),
                encoding,
                is_base: false,
                own: None,
                pulled_from: None,
            });
        }
        let id = config.id();
        BuiltImage { id, config: config.to_json(), platform, layers: sources, manifest: None }
    }

    /// An image with two layers; the upper one deletes and replaces something.
    pub(crate) fn sample(&self) -> BuiltImage {
        let layers = self.layers(&sample_tars());
        self.image(&layers, "linux/amd64")
    }

    pub(crate) fn prepared(&self) -> Prepared {
        prepare(&[self.sample()], &ImageOptions::default(), self.job()).expect("prepare")
    }

    /// The tree of some layers.
    pub(crate) fn tree(&self, layers: &[LayerId]) -> StackTree {
        let one = |id: &LayerId| {
            let dir: Arc<dyn LayerDir> = Arc::new(Dir(self.lease.clone(), *id));
            (self.toc(*id), dir)
        };
        StackTree::new(layers.iter().map(one).collect())
    }
}

struct Dir(Lease, LayerId);

impl LayerDir for Dir {
    fn open(&self) -> std::io::Result<OwnedFd> {
        self.0.layer_dir(self.1).map_err(std::io::Error::other)
    }
}

/// Layer tars: files, links, a whiteout, a replaced file.
pub(crate) fn sample_tars() -> Vec<Vec<u8>> {
    let noise: Vec<u8> =
        (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        TarBuilder::new()
            .dir("bin", 0o755)
            .file("bin/tool", 0o4755, b"#!/bin/sh\n")
            .hard_link("bin/tool2", 0o4755, "bin/tool")
            .dir("data", 0o2750)
            .file("data/gone", 0o644, b"gone")
            .file("data/noise", 0o600, &noise)
            .symlink("data/link", "../bin/tool")
            .finish(),
        TarBuilder::new()
            .dir("data", 0o2750)
            .file("data/.wh.gone", 0o644, b"")
            .file("data/new", 0o444, b"new")
            .dir("empty", 0o711)
            .finish(),
    ]
}

pub(crate) fn names(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| text.parse().expect("reference")).collect()
}

/// What a writer function writes.
pub(crate) fn bytes_of(
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<Vec<u8>, ExportError> {
    let mut out = Vec::new();
    write(&mut out).map(|()| out)
}

/// The whole chain of an error as one text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

pub(crate) fn is_root() -> bool {
    testkit::need::is_root()
}
