//! Results that go to registries alone: what those have, or take from each other, is never fetched (OUT-14).
//!
//! Owns which results can be pushed so, and fetching a blob at last when a registry wants it from us.

use std::io;
use std::sync::{Arc, Mutex};

use exporter::LayerSource;
use graph::{LayerId, Stack};
use layer::Encoding;
use oci::{ChainId, Descriptor, DiffId};

use crate::assemble::{Built, Form};
use crate::error::{BuildError, BuildErrorKind, causes};
use crate::image::{Base, layer_blob, prove};
use crate::internal::Internal;
use crate::output::wanted;
use crate::remote;
use crate::request::{Output, OutputKind};
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{Above, LazyStack};

/// Whether a result needs none of its layers here: it has no name but those that it is pushed under, and its blobs may
/// go out as they lie elsewhere.
pub(crate) fn fits(session: &Session, base: Option<&Base>, lazy: &LazyStack) -> bool {
    let has_base = lazy.bottom.named().base.is_some();
    let base_is_remote = match base {
        Some(base) => base.repository().is_some() && base.named_blobs(session).is_some(),
        None => !has_base,
    };
    let outputs = &session.request.outputs;
    let goes = |output: &Output| goes_as_it_is(session, output, lazy);
    base_is_remote && !wanted::scans(session) && !outputs.is_empty() && outputs.iter().all(goes)
}

fn goes_as_it_is(session: &Session, output: &Output, lazy: &LazyStack) -> bool {
    let tags = &session.request.tags;
    let is_named_there = output.names.is_empty() || tags.iter().all(|t| output.names.contains(t));
    let wanted = exporter::compression_name(output.compression.into());
    let fits = |layer: &Above| match layer {
        Above::Layer(_) => true,
        Above::Imported(layer) => layer_blob(&layer.descriptor).compression == wanted,
    };
    output.kind == OutputKind::Registry
        && !(output.rewrite_timestamp && session.epoch().is_some())
        && !output.force_compression
        && output.compression.estargz_level().is_none()
        && is_named_there
        && lazy.above.iter().all(fits)
}

/// What the store says of such a result: its file system, none of whose layers need be here.
pub(crate) fn unfetched(form: &Form) -> Stack {
    let chain = ChainId::of(&form.config.rootfs.diff_ids);
    Stack { base: chain.map(|chain| (chain, 0)), layers: Vec::new() }
}

/// The layers of such a result, lowest first: where their bytes may be had.
pub(crate) fn layers(session: &Session, built: &Built, lazy: &LazyStack) -> Vec<LayerSource> {
    let base = built.base.as_ref();
    let mut blobs = base.and_then(|base| base.named_blobs(session)).unwrap_or_default().into_iter();
    let bottom = lazy.bottom.named();
    let here = bottom.above_base().iter().copied().map(Above::Layer);
    let mut above = here.chain(lazy.above.iter().cloned());
    let diff_ids = built.form.config.rootfs.diff_ids.iter().enumerate();
    let layers = diff_ids.map(|(at, diff_id)| {
        let is_base = at < built.base_layers;
        let (layer, own, pulled_from): (Option<LayerId>, _, _) = match is_base {
            true => (None, blobs.next(), base.and_then(Base::repository).cloned()),
            false => match above.next() {
                Some(Above::Imported(layer)) => {
                    (None, Some(layer_blob(&layer.descriptor)), layer.repository.clone())
                }
                Some(Above::Layer(layer)) => (Some(layer), None, None),
                None => (None, None, None),
            },
        };
        let encoding = Encoding::default();
        LayerSource { diff_id: *diff_id, layer, encoding, is_base, own, pulled_from }
    });
    layers.collect()
}

/// Fetches blobs when they are wanted, and remembers why one could not be had.
pub(crate) struct Fetcher<'a> {
    session: &'a Arc<Session>,
    built: &'a [Built],
    lost: Mutex<Option<Lost>>,
}

