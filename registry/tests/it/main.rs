//! The client against the in-process registry, which fails as told.

mod auth;
mod faults;
mod hosts;
mod interop;
mod mirrors;
mod pull;
mod push;
mod real;
mod safety;
mod tls;
mod transfers;

use std::error::Error as _;
use std::io::Read as _;
use std::time::Duration;

use oci::{Descriptor, Digest, Reference};
use registry::{
    Credentials, CredentialsSource, CredentialsText, RegistryClient, RegistryError,
    RegistryOptions, RetryPolicy,
};
use testkit::registry::TestRegistry;

/// Options with short waits and credentials from config.json text.
fn options(config_json: &str) -> RegistryOptions {
    let text = CredentialsText { origin: "test".to_owned(), text: config_json.to_owned() };
    let source = CredentialsSource { texts: vec![text], helper_dirs: vec![] };
    let mut options = RegistryOptions::new(Credentials::load(&source).expect("valid config"));
    options.retry = RetryPolicy {
        tries: 3,
        first_delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(10),
        max_retry_after: Duration::from_secs(2),
    };
    options.idle_timeout = Duration::from_secs(5);
    options
}

fn client() -> RegistryClient {
    RegistryClient::new(options(""))
}

fn reference(registry: &TestRegistry, rest: &str) -> Reference {
    registry.name(rest).parse().expect("valid reference")
}

fn blob_descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(bytes), bytes.len() as u64)
}

/// Bytes that differ at each place.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn read_blob(
    client: &RegistryClient,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    match client.blob(reference, descriptor)?.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            Err(*error.into_inner().expect("our error").downcast().expect("a registry error"))
        }
    }
}

/// The whole chain of an error as one text.
fn chain(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
