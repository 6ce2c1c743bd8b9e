//! The program with registries that fail: the right image or exit code 4 with words that help, nothing half-made behind,
//! the same command succeeds once the registry is well again, and no credential anywhere else (spec/security.md FT7, I5).
//! The cases are in testdata/registry-faults/program.txt; what only the client sees is tested there.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testkit::image::TestImage;
use testkit::registry::{Auth, Logged, Settings, TestRegistry};
use testkit::rootfs::TarBuilder;
use world::{Run, World};

const TABLE: &str = include_str!("../../testdata/registry-faults/program.txt");
const PASSWORD: &str = "pass-S3CR3T-word";
/// Cases at the same time: most of them wait.
const AT_ONCE: usize = 6;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

struct Case<'a> {
    name: &'a str,
    command: &'a str,
    faults: &'a str,
    outcome: &'a str,
    seen: &'a str,
}

/// A registry with an image, another host that must learn nothing, and a world.
struct Scene {
    world: World,
    home: TestRegistry,
    other: TestRegistry,
    image: TestImage,
}

#[test]
fn faults_of_registries() {
    let cases: Vec<Case> = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [name, command, faults, outcome, seen] = columns[..] else {
                panic!("not 5 columns: {line}")
            };
            Case { name, command, faults, outcome, seen }
        })
        .collect();
    let (next, wrong) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = { next.lock().unwrap().next() } {
                    if let Err(text) = judge(case) {
                        wrong.lock().unwrap().push(format!("{}: {text}", case.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn judge(case: &Case) -> Result<(), String> {
    let scene = Scene::new();
    scene.prepare(case.command);
    scene.home.clear_log();
    for fault in testkit::faults::parse(&scene.filled(case.faults)) {
        scene.home.fail(fault);
    }
    let run = scene.run(case.command);
    let all = format!("{}{}", run.stdout, run.stderr);
    if all.contains("S3CR3T") || all.contains('\u{1b}') {
        return Err(format!("a secret or an escape is told: {run}"));
    }
    let (code, words) = case.outcome.split_once(": ").unwrap_or((case.outcome, ""));
    let is_met = |word: &str| match word.strip_prefix('!') {
        Some(word) => !run.stderr.contains(word),
        None => run.stderr.contains(&scene.filled(word)),
    };
    let missing = words.split("; ").find(|word| !word.is_empty() && !is_met(word));
    if run.code != code.parse().ok() || missing.is_some() {
        return Err(format!("expected {}, not met: {missing:?}\n{run}", case.outcome));
    }
    for one in case.seen.split("; ").filter(|one| !one.is_empty()) {
        let (which, count) = one.split_once(" = ").unwrap();
        let found = scene.count(which);
        if found.to_string() != count {
            return Err(format!(
                "{which} came {found}, not {count} times: {:?}",
                scene.home.calls()
            ));
        }
    }
    scene.world.shale(&["cache", "verify"]).ok();
    scene.home.heal();
    let again = scene.run(case.command);
    if again.code != Some(0) {
        return Err(format!("the registry is well again: {again}"));
    }
    scene.check(case.command)?;
    scene.leak().map_or(Ok(()), Err)
}

impl Scene {
    fn new() -> Scene {
        let basic = STANDARD.encode(format!("bob:{PASSWORD}"));
        let auth = Auth::Token {
            basic: Some(basic.clone()),
            identity: None,
            anonymous: "",
            expires_in_secs: 300,
        };
        let home = TestRegistry::start_with(Settings { auth, ..Settings::default() });
        let (world, other) = (World::new(), TestRegistry::start());
        let noise: Vec<u8> =
            (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let image = TestImage::new(&[TarBuilder::new().file("noise", 0o644, &noise).finish()]);
        for registry in [&home, &other] {
            image.push_to(registry, "app", "1");
        }
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"{basic}"}}}}}}"#, home.host());
        world.write("home/.docker/config.json", config);
        world.dockerfile(&format!("FROM {}\nCOPY Dockerfile /made\n", home.name("app:1")));
        Scene { world, home, other, image }
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{home}", &format!("http://{}", self.home.host()))
            .replace("{other}", &format!("http://{}", self.other.host()))
            .replace("{layer}", &descriptor_digest(&self.image.layers[0]))
            .replace("{config}", &descriptor_digest(&self.image.config))
    }

    /// What the command needs.
    fn prepare(&self, command: &str) {
        let (from, to) = (self.home.name("app:1"), self.home.name("new:1"));
        match command {
            "push" => {
                self.world.shale(&["pull", &from]).ok();
                self.world.shale(&["tag", &from, &to]).ok();
            }
            "build-push" => drop(self.world.shale(&["pull", &from]).ok()),
            _ => {}
        }
    }

    fn run(&self, command: &str) -> Run {
        let (from, to) = (self.home.name("app:1"), self.home.name("new:1"));
        match command {
            "pull" => self.world.shale(&["pull", &from]),
            "push" => self.world.shale(&["push", &to]),
            "build" => self.world.build(&["-t", "built"]),
            "build-push" => self.world.build(&["-t", &to, "--push"]),
            _ => panic!("unknown command {command}"),
        }
    }

    /// The image is what it should be, here or in the registry.
    fn check(&self, command: &str) -> Result<(), String> {
        let id = |name: &str| {
            let run = self.world.shale(&["inspect", "--format", "{{.Id}}", name]);
            run.ok().to_owned()
        };
        let config = descriptor_digest(&self.image.config);
        let is_right = match command {
            "pull" => id(&self.home.name("app:1")) == config,
            "build" => id("built").starts_with("sha256:"),
            "push" => self.pushed_config().is_some_and(|digest| digest == config),
            _ => self.pushed_config().is_some(),
        };
        is_right.then_some(()).ok_or_else(|| "another image than the one that was meant".to_owned())
    }

    /// Digest of the config of the pushed image, if all of it is there.
    fn pushed_config(&self) -> Option<String> {
        let (_, manifest) = self.home.manifest("new", "1")?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).ok()?;
        let layers = manifest["layers"].as_array()?;
        for part in layers.iter().chain([&manifest["config"]]) {
            let digest = part["digest"].as_str()?.parse().ok()?;
            self.home.blob("new", &digest)?;
        }
        Some(manifest["config"]["digest"].as_str()?.to_owned())
    }

    fn count(&self, which: &str) -> usize {
        if which == "other" {
            return self.other.log().len();
        }
        let (method, path) = which.split_once(' ').unwrap();
        let path = self.filled(path);
        let fits = |l: &&Logged| l.method == method && l.path.contains(&path);
        self.home.log().iter().filter(fits).count()
    }

    /// What the other host has learnt that it must not.
    fn leak(&self) -> Option<String> {
        let encoded = STANDARD.encode(format!("bob:{PASSWORD}"));
        self.other.log().into_iter().find_map(|l| {
            let all = format!("{} {:?} {}", l.path, l.headers, l.body);
            let is_secret = ["authorization", "cookie"].iter().any(|n| l.headers.contains_key(*n))
                || [PASSWORD, &encoded].iter().any(|secret| all.contains(secret));
            is_secret.then(|| format!("another host got {all}"))
        })
    }
}

