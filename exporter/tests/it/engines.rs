//! Loading into a real Docker and a real Podman, each with a state of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exporter::{
    BuiltImage, Engine, EngineAddress, EngineKind, EnginePlaces, ExportErrorKind as Kind,
    HandedOff, LayerSource,
};
use layer::{Compression, Encoding};
use oci::{DiffId, Digest, History, ImageConfig};
use store::LayerBlob;
use sys::Cancel;
use testkit::rootfs::TarBuilder;

use crate::fixture::{Fixture, chain, names};

struct Service(Child);

impl Drop for Service {
    /// Asks it to end, so that it takes its own children with it.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Service {
    fn start(command: &mut Command) -> Service {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Service(command.spawn().expect("start the engine"))
    }

    fn wait_for(&mut self, socket: &Path) -> Engine {
        let started = Instant::now();
        let places =
            EnginePlaces { any: vec![socket.to_owned().into()], ..EnginePlaces::default() };
        loop {
            match Engine::find(&EngineKind::Any, &places, &Cancel::new()) {
                Ok(engine) => return engine,
                Err(error) => {
                    let ended = self.0.try_wait().expect("wait");
                    assert!(ended.is_none(), "the engine has ended: {ended:?}");
                    assert!(started.elapsed() < Duration::from_secs(60), "{}", chain(&error));
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Hands the sample over twice, and a second image on top of it: what the engine has is not sent again.
fn check(engine: &Engine, fixture: &Fixture, list: &mut Command) {
    let image = fixture.sample();
    let id = image.id;
    let prepare = || Ok(fixture.prepared());
    let take = |image: &BuiltImage, name: &str| {
        let taken = engine.take(image, &names(&[name]), &prepare, fixture.job());
        taken.unwrap_or_else(|e| panic!("{}", chain(&e)))
    };
    let layers = image.layers.len();
    assert_eq!(take(&image, "localhost/app:1"), HandedOff { layers_sent: layers, layers });
    assert_eq!(take(&image, "localhost/app:2"), HandedOff { layers_sent: 0, layers });
    let mut other = image.clone();
    other.config = String::from_utf8(image.config.clone())
        .expect("a config is text")
        .replacen('{', "{\"author\":\"x\",", 1)
        .into();
    other.id = oci::ImageId(Digest::of(&other.config));
    assert_eq!(take(&other, "localhost/other:1"), HandedOff { layers_sent: 0, layers });
    for (name, cut) in [("localhost/whole:1", 0), ("localhost/parts:1", 512)] {
        let packed = packed(fixture, name, cut);
        assert_eq!(take(&packed, name), HandedOff { layers_sent: 1, layers: 1 }, "{name}");
    }
    let output = list.args(["images", "--quiet", "--no-trunc"]).output().expect("list images");
    let shown = String::from_utf8_lossy(&output.stdout);
    for id in [id, other.id] {
        assert!(shown.contains(&id.0.to_string()), "{shown}");
        let found = engine.image(&id.0.to_string(), &Cancel::new()).expect("asked");
        assert_eq!(found.expect("it is there").layers.len(), layers);
    }
    assert_eq!(engine.image("localhost/none:1", &Cancel::new()).expect("asked"), None);
}

/// An image whose layer is there as a gzip blob alone. In two pieces, of which the first holds `cut` bytes, its last
/// bytes say a wrong length that could be the right one.
fn packed(fixture: &Fixture, content: &str, cut: usize) -> BuiltImage {
    let tar = TarBuilder::new().file("content", 0o644, content.as_bytes()).finish();
    let (first, second) = tar.split_at(cut);
    let mut blob = Vec::new();
    for mut part in [first, second].into_iter().filter(|part| !part.is_empty()) {
        layer::compress(Compression::gzip(), &mut part, &mut blob).expect("compress");
    }
    let lease = &fixture.lease;
    let (digest, size_bytes) = lease.put_blob(None, &mut blob.as_slice()).expect("put");
    let mut image = fixture.image(&[], "linux/amd64");
    let diff_id = DiffId(Digest::of(&tar));
    let mut config = ImageConfig::from_json(&image.config).expect("a config");
    config.rootfs.diff_ids.push(diff_id);
    config.history.push(History::default());
    (image.id, image.config) = (config.id(), config.to_json());
    let media_type = oci::media::OCI_LAYER_GZIP.to_owned();
    let own = LayerBlob { compression: "gzip".to_owned(), media_type, digest, size_bytes };
    image.layers.push(LayerSource {
        diff_id,
        layer: None,
        encoding: Encoding::default(),
        is_base: true,
        own: Some(own),
        pulled_from: None,
    });
    image
}

#[test]
fn podman_takes_an_image_over_its_socket() {
    testkit::need!("podman", "root");
    let fixture = Fixture::new();
    let state = tempfile::tempdir().expect("temp dir");
    let socket = state.path().join("podman.sock");
    let podman = || {
        let mut command = Command::new("podman");
        let (root, run) = (state.path().join("root"), state.path().join("run"));
        command.arg("--storage-driver=vfs").arg("--root").arg(root).arg("--runroot").arg(run);
        command
    };
    let address = format!("unix://{}", socket.display());
    let mut service = Service::start(podman().args(["system", "service", "--time=0", &address]));
    let engine = service.wait_for(&socket);
    assert!(engine.shown().starts_with("podman at "), "{}", engine.shown());
    check(&engine, &fixture, &mut podman());
}

#[test]
fn docker_takes_an_image_over_its_socket() {
    testkit::need!("dockerd", "docker", "root");
    let fixture = Fixture::new();
    let state = tempfile::tempdir().expect("temp dir");
    let socket = state.path().join("docker.sock");
    let address = format!("unix://{}", socket.display());
    let path = |name: &str| state.path().join(name);
    let mut service = Service::start(
        Command::new("dockerd")
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args(["--host", &address, "--storage-driver=vfs", "--bridge=none"])
            .args(["--iptables=false", "--ip6tables=false"]),
    );
    let engine = service.wait_for(&socket);
    assert!(engine.shown().starts_with("the Docker engine at "), "{}", engine.shown());
    check(&engine, &fixture, Command::new("docker").args(["--host", &address]));
    check_large(&engine, &fixture, &|arguments| {
        let mut docker = Command::new("docker");
        let output = docker.args(["--host", &address]).args(arguments).output().expect("docker");
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
}

/// A large lowest layer goes alone, and leaves no image of its own behind, whatever becomes of it.
fn check_large(engine: &Engine, fixture: &Fixture, docker: &dyn Fn(&[&str]) -> String) {
    let untagged = || docker(&["images", "--all", "--quiet", "--filter", "dangling=true"]);
    let take = |image: &BuiltImage, name: &str| {
        let prepare = || Ok(fixture.prepared());
        engine.take(image, &names(&[name]), &prepare, fixture.job())
    };
    let below = packed(fixture, &"large\n".repeat(1 << 20), 0);
    let all = stacked(&[&below, &packed(fixture, "above", 0)]);
    let taken = take(&all, "localhost/large:1").unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(taken, HandedOff { layers_sent: 2, layers: 2 });
    assert_eq!(untagged(), "");
    // The same layer again above others is none that can be left out.
    let other = packed(fixture, &"again\n".repeat(1 << 20), 0);
    let again = stacked(&[&other, &packed(fixture, "between", 0), &other]);
    let taken = take(&again, "localhost/large:2").unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(taken, HandedOff { layers_sent: 3, layers: 3 });
    // An engine hashes what it gets; the error says that the layer is not what it should be here.
    let mut wrong = packed(fixture, &"wrong\n".repeat(1 << 20), 0);
    let diff_id = DiffId(Digest::of(b"another tar"));
    let mut config = ImageConfig::from_json(&wrong.config).expect("a config");
    config.rootfs.diff_ids = vec![diff_id];
    (wrong.id, wrong.config) = (config.id(), config.to_json());
    wrong.layers[0].diff_id = diff_id;
    let error = take(&wrong, "localhost/large:3").expect_err("a lie");
    assert_eq!(error.kind(), Kind::Malformed, "{}", chain(&error));
    assert_eq!(untagged(), "");
}

/// An image of the layers of others.
fn stacked(images: &[&BuiltImage]) -> BuiltImage {
    let mut all = images[0].clone();
    let mut config = ImageConfig::from_json(&all.config).expect("a config");
    for image in &images[1..] {
        config.rootfs.diff_ids.extend(image.layers.iter().map(|layer| layer.diff_id));
        config.history.extend(image.layers.iter().map(|_| History::default()));
        all.layers.extend(image.layers.iter().cloned());
    }
    (all.id, all.config) = (config.id(), config.to_json());
    all
}

#[test]
fn without_an_engine_the_error_names_the_sockets() {
    let find = |kind, places: &EnginePlaces| {
        let error = Engine::find(&kind, places, &Cancel::new()).err().expect("nobody");
        assert_eq!(error.kind(), Kind::Engine);
        error.to_string()
    };
    let sockets = vec![EngineAddress::Unix("/nonexistent/a.sock".into())];
    let podman_program = true;
    let places = EnginePlaces {
        any: sockets.clone(),
        podman: sockets,
        podman_program,
        ..EnginePlaces::default()
    };
    let tried = "there is no container engine: tried /nonexistent/a.sock";
    assert_eq!(find(EngineKind::Any, &places), tried);
    let tried = "there is no Podman: tried /nonexistent/a.sock, the program podman";
    assert_eq!(find(EngineKind::Podman, &places), tried);
    let elsewhere = Some("ssh://h is reached through ssh".to_owned());
    let places = EnginePlaces { elsewhere, ..EnginePlaces::default() };
    let said = "there is no Docker engine: ssh://h is reached through ssh";
    assert_eq!(find(EngineKind::Docker, &places), said);
}
