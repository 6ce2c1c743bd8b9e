//! Layers on their way to the places of `--cache-to`.
//!
//! Owns which layers go where, each once, and why one did not get there. Refuses to know what is said of them.

use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

use graph::{Graph, LayerId, VertexId};
use oci::{Descriptor, Digest};
use remotecache::{
    CacheExport, CacheLayer, CacheMode, CachePlace, ExportPlace, OpenBlob, Put, RemoteError,
    RemoteErrorKind,
};

use super::layer::download;
use super::state::{Export, Failure};
use crate::error::{BuildError, BuildErrorKind, causes, sources};
use crate::finish;
use crate::internal::Internal;
use crate::plan;
use crate::session::Session;
use crate::slots::Slots;
use crate::stop::{Stop, lock};
use crate::value::{ImportedLayer, OwnLayer};
use crate::work::Work;

/// Layers of one export that are made and sent at the same time.
const SENDING_MAX: usize = 4;

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

impl Export {
    pub(super) fn new(number: u32, options: &CacheExport, place: Arc<dyn CachePlace>) -> Export {
        Export {
            number,
            options: options.clone(),
            place,
            sent: Mutex::default(),
            puts: Mutex::default(),
            failed: OnceLock::new(),
            permits: Slots::new(SENDING_MAX),
        }
    }

    /// Whether the export has the result of a vertex (CIO-03).
    pub(super) fn wants(&self, graph: &Graph, id: VertexId) -> bool {
        self.options.mode == CacheMode::Max || plan::is_in_result(graph, id)
    }

    /// The error that an export of this place ends with.
    pub(super) fn failed(&self) -> BuildError {
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

    /// The document cannot be put there or named.
    pub(super) fn unpublished(&self, error: RemoteError) -> BuildError {
        let failed = match (&self.options.place, error.kind()) {
            (ExportPlace::Local { .. }, RemoteErrorKind::Damaged) => self.failed().with_hint(
                "what lies there is left as it is: remove it, or name another directory in --cache-to; \
                 the result of the build is complete and has its names",
            ),
            _ => self.failed(),
        };
        failed.because(error)
    }

    /// A blob in progress lines, and why it did not have to be sent.
    pub(super) fn shown(&self, digest: &Digest) -> String {
        let name = &digest.to_string()[..19];
        match lock(&self.puts).get(digest) {
            Some(Put::Mounted) => format!("{name} mounted"),
            Some(Put::Existed) => format!("{name} exists"),
            Some(Put::Sent) | None => name.to_owned(),
        }
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
        layers: &[OwnLayer],
    ) -> Vec<Result<CacheLayer, Failure>> {
        std::thread::scope(|scope| {
            let send = |layer| scope.spawn(move || self.send(session, layer));
            let threads: Vec<_> = layers.iter().map(send).collect();
            let bug = || Err(Failure::of("sending a layer ended by a bug in shale".to_owned()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bug())).collect()
        })
    }

    /// Makes sure that a layer is in the place. Done once, whoever asks.
    pub(super) fn send(
        &self,
        session: &Arc<Session>,
        layer: &OwnLayer,
    ) -> Result<CacheLayer, Failure> {
        let sent = lock(&self.sent).entry(layer.name()).or_default().clone();
        let send = || {
            let _permit = self.permits.take();
            if session.cancel.is_cancelled() || session.exports.abandoned.load(Ordering::Relaxed) {
                return Err(Failure::of("the build was stopped".to_owned()));
            }
            if let Some(failure) = self.failed.get() {
                return Err(failure.clone());
            }
            let sent = match layer {
                OwnLayer::Here(layers) => self.send_here(session, layers).map_err(Failure::from),
                OwnLayer::Imported(layer) => self.send_on(session, layer),
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
            Err(Stop::CacheLost(error)) => Err(io::Error::other(Lost(causes(&error)))),
            Err(stop) => Err(io::Error::other(Failure::from(stop).text)),
        };
        self.put(session, descriptor, repository.as_ref(), &fetch).map_err(|error| Failure {
            is_lost: sources(&error).any(is_lost),
            is_full: error.kind() == BuildErrorKind::DiskFull,
            text: causes(&error),
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
        self.put_blob(blob, &open, elsewhere).map_err(|error| self.failed().because(error))
    }

    /// Makes sure that a blob is in the place, see [`CachePlace::put`].
    pub(super) fn put_blob(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        elsewhere: Option<&oci::Reference>,
    ) -> Result<(), RemoteError> {
        let put = self.place.put(blob, open, elsewhere)?;
        lock(&self.puts).insert(blob.digest, put);
        Ok(())
    }

    /// Whether a blob is in the place, when it was there in an earlier build.
    pub(super) fn has_blob(&self, blob: &Descriptor) -> bool {
        let has = self.place.has(blob).unwrap_or(false);
        if has {
            lock(&self.puts).insert(blob.digest, Put::Existed);
        }
        has
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
                ..Failure::of(causes(&error))
            },
            Stop::CacheLost(error) => Failure { is_lost: true, ..Failure::of(causes(&error)) },
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
