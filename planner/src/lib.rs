//! From a parsed Dockerfile to a graph of work, and the keys that decide reuse.
//!
//! Owns what instructions mean: stages, variables, the image config, which vertices there are and what they are called,
//! and every cache key. Refuses to run anything or to decide a hit; all it asks of the world are base images' configs,
//! through [`Sources`].

#![forbid(unsafe_code)]

mod context_value;
mod engine_name;
mod epoch;
mod frontend;
mod git;
pub mod key;
mod lint;
mod lower;
mod outline;
mod parameters;
pub mod parts;
mod policy;
mod request;
mod scope;
mod site;
mod sources;
mod targets;

pub use context_value::{ContextValue, ContextValueError, NamedContext, OciLayout};
pub use engine_name::{EngineName, LocalEngine};
pub use frontend::check_frontend;
pub use git::{GitError, GitForm, parse_git, parse_git_context};
pub use lint::{Findings, Rule, is_secret};
pub use lower::{Lowered, lower, without_user};
pub use outline::{Outline, outline};
pub use parameters::{Access, Argument, Parameters};
pub use policy::{PolicyAction, PolicyRule, SourcePolicy};
pub use request::{Entitlement, LowerRequest};
pub use scope::is_proxy;
pub use sources::{ResolvedImage, SourceError, SourceErrorKind, Sources, TimedSource};
pub use targets::{TargetFacts, targets};
