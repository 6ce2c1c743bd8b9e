//! Names of layers and results. How each key is computed is `planner::key`'s business alone.

use std::fmt;
use std::str::FromStr;

use oci::{ChainId, Digest};

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = oci::ParseDigestError;

            fn from_str(text: &str) -> Result<$name, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

key_type! {
    /// What is known of a vertex before it runs, without the digests of what it reads (design D4).
    InstructionDigest
}
key_type! {
    /// [`InstructionDigest`] with the digests of context files, heredocs, URL and git contents.
    OperationDigest
}
key_type! {
    /// Decides reuse: the operation, what lies below, and every other input, all by content.
    CacheKey
}
key_type! {
    /// Decides reuse on this machine without hashing: as [`CacheKey`], but inputs by their layer ids.
    NearKey
}
key_type! {
    /// Digest of a layer's table of contents in the form that its tar has, without times (design D4).
    ContentId
}
key_type! {
    /// Digest of the selected part of a tree (CACHE-20 to CACHE-28).
    TreeDigest
}

/// Names a layer directory of one store: 128 random bits, given when the layer is committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub u128);

/// A layer id could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseLayerIdError;

impl fmt::Display for ParseLayerIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer id is 32 lower-case hexadecimal digits")
    }
}

impl std::error::Error for ParseLayerIdError {}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerId({self})")
    }
}

impl FromStr for LayerId {
    type Err = ParseLayerIdError;

    fn from_str(text: &str) -> Result<LayerId, ParseLayerIdError> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match (text.len(), digits) {
            (32, true) => {
                u128::from_str_radix(text, 16).map(LayerId).map_err(|_| ParseLayerIdError)
            }
            _ => Err(ParseLayerIdError),
        }
    }
}

/// Layers, lowest first: a file system. The lowest ones may come from an image named by FROM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    /// The image below everything that this and earlier builds put on top: its chain and how many of `layers`
    /// belong to it. Such an image counts by its chain, its layers' content ids do not matter.
    pub base: Option<(ChainId, usize)>,
    /// All layers, those of the base included.
    pub layers: Vec<LayerId>,
}

impl Stack {
    /// The layers above the base.
    pub fn above_base(&self) -> &[LayerId] {
        &self.layers[self.base.map_or(0, |(_, count)| count)..]
    }

    /// The stack with one more layer on top.
    pub fn with(&self, layer: LayerId) -> Stack {
        let mut stack = self.clone();
        stack.layers.push(layer);
        stack
    }
}

/// What a stack is to a cache key: equal on every machine that has equal content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StackIdentity {
    /// Chain of the image at the bottom.
    pub base: Option<ChainId>,
    /// Content ids of the layers above it, lowest first.
    pub contents: Vec<ContentId>,
}
