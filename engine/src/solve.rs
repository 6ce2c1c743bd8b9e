//! Walks the graph: every vertex as soon as what it reads is there (design D7).
//!
//! One dispatcher owns the state; threads evaluate vertices and report on one channel. Near hits are answered by the
//! dispatcher itself: a fully cached chain starts no thread.

use std::sync::Arc;
use std::sync::mpsc;

use graph::{Graph, Vertex, VertexId};

use crate::error::BuildError;
use crate::lookup;
use crate::remote;
use crate::session::Session;
use crate::stop::Stop;
use crate::value::Value;
use crate::vertex;
use crate::work::{Values, Work};

/// The values of all vertices, by their index.
pub(crate) fn solve(session: &Arc<Session>, graph: &Arc<Graph>) -> Result<Vec<Value>, Stop> {
    let mut state = State::new(graph);
    let (sender, results) = mpsc::channel::<(VertexId, Result<Value, Stop>)>();
    let mut running = 0;
    let mut stop: Option<Stop> = None;
    loop {
        while stop.is_none()
            && let Some(id) = state.ready.pop()
        {
            let work = Work {
                session: session.clone(),
                graph: graph.clone(),
                id,
                values: state.values.clone(),
            };
            match lookup::at_once(&work) {
                Ok(Some(value)) => {
                    drop(work);
                    remote::offer(session, graph, id, &value);
                    state.finished(id, value);
                }
                Ok(None) => {
                    running += 1;
                    spawn(work, sender.clone());
                }
                Err(error) => stop = Some(error),
            }
        }
        if running == 0 {
            return match stop {
                Some(stop) => Err(stop),
                None => Ok(state.all()),
            };
        }
        let (id, result) = results.recv().expect("the dispatcher holds a sender itself");
        running -= 1;
        match result {
            Ok(value) => {
                remote::offer(session, graph, id, &value);
                state.finished(id, value);
            }
            Err(error) => {
                if let Stop::Failed(_) = error {
                    // Other steps end early; what they report then is not the reason.
                    session.cancel.cancel();
                }
                stop = Some(worse(stop, error));
            }
        }
    }
}

/// The reason to name when two vertices stopped: a failure before "needs a worker", the earlier before the later.
fn worse(first: Option<Stop>, second: Stop) -> Stop {
    match (first, second) {
        (Some(Stop::Failed(error)), _) => Stop::Failed(error),
        (Some(Stop::CacheLost(error)), Stop::NeedsWorker) => Stop::CacheLost(error),
        (_, second) => second,
    }
}

fn spawn(work: Work, sender: mpsc::Sender<(VertexId, Result<Value, Stop>)>) {
    std::thread::spawn(move || {
        let evaluate = std::panic::AssertUnwindSafe(|| vertex::evaluate(&work));
        let result = std::panic::catch_unwind(evaluate).unwrap_or_else(|_| {
            let text = format!("{}: a bug in shale ended this step", work.vertex().origin.name);
            Err(Stop::Failed(BuildError::new(crate::BuildErrorKind::Files, text)))
        });
        let id = work.id;
        drop(work);
        // The dispatcher has gone only when the build is over.
        let _ = sender.send((id, result));
    });
}

struct State {
    values: Values,
    /// How many inputs a vertex still waits for.
    waiting: Vec<usize>,
    dependents: Vec<Vec<VertexId>>,
    ready: Vec<VertexId>,
}

impl State {
    fn new(graph: &Graph) -> State {
        let count = graph.vertices.len();
        let mut state = State {
            values: Arc::new(vec![None; count]),
            waiting: vec![0; count],
            dependents: vec![Vec::new(); count],
            ready: Vec::new(),
        };
        for vertex in &graph.vertices {
            let reads = reads(vertex);
            state.waiting[vertex.id.0 as usize] = reads.len();
            for input in &reads {
                state.dependents[input.0 as usize].push(vertex.id);
            }
            if reads.is_empty() {
                state.ready.push(vertex.id);
            }
        }
        state.ready.reverse();
        state
    }

    fn finished(&mut self, id: VertexId, value: Value) {
        Arc::make_mut(&mut self.values)[id.0 as usize] = Some(value);
        for dependent in &self.dependents[id.0 as usize] {
            let waiting = &mut self.waiting[dependent.0 as usize];
            *waiting -= 1;
            if *waiting == 0 {
                self.ready.push(*dependent);
            }
        }
    }

    fn all(self) -> Vec<Value> {
        self.values.iter().map(|v| v.clone().expect("a graph without cycles ends")).collect()
    }
}

/// Every vertex that this one waits for, each once.
fn reads(vertex: &Vertex) -> Vec<VertexId> {
    let mut reads = vertex.op.inputs();
    if let Some(below) = vertex.below
        && !reads.contains(&below)
    {
        reads.push(below);
    }
    reads
}
