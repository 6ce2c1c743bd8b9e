//! Connections that fail in the TLS handshake: no request is sent, and never one in plain text (spec/security.md C3).

use std::time::{Duration, Instant};

use registry::{RegistryErrorKind as Kind, TlsRoots};
use testkit::doors::{Door, DoorKind, TIMES_ROOT_PEM};

use super::super::*;

#[test]
fn faults_of_handshakes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (hosts, root) = (dir.path().join("hosts"), dir.path().join("ca.pem"));
    std::fs::write(&hosts, "127.0.0.1 registry.test\n").expect("write");
    std::fs::write(&root, TIMES_ROOT_PEM).expect("write");
    let check = |kind: DoorKind, expect: Kind, word: &str, times: usize| {
        let door = Door::start(kind);
        let name = format!("registry.test:{}", door.port());
        // A secret of this registry's would be sent to whoever answers.
        let config = format!(r#"{{"auths":{{"{name}":{{"registrytoken":"S3CR3T"}}}}}}"#);
        let mut options = options(&config);
        options.hosts_file = hosts.clone();
        options.roots = TlsRoots::Files(vec![root.clone()]);
        options.idle_timeout = Duration::from_millis(300);
        options.connect_timeout = Duration::from_millis(300);
        let reference: Reference = format!("{name}/app:1").parse().expect("reference");
        let started = Instant::now();
        let error = RegistryClient::new(options).resolve(&reference).expect_err("a closed door");
        let text = chain(&error);
        assert!(started.elapsed() < Duration::from_secs(20), "{kind:?}");
        assert_eq!(error.kind(), expect, "{kind:?}: {text}");
        assert!(text.contains(word), "{kind:?}: {text}");
        assert!(!door.heard_plain_text(), "{kind:?} heard plain text");
        assert_eq!(door.count(), times, "{kind:?}: {text}");
    };
    check(DoorKind::Reset, Kind::Unreachable, "reset", 3);
    check(DoorKind::Close, Kind::Unreachable, "end of file", 3);
    check(DoorKind::Garbage, Kind::Tls, "TLS", 1);
    check(DoorKind::PlainHttp, Kind::Tls, "TLS", 1);
    check(DoorKind::Alert, Kind::Tls, "HandshakeFailure", 1);
    check(DoorKind::Silence, Kind::Unreachable, "no answer in time", 2);
    check(DoorKind::HalfRecord, Kind::Unreachable, "no answer in time", 2);
    check(DoorKind::Expired, Kind::Tls, "expired", 1);
    check(DoorKind::NotYetValid, Kind::Tls, "not valid yet", 1);
}
