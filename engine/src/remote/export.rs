//! Caches that are written (`--cache-to`): layers go out beside the build as soon as they are complete, the document
//! that names them at the end.
//!
//! Owns which layers go where, each once, and what a failure means (CIO-11). What a document says is `entries`'
//! business.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use graph::{Graph, LayerId, Op, Vertex, VertexId};
use oci::{ChainId, Descriptor, Digest};
use progress::EventKind;
use remotecache::{CacheExport, CacheLayer, CacheMode, CachePlace, ExportPlace};

use super::entries;
use super::hit;
use super::layer::{ImportedLayer, download};
use crate::error::{BuildError, BuildErrorKind, sources, told};
use crate::finish;
use crate::internal::{self, Internal};
use crate::session::Session;
use crate::slots::Slots;
use crate::stop::{Stop, lock};
use crate::value::{Above, StackValue, Value};
use crate::work::Work;

/// The exports of one build.
#[derive(Default)]
pub(crate) struct Exports {
    list: OnceLock<Vec<Arc<Export>>>,
    /// What vertices read from contexts, URLs and git when they got their result.
    contents: Mutex<HashMap<VertexId, Vec<Digest>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Nobody will publish anything.
    abandoned: AtomicBool,
}

/// One `--cache-to` with a place.
pub(super) struct Export {
    number: u32,
    pub(super) options: CacheExport,
    pub(super) place: Arc<dyn CachePlace>,
    sent: Mutex<HashMap<LayerName, Sent>>,
    /// Why the export fails, once it does: what is not begun is left then.
    failed: OnceLock<Failure>,
    permits: Slots,
}

type Sent = Arc<OnceLock<Result<CacheLayer, Failure>>>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum LayerName {
    Here(LayerId),
    Elsewhere(ChainId),
}

/// Why a layer did not get where it should.
#[derive(Clone)]
pub(super) struct Failure {
    text: String,
    /// It lies in an imported cache and cannot be had: the export goes on without what needs it.
    pub(super) is_lost: bool,
    /// This machine's disk has no room for it.
    is_full: bool,
}

/// A layer that an export may have to send.
#[derive(Clone)]
pub(super) enum LayerRef {
    /// The topmost of these, which are in the store.
    Here(Vec<LayerId>),
    /// In an imported cache.
    Imported(Arc<ImportedLayer>),
}

/// Layers of one export that are made and sent at the same time.
const SENDING_MAX: usize = 4;

/// Opens all places that the request names. Contacts nobody yet.
pub(crate) fn open(session: &Arc<Session>) -> Result<(), Stop> {
    let mut list = Vec::new();
    for (number, options) in session.request.cache_to.iter().enumerate() {
        let opened = remotecache::open_export(options, &session.registry);
        match opened {
            Ok(Some(place)) => list.push(Arc::new(Export {
                number: number as u32,
                options: options.clone(),
                place,
                sent: Mutex::default(),
                failed: OnceLock::new(),
                permits: Slots::new(SENDING_MAX),
            })),
            Ok(None) => {}
            Err(error) => {
                let failed = BuildError::new(BuildErrorKind::Registry, "cannot export the cache");
                unless_ignored(session, options, failed.because(error))?;
            }
        }
    }
    if !list.is_empty() {
        // Layers are opened to be sent.
        session.worker()?;
    }
    let _ = session.exports.list.set(list);
    Ok(())
}

fn list(session: &Session) -> &[Arc<Export>] {
    session.exports.list.get().map_or(&[], Vec::as_slice)
}

/// A failed export fails the build, or is a warning if the user said so (CIO-11).
fn unless_ignored(
    session: &Session,
    options: &CacheExport,
    error: BuildError,
) -> Result<(), BuildError> {
    if !options.ignore_error || error.kind() == BuildErrorKind::Cancelled {
        return Err(error);
    }
    let message = format!("{}, ignored as you asked", told(&error));
    session.events.emit(EventKind::Warning { vertex: None, message });
    Ok(())
}

/// Why, without what.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), told)
}

/// Notes what a vertex read when it got its result: its keys are made of this, not of what is there later.
pub(crate) fn note_contents(work: &Work, contents: &[Digest]) {
    if !work.session.request.cache_to.is_empty() {
        lock(&work.session.exports.contents).insert(work.id, contents.to_vec());
    }
}

/// What a vertex read when it got its result.
pub(super) fn contents_of(session: &Session, id: VertexId) -> Option<Vec<Digest>> {
    lock(&session.exports.contents).get(&id).cloned()
}

/// A vertex has its value: the layer that it made goes out now.
pub(crate) fn offer(session: &Arc<Session>, graph: &Graph, id: VertexId, value: &Value) {
    let exports = list(session);
    if exports.is_empty() || !makes_layer(graph.vertex(id)) {
        return;
    }
    let Some(layer) = value.stack().and_then(|stack| layers_of(stack).1.pop()) else { return };
    for export in exports.iter().filter(|export| export.wants(graph, id)) {
        let (session, export, layer) = (session.clone(), export.clone(), layer.clone());
        let own = session.clone();
        let thread = std::thread::spawn(move || {
            // What failed is told when the document should name it.
            let _ = export.send(&session, &layer);
        });
        lock(&own.exports.threads).push(thread);
    }
}

