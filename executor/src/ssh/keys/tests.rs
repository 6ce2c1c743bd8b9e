use std::fs::File;
use std::process::Command;

use super::*;

/// Runs ssh-keygen; `None` where it is not installed.
fn keygen(arguments: &[&str]) -> Option<String> {
    let output = Command::new("ssh-keygen").args(arguments).output().ok()?;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn request(kind: u8, parts: &[&[u8]], flags: u32) -> Vec<u8> {
    let mut body = vec![kind];
    parts.iter().for_each(|part| put_string(&mut body, part));
    if kind == SIGN_REQUEST {
        body.extend(flags.to_be_bytes());
    }
    let mut message = Vec::new();
    put_string(&mut message, &body);
    message
}

/// Signs as `ssh-keygen -Y sign` has it done by an agent, and lets `ssh-keygen -Y verify` judge.
fn verifies(keys: &Keys, public: &str, flags: u32, dir: &Path) -> bool {
    let mut listed = Reader(&keys.answer(&request(REQUEST_IDENTITIES, &[], 0))[4..]).0.to_vec();
    let mut reader = Reader(&listed.split_off(1));
    assert_eq!((listed[0], reader.number()), (IDENTITIES, Some(1)));
    let blob = reader.string().expect("the key").to_vec();
    let hash = "sha512";
    let message = b"a message";
    let digest = ring::digest::digest(&ring::digest::SHA512, message);
    let mut signed = b"SSHSIG".to_vec();
    for part in [&b"test"[..], b"", hash.as_bytes(), digest.as_ref()] {
        put_string(&mut signed, part);
    }
    let answer = keys.answer(&request(SIGN_REQUEST, &[&blob, &signed], flags));
    let mut reader = Reader(&answer[4..]);
    if reader.byte() != Some(SIGNATURE) {
        return false;
    }
    let signature = reader.string().expect("a signature");
    let mut file = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [&blob[..], b"test", b"", hash.as_bytes(), signature] {
        put_string(&mut file, part);
    }
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(file);
    let lines: Vec<&str> =
        text.as_bytes().chunks(70).map(|l| std::str::from_utf8(l).expect("base64")).collect();
    let armoured = format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    );
    std::fs::write(dir.join("signature"), armoured).expect("a file");
    std::fs::write(dir.join("message"), message).expect("a file");
    std::fs::write(dir.join("allowed"), format!("me {public}")).expect("a file");
    let verify = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-f", "allowed", "-I", "me", "-n", "test", "-s", "signature"])
        .current_dir(dir)
        .stdin(File::open(dir.join("message")).expect("a file"))
        .output()
        .expect("ssh-keygen was there before");
    verify.status.success()
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test has no other way to say so")]
fn mnt_83_keys_of_all_kinds_and_forms_sign() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("key");
    let shown = path.display().to_string();
    let kinds = [
        ("ed25519", "256", "RFC4716", 0),
        ("rsa", "2048", "RFC4716", RSA_SHA2_256),
        ("rsa", "3072", "RFC4716", RSA_SHA2_512),
        ("rsa", "2048", "PEM", RSA_SHA2_512),
        ("rsa", "2048", "PKCS8", RSA_SHA2_256),
        ("ecdsa", "256", "RFC4716", 0),
        ("ecdsa", "384", "RFC4716", 0),
        ("ecdsa", "256", "PEM", 0),
        ("ecdsa", "384", "PEM", 0),
        ("ecdsa", "256", "PKCS8", 0),
    ];
    for (kind, bits, form, flags) in kinds {
        let what = format!("{kind} {bits} {form}");
        let _ = std::fs::remove_file(&path);
        let new =
            ["-q", "-t", kind, "-b", bits, "-m", form, "-N", "", "-C", "me@here", "-f", &shown];
        if keygen(&new).is_none() {
            assert!(std::env::var_os("SHALE_TEST_ALL").is_none(), "ssh-keygen is not installed");
            eprintln!("skipped: this test needs ssh-keygen");
            return;
        }
        let keys = Keys::read(&[&path]).unwrap_or_else(|(_, error)| panic!("{what}: {error}"));
        let public = std::fs::read_to_string(dir.path().join("key.pub")).expect("its other half");
        assert!(verifies(&keys, &public, flags, dir.path()), "{what}");
        assert_eq!(format!("{keys:?}"), "Keys(1)");
        if kind == "rsa" {
            assert!(!verifies(&keys, &public, 0, dir.path()), "SHA-1");
        }
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("key");
    let check = |text: &str, want: &str| {
        std::fs::write(&path, text).expect("a file");
        let (at, error) = Keys::read(&[&path]).expect_err(want);
        assert_eq!(at, 0);
        assert!(error.to_string().contains(want), "{error}");
        assert!(!error.hint().is_empty());
    };
    let pem = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    check("hello", "no private key");
    check(&pem("PUBLIC KEY", "AAAA"), "no private key");
    check(&pem("OPENSSH PRIVATE KEY", "AAAA"), "damaged");
    check(&pem("OPENSSH PRIVATE KEY", "*"), "damaged");
    check(&pem("DSA PRIVATE KEY", "AAAA"), "kind DSA PRIVATE KEY");
    check(&pem("ENCRYPTED PRIVATE KEY", "AAAA"), "passphrase");
    check(&pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"), "passphrase");
    check(&"x".repeat(200_000), "too large");
    let gone = Keys::read(&[dir.path().join("none").as_path()]).expect_err("no file");
    assert!(gone.1.to_string().starts_with("cannot be read"), "{}", gone.1);
    let device = Keys::read(&[Path::new("/dev/zero")]).expect_err("no file");
    assert_eq!(device.1.to_string(), "cannot be read: not a regular file");
    let shown = path.display().to_string();
    std::fs::remove_file(&path).expect("it was there");
    if keygen(&["-q", "-t", "ed25519", "-N", "a passphrase", "-f", &shown]).is_some() {
        let (_, error) = Keys::read(&[&path]).expect_err("a passphrase");
        assert_eq!(error, KeyError::Protected);
    }
    std::fs::remove_file(&path).ok();
    if keygen(&["-q", "-t", "ecdsa", "-b", "521", "-N", "", "-f", &shown]).is_some() {
        let (_, error) = Keys::read(&[&path]).expect_err("a long curve");
        assert_eq!(error, KeyError::Unsupported("ecdsa-sha2-nistp521".to_owned()));
    }
}

#[test]
fn an_agent_of_keys_refuses_what_it_does_not_know() {
    let keys = Keys(Arc::new(Vec::new()));
    for message in [request(SIGN_REQUEST, &[b"no such key", b"data"], 0), request(17, &[], 0)] {
        assert_eq!(keys.answer(&message), FAILURE);
    }
    for cut in [&[][..], &[0, 0, 0, 1], &[0, 0, 0, 1, SIGN_REQUEST, 255, 255, 255, 255]] {
        assert_eq!(keys.answer(cut), FAILURE, "{cut:?}");
    }
    assert_eq!(keys.answer(&request(REQUEST_IDENTITIES, &[], 0)), [0, 0, 0, 5, 12, 0, 0, 0, 0]);
}

#[test]
fn e6_damaged_keys_never_panic() {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("key");
    let shown = path.display().to_string();
    for (kind, form) in
        [("ed25519", "RFC4716"), ("ecdsa", "RFC4716"), ("ecdsa", "PEM"), ("rsa", "RFC4716")]
    {
        let _ = std::fs::remove_file(&path);
        let new = ["-q", "-t", kind, "-b", if kind == "rsa" { "2048" } else { "256" }];
        if keygen(&[&new[..], &["-m", form, "-N", "", "-f", &shown]].concat()).is_none() {
            return; // said by the test of all kinds
        }
        let text = std::fs::read_to_string(&path).expect("a key");
        let lines: Vec<&str> = text.lines().collect();
        let [first, body @ .., last] = &lines[..] else { panic!("{text}") };
        let bytes = base64.decode(body.concat()).expect("base64");
        for at in (0..bytes.len()).step_by(if kind == "rsa" { 7 } else { 1 }) {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                // Whatever it says; a comment may be anything.
                let _ = files::parse(
                    format!("{first}\n{}\n{last}\n", base64.encode(&damaged)).as_bytes(),
                );
            }
            let _ = files::parse(
                format!("{first}\n{}\n{last}\n", base64.encode(&bytes[..at])).as_bytes(),
            );
        }
    }
}
