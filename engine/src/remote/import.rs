//! Caches that are read (`--cache-from`): asked while the plan is made, then in memory as a whole.
//!
//! Owns who waits for them and how long, and the warnings. A cache that is missing, slow or damaged is as if it were
//! empty (CIO-11).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use progress::{EventKind, Outcome};
use remotecache::{CacheDocument, CacheImport, CachePlace, ImportPlace, RemoteError};
use store::Ingest;

use super::index::{Index, Source};
use super::state::State;
use crate::error::{BuildError, causes, told};
use crate::facts::Imported;
use crate::internal::{self, Internal};
use crate::session::Session;
use crate::stop::lock;

/// How long a build waits for caches once it cannot go on without them: in pieces of a tenth of a second, so that the
/// user's wish to stop is seen.
const WAIT_PIECE: Duration = Duration::from_millis(100);
const WAIT_PIECES_MAX: u32 = 100;

/// Starts to read all places that the request names. Returns at once.
pub(crate) fn start(session: &Arc<Session>) {
    let imports = &session.request.cache_from;
    let states = imports.iter().map(|import| State::Reading { name: shown(import) });
    *lock(&session.imports.places) = states.collect();
    for (at, import) in imports.iter().enumerate() {
        let learned = lock(&session.facts).import(at).cloned();
        let opened = remotecache::open_import(import, &session.registry);
        match (opened, learned) {
            (_, Some(Imported::Nothing { warning })) => nothing(session, at, warning),
            (Err(error), _) => nothing(session, at, warning(&shown(import), &error)),
            (Ok(place), Some(Imported::Document(path))) => match kept(&path) {
                Some(document) => settle(session, at, State::Read { place, document }),
                None => ask(session, at, place, shown(import)),
            },
            (Ok(place), None) => ask(session, at, place, shown(import)),
        }
    }
}

fn nothing(session: &Session, at: usize, warning: String) {
    warn(session, &warning);
    settle(session, at, State::Nothing { warning });
}

/// Says a warning, unless the user has ended the build: then it is no news.
fn warn(session: &Session, warning: &str) {
    if !session.cancel.is_cancelled() {
        session.warn(warning);
    }
}

/// Reads a place on a thread of its own. Nobody waits for that thread at the build's end: a server may never answer.
fn ask(session: &Arc<Session>, at: usize, place: Arc<dyn CachePlace>, name: String) {
    let own = Arc::downgrade(session);
    let vertex = Internal::ImportCache(at as u32).vertex();
    internal::begin(&session.events, vertex, &format!("importing cache manifest from {name}"));
    std::thread::spawn(move || {
        let read = place.read();
        // After the build nobody wants to know.
        let Some(session) = own.upgrade() else { return };
        session.events.emit(EventKind::Finished { vertex, outcome: Outcome::Done });
        match read {
            Ok(Some(document)) => {
                settle(&session, at, State::Read { place, document: document.into() });
            }
            Ok(None) => {
                nothing(&session, at, format!("cache {name} is not there: built without it"))
            }
            Err(error) => nothing(&session, at, warning(&name, &error)),
        }
    });
}

/// Notes what came of a place, unless nobody waits for it any more.
fn settle(session: &Session, at: usize, state: State) {
    let mut places = lock(&session.imports.places);
    if let Some(place @ State::Reading { .. }) = places.get_mut(at) {
        *place = state;
    }
    drop(places);
    session.imports.changed.notify_all();
}

fn warning(name: &str, error: &RemoteError) -> String {
    format!("cache {name} cannot be used, built without it: {}", causes(error))
}

/// What messages call an import.
fn shown(import: &CacheImport) -> String {
    match &import.place {
        ImportPlace::Registry { reference, .. } => reference.familiar(),
        ImportPlace::Local { src, digest: Some(digest), .. } => {
            format!("{digest} in {}", src.display())
        }
        ImportPlace::Local { src, tag, digest: None } => {
            format!("{tag} in {}", src.display())
        }
        ImportPlace::S3(s3) => format!("s3 bucket {}", s3.bucket),
        ImportPlace::Gha(gha) => format!("gha {}", gha.scope),
        ImportPlace::Azblob(azblob) => format!("azblob container {}", azblob.container),
    }
}

/// All that was imported. The first one who asks waits until the places have answered, some seconds at most.
pub(super) fn index(session: &Session) -> Arc<Index> {
    if let Some(index) = &*lock(&session.imports.index) {
        return index.clone();
    }
    if session.request.cache_from.is_empty() {
        return Arc::default();
    }
    wait(session);
    let mut index = lock(&session.imports.index);
    let sources = || read(session).into_iter().map(|(_, source)| source).collect::<Vec<_>>();
    index.get_or_insert_with(|| Arc::new(Index::of(&sources()))).clone()
}

/// The caches that have answered, by their places in the request. Waits as [`index`] does.
pub(super) fn read(session: &Session) -> Vec<(usize, Source)> {
    wait(session);
    let places = lock(&session.imports.places);
    let imports = places.iter().zip(&session.request.cache_from).enumerate();
    let read = imports.filter_map(|(at, (state, import))| match state {
        State::Read { place, document } => {
            let reference = match &import.place {
                ImportPlace::Registry { reference, .. } => Some(reference.clone()),
                _ => None,
            };
            Some((at, Source { place: place.clone(), document: document.clone(), reference }))
        }
        State::Reading { .. } | State::Nothing { .. } => None,
    });
    read.collect()
}

fn wait(session: &Session) {
    let is_reading =
        |places: &Vec<State>| places.iter().any(|s| matches!(s, State::Reading { .. }));
    let imports = &session.imports;
    let mut places = lock(&imports.places);
    for _ in 0..WAIT_PIECES_MAX {
        if !is_reading(&places) || session.cancel.is_cancelled() {
            break;
        }
        let waited = imports.changed.wait_timeout(places, WAIT_PIECE);
        places = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    for state in places.iter_mut() {
        if let State::Reading { name } = state {
            let warning = format!("cache {name} does not answer: built without it");
            warn(session, &warning);
            *state = State::Nothing { warning };
        }
    }
}

/// From now on no look-up finds anything that was imported: something of it was not as promised.
pub(crate) fn forget(session: &Session, error: &BuildError) {
    session.warn(format!("{}: built without imported caches", told(error)));
    *lock(&session.imports.index) = Some(Arc::default());
}

/// Leaves with the facts what the places said, for the process that does the work.
pub(crate) fn learn(session: &Session) {
    let places = lock(&session.imports.places);
    let mut facts = lock(&session.facts);
    for (at, state) in places.iter().enumerate() {
        match state {
            State::Reading { .. } => {}
            State::Read { document, .. } => {
                // What cannot be left is read again.
                if let Some((path, home)) = leave(session, document) {
                    facts.learn_import(at, Imported::Document(path), Some(home));
                }
            }
            State::Nothing { warning } => {
                let nothing = Imported::Nothing { warning: warning.clone() };
                facts.learn_import(at, nothing, None);
            }
        }
    }
}

fn leave(session: &Session, document: &CacheDocument) -> Option<(PathBuf, Arc<Ingest>)> {
    const NAME: &str = "cache";
    let bytes = document.encode().ok()?;
    let home = session.lease.new_ingest().ok()?;
    let path = home.path().join(NAME);
    std::fs::write(&path, bytes).ok()?;
    Some((path, home.into()))
}

/// A document that [`learn`] left.
fn kept(path: &Path) -> Option<Arc<CacheDocument>> {
    let bytes = std::fs::read(path).ok()?;
    CacheDocument::decode(&bytes).ok().map(Arc::new)
}