/// What came instead of a blob.
enum Lost {
    /// Nothing, or what an imported cache does not mean: the result can be made without it.
    Layer(BuildError),
    /// A base image's own blob is another tar than it says: there is nothing else to give.
    Base(BuildError),
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(session: &'a Arc<Session>, built: &'a [Built]) -> Fetcher<'a> {
        Fetcher { session, built, lost: Mutex::new(None) }
    }

    /// Brings a blob into the store.
    pub(crate) fn fetch(&self, blob: &Descriptor) -> io::Result<()> {
        self.try_fetch(blob).map_err(|stop| {
            let lost = match stop {
                Stop::Failed(error) => Lost::Base(error),
                Stop::CacheLost(error) => Lost::Layer(error),
                Stop::NeedsWorker => return io::Error::other("this process opens no layers"),
            };
            let (Lost::Layer(error) | Lost::Base(error)) = &lost;
            let why = causes(error);
            lock(&self.lost).get_or_insert(lost);
            io::Error::other(why)
        })
    }

    fn try_fetch(&self, blob: &Descriptor) -> Result<(), Stop> {
        let vertex = Internal::Export.vertex();
        for built in self.built {
            let Some(lazy) = &built.lazy else { continue };
            for layer in &lazy.above {
                if let Above::Imported(layer) = layer
                    && layer.descriptor.digest == blob.digest
                {
                    let brought = remote::download(self.session, layer, vertex);
                    let proved = brought.and_then(|()| Ok(self.check(blob, layer.diff_id)?));
                    return proved.map_err(without_cache);
                }
            }
            if let Some(base) = &built.base {
                let fetched = base.fetch(self.session, blob, vertex);
                if let Some(diff_ids) = fetched.map_err(|error| without_cache(error.into()))? {
                    diff_ids.into_iter().try_for_each(|diff_id| self.check(blob, diff_id))?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Fails if a blob that was not unpacked is here and is another tar than its image or cache says (spec/security.md
    /// R3). One that is not here is looked at when it is fetched.
    pub(crate) fn check_there(&self) -> Result<(), Stop> {
        let store = |error| BuildError::store("cannot look for a layer's blob", error);
        for (built, lazy) in self.built.iter().filter_map(|b| Some((b, b.lazy.as_ref()?))) {
            let layers = layers(self.session, built, lazy);
            for (at, layer) in layers.iter().enumerate() {
                let Some(own) = &layer.own else { continue };
                if !self.session.lease.has_blob(&own.digest).map_err(store)? {
                    continue;
                }
                let blob = Descriptor::new(&own.media_type, own.digest, own.size_bytes);
                let checked = self.check(&blob, layer.diff_id);
                match at < built.base_layers {
                    true => checked?,
                    false => checked.map_err(|error| without_cache(error.into()))?,
                }
            }
        }
        Ok(())
    }

    fn check(&self, blob: &Descriptor, diff_id: DiffId) -> Result<(), BuildError> {
        match prove(self.session, diff_id, blob, None)? {
            None => Ok(()),
            Some(why) => {
                let text = format!("cannot push what a registry gave: layer {why}");
                Err(BuildError::new(BuildErrorKind::Registry, text))
            }
        }
    }

    /// What an output came to: one that failed for want of an imported layer can be done without imports.
    pub(crate) fn end<T>(&self, done: Result<T, BuildError>) -> Result<T, Stop> {
        match (done, lock(&self.lost).take()) {
            (Err(_), Some(lost)) if self.session.check_cancelled().is_ok() => Err(match lost {
                Lost::Layer(error) => Stop::CacheLost(error),
                Lost::Base(error) => Stop::Failed(error),
            }),
            (done, _) => Ok(done?),
        }
    }
}

/// The same failure, after which the build is made without imported caches.
fn without_cache(stop: Stop) -> Stop {
    match stop {
        Stop::Failed(error) => Stop::CacheLost(error),
        stop => stop,
    }
}
