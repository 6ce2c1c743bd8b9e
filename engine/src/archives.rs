//! Images to archives and back: `save`, `load`, `import`, `export`.
//!
//! Owns which images of the store an archive is about, and what of an archive gets into the store. What archives look
//! like is the exporter's business.

mod export;
mod import;
mod load;
mod save;

pub use export::{ExportRequest, export};
pub use import::{ImportFrom, ImportRequest, import};
pub(crate) use load::keep_layers;
pub use load::{ArchiveInput, Loaded, load};
pub use save::{SaveFormat, SaveRequest, SaveTo, is_encoded, save};
