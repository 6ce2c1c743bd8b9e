//! The contexts of a build, open, and the directories of fetched files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use context::LoadedIgnore;
use tree::Tree;

use crate::stop::lock;

/// The contexts of a build, each opened once (design D5), and the directories that are theirs until its end.
#[derive(Default)]
pub(crate) struct Contexts {
    trees: Mutex<HashMap<String, Arc<dyn Tree>>>,
    kept: Mutex<Vec<store::Ingest>>,
    ignores: Mutex<HashMap<String, Arc<LoadedIgnore>>>,
}

impl Contexts {
    /// The tree of a context that was opened before.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn Tree>> {
        lock(&self.trees).get(name).cloned()
    }

    /// Gives a context its tree.
    pub(crate) fn set(&self, name: &str, tree: Arc<dyn Tree>) {
        lock(&self.trees).insert(name.to_owned(), tree);
    }

    /// Notes the ignore file of a context.
    pub(crate) fn set_ignore(&self, name: &str, ignore: LoadedIgnore) {
        lock(&self.ignores).insert(name.to_owned(), Arc::new(ignore));
    }

    /// The ignore file of a context, if it has one; the main context has no name.
    pub(crate) fn ignore(&self, name: &str) -> Option<Arc<LoadedIgnore>> {
        lock(&self.ignores).get(name).cloned()
    }

    /// Keeps a directory until the build ends.
    pub(crate) fn keep(&self, ingest: store::Ingest) {
        lock(&self.kept).push(ingest);
    }
}
