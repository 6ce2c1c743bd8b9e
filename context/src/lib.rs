//! What COPY and ADD read that is no layer: directories, archives, downloads and git repositories.
//!
//! Owns reading them once, without leaving them, and knowing file digests again. Refuses to know builds and the
//! store: it is told where its files may be put. Every kind of context is a [`tree::Tree`] in the end.

#![forbid(unsafe_code)]

mod archive;
mod error;
mod file_tree;
mod git;
mod http;
mod ignore;
mod local;
mod stat;
mod stat_cache;

pub use archive::{ArchiveTree, looks_like_archive, newest_in_archive, unpack_context};
pub use error::{ContextError, ErrorKind};
pub use file_tree::FileTree;
pub use git::{GitCheckout, GitRequest, ResolvedGit, fetch_git, open_git, resolve_git};
pub use http::{
    AgentError, AgentFor, Downloads, HttpAuth, HttpFile, HttpRequest, KnownContent, fetch_http,
};
pub use ignore::{LoadedIgnore, load_ignore};
pub use local::{LocalTree, View};
pub use stat_cache::stat_cache_name;
