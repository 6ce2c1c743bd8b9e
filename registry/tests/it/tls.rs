//! TLS with own roots, and that nothing falls back to plain http (spec/security.md C3).

use registry::{RegistryErrorKind as Kind, TlsRoots};
use testkit::image::TestImage;
use testkit::registry::{Settings, TestRegistry};

use super::*;

#[test]
fn certificates_are_checked_against_the_given_roots() {
    let registry = TestRegistry::start_with(Settings { tls: true, ..Settings::default() });
    TestImage::new(&[]).push_to(&registry, "app", "1");
    let port = registry.host().rsplit_once(':').expect("port").1.to_owned();
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path().join("ca.pem");
    std::fs::write(&root, testkit::tls::ROOT_PEM).expect("write");
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 registry.test other.test\n").expect("write");
    let check = |host: &str, trusted: bool, skip: bool, expect: Option<Kind>| {
        let mut options = RegistryOptions { hosts_file: hosts.clone(), ..options("") };
        let name = format!("{host}:{port}");
        if trusted {
            options.roots = TlsRoots::Files(vec![root.clone()]);
        } else {
            let own = dir.path().join("none.pem");
            std::fs::write(&own, OTHER_ROOT).expect("write");
            options.roots = TlsRoots::Files(vec![own]);
        }
        options.skip_verify = skip.then(|| name.clone()).into_iter().collect();
        let reference = format!("{name}/app:1").parse().expect("reference");
        let got = RegistryClient::new(options).resolve(&reference);
        let text = got.as_ref().err().map(chain).unwrap_or_default();
        assert_eq!(got.err().map(|e| e.kind()), expect, "{host}: {text}");
    };
    check("registry.test", true, false, None);
    check("localhost", true, false, None);
    check("127.0.0.1", true, false, None);
    check("registry.test", false, false, Some(Kind::Tls));
    check("other.test", true, false, Some(Kind::Tls));
    check("other.test", false, true, None);
}

#[test]
fn an_insecure_registry_may_speak_anything_and_no_other_may() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (hosts, root) = (dir.path().join("hosts"), dir.path().join("none.pem"));
    std::fs::write(&hosts, "127.0.0.1 registry.test other.test\n").expect("write");
    std::fs::write(&root, OTHER_ROOT).expect("write");
    for tls in [true, false] {
        let registry = TestRegistry::start_with(Settings { tls, ..Settings::default() });
        TestImage::new(&[]).push_to(&registry, "app", "1");
        let port = registry.host().rsplit_once(':').expect("port").1.to_owned();
        let roots = TlsRoots::Files(vec![root.clone()]);
        let strict = RegistryClient::new(RegistryOptions {
            hosts_file: hosts.clone(),
            roots,
            ..options("")
        });
        let trusting = strict.trusting(&format!("registry.test:{port}"));
        let resolve = |client: &RegistryClient, host: &str| {
            let reference = format!("{host}:{port}/app:1").parse().expect("reference");
            client.resolve(&reference).map(drop).map_err(|error| error.kind())
        };
        assert_eq!(resolve(&trusting, "registry.test"), Ok(()), "TLS {tls}");
        assert_eq!(resolve(&trusting, "other.test"), Err(Kind::Tls));
        assert_eq!(resolve(&strict, "registry.test"), Err(Kind::Tls));
        // One end for both.
        strict.stop();
        assert_eq!(resolve(&trusting, "registry.test"), Err(Kind::Cancelled));
    }
}

#[test]
fn a_named_registry_is_never_asked_in_plain_http() {
    let registry = TestRegistry::start();
    let port = registry.host().rsplit_once(':').expect("port").1.to_owned();
    let dir = tempfile::tempdir().expect("temp dir");
    let (hosts, root) = (dir.path().join("hosts"), dir.path().join("ca.pem"));
    std::fs::write(&hosts, "127.0.0.1 registry.test\n").expect("write");
    std::fs::write(&root, testkit::tls::ROOT_PEM).expect("write");
    let roots = TlsRoots::Files(vec![root]);
    let options = RegistryOptions { hosts_file: hosts, roots, ..options("") };
    let reference = format!("registry.test:{port}/app:1").parse().expect("reference");
    let error = RegistryClient::new(options.clone()).resolve(&reference).expect_err("no TLS there");
    assert_eq!(error.kind(), Kind::Tls, "{}", chain(&error));
    assert!(registry.log().is_empty());
    TestImage::new(&[]).push_to(&registry, "app", "1");
    let plain_http = vec![format!("registry.test:{port}")];
    let plain = RegistryClient::new(RegistryOptions { plain_http, ..options });
    plain.resolve(&reference).expect("configured");
}

/// A root that signed nothing here.
pub(super) const OTHER_ROOT: &str = include_str!("other-root.pem");
