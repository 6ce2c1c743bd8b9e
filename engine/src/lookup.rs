//! Hit or run: the look-up of design D4, with the reason when it is "run".
//!
//! Owns the order of the look-ups: near key, "was this instruction ever run", then keys by content, weak before strong.
//! Computes no key itself; that is `keys`.

use std::sync::Arc;

use graph::{Op, Stack};
use oci::Digest;
use planner::key;
use progress::{EventKind, Outcome};
use store::CacheRecord;

use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image;
use crate::keys::{self, Form};
use crate::remote;
use crate::session::Session;
use crate::source;
use crate::stop::Stop;
use crate::value::{StackValue, Value};
use crate::why::{self, Because};
use crate::work::Work;

/// What the look-up of a vertex ended with.
pub(crate) enum Found {
    /// A record fits; its whole stack is leased. The step took so long when it ran.
    Hit { stack: StackValue, saved_ms: u64 },
    /// It has to run. The contents' digests are those that the keys were made with, if they were made.
    Run { because: Because, contents: Option<Vec<Digest>> },
}

/// Values that need no work: sources, and vertices whose near key is known. Never hashes, never waits.
pub(crate) fn at_once(work: &Work) -> Result<Option<Value>, Stop> {
    let vertex = work.vertex();
    match &vertex.op {
        Op::Scratch => Ok(Some(Value::Stack(StackValue::Present(Stack::default())))),
        Op::Image(source) => {
            let value = image::value(&work.session, source)?;
            tell_image(work, &value);
            Ok(Some(Value::Stack(value)))
        }
        Op::Http(source) => Ok(source::http::pinned(source)),
        Op::Local(_) | Op::Git(_) => Ok(None),
        Op::Run(_) | Op::Copy(_) | Op::Mkdir(_) => {
            if vertex.no_cache || !key::content_sources(&work.graph, vertex).is_empty() {
                return Ok(None);
            }
            let found =
                held(&work.session, work.session.lease.find_near(&keys::near_key(work, &[])))?;
            let Some(record) =
                found.filter(|record| !work.session.controls().is_too_old(work.id, record))
            else {
                return Ok(None);
            };
            if let Some(layer) = record.layer
                && !finish::is_listed(&work.session, layer)?
            {
                return Ok(None);
            }
            why::cached(work, record.layer, record.took_ms);
            let saved_ms = Some(record.took_ms);
            work.session.events.emit(EventKind::Cached { vertex: work.number(), saved_ms });
            Ok(Some(Value::Stack(stack_of(work, &record))))
        }
    }
}

/// An image is a step that is shown, though its layers are fetched by the first step that needs them (INS-13).
fn tell_image(work: &Work, value: &StackValue) {
    let vertex = work.number();
    let events = &work.session.events;
    match value {
        StackValue::Present(_) => events.emit(EventKind::Cached { vertex, saved_ms: None }),
        StackValue::Lazy(_) => {
            events.emit(EventKind::Started { vertex, because: None });
            events.emit(EventKind::Finished { vertex, outcome: Outcome::Done });
        }
    }
}

/// The whole look-up of a vertex that makes a layer. `contents` are the digests that its keys are made with, if they
/// were made before.
pub(crate) fn find(work: &Work, contents: Option<Vec<Digest>>) -> Result<Found, Stop> {
    if work.vertex().no_cache {
        return Ok(Found::Run { because: Because::Forced, contents: None });
    }
    let instruction = key::instruction_digest(work.vertex());
    let lease = &work.session.lease;
    let is_known_here = lease.has_record_of(&instruction).map_err(cannot_look)?;
    if !is_known_here && !remote::has_record_of(&work.session, &instruction) {
        return Ok(Found::Run { because: Because::NoRecord, contents: None });
    }
    let contents = contents.map_or_else(|| keys::contents(work), Ok)?;
    remote::note_contents(work, &contents);
    let mut is_old = false;
    let mut young = |record: &CacheRecord| {
        let old = work.session.controls().is_too_old(work.id, record);
        is_old |= old;
        !old
    };
    if let Some(record) = near(work, &contents)?.filter(&mut young) {
        return Ok(hit(work, &record));
    }
    let operation = key::operation_digest(work.vertex(), &contents);
    if is_known_here || remote::knows(&work.session, &operation) {
        match by_content(work, &contents, &mut young)? {
            Some(Filed::Here(record)) => {
                let near = keys::near_key(work, &contents);
                lease.add_near(&near, &record).map_err(cannot_look)?;
                return Ok(hit(work, &record));
            }
            Some(Filed::Imported { stack, saved_ms }) => {
                why::cached(work, None, saved_ms);
                return Ok(Found::Hit { stack, saved_ms });
            }
            None => {}
        }
    }
    let because = match is_old {
        true => Because::TooOld,
        false => {
            let earlier = lease.records_of(&instruction).map_err(cannot_look)?;
            Because::Changed([earlier, remote::earlier(&work.session, &instruction)].concat())
        }
    };
    Ok(Found::Run { because, contents: Some(contents) })
}