fn descriptor_digest(bytes: &[u8]) -> String {
    testkit::image::descriptor("", bytes).digest.to_string()
}

/// An image of which everything has the right digest, and which is wrong all the same.
struct Wrong {
    name: &'static str,
    image: TestImage,
    /// What pulling and building on it say; empty when the one or the other works.
    pull: &'static str,
    build: &'static str,
}

#[test]
fn images_that_are_wrong_in_themselves() {
    let told: Vec<String> = wrong_images().iter().filter_map(|wrong| wrong.judge().err()).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

impl Wrong {
    fn judge(&self) -> Result<(), String> {
        let (world, registry) = (World::new(), TestRegistry::start());
        push(&registry, &self.image);
        let name = registry.name("app:1");
        world.dockerfile(&format!("FROM {name}\nCOPY Dockerfile /made\n"));
        for (run, words) in [
            (world.build(&["-t", "built"]), self.build),
            (world.shale(&["pull", &name]), self.pull),
        ] {
            let code = if words.is_empty() { 0 } else { 4 };
            if run.code != Some(code) || !run.stderr.contains(words) {
                return Err(format!("{}: expected {code} with {words:?}\n{run}", self.name));
            }
        }
        let is_built = world.shale(&["images"]).ok().contains("built");
        world.shale(&["cache", "verify"]).ok();
        match is_built == self.build.is_empty() {
            true => Ok(()),
            false => Err(format!("{}: an image is there: {is_built}", self.name)),
        }
    }
}

/// Puts an image's parts under the names that its manifest has, whatever they are.
fn push(registry: &TestRegistry, image: &TestImage) {
    for blob in image.layers.iter().chain([&image.config]) {
        registry.put_blob("app", blob);
    }
    let is_index = String::from_utf8_lossy(&image.manifest).contains("\"manifests\"");
    let media_type = if is_index { INDEX } else { MANIFEST };
    registry.put_manifest("app", "1", media_type, &image.manifest);
    if is_index {
        registry.put_manifest("app", "inner", INDEX, &index_with(b"{}"));
    }
}

fn wrong_images() -> Vec<Wrong> {
    let tar = || TarBuilder::new().file("a", 0o644, &[7; 5000]).finish();
    let good = || TestImage::new(&[tar()]);
    let with_layer = |layer: Vec<u8>| {
        let mut image = good();
        let old = testkit::image::descriptor(LAYER, &image.layers[0]);
        let new = testkit::image::descriptor(LAYER, &layer);
        image.manifest =
            replaced(&image.manifest, &old.digest.to_string(), &new.digest.to_string());
        let (old, new) =
            (format!("\"size\": {}", old.size_bytes), format!("\"size\": {}", new.size_bytes));
        image.manifest = replaced(&image.manifest, &old, &new);
        image.layers[0] = layer;
        image
    };
    let with_config = |config: Vec<u8>| {
        let mut image = good();
        let size = |bytes: &[u8]| format!("\"size\": {}", bytes.len());
        let (old, new) = (descriptor_digest(&image.config), descriptor_digest(&config));
        image.manifest = replaced(&image.manifest, &old, &new);
        image.manifest = replaced(&image.manifest, &size(&image.config), &size(&config));
        image.config = config;
        image
    };
    let with_manifest = |from: &str, to: &str| {
        let mut image = good();
        image.manifest = replaced(&image.manifest, from, to);
        image
    };
    let layer_size = format!("\"size\": {}", good().layers[0].len());
    let mut cut = good().layers[0].clone();
    cut.truncate(cut.len() - 9);
    let other_tar = TarBuilder::new().file("b", 0o644, b"other").finish();
    let other_diff_id = TestImage::with_config(&[tar()], |config| {
        config.rootfs.diff_ids[0].0 = testkit::image::descriptor("", b"other").digest;
    });
    let no_diff_ids = TestImage::with_config(&[tar()], |config| config.rootfs.diff_ids.clear());
    let behind = [good().layers[0].clone(), b"behind".to_vec()].concat();
    // A header that promises a file of a terabyte.
    let mut huge = tar();
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    fix_checksum(&mut huge);
    let wrong = |name, image, pull, build| Wrong { name, image, pull, build };
    let config = good().config;
    vec![
        // The tar's digest is looked at when the layer is unpacked.
        wrong("layer of another diff id", other_diff_id, "", "its config says"),
        wrong(
            "layer of another image",
            with_layer(testkit::image::gzip(&other_tar)),
            "",
            "its config says",
        ),
        wrong(
            "fewer diff ids than layers",
            no_diff_ids,
            "different numbers of layers",
            "different numbers of layers",
        ),
        wrong("layer that is cut", with_layer(cut), "", "cannot be unpacked"),
        wrong(
            "layer that is no tar",
            with_layer(b"<html>sign in</html>".to_vec()),
            "",
            "cannot be unpacked",
        ),
        wrong("layer with something behind it", with_layer(behind), "", "cannot be unpacked"),
        wrong(
            "layer of a terabyte",
            with_layer(testkit::image::gzip(&huge)),
            "",
            "unpacks to more than 64 GiB",
        ),
        wrong(
            "layer shorter than said",
            with_manifest(&layer_size, "\"size\": 99999"),
            "not 99999 bytes",
            "not 99999 bytes",
        ),
        wrong(
            "layer longer than said",
            with_manifest(&layer_size, "\"size\": 9"),
            "not 9 bytes",
            "not 9 bytes",
        ),
        wrong(
            "layer of negative size",
            with_manifest(&layer_size, "\"size\": -9"),
            "invalid value",
            "invalid value",
        ),
        wrong(
            "layer of a digest that is none",
            with_manifest(&descriptor_digest(&good().layers[0]), "sha256:../../etc/passwd"),
            "digest",
            "digest",
        ),
        wrong("config that is no JSON", with_config(b"hello".to_vec()), "config", "config"),
        wrong(
            "config with a key twice",
            with_config(replaced(&config, "{", "{\"os\":\"linux\",")),
            "twice",
            "twice",
        ),
        wrong(
            "config of another system",
            with_config(replaced(&config, "\"linux\"", "\"plan9\"")),
            "",
            "",
        ),
        wrong(
            "index of indexes",
            index_of_indexes(),
            "an index lists another index",
            "an index lists another index",
        ),
    ]
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// An index whose only image is an index.
fn index_of_indexes() -> TestImage {
    let mut image = TestImage::new(&[]);
    image.manifest = index_with(&index_with(b"{}"));
    image
}

fn index_with(inner: &[u8]) -> Vec<u8> {
    let one = testkit::image::descriptor(INDEX, inner);
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": INDEX,
            "digest": one.digest.to_string(),
            "size": one.size_bytes,
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    })
    .to_string()
    .into_bytes()
}

/// Makes the first header's checksum right.
fn fix_checksum(tar: &mut [u8]) {
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
