//! The portable cache: what a build's results look like outside the store, and the places where they may lie.
//!
//! Owns the document that lists records and layers, its form beside BuildKit's own config, and one back end for each
//! kind of place. Refuses to know stores, steps and environments: everything comes in as values. Nothing that is read
//! here is trusted: documents have limits, and every blob is checked against its descriptor. The format is normative in
//! docs/remote-cache.md.

#![forbid(unsafe_code)]

mod azblob;
mod buildkit;
mod document;
mod error;
mod gha;
mod hasty;
mod hmac;
pub mod inline;
mod local;
mod manifest;
mod open;
mod options;
mod parts;
mod place;
mod pointer;
mod registry_place;
mod s3;
mod verify;
mod xml;

pub use document::{CacheDocument, CacheEntry, CacheLayer, DOCUMENT_MEDIA_TYPE, MountBlob};
pub use error::{RemoteError, RemoteErrorKind};
pub use open::{open_export, open_import};
pub use options::{
    AwsEnvironment, AzblobOptions, CacheExport, CacheImport, CacheMode, ExportPlace, GhaOptions,
    ImportPlace, MountSelection, S3Options,
};
pub use place::{CachePlace, OpenBlob, Put};