/// Whether a vertex makes a layer.
pub(super) fn makes_layer(vertex: &Vertex) -> bool {
    matches!(vertex.op, Op::Run(_) | Op::Copy(_) | Op::Mkdir(_))
}

/// The image below a stack, and its layers above that, lowest first.
pub(super) fn layers_of(stack: &StackValue) -> (Option<ChainId>, Vec<LayerRef>) {
    let (bottom, above) = match stack {
        StackValue::Present(stack) => (stack.clone(), &[][..]),
        StackValue::Lazy(lazy) => (lazy.bottom.named(), &lazy.above[..]),
    };
    let first = bottom.layers.len() - bottom.above_base().len();
    let here = (first..bottom.layers.len()).map(|at| LayerRef::Here(bottom.layers[..=at].to_vec()));
    let above = above.iter().map(|layer| match layer {
        Above::Layer(layer) => LayerRef::Here(vec![*layer]),
        Above::Imported(layer) => LayerRef::Imported(layer.clone()),
    });
    (bottom.base.map(|(chain, _)| chain), here.chain(above).collect())
}

/// Writes the documents, after all layers have got where they should. The result of the build is done by now.
pub(crate) fn publish(
    session: &Arc<Session>,
    graph: &Arc<Graph>,
    values: &[Value],
) -> Result<(), Stop> {
    for export in list(session) {
        let name = format!("exporting cache to {}", export.place.name());
        let what = Internal::ExportCache(export.number);
        let done = internal::step(&session.events, what, &name, || {
            let document = entries::document(session, graph, values, export)?;
            for blob in document.blobs() {
                session.events.emit(EventKind::Transfer {
                    vertex: what.vertex(),
                    item: blob.digest.to_string()[..19].to_owned(),
                    done_bytes: blob.size_bytes,
                    total_bytes: Some(blob.size_bytes),
                });
            }
            session.check_cancelled()?;
            Ok::<_, Stop>(export.place.publish(&document).map_err(|e| export.failed().because(e))?)
        });
        session.check_cancelled()?;
        match done {
            Err(Stop::Failed(error)) => unless_ignored(session, &export.options, error)?,
            done => done?,
        }
    }
    Ok(())
}

/// Ends everything of imports and exports: waits for what is still sent, starts nothing more.
pub(crate) fn end(session: &Session) {
    // Hits hold the session that holds them.
    hit::forget(session);
    session.exports.abandoned.store(true, Ordering::Relaxed);
    let threads = std::mem::take(&mut *lock(&session.exports.threads));
    for thread in threads {
        // One that panicked has not sent its layer: there is no result that names it.
        let _ = thread.join();
    }
}

impl Export {
    /// Whether the export has the result of a vertex (CIO-03).
    pub(super) fn wants(&self, graph: &Graph, id: VertexId) -> bool {
        self.options.mode == CacheMode::Max || is_in_result(graph, id)
    }

    fn failed(&self) -> BuildError {
        let text = format!("cannot export the cache to {}", self.place.name());
        let kind = match self.options.place {
            ExportPlace::Local { .. } => BuildErrorKind::Files,
            _ => BuildErrorKind::Registry,
        };
        BuildError::new(kind, text).with_hint(
            "the result of the build is complete and has its names; \
             with ignore-error=true in --cache-to this is a warning",
        )
    }

    /// The failure of a layer as that of the export.
    pub(super) fn failure(&self, failure: &Failure) -> BuildError {
        let failed = self.failed().because(io::Error::other(failure.text.clone()));
        match failure.is_full {
            true => failed.of_kind(BuildErrorKind::DiskFull),
            false => failed,
        }
    }

    /// Sends all of these side by side; what became of each.
    pub(super) fn send_all(
        &self,
        session: &Arc<Session>,
        layers: &[LayerRef],
    ) -> Vec<Result<CacheLayer, Failure>> {
        std::thread::scope(|scope| {
            let send = |layer| scope.spawn(move || self.send(session, layer));
            let threads: Vec<_> = layers.iter().map(send).collect();
            let bug = || Err(Failure::of("sending a layer ended by a bug in shale".to_owned()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bug())).collect()
        })
    }

