//! What may be said of an image beside the image: how it was built (SLSA provenance) and what is in it (an SBOM in
//! SPDX), as in-toto statements.
//!
//! Owns the forms of these documents and what is read of package databases, programs and archives. Refuses to know
//! where facts come from and where documents go: plain data or a tree in, JSON out. The same facts give the same bytes.

#![forbid(unsafe_code)]

mod mask;
mod provenance;
mod purl;
mod sbom;
mod statement;

pub use mask::{MASK, mask_urls};
pub use provenance::{
    Dependency, Given, Mode, Provenance, SlsaVersion, SourceText, Step, predicate,
    predicate_for_metadata,
};
pub use purl::{image_purl, purl};
pub use sbom::{Inventory, Package, SbomError, SpdxDocument, is_spdx, scan, spdx, supplement};
pub use statement::{SPDX_TYPE, STATEMENT_MEDIA_TYPE, Statement, Subject, digest_members};
