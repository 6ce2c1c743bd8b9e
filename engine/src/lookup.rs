//! Hit or run: the look-up of design D4, with the reason when it is "run".
//!
//! Owns the order of the look-ups: near key, "was this instruction ever run", then keys by content, weak before strong.
//! Computes no key itself; that is `planner::key`.

use std::sync::Arc;

use graph::{CacheKey, CopySource, NearKey, Op, Stack};
use oci::Digest;
use planner::key::{self, ContentSource, InputIdentity};
use progress::{EventKind, Outcome};
use store::CacheRecord;
use tree::SelectError;

use crate::controls;
use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image;
use crate::remote;
use crate::session::Session;
use crate::source;
use crate::stack_tree;
use crate::stop::{Stop, lock};
use crate::value::{Above, StackValue, Value};
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
            let found = held(&work.session, work.session.lease.find_near(&near_key(work, &[])))?;
            let Some(record) = found.filter(|record| !controls::is_too_old(work, record)) else {
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

/// The whole look-up of a vertex that makes a layer.
pub(crate) fn find(work: &Work) -> Result<Found, Stop> {
    if work.vertex().no_cache {
        return Ok(Found::Run { because: Because::Forced, contents: None });
    }
    let instruction = key::instruction_digest(work.vertex());
    let lease = &work.session.lease;
    let is_known_here = lease.has_record_of(&instruction).map_err(cannot_look)?;
    if !is_known_here && remote::earlier(&work.session, &instruction).is_empty() {
        return Ok(Found::Run { because: Because::NoRecord, contents: None });
    }
    let contents = contents(work)?;
    remote::note_contents(work, &contents);
    let mut is_old = false;
    let mut young = |record: &CacheRecord| {
        let old = controls::is_too_old(work, record);
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
                let near = near_key(work, &contents);
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

/// Digests of what the vertex reads from contexts, URLs and git, in the order that its keys want.
pub(crate) fn contents(work: &Work) -> Result<Vec<Digest>, Stop> {
    let digest = |source: &ContentSource| match source {
        ContentSource::Local { input, selection } => {
            let Value::Tree(tree) = work.value(*input) else {
                unreachable!("a local vertex's value")
            };
            let digest = tree::digest_selection(&**tree, selection);
            digest.map(|digest| digest.0).map_err(|error| selection_error(work, error))
        }
        ContentSource::Http { input } => {
            let (Value::Http(file), Op::Http(source)) =
                (work.value(*input), &work.graph.vertex(*input).op)
            else {
                unreachable!("an http vertex's value")
            };
            let seen = lock(&file.seen);
            let time = seen.last_modified.map(|time| time.to_string());
            Ok(key::http_content(source, seen.digest, time.as_deref()))
        }
        ContentSource::Git { input } => {
            let (Value::Git(git), Op::Git(source)) =
                (work.value(*input), &work.graph.vertex(*input).op)
            else {
                unreachable!("a git vertex's value")
            };
            let resolved = &git.resolved;
            let names = resolved.reference.iter().chain(&resolved.tag);
            let names: Vec<&str> = names.map(String::as_str).collect();
            Ok(key::git_content(source, &resolved.commit, &names))
        }
    };
    key::content_sources(&work.graph, work.vertex()).iter().map(digest).collect()
}

/// The near key of a vertex. An image below counts by its chain, other layers by their ids.
pub(crate) fn near_key(work: &Work, contents: &[Digest]) -> NearKey {
    let operation = key::operation_digest(work.vertex(), contents);
    let below = below(work).map(near_form);
    let uses = key::input_uses(&work.graph, work.vertex());
    let stacks: Vec<Stack> = uses.iter().map(|u| near_form(stack(work, u.input))).collect();
    let inputs: Vec<_> = uses.iter().map(|u| &u.selection).zip(&stacks).collect();
    key::near_key(&operation, below.as_ref(), &inputs)
}

/// A base by its chain alone: the same whether its layers are unpacked, unpacked anew, or not here.
fn near_form(stack: &StackValue) -> Stack {
    let (bottom, above) = match stack {
        StackValue::Present(stack) => (stack.clone(), Vec::new()),
        StackValue::Lazy(lazy) => {
            let id = |layer: &Above| match layer {
                Above::Layer(layer) => *layer,
                Above::Imported(layer) => layer.near_id(),
            };
            (lazy.bottom.named(), lazy.above.iter().map(id).collect())
        }
    };
    let base = bottom.base.map(|(chain, _)| (chain, 0));
    Stack { base, layers: [bottom.above_base(), &above].concat() }
}

fn below(work: &Work) -> Option<&StackValue> {
    work.below().filter(|_| key::counts_below(work.vertex()))
}

fn stack(work: &Work, input: graph::VertexId) -> &StackValue {
    work.value(input).stack().expect("planner::key names only inputs that are stacks")
}

fn near(work: &Work, contents: &[Digest]) -> Result<Option<CacheRecord>, Stop> {
    usable(&work.session, work.session.lease.find_near(&near_key(work, contents)))
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
        let Some(key) = cache_key(work, contents, form)? else { continue };
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
    let Some(below) = below(work) else { return Ok(true) };
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

/// How inputs that are not below count in a cache key (design D4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By what their stacks are made of.
    Weak,
    /// By the content of what is selected of them.
    Strong,
}

/// The cache key of a vertex in one form; `None` when the strong form would be the weak one. Waits for digests.
pub(crate) fn cache_key(
    work: &Work,
    contents: &[Digest],
    form: Form,
) -> Result<Option<CacheKey>, Stop> {
    let operation = key::operation_digest(work.vertex(), contents);
    let below = below(work).map(|stack| finish::identity(&work.session, stack)).transpose()?;
    let below = below.map(|stack| key::dated(&work.graph, work.vertex(), stack));
    let uses = key::input_uses(&work.graph, work.vertex());
    if uses.is_empty() && form == Form::Strong {
        return Ok(None);
    }
    if form == Form::Strong {
        let mut inputs = Vec::new();
        for one in &uses {
            let tree = stack_tree::open(&work.session, stack(work, one.input), work.number())?;
            let digest = tree::digest_selection(&*tree, &one.selection);
            let digest = digest.map_err(|error| selection_error(work, error))?;
            inputs.push(InputIdentity::Strong(digest));
        }
        return Ok(Some(key::cache_key(&operation, below.as_ref(), &inputs)));
    }
    let identities = uses.iter().map(|one| finish::identity(&work.session, stack(work, one.input)));
    let identities: Vec<_> = identities.collect::<Result<_, Stop>>()?;
    let inputs: Vec<_> = identities
        .iter()
        .zip(&uses)
        .map(|(identity, one)| InputIdentity::Weak(identity, &one.selection))
        .collect();
    Ok(Some(key::cache_key(&operation, below.as_ref(), &inputs)))
}

/// The stack that a hit gives: the record's own, whole; only a linked layer is put on what this build has below.
fn stack_of(work: &Work, record: &CacheRecord) -> StackValue {
    match record.layer {
        Some(layer) if work.is_linked() => work.linked_on_below(layer),
        _ => StackValue::Present(record.stack.clone()),
    }
}

fn selection_error(work: &Work, error: SelectError) -> Stop {
    let failed = match of_selection(work, &error) {
        Some(failed) => failed,
        None => {
            BuildError::new(BuildErrorKind::Step, "cannot read what the step copies").because(error)
        }
    };
    failed.into()
}

/// What is wrong with what a COPY names, in BuildKit's words: nothing is there (COPY-05, ERR-44), or it is a pattern
/// that cannot be read (ERR-45).
pub(crate) fn of_selection(work: &Work, error: &SelectError) -> Option<BuildError> {
    let (path, nearest) = match error {
        SelectError::NotFound { path, nearest } => (path, nearest),
        SelectError::BadPattern(error) => {
            let failed = BuildError::new(BuildErrorKind::Dockerfile, error.to_string());
            return Some(
                failed.with_hint("write `[[]` for a `[` that begins no set of characters"),
            );
        }
        SelectError::Tree(_) => return None,
    };
    let path = String::from_utf8_lossy(path);
    let path = path.trim_start_matches('/');
    let text = format!(
        "failed to compute cache key: failed to calculate checksum of ref: \"/{path}\": not found"
    );
    let failed = BuildError::new(BuildErrorKind::Step, text);
    let context = context_read(work);
    let ignore = context.and_then(|name| work.session.contexts.ignore(name));
    let hiding = ignore.as_ref().and_then(|ignore| ignore.hiding_line(path.as_bytes()));
    Some(failed.with_hint(match (ignore, hiding, context) {
        (Some(ignore), Some((line, pattern)), _) => {
            format!("{} hides it: line {line} says {pattern}", ignore.name)
        }
        _ if !nearest.is_empty() => format!("did you mean {}?", nearest.join(" or ")),
        (Some(ignore), None, Some("")) => {
            format!("what is read is the build context without what {} names", ignore.name)
        }
        (_, _, Some("")) => "what is read is the build context".to_owned(),
        (_, _, Some(name)) => format!("what is read is the build context {name}"),
        (_, _, None) => "what is read is what --from names".to_owned(),
    }))
}

/// The name of the context directory that a step copies from; the main one's is empty.
fn context_read(work: &Work) -> Option<&str> {
    let Op::Copy(copy) = &work.vertex().op else { return None };
    copy.sources.iter().find_map(|source| match source {
        CopySource::Tree { input, .. } => match &work.graph.vertex(*input).op {
            Op::Local(local) => Some(&*local.name),
            _ => None,
        },
        _ => None,
    })
}
