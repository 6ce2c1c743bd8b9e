//! One vertex: its value, from a source, a record, or by doing what it says.

use std::collections::BTreeSet;

use graph::{Network, Op, Vertex};
use progress::{EventKind, Outcome};

use crate::execute;
use crate::flight;
use crate::internal::End as _;
use crate::lookup::{self, Found};
use crate::place;
use crate::request::Stopwatch;
use crate::source;
use crate::stop::Stop;
use crate::value::{StackValue, Value};
use crate::why::{self, StepOutcome};
use crate::work::Work;

/// Gives the value of a vertex whose inputs have theirs. May take as long as the step does.
pub(crate) fn evaluate(work: &Work) -> Result<Value, Stop> {
    let value = match &work.vertex().op {
        Op::Scratch | Op::Image(_) => {
            lookup::at_once(work).map(|value| value.expect("these have their value at once"))
        }
        Op::Local(local) => {
            shown(work, || source::local(&work.session, &local.name).map(Value::Tree))
        }
        Op::Http(http) => shown(work, || source::http::look(&work.session, http)),
        Op::Git(git) => shown(work, || source::git::look(&work.session, git)),
        Op::Run(_) | Op::Copy(_) | Op::Mkdir(_) => layer(work).map(Value::Stack),
    };
    value.map_err(|stop| place::located(work, stop))
}

/// A source that takes time is shown as work.
fn shown(work: &Work, fetch: impl FnOnce() -> Result<Value, Stop>) -> Result<Value, Stop> {
    let vertex = work.number();
    work.session.events.emit(EventKind::Started { vertex, because: None });
    let result = fetch();
    tell_end(work, &result);
    result
}

fn layer(work: &Work) -> Result<StackValue, Stop> {
    let session = &work.session;
    let (found, guard) = flight::enter(work, lookup::find(work, None)?)?;
    let stack = match found {
        Found::Hit { stack, saved_ms } => {
            let saved_ms = Some(saved_ms);
            session.events.emit(EventKind::Cached { vertex: work.number(), saved_ms });
            stack
        }
        Found::Run { because, contents } => {
            if !session.controls().is_expected(work.id) {
                session.worker()?;
            }
            let because = why::explain(work, &because, contents.as_deref());
            if let Some((origin, refused)) = session.controls().refused(work.id, &because) {
                why::ended(work, StepOutcome::Refused, 0);
                return Err(place::at_origin(session, origin, refused).into());
            }
            session.worker()?;
            expect_steps(work);
            let because = Some(because);
            session.events.emit(EventKind::Started { vertex: work.number(), because });
            let watch = Stopwatch::start();
            let result = execute::run(work, contents);
            why::ended(work, outcome_of(&result), watch.took_ms());
            tell_end(work, &result);
            result?
        }
    };
    drop(guard);
    Ok(stack)
}

/// Has networks made for the steps that will probably run now that one does: that takes longer than most steps, and
/// a cached build must not pay for it (design D11).
fn expect_steps(work: &Work) {
    let session = &work.session;
    let Some(worker) = &session.worker else { return };
    session.networks_expected.call_once(|| {
        let needs = |vertex: &&Vertex| {
            matches!(&vertex.op, Op::Run(run) if run.network == Network::Default)
        };
        let stages: BTreeSet<&str> = work
            .graph
            .vertices
            .iter()
            .filter(needs)
            .map(|vertex| vertex.origin.stage.as_str())
            .collect();
        if !stages.is_empty() {
            worker.expect_steps(stages.len().min(session.jobs));
        }
    });
}

fn outcome_of<T>(result: &Result<T, Stop>) -> StepOutcome {
    match result.as_ref().map_err(Stop::outcome) {
        Ok(_) | Err(Outcome::Done) => StepOutcome::Ran,
        Err(Outcome::Failed(_)) => StepOutcome::Failed,
        Err(Outcome::Canceled) => StepOutcome::Canceled,
    }
}

fn tell_end<T>(work: &Work, result: &Result<T, Stop>) {
    let outcome = match result {
        Ok(_) => Outcome::Done,
        Err(end) => end.outcome(),
    };
    work.session.events.emit(EventKind::Finished { vertex: work.number(), outcome });
}
