//! The keys of one vertex in this build, and the digests that they are made of.
//!
//! Owns bringing together what `planner::key` makes keys of: values and contents. Refuses to know what is looked up by
//! them.

use graph::{CacheKey, CopySource, NearKey, Op, Stack};
use oci::Digest;
use planner::key::{self, ContentSource, InputIdentity};
use tree::SelectError;

use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::stack_tree;
use crate::stop::{Stop, lock};
use crate::value::{Above, StackValue, Value};
use crate::work::Work;

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

/// What the vertex stands on, if its keys say so.
pub(crate) fn below(work: &Work) -> Option<&StackValue> {
    work.below().filter(|_| key::counts_below(work.vertex()))
}

fn stack(work: &Work, input: graph::VertexId) -> &StackValue {
    work.value(input).stack().expect("planner::key names only inputs that are stacks")
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
