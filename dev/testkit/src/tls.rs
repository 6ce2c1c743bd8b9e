//! A certificate for test servers and the root that signed it; see testdata/tls/README.md.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The root's certificate as PEM.
pub const ROOT_PEM: &str = include_str!("../testdata/tls/ca.pem");
const SERVER_PEM: &[u8] = include_bytes!("../testdata/tls/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("../testdata/tls/server.key");

/// Settings of a server at `localhost`, `registry.test` or 127.0.0.1.
pub fn server_config() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(SERVER_PEM).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}
