//! The program with registries that fail: the right image or exit code 4 with words that help, nothing half-made
//! behind, the same command succeeds once the registry is well again, no credential anywhere else (spec/security.md
//! FT7, I5).
//! The cases are in testdata/registry-faults/program.txt; what only the client sees is tested there.

mod wrong_images;

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
