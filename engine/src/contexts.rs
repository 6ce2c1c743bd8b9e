//! The contexts of a build, open, and the directories of fetched files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use pattern::IgnoreRules;
use tree::Tree;

use crate::stop::lock;

/// The contexts of a build, each opened once (design D5), and the directories that are theirs until its end.
#[derive(Default)]
pub(crate) struct Contexts {
    trees: Mutex<HashMap<String, Arc<dyn Tree>>>,
    kept: Mutex<Vec<store::Ingest>>,
    ignore: OnceLock<IgnoreRules>,
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

    /// Notes what the ignore file of the main context says.
    pub(crate) fn set_ignore(&self, rules: IgnoreRules) {
        let _ = self.ignore.set(rules);
    }

    /// What the ignore file of the main context says, if there is one.
    pub(crate) fn ignore(&self) -> Option<&IgnoreRules> {
        self.ignore.get()
    }

    /// Keeps a directory until the build ends.
    pub(crate) fn keep(&self, ingest: store::Ingest) {
        lock(&self.kept).push(ingest);
    }
}
