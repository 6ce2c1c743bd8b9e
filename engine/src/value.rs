//! What a vertex gives to those that read it.

use std::sync::{Arc, Mutex};

use context::ResolvedGit;
use graph::{GitSource, HttpSource, ImageSource, LayerId, Stack};
use oci::ChainId;
use tree::Tree;

use crate::facts::Download;
use crate::stop::lock;

/// A vertex's result.
#[derive(Clone)]
pub(crate) enum Value {
    /// A file system made of layers.
    Stack(StackValue),
    /// Files that are no layers: a context.
    Tree(Arc<dyn Tree>),
    /// A commit of a repository.
    Git(Arc<GitTree>),
    /// The file at a URL.
    Http(Arc<RemoteFile>),
}

/// A commit, checked out when a file of it is needed: a cached step asks the remote for the commit's name alone.
pub(crate) struct GitTree {
    pub(crate) source: GitSource,
    pub(crate) resolved: ResolvedGit,
    pub(crate) files: Mutex<Option<Arc<dyn Tree>>>,
}

/// The file at a URL, downloaded when its bytes are needed.
pub(crate) struct RemoteFile {
    pub(crate) source: HttpSource,
    pub(crate) seen: Mutex<Seen>,
}

/// What is known of the file at a URL.
pub(crate) struct Seen {
    pub(crate) digest: oci::Digest,
    /// `Last-Modified` in seconds since 1970.
    pub(crate) last_modified: Option<i64>,
    /// The file, once it was downloaded.
    pub(crate) download: Option<Download>,
}

/// A file system whose layers may still have to be fetched.
#[derive(Clone)]
pub(crate) enum StackValue {
    /// All layers are in the store and leased.
    Present(Stack),
    /// An image of which no byte was needed so far, and layers on top of it that are in the store.
    Lazy { image: Arc<LazyStack>, above: Vec<LayerId> },
}

/// An image's layers, unpacked when somebody needs them.
pub(crate) struct LazyStack {
    pub(crate) chain: ChainId,
    pub(crate) image: ImageSource,
    pub(crate) present: Mutex<Option<Stack>>,
}

impl Value {
    /// The stack that this is; `None` for files that are no layers.
    pub(crate) fn stack(&self) -> Option<&StackValue> {
        match self {
            Value::Stack(stack) => Some(stack),
            Value::Tree(_) | Value::Git(_) | Value::Http(_) => None,
        }
    }
}

impl StackValue {
    /// The stack as keys name it: an image at the bottom by its chain alone, whether its layers are there or not.
    pub(crate) fn named(&self) -> Stack {
        match self {
            StackValue::Present(stack) => stack.clone(),
            StackValue::Lazy { image, above } => {
                let bottom = lock(&image.present).clone();
                let unfetched = Stack { base: Some((image.chain, 0)), layers: Vec::new() };
                let bottom = bottom.unwrap_or(unfetched);
                above.iter().fold(bottom, |stack, layer| stack.with(*layer))
            }
        }
    }

    /// The value with one more layer on top.
    pub(crate) fn with(&self, layer: LayerId) -> StackValue {
        match self {
            StackValue::Present(stack) => StackValue::Present(stack.with(layer)),
            StackValue::Lazy { image, above } => {
                let above = above.iter().copied().chain([layer]).collect();
                StackValue::Lazy { image: image.clone(), above }
            }
        }
    }
}
