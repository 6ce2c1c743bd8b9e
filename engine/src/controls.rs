//! Flags that say of single steps whether what earlier builds left may be used: `--no-cache-from`, `--max-age`,
//! `--expect-cached`.
//!
//! Owns which steps they are about and what is said when one of them decides. The look-up asks; it decides no hit here.

use std::collections::HashMap;

use graph::{Graph, Op, Origin, VertexId};
use parser::SourceText;
use planner::LowerRequest;
use store::CacheRecord;

use crate::address::{self, Address, AddressError, StepPlace};
use crate::error::{BuildError, BuildErrorKind};
use crate::request::{self, CacheRules, MaxAge};

/// The rules by vertex.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Controls {
    /// Steps that run because of `--no-cache-from`.
    forced: Vec<VertexId>,
    /// The strictest limit of a step's age, in milliseconds and as typed.
    max_age: HashMap<VertexId, (u64, String)>,
    /// Steps that must not run, with the address to show and the place that it means.
    expected: HashMap<VertexId, (String, Origin)>,
}

impl Controls {
    /// Whether a record is older than a step allows. One whose age is not known is.
    pub(crate) fn is_too_old(&self, id: VertexId, record: &CacheRecord) -> bool {
        let Some((limit_ms, _)) = self.max_age.get(&id) else { return false };
        request::age_ms(&record.created).is_none_or(|age_ms| age_ms > *limit_ms)
    }

    /// What is said of a result that is too old.
    pub(crate) fn too_old(&self, id: VertexId) -> String {
        let limit = self.max_age.get(&id).map_or("--max-age", |(_, shown)| shown.as_str());
        format!("older than {limit}")
    }

    /// Whether a step must not run.
    pub(crate) fn is_expected(&self, id: VertexId) -> bool {
        self.expected.contains_key(&id)
    }

    /// The error of a step that must not run and would; `None` for any other. Its place in the Dockerfile is with it.
    pub(crate) fn refused(&self, id: VertexId, because: &str) -> Option<(&Origin, BuildError)> {
        let (address, origin) = self.expected.get(&id)?;
        let text =
            format!("step {address} is expected to be cached, and would run because {because}");
        let failed = BuildError::new(BuildErrorKind::NotCached, text)
            .with_hint(format!("see what differs with `shale why {address}`"));
        Some((origin, failed))
    }

    /// The flag because of which a step runs that has to.
    pub(crate) fn forced_by(&self, id: VertexId, plan: &LowerRequest) -> &'static str {
        match self.forced.contains(&id) {
            true => "--no-cache-from",
            false if !plan.no_cache && !plan.no_cache_filter.is_empty() => "--no-cache-filter",
            false => "--no-cache",
        }
    }
}

/// Warnings about stages that `--no-cache-filter` names and the file does not have: no error, for docker build's sake,
/// but most often a slip of the pen.
pub(crate) fn unknown_stages(wanted: &[String], source: &SourceText) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let targets = planner::targets(&parser::parse(source).dockerfile, source);
    let names: Vec<String> = targets.into_iter().filter_map(|target| target.name).collect();
    let is_known = |stage: &str| names.iter().any(|name| name.eq_ignore_ascii_case(stage));
    let unknown = wanted.iter().filter(|stage| !stage.is_empty() && !is_known(stage));
    let warning = |stage: &String| {
        let names = names.iter().map(String::as_str);
        let meant = parser::did_you_mean(&stage.to_lowercase(), names);
        format!("--no-cache-filter: no stage has the name {stage}{meant}")
    };
    unknown.map(warning).collect()
}

