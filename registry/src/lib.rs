//! A blocking client for registries that follow the OCI distribution specification.
//!
//! Owns the talk with a registry: connections, names, tokens, retries, and that no byte leaves this crate whose
//! digest was not checked. Refuses to know stores, layers and environments: credentials, proxies and roots come
//! in through [`RegistryOptions`]. The subtle thing: a credential is only ever sent to the origin that it is for
//! (spec/security.md C1, C2).

#![forbid(unsafe_code)]

mod address;
mod agents;
mod auth;
mod blob;
mod challenge;
mod client;
mod credentials;
mod dns;
mod error;
mod helper;
mod options;
mod plain_proxy;
mod pull;
mod push;
mod retry;
mod service;
mod transport;
mod url;

pub use blob::BlobReader;
pub use client::RegistryClient;
pub use credentials::{Credential, Credentials, CredentialsSource, CredentialsText, Secret};
pub use dns::HostResolver;
pub use error::{RegistryError, RegistryErrorKind};
pub use options::{ProxySettings, RegistryOptions, TlsRoots};
pub use pull::Resolved;
pub use push::Pushed;
pub use retry::RetryPolicy;
pub use service::{Service, ServiceAnswer, ServiceBody, ServiceCall, ServiceError};
