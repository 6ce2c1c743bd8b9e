//! Where a case takes place: a registry with an image, another host that must learn nothing, and who looks.

use std::sync::OnceLock;
use std::time::Duration;

use oci::{Document, Manifest, media};
use testkit::image::TestImage;
use testkit::registry::{Auth, Logged, Settings, TestRegistry};
use testkit::rootfs::TarBuilder;

use super::super::*;

/// User `shale-user` with the password that must not be seen anywhere else.
const BASIC: &str = "c2hhbGUtdXNlcjpwYXNzLVMzQ1IzVC13b3Jk";
const PASSWORD: &str = "pass-S3CR3T-word";
const IDENTITY: &str = "identity-S3CR3T";
/// Nothing of these may be in what another host sees, nor in a message.
const SECRETS: [&str; 4] = [BASIC, PASSWORD, IDENTITY, "S3CR3T"];
/// Tries of the client of a scene.
pub(super) const TRIES: usize = 3;

/// Two hosts and a client.
pub(super) struct Scene {
    pub(super) home: TestRegistry,
    /// Known as `cdn.test`, which has nothing to do with the home.
    pub(super) other: TestRegistry,
    image: TestImage,
    client: RegistryClient,
    is_tls: bool,
    _dir: tempfile::TempDir,
}

/// How an operation failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The error's kind, or `Wrong` for what the client let through.
    pub(super) kind: String,
    /// All that it says.
    pub(super) text: String,
}

