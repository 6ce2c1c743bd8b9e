//! What a collection may take, as people see it, and who keeps it from being taken.

use std::collections::BTreeMap;

/// Kinds of things that a collection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// A layer that a step has made.
    Step,
    /// A layer of an image that came from elsewhere.
    Base,
    /// A blob or manifest.
    Blob,
    /// A directory of `RUN --mount=type=cache`.
    Mount,
    /// What is remembered of URLs and directories that builds read.
    Source,
    /// The beginning of a blob whose transfer was broken off; the next one goes on there.
    Partial,
}

/// Who needs something. A collection takes what nobody needs, on request what only an image without a name needs, and
/// nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Nobody; a later build may be glad of it.
    Nobody,
    /// An image without a name.
    Image,
    /// A running process.
    Process,
    /// An image with a name.
    Tag,
}

/// One thing that a collection may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Its name: the layer's id, the blob's digits, the cache mount's digits and number, or a file name.
    pub id: String,
    /// The step that made it (`RUN make`), or what a cache mount is called; empty when nothing says so.
    pub text: String,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When it was made, RFC 3339; empty when nothing says so.
    pub created: String,
    /// When it was last used, seconds since 1970.
    pub used_secs: i64,
    /// What making it has taken, in milliseconds; 0 when nobody knows.
    pub took_ms: u64,
    /// Who needs it.
    pub holder: Holder,
}

/// What is in a store, and what it takes on the disk.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Of the whole store.
    pub total_bytes: u64,
    /// Everything that could be collected.
    pub items: Vec<Item>,
    /// Bytes of everything else, by the directory that it is in: records, images, unfinished work, trash.
    pub others: BTreeMap<String, u64>,
    /// Images, named or not.
    pub images: usize,
}
