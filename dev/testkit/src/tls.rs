//! A certificate for test servers and the root that signed it; see testdata/tls/README.md.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

/// The root's certificate as PEM.
pub const ROOT_PEM: &str = include_str!("../testdata/tls/ca.pem");
/// The certificate of a client as PEM.
pub const CLIENT_PEM: &str = include_str!("../testdata/tls/client.pem");
/// Its key.
pub const CLIENT_KEY: &str = include_str!("../testdata/tls/client.key");
const CLIENT_ROOT: &[u8] = include_bytes!("../testdata/tls/client-ca.pem");
pub(crate) const SERVER_PEM: &[u8] = include_bytes!("../testdata/tls/server.pem");
pub(crate) const SERVER_KEY: &[u8] = include_bytes!("../testdata/tls/server.key");

/// The server's certificate in DER, without the root's.
pub(crate) fn server_certificate() -> Vec<u8> {
    CertificateDer::pem_slice_iter(SERVER_PEM).next().unwrap().unwrap().to_vec()
}

/// The server's key as PKCS #8 in DER.
pub(crate) fn server_key() -> Vec<u8> {
    PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap().secret_der().to_vec()
}

/// Settings of a server at `localhost`, `registry.test` or 127.0.0.1.
pub fn server_config() -> Arc<ServerConfig> {
    config(None)
}

/// As [`server_config`], for clients that show [`CLIENT_PEM`] alone.
pub fn server_config_for_clients() -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(CLIENT_ROOT) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    config(Some(clients.build().unwrap()))
}

fn config(clients: Option<Arc<dyn ClientCertVerifier>>) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(SERVER_PEM).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(clients),
        None => config.with_no_client_auth(),
    };
    Arc::new(config.with_single_cert(chain, key).unwrap())
}