fn hit(work: &Work, record: &CacheRecord) -> Found {
    why::cached(work, record.layer, record.took_ms);
    Found::Hit { stack: stack_of(work, record), saved_ms: record.took_ms }
}

fn near(work: &Work, contents: &[Digest]) -> Result<Option<CacheRecord>, Stop> {
    usable(&work.session, work.session.lease.find_near(&keys::near_key(work, contents)))
}

/// A result that a key by content names.
enum Filed {
    Here(CacheRecord),
    Imported { stack: StackValue, saved_ms: u64 },
}

/// A record of one of the keys by content that is young enough; the store's own before an imported one.
fn by_content(
    work: &Work,
    contents: &[Digest],
    young: &mut dyn FnMut(&CacheRecord) -> bool,
) -> Result<Option<Filed>, Stop> {
    for form in [Form::Weak, Form::Strong] {
        let Some(key) = keys::cache_key(work, contents, form)? else { continue };
        let found = usable(&work.session, work.session.lease.find(&key))?;
        if let Some(record) = found.filter(&mut *young)
            && stands_on_below(work, &record)?
        {
            return Ok(Some(Filed::Here(record)));
        }
        if let Some((stack, told)) = remote::find(work, &key)?
            && young(&told)
        {
            remote::note(work, &key, contents);
            return Ok(Some(Filed::Imported { stack, saved_ms: told.took_ms }));
        }
    }
    Ok(None)
}

/// Whether what a record was made on is by its contents what the vertex stands on. A key says no less, but the record
/// may have come with a cache that gave it keys of other steps.
fn stands_on_below(work: &Work, record: &CacheRecord) -> Result<bool, Stop> {
    let Some(below) = keys::below(work) else { return Ok(true) };
    let Stack { base, layers } = &record.stack;
    let own = usize::from(record.layer.is_some());
    let lower = layers[..layers.len().saturating_sub(own)].to_vec();
    let lower = StackValue::Present(Stack { base: *base, layers: lower });
    let session = &work.session;
    let lower = match finish::identity(session, &lower) {
        // One of its layers is of no use, so the record is none.
        Err(Stop::Failed(error)) if error.kind() == BuildErrorKind::Files => return Ok(false),
        lower => lower?,
    };
    Ok(lower == finish::identity(session, below)?)
}

type Looked = Result<Option<CacheRecord>, store::StoreError>;

/// A record counts only while all of its layers are there, and when its own is whole.
fn usable(session: &Arc<Session>, found: Looked) -> Result<Option<CacheRecord>, Stop> {
    let Some(record) = held(session, found)? else { return Ok(None) };
    Ok(finish::is_whole(session, &record.stack.layers)?.then_some(record))
}

/// A record whose layers are all there; looking leases them.
fn held(session: &Session, found: Looked) -> Result<Option<CacheRecord>, Stop> {
    let Some(record) = found.map_err(cannot_look)? else { return Ok(None) };
    let held = session.lease.hold_layers(&record.stack.layers).map_err(cannot_look)?;
    Ok(held.then_some(record))
}

fn cannot_look(error: store::StoreError) -> BuildError {
    BuildError::store("cannot look up cache records", error)
}

/// The stack that a hit gives: the record's own, whole; only a linked layer is put on what this build has below.
fn stack_of(work: &Work, record: &CacheRecord) -> StackValue {
    match record.layer {
        Some(layer) if work.is_linked() => work.linked_on_below(layer),
        _ => StackValue::Present(record.stack.clone()),
    }
}
