//! What a build notes while it runs, to be written down at its end.
//!
//! Owns the notes of all steps and the document made of them. Costs nothing worth mentioning in a build that has
//! nothing to do: what is dear is only noted of steps that run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use graph::{Graph, LayerId, Op, Vertex, VertexId};
use parser::SourceText;
use planner::key;
use store::{BuildLogName, Lease, Store};

use super::candidate::Candidates;
use super::document::{BuildLog, Comparison, FORMAT, LoggedStep, StepOutcome};
use super::history::{self, History, Step};
use super::read;
use crate::address::{self, StepPlace};
use crate::request::{self, BuildRequest};
use crate::stop::lock;

/// The notes of one build.
pub(crate) struct Journal {
    started: String,
    started_us: u64,
    plan: OnceLock<Steps>,
    notes: Mutex<HashMap<VertexId, Note>>,
    history: OnceLock<History>,
}

struct Steps {
    graph: Arc<Graph>,
    ids: Vec<VertexId>,
    places: Vec<StepPlace>,
    source: SourceText,
}

/// What is known of a step.
#[derive(Default)]
pub(crate) struct Note {
    pub(crate) outcome: Option<StepOutcome>,
    pub(crate) took_ms: u64,
    pub(crate) because: Option<String>,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) inputs: Vec<(String, String)>,
    /// They are those of the instruction alone.
    pub(crate) is_partial: bool,
    pub(crate) result: Option<LayerId>,
    /// What it is to be compared with once all that it read is known.
    pub(crate) pending: Option<Candidates>,
}

impl Journal {
    /// Begins.
    pub(crate) fn new() -> Journal {
        Journal {
            started: request::now(),
            started_us: request::now_us(),
            plan: OnceLock::new(),
            notes: Mutex::default(),
            history: OnceLock::new(),
        }
    }

    /// Notes what there is to do.
    pub(crate) fn plan(&self, graph: Arc<Graph>, source: SourceText) {
        let (ids, places) = address::steps(&graph, &source);
        let _ = self.plan.set(Steps { graph, ids, places, source });
    }

    /// Changes what is noted of a step.
    pub(crate) fn note(&self, id: VertexId, change: impl FnOnce(&mut Note)) {
        change(lock(&self.notes).entry(id).or_default());
    }

    /// How people name a step of this build; `None` for what is no step.
    pub(crate) fn address(&self, id: VertexId) -> Option<String> {
        let Steps { ids, places, .. } = self.plan.get()?;
        let at = ids.iter().position(|other| *other == id)?;
        Some(address::shown(&places[at], places))
    }

    /// What earlier builds say of the steps of this one.
    pub(crate) fn history(&self, request: &BuildRequest, store: &Store) -> &History {
        self.history.get_or_init(|| self.find_history(request, store))
    }

    fn find_history(&self, request: &BuildRequest, store: &Store) -> History {
        let Some(Steps { graph, ids, places, source }) = self.plan.get() else {
            return History::default();
        };
        let steps = ids.iter().zip(places).map(|(id, place)| {
            let vertex = graph.vertex(*id);
            Step {
                id: *id,
                stage: place.stage.clone(),
                platform: vertex.platform.to_string(),
                text: place.text.clone(),
                instruction: instruction(vertex),
            }
        });
        let steps: Vec<Step> = steps.collect();
        let earlier = read::earlier_builds(request, store);
        history::history(&steps, &address::stage_names(source), &earlier)
    }

    /// Writes everything down. Nobody's build fails because that cannot be done.
    pub(crate) fn write(&self, request: &BuildRequest, lease: &Lease, ok: bool) {
        let Some(steps) = self.plan.get() else { return };
        let (context, project) = read::project(request);
        let name = BuildLogName { started_us: self.started_us, project };
        let log = BuildLog {
            format: FORMAT,
            id: format!("{:06x}", self.started_us & 0xff_ffff),
            started: self.started.clone(),
            context: String::from_utf8_lossy(&context).into_owned(),
            dockerfile: steps.source.name.to_string(),
            ok,
            steps: self.logged(steps),
        };
        let _ = lease.put_build_log(&name, &log.to_json());
    }

    fn logged(&self, steps: &Steps) -> Vec<LoggedStep> {
        let mut notes = lock(&self.notes);
        let steps_and_places = steps.ids.iter().zip(&steps.places);
        let step = |(id, place): (&VertexId, &StepPlace)| {
            let vertex = steps.graph.vertex(*id);
            let note = notes.entry(*id).or_default();
            let is_source = !vertex.op.makes_layer();
            let unreached = if is_source { StepOutcome::Cached } else { StepOutcome::NotReached };
            LoggedStep {
                name: vertex.origin.name.clone(),
                stage: place.stage.clone(),
                number: place.number,
                text: place.text.clone(),
                line_first: place.lines.first,
                line_last: place.lines.last,
                platform: vertex.platform.to_string(),
                instruction: instruction(vertex),
                outcome: note.outcome.unwrap_or(unreached),
                took_ms: note.took_ms,
                because: note.because.clone(),
                comparison: note.comparison.clone(),
                inputs: note.inputs.clone(),
                inputs_partial: note.is_partial,
                result: note.result.map(|layer| layer.to_string()),
            }
        };
        steps_and_places.map(step).collect()
    }
}

/// Empty for an image: its name says nothing of what is in it.
fn instruction(vertex: &Vertex) -> String {
    match vertex.op {
        Op::Image(_) | Op::Scratch => String::new(),
        _ => key::instruction_digest(vertex).0.hex(),
    }
}
