//! What a vertex gives to those that read it.

use std::sync::{Arc, Mutex};

use context::ResolvedGit;
use graph::{ContentId, GitSource, HttpSource, ImageSource, LayerId, Stack};
use oci::{ChainId, Descriptor, DiffId, Reference};
use remotecache::CachePlace;
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
    /// Something of it may have to be fetched when a byte of it is needed.
    Lazy(LazyStack),
}

/// Layers on an image, of which no byte was needed so far.
#[derive(Clone)]
pub(crate) struct LazyStack {
    pub(crate) bottom: Bottom,
    /// Lowest first.
    pub(crate) above: Vec<Above>,
}

/// What a lazy stack begins with.
#[derive(Clone)]
pub(crate) enum Bottom {
    /// Layers in the store, or nothing.
    Here(Stack),
    /// An image, unpacked when somebody needs it.
    Image(Arc<LazyImage>),
}

/// A layer of a lazy stack.
#[derive(Clone)]
pub(crate) enum Above {
    /// In the store; made on nothing, so it stands on whatever is below.
    Layer(LayerId),
    /// In an imported cache.
    Imported(Arc<ImportedLayer>),
}

/// A layer of an imported cache.
pub(crate) struct ImportedLayer {
    /// The file system that it makes with what it was made on.
    pub(crate) chain: ChainId,
    /// Digest of its tar.
    pub(crate) diff_id: DiffId,
    /// What keys know it by. Unpacked here it has to have the same one.
    pub(crate) content_id: ContentId,
    /// When the step ran that made it, RFC 3339.
    pub(crate) created: String,
    /// Its blob.
    pub(crate) descriptor: Descriptor,
    /// It was made on nothing and stands on whatever is below.
    pub(crate) is_alone: bool,
    /// Where the blob lies.
    pub(crate) place: Arc<dyn CachePlace>,
    /// The repository that it lies in, if it does: another place of that registry can take it from there.
    pub(crate) repository: Option<Reference>,
}

impl ImportedLayer {
    /// What stands for it in near keys while it has no name in the store: the file system up to it, by which it would
    /// be found there.
    pub(crate) fn near_id(&self) -> LayerId {
        let digest = self.chain.0.as_bytes();
        LayerId(u128::from_be_bytes(std::array::from_fn(|at| digest[at])))
    }
}

/// A layer above the image that a stack begins with.
#[derive(Clone)]
pub(crate) enum OwnLayer {
    /// The topmost of these, which are in the store: it was made on the others.
    Here(Vec<LayerId>),
    /// In an imported cache.
    Imported(Arc<ImportedLayer>),
}

/// What tells an [`OwnLayer`] from others of the same build.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum LayerName {
    Here(LayerId),
    Elsewhere(ChainId),
}

impl OwnLayer {
    pub(crate) fn name(&self) -> LayerName {
        match self {
            OwnLayer::Here(layers) => {
                LayerName::Here(*layers.last().expect("a layer is the top of its stack"))
            }
            OwnLayer::Imported(layer) => LayerName::Elsewhere(layer.chain),
        }
    }
}

/// An image's layers, unpacked when somebody needs them.
pub(crate) struct LazyImage {
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
    /// The value with one more layer on top, which was made on nothing.
    pub(crate) fn with(&self, layer: LayerId) -> StackValue {
        match self {
            StackValue::Present(stack) => StackValue::Present(stack.with(layer)),
            StackValue::Lazy(lazy) => StackValue::Lazy(lazy.with(Above::Layer(layer))),
        }
    }

    /// The image at the bottom, and the layers above it, lowest first.
    pub(crate) fn own_layers(&self) -> (Option<ChainId>, Vec<OwnLayer>) {
        let (bottom, above) = match self {
            StackValue::Present(stack) => (stack.clone(), &[][..]),
            StackValue::Lazy(lazy) => (lazy.bottom.named(), &lazy.above[..]),
        };
        let first = bottom.layers.len() - bottom.above_base().len();
        let here = first..bottom.layers.len();
        let here = here.map(|at| OwnLayer::Here(bottom.layers[..=at].to_vec()));
        let above = above.iter().map(|layer| match layer {
            Above::Layer(layer) => OwnLayer::Here(vec![*layer]),
            Above::Imported(layer) => OwnLayer::Imported(layer.clone()),
        });
        (bottom.base.map(|(chain, _)| chain), here.chain(above).collect())
    }
}

impl LazyStack {
    /// The stack with one more layer on top.
    pub(crate) fn with(&self, layer: Above) -> LazyStack {
        let above = self.above.iter().cloned().chain([layer]).collect();
        LazyStack { bottom: self.bottom.clone(), above }
    }

    /// The layers on an image that counts by its chain while it is not here; `None` when some lie elsewhere.
    pub(crate) fn on_its_image(&self) -> Option<Stack> {
        let layer = |layer: &Above| match layer {
            Above::Layer(layer) => Some(*layer),
            Above::Imported(_) => None,
        };
        let above = self.above.iter().map(layer).collect::<Option<Vec<_>>>()?;
        Some(above.into_iter().fold(self.bottom.named(), |stack, layer| stack.with(layer)))
    }

    /// Whether layers of an imported cache are part of it.
    pub(crate) fn is_imported(&self) -> bool {
        self.above.iter().any(|layer| matches!(layer, Above::Imported(_)))
    }
}

impl Bottom {
    /// The image's layers as far as they are here, the image by its chain alone while they are not.
    pub(crate) fn named(&self) -> Stack {
        match self {
            Bottom::Here(stack) => stack.clone(),
            Bottom::Image(image) => {
                let unfetched = Stack { base: Some((image.chain, 0)), layers: Vec::new() };
                lock(&image.present).clone().unwrap_or(unfetched)
            }
        }
    }
}