    /// Makes sure that a layer is in the place. Done once, whoever asks.
    fn send(&self, session: &Arc<Session>, layer: &LayerRef) -> Result<CacheLayer, Failure> {
        let name = match layer {
            LayerRef::Here(layers) => {
                LayerName::Here(*layers.last().expect("a layer is the top of its stack"))
            }
            LayerRef::Imported(layer) => LayerName::Elsewhere(layer.chain),
        };
        let sent = lock(&self.sent).entry(name).or_default().clone();
        let send = || {
            let _permit = self.permits.take();
            if session.cancel.is_cancelled() || session.exports.abandoned.load(Ordering::Relaxed) {
                return Err(Failure::of("the build was stopped".to_owned()));
            }
            if let Some(failure) = self.failed.get() {
                return Err(failure.clone());
            }
            let sent = match layer {
                LayerRef::Here(layers) => self.send_here(session, layers).map_err(Failure::from),
                LayerRef::Imported(layer) => self.send_on(session, layer),
            };
            sent.inspect_err(|failure| {
                if !failure.is_lost {
                    // Another one may have been first.
                    let _ = self.failed.set(failure.clone());
                }
            })
        };
        sent.get_or_init(send).clone()
    }

    fn send_here(&self, session: &Arc<Session>, layers: &[LayerId]) -> Result<CacheLayer, Stop> {
        let store = |e| BuildError::store("cannot read a layer's facts", e);
        let top = *layers.last().expect("a layer is the top of its stack");
        let content_id = finish::content_id(session, layers)?;
        finish::toc(session, top, &layers[..layers.len() - 1])?;
        let CacheExport { compression, force_compression, oci_media_types, .. } = self.options;
        let made = {
            // Another export of this build, or another build, may be at it.
            let name = format!("encode {top}");
            let cancelled = || session.cancel.is_cancelled();
            let _flight = session.lease.single_flight(&name, &cancelled).map_err(store)?;
            exporter::cache_blob(&session.lease, top, compression, force_compression)
        };
        let made = made.map_err(BuildError::export)?;
        let info = session.lease.layer(top).map_err(store)?;
        let descriptor = exporter::blob_descriptor(&made.blob, oci_media_types);
        self.put(session, &descriptor, None, &|| Ok(()))?;
        Ok(CacheLayer {
            diff_id: made.diff_id,
            content_id,
            descriptor,
            created: info.map(|info| info.created).unwrap_or_default(),
        })
    }

    /// Sends a layer from one cache to another one, if it is not there. Then only it is fetched.
    fn send_on(
        &self,
        session: &Arc<Session>,
        layer: &ImportedLayer,
    ) -> Result<CacheLayer, Failure> {
        let ImportedLayer { diff_id, content_id, created, descriptor, repository, .. } = layer;
        let fetch = || match download(session, layer, Internal::ExportCache(self.number).vertex()) {
            Ok(()) => Ok(()),
            Err(Stop::CacheLost(error)) => Err(io::Error::other(Lost(words(&error)))),
            Err(stop) => Err(io::Error::other(Failure::from(stop).text)),
        };
        self.put(session, descriptor, repository.as_ref(), &fetch).map_err(|error| Failure {
            is_lost: sources(&error).any(is_lost),
            is_full: error.kind() == BuildErrorKind::DiskFull,
            text: words(&error),
        })?;
        Ok(CacheLayer {
            diff_id: *diff_id,
            content_id: *content_id,
            descriptor: descriptor.clone(),
            created: created.clone(),
        })
    }

    /// Puts a blob into the place; `fetch` brings it into the store when it has to be sent.
    fn put(
        &self,
        session: &Session,
        blob: &Descriptor,
        elsewhere: Option<&oci::Reference>,
        fetch: &(dyn Fn() -> io::Result<()> + Sync),
    ) -> Result<(), BuildError> {
        let open = || -> io::Result<Box<dyn Read + Send>> {
            fetch()?;
            let file = session.lease.open_blob(&blob.digest).map_err(io::Error::other)?;
            let gone = || io::Error::new(io::ErrorKind::NotFound, "the blob left the store");
            Ok(Box::new(file.ok_or_else(gone)?))
        };
        let put = self.place.put(blob, &open, elsewhere);
        put.map(drop).map_err(|error| self.failed().because(error))
    }
}

impl Failure {
    fn of(text: String) -> Failure {
        Failure { text, is_lost: false, is_full: false }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        match stop {
            Stop::Failed(error) => Failure {
                is_full: error.kind() == BuildErrorKind::DiskFull,
                ..Failure::of(words(&error))
            },
            Stop::CacheLost(error) => Failure { is_lost: true, ..Failure::of(words(&error)) },
            Stop::NeedsWorker => Failure::of("this process opens no layers".to_owned()),
        }
    }
}

/// Marks the error of a blob that an imported cache does not have any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lost(String);

fn is_lost(error: &(dyn std::error::Error + 'static)) -> bool {
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<Lost>() || carried.is_some_and(|inner| inner.is::<Lost>())
}

/// Whether a vertex's layer is part of an image that gets a config.
pub(crate) fn is_in_result(graph: &Graph, id: VertexId) -> bool {
    graph.targets.iter().any(|target| {
        let mut chain = std::iter::successors(Some(target.top), |id| graph.vertex(*id).below);
        chain.any(|below| below == id)
    })
}
