//! One vertex with all that its evaluation needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use graph::{CopySource, Graph, Op, Stack, Vertex, VertexId};

use crate::copied::Copied;
use crate::session::Session;
use crate::value::{StackValue, Value};

/// Values so far, by vertex; those of a vertex's inputs are there before it is looked at.
pub(crate) type Values = Arc<Vec<Option<Value>>>;

/// A vertex that is evaluated. Cheap to clone, so that threads can have their own.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) session: Arc<Session>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) id: VertexId,
    pub(crate) values: Values,
}

impl Work {
    pub(crate) fn vertex(&self) -> &Vertex {
        self.graph.vertex(self.id)
    }

    /// The vertex's number in the event stream.
    pub(crate) fn number(&self) -> u32 {
        self.id.0
    }

    /// The value of an input.
    pub(crate) fn value(&self, id: VertexId) -> &Value {
        self.values[id.0 as usize].as_ref().expect("inputs end before their readers start")
    }

    /// The same vertex, with contexts as one try of it sees them; `is_torn` as for [`Copied::new`].
    pub(crate) fn with_own_contexts(&self, is_torn: &Arc<AtomicBool>) -> Work {
        let Op::Copy(copy) = &self.vertex().op else { return self.clone() };
        let inputs = copy.sources.iter().filter_map(CopySource::input);
        let inputs: BTreeSet<VertexId> = inputs.collect();
        let mut values = self.values.clone();
        for id in inputs {
            if let Value::Tree(tree) = self.value(id) {
                let own = Value::Tree(Arc::new(Copied::new(tree.clone(), is_torn)));
                Arc::make_mut(&mut values)[id.0 as usize] = Some(own);
            }
        }
        Work { values, ..self.clone() }
    }

    /// What the vertex stands on; `None` for one that stands on nothing.
    pub(crate) fn below(&self) -> Option<&StackValue> {
        self.value(self.vertex().below?).stack()
    }

    /// A copy that is made on nothing and put on whatever is below.
    pub(crate) fn is_linked(&self) -> bool {
        matches!(&self.vertex().op, Op::Copy(copy) if copy.link)
    }

    /// What a linked copy gives in this build: its layer on what is below.
    pub(crate) fn linked_on_below(&self, layer: graph::LayerId) -> StackValue {
        match self.below() {
            Some(below) => below.with(layer),
            None => StackValue::Present(Stack { base: None, layers: vec![layer] }),
        }
    }
}