/// What the rules mean for a graph. Steps that have to run are marked in it.
///
/// # Errors
/// A rule names no step.
pub(crate) fn resolve(
    rules: &CacheRules,
    graph: &mut Graph,
    source: &SourceText,
) -> Result<Controls, BuildError> {
    let CacheRules { no_cache_from, max_age, expect_cached } = rules;
    let mut controls = Controls::default();
    if no_cache_from.is_empty() && max_age.is_empty() && expect_cached.is_empty() {
        return Ok(controls);
    }
    let (ids, places) = address::steps(graph, source);
    let list = List { ids, places, source };
    for address in no_cache_from {
        let firsts = list.of_this_build("--no-cache-from", address)?;
        for (id, _) in firsts.iter().flat_map(|at| list.following(*at)) {
            let vertex = &mut graph.vertices[id.0 as usize];
            if can_be_forced(&vertex.op) && !vertex.no_cache {
                vertex.no_cache = true;
                controls.forced.push(id);
            }
        }
    }
    for MaxAge { age_ms, shown, steps } in max_age {
        let steps = match steps {
            Some(address) => list.of_this_build("--max-age", address)?,
            None => (0..list.ids.len()).collect(),
        };
        let runs = |id: &VertexId| can_be_forced(&graph.vertex(*id).op);
        for id in steps.into_iter().map(|at| list.ids[at]).filter(runs) {
            let strictest = controls.max_age.entry(id).or_insert((*age_ms, shown.clone()));
            if *age_ms < strictest.0 {
                *strictest = (*age_ms, shown.clone());
            }
        }
    }
    for address in expect_cached {
        let found = address.find(&list.places).map_err(|e| wrong("--expect-cached", address, e))?;
        let mut runs = found.into_iter().filter(|at| graph.vertex(list.ids[*at]).op.makes_layer());
        let mut any = false;
        for at in runs.by_ref() {
            any = true;
            let shown = address::shown(&list.places[at], &list.places);
            let id = list.ids[at];
            let origin = origin(graph, id, &list.places[at]).clone();
            controls.expected.entry(id).or_insert((shown, origin));
        }
        if !any {
            let text = format!("--expect-cached {address}: an image is no step that could run");
            return Err(BuildError::new(BuildErrorKind::Dockerfile, text)
                .with_hint("name a RUN, COPY, ADD or WORKDIR"));
        }
    }
    Ok(controls)
}

/// Which of the places of a vertex is meant.
fn origin<'g>(graph: &'g Graph, id: VertexId, place: &StepPlace) -> &'g Origin {
    let is_meant =
        |origin: &Origin| origin.stage == place.stage && origin.step == Some(place.number);
    let also = graph.also.iter().filter(|(own, _)| *own == id).map(|(_, origin)| origin);
    let own = &graph.vertex(id).origin;
    std::iter::once(own).chain(also).find(|origin| is_meant(origin)).unwrap_or(own)
}

/// WORKDIR is outside such rules, as it is outside --no-cache (WDIR-13).
fn can_be_forced(op: &Op) -> bool {
    op.makes_layer() && !matches!(op, Op::Mkdir(_))
}

struct List<'a> {
    ids: Vec<VertexId>,
    places: Vec<StepPlace>,
    source: &'a SourceText,
}

impl List<'_> {
    /// The steps of an address; none for one in a stage of the file that this build does not need.
    fn of_this_build(&self, flag: &str, address: &Address) -> Result<Vec<usize>, BuildError> {
        match address.find(&self.places) {
            Ok(found) => Ok(found),
            Err(_) if address.stage().is_some_and(|stage| self.is_left_out(stage)) => {
                Ok(Vec::new())
            }
            Err(error) => Err(wrong(flag, address, error)),
        }
    }

    fn is_left_out(&self, stage: &str) -> bool {
        let names = address::stage_names(self.source);
        names.iter().any(|name| name.eq_ignore_ascii_case(stage))
            && !self.places.iter().any(|place| place.stage.eq_ignore_ascii_case(stage))
    }

    /// A step and those after it in its stage.
    fn following(&self, at: usize) -> impl Iterator<Item = (VertexId, &StepPlace)> {
        let first = &self.places[at];
        let all = self.ids.iter().copied().zip(&self.places);
        all.filter(|(_, place)| place.stage == first.stage && place.number >= first.number)
    }
}

fn wrong(flag: &str, address: &Address, error: AddressError) -> BuildError {
    let text = format!("{flag} {address}: {error}");
    BuildError::new(BuildErrorKind::Dockerfile, text).with_hint_if(error.hint())
}