impl Scene {
    /// `who` is how the registry wants to be spoken to: `open`, `basic`, `token`, `identity`, with `tls-` before it for
    /// TLS and `-slow` behind it for short patience.
    pub(super) fn new(who: &str) -> Scene {
        let (who, is_tls) = match who.strip_prefix("tls-") {
            Some(who) => (who, true),
            None => (who, false),
        };
        let (who, is_slow) = match who.strip_suffix("-slow") {
            Some(who) => (who, true),
            None => (who, false),
        };
        let settings = Settings { auth: auth(who), tls: is_tls, ..Settings::default() };
        let (home, other) = (TestRegistry::start_with(settings), TestRegistry::start());
        let dir = tempfile::tempdir().expect("temp dir");
        let port = home.host().rsplit_once(':').expect("port").1.to_owned();
        let name = if is_tls { format!("registry.test:{port}") } else { home.host() };
        let entry = match who {
            "identity" => format!(r#"{{"identitytoken":"{IDENTITY}"}}"#),
            _ => format!(r#"{{"auth":"{BASIC}"}}"#),
        };
        let mut options = options(&format!(r#"{{"auths":{{"{name}":{entry}}}}}"#));
        let (hosts, root) = (dir.path().join("hosts"), dir.path().join("ca.pem"));
        std::fs::write(&hosts, "127.0.0.1 cdn.test registry.test\n").expect("write");
        std::fs::write(&root, testkit::tls::ROOT_PEM).expect("write");
        options.hosts_file = hosts;
        options.roots = registry::TlsRoots::Files(vec![root]);
        options.retry.tries = TRIES as u32;
        if is_slow {
            options.idle_timeout = Duration::from_millis(300);
        }
        let client = RegistryClient::new(options);
        Scene { home, other, image: image(), client, is_tls, _dir: dir }
    }

    /// The image is at both hosts.
    pub(super) fn stocked(self) -> Scene {
        self.image.push_to(&self.home, "app", "1");
        self.image.push_to(&self.other, "app", "1");
        self
    }

    /// Fills in what a table cannot know.
    pub(super) fn filled(&self, text: &str) -> String {
        let port =
            |registry: &TestRegistry| registry.host().rsplit_once(':').expect("port").1.to_owned();
        let scheme = if self.is_tls { "https" } else { "http" };
        text.replace("{home}", &format!("{scheme}://{}", self.home_name()))
            .replace("{cdn}", &format!("http://cdn.test:{}", port(&self.other)))
            .replace("{neighbour}", &format!("http://{}", self.other.host()))
            .replace("{layer}", &Digest::of(&self.image.layers[0]).to_string())
            .replace("{config}", &Digest::of(&self.image.config).to_string())
            .replace("{image}", &self.image.digest().to_string())
            .replace("{other}", &Digest::of(b"something else").to_string())
    }

    fn home_name(&self) -> String {
        match self.is_tls {
            true => format!("registry.test:{}", self.home.host().rsplit_once(':').expect("port").1),
            false => self.home.host(),
        }
    }

    pub(super) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.home_name()).parse().expect("valid reference")
    }

    /// Gets a whole image, as a build does.
    pub(super) fn pull(&self) -> Result<(), Failure> {
        let name = self.reference("app:1");
        let found = self.client.resolve(&name).map_err(|error| failure(&error))?;
        let wrong = |what: &str| Failure { kind: "Wrong".to_owned(), text: what.to_owned() };
        let manifest = match Document::from_json(&found.bytes, &found.media_type) {
            Ok(Document::Manifest(manifest)) => manifest,
            Ok(Document::Index(_)) => return Err(wrong("an index")),
            Err(error) => {
                return Err(Failure { kind: "Manifest".to_owned(), text: error.to_string() });
            }
        };
        let mut blobs = Vec::new();
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            let blob = read_blob(&self.client, &name, descriptor);
            blobs.push(blob.map_err(|error| failure(&error))?);
        }
        // What the client gives out must be the image and nothing else.
        let is_right = found.bytes == self.image.manifest
            && found.digest == self.image.digest()
            && blobs == [self.image.layers[0].clone(), self.image.config.clone()];
        is_right.then_some(()).ok_or_else(|| wrong("other bytes than the image's"))
    }

    /// Asks for a manifest by its digest, then for all tags and for what refers to the image.
    pub(super) fn look_around(&self) -> Result<(), Failure> {
        let pinned = self.reference("app").with_digest(self.image.digest());
        let wrong = |text: String| Failure { kind: "Wrong".to_owned(), text };
        let found = self.client.resolve(&pinned).map_err(|error| failure(&error))?;
        if found.bytes != self.image.manifest {
            return Err(wrong("another manifest".to_owned()));
        }
        let name = self.reference("app:1");
        let tags = self.client.tags(&name).map_err(|error| failure(&error))?;
        if tags != ["1"] {
            return Err(wrong(format!("tags {tags:?}")));
        }
        let referrers = self.client.referrers(&name, &self.image.digest(), None);
        match referrers.map_err(|error| failure(&error))?[..] {
            [] => Ok(()),
            ref some => Err(wrong(format!("referrers {some:?}"))),
        }
    }

    /// Sends a whole image, as a build does; the layer is hoped to be mounted from `base`.
    pub(super) fn push(&self) -> Result<(), Failure> {
        let (name, from) = (self.reference("new:1"), self.reference("base:1"));
        for blob in [&self.image.layers[0], &self.image.config] {
            let open = |at: u64| {
                let rest = blob[at as usize..].to_vec();
                Ok(Box::new(std::io::Cursor::new(rest)) as Box<dyn std::io::Read>)
            };
            let (digest, size) = (Digest::of(blob), blob.len() as u64);
            let pushed = self.client.push_blob_from(&name, &digest, size, &open, &[&from]);
            pushed.map_err(|error| failure(&error))?;
        }
        let pushed = self.client.push_manifest(&name, media::OCI_MANIFEST, &self.image.manifest);
        let digest = pushed.map_err(|error| failure(&error))?;
        let (_, kept) = self.home.manifest("new", "1").ok_or_else(|| lost("the manifest"))?;
        let parsed: Manifest = match Document::from_json(&kept, media::OCI_MANIFEST) {
            Ok(Document::Manifest(manifest)) => manifest,
            other => panic!("{other:?}"),
        };
        for part in parsed.layers.iter().chain([&parsed.config]) {
            self.home.blob("new", &part.digest).ok_or_else(|| lost("a blob"))?;
        }
        let is_right = digest == self.image.digest() && *kept == *self.image.manifest;
        is_right.then_some(()).ok_or_else(|| lost("the right bytes"))
    }

    /// Requests at the home that fit `METHOD PATH`.
    pub(super) fn count(&self, which: &str) -> usize {
        let (method, path) = which.split_once(' ').expect("METHOD PATH");
        let fits = |l: &&Logged| {
            (method == "*" || l.method == method) && l.path.contains(&path.replace('*', ""))
        };
        self.home.log().iter().filter(fits).count()
    }

    /// What a careless client would do.
    pub(super) fn send_elsewhere(&self, request: &str) {
        let mut stream = std::net::TcpStream::connect(self.other.host()).expect("connect");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("write");
        stream.shutdown(std::net::Shutdown::Write).expect("shut down");
        std::io::copy(&mut stream, &mut std::io::sink()).expect("read");
    }

    /// What another host has learnt that it must not: credentials, tokens, cookies.
    pub(super) fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for request in self.other.log() {
            let all = format!("{} {:?} {}", request.path, request.headers, request.body);
            let header = ["authorization", "cookie", "proxy-authorization"]
                .into_iter()
                .find(|name| request.headers.contains_key(*name));
            if header.is_some() || SECRETS.iter().any(|secret| all.contains(secret)) {
                found.push(format!("another host got {all}"));
            }
        }
        let known = ["authorization"];
        for request in self.home.log() {
            let rest = request.headers.iter().filter(|(name, _)| !known.contains(&name.as_str()));
            let all = format!("{} {:?}", request.path, rest.collect::<Vec<_>>());
            let is_secret = SECRETS.iter().any(|secret| all.contains(secret));
            if is_secret || request.headers.contains_key("cookie") {
                found.push(format!("the registry got {all}"));
            }
        }
        found
    }
}

/// Whether a text has something secret in it.
pub(super) fn tells_secrets(text: &str) -> bool {
    SECRETS.iter().any(|secret| text.contains(secret))
}

fn lost(what: &str) -> Failure {
    Failure { kind: "Wrong".to_owned(), text: format!("the registry does not have {what}") }
}

fn failure(error: &RegistryError) -> Failure {
    Failure { kind: format!("{:?}", error.kind()), text: chain(error) }
}

/// One layer, large enough to be sent in several reads.
fn image() -> TestImage {
    static IMAGE: OnceLock<TestImage> = OnceLock::new();
    let make = || {
        let tar = TarBuilder::new().file("noise", 0o644, &incompressible(400_000)).finish();
        TestImage::new(&[tar])
    };
    IMAGE.get_or_init(make).clone()
}

/// Bytes that stay as many when they are compressed.
fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn auth(who: &str) -> Auth {
    let token = |basic: bool| Auth::Token {
        basic: basic.then(|| BASIC.to_owned()),
        identity: (!basic).then(|| IDENTITY.to_owned()),
        anonymous: "",
        expires_in_secs: 300,
    };
    match who {
        "open" => Auth::Open,
        "basic" => Auth::Basic(BASIC.to_owned()),
        "token" => token(true),
        "identity" => token(false),
        _ => panic!("unknown way to speak to a registry: {who}"),
    }
}
