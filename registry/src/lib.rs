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
mod catalog;
mod challenge;
mod client;
mod credentials;
mod delete;
mod dns;
mod error;
mod helper;
mod hosts;
mod local_file;
mod login;
mod options;
mod pace;
pub mod percent;
mod places;
mod plain_proxy;
mod pull;
mod push;
mod referrers;
mod retry;
mod service;
mod tags;
mod transport;
mod upload;
mod url;

pub use blob::{BlobPrefix, BlobReader};
pub use catalog::Found;
pub use client::RegistryClient;
pub use credentials::{
    Credential, Credentials, CredentialsSource, CredentialsText, Keeper, Kept, KeptAs, LoginConfig,
    Secret, server_name,
};
pub use dns::HostResolver;
pub use error::{RegistryError, RegistryErrorKind};
pub use hosts::{Asked, Endpoint, Hosts, HostsSource, Link, Plan, Said, Scheme, TlsFiles};
pub use local_file::{read_local_file, read_local_text};
pub use options::{ProxySettings, RegistryOptions, TlsRoots};
pub use pull::Resolved;
pub use push::{OpenAt, Pushed};
pub use retry::RetryPolicy;
pub use service::{Service, ServiceAnswer, ServiceCall, ServiceError};
