//! Registries that fail in every way: the right bytes or a documented error, in time, and no credential at another host
//! (spec/security.md FT7, C1, C2, C8). The cases are in testdata/registry-faults.

mod case;
mod doors;
mod scene;
mod sweep;

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use case::{Case, Outcome};
use scene::{Failure, Scene, tells_secrets};

/// Cases at the same time: most of them wait.
const AT_ONCE: usize = 8;
/// Whoever has not answered by then never will (security.md H3).
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn faults_of_pulls() {
    let cases = case::read(include_str!("../../../testdata/registry-faults/pull.txt"));
    run_all(&cases, |case| {
        let scene = Scene::new(&case.who).stocked();
        judge(case, scene, Scene::pull)
    });
}

#[test]
fn faults_of_authentication() {
    let cases = case::read(include_str!("../../../testdata/registry-faults/auth.txt"));
    run_all(&cases, |case| {
        let scene = Scene::new(&case.who).stocked();
        judge(case, scene, Scene::pull)
    });
}

#[test]
fn faults_of_pushes() {
    let cases = case::read(include_str!("../../../testdata/registry-faults/push.txt"));
    run_all(&cases, |case| judge(case, Scene::new(&case.who), Scene::push));
}

#[test]
fn faults_of_lists_and_digests() {
    let cases = case::read(include_str!("../../../testdata/registry-faults/look.txt"));
    run_all(&cases, |case| {
        let scene = Scene::new(&case.who).stocked();
        judge(case, scene, Scene::look_around)
    });
}

#[test]
fn what_must_not_happen_would_be_seen() {
    let leaks = |request: &str| {
        let scene = Scene::new("basic");
        scene.send_elsewhere(request);
        scene.leaks().len()
    };
    assert_eq!(leaks("GET /x HTTP/1.1\r\nhost: x\r\n\r\n"), 0);
    assert_eq!(leaks("GET /x HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\n"), 1);
    assert_eq!(leaks("GET /x HTTP/1.1\r\nCookie: a=b\r\n\r\n"), 1);
    assert_eq!(leaks("GET /x?p=pass-S3CR3T-word HTTP/1.1\r\n\r\n"), 1);
    let scene = Scene::new("open").stocked();
    let case = |outcome| case::read(&format!("x | open | GET /none/ 1: close | {outcome} |"));
    assert!(judge(&case("NotFound")[0], scene, Scene::pull).is_err());
    let scene = Scene::new("open");
    assert!(judge(&case("right")[0], scene, Scene::pull).is_err());
}

/// Runs cases side by side and reports all that went wrong.
fn run_all<T: Named + Sync>(cases: &[T], run: impl Fn(&T) -> Result<(), String> + Sync) {
    let (next, wrong) = (Mutex::new(0..cases.len()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(at) = { next.lock().expect("no panic").next() } {
                    if let Err(text) = run(&cases[at]) {
                        let text = format!("{}: {text}", cases[at].name());
                        wrong.lock().expect("no panic").push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A scene afterwards, what its operation came to, and how long it took.
type Ended = (Arc<Scene>, Result<(), Failure>, Duration);

/// An operation of a scene's client.
type Run = fn(&Scene) -> Result<(), Failure>;

/// What has a name to be called by when it fails.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Case {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for String {
    fn name(&self) -> &str {
        self
    }
}

/// Runs one case and holds it against its table.
fn judge(case: &Case, scene: Scene, run: Run) -> Result<(), String> {
    let (scene, came, took) = run_through(scene, &case.faults, run)?;
    match (&case.outcome, &came) {
        (Outcome::Right, Ok(())) => {}
        (Outcome::Error { kind, words }, Err(failure)) if failure.kind == *kind => {
            let is_met = |word: &str| match word.strip_prefix('!') {
                Some(word) => !failure.text.contains(word),
                None => failure.text.contains(&scene.filled(word)),
            };
            if let Some(word) = words.iter().find(|word| !is_met(word)) {
                return Err(format!("{word:?} is not met by: {}", failure.text));
            }
        }
        (expected, came) => {
            return Err(format!(
                "expected {expected:?}, came {came:?} after {took:?}\n  {:?}",
                scene.home.calls()
            ));
        }
    }
    for (which, expected) in &case.seen {
        let found = match which.as_str() {
            "cdn" => scene.other.log().len(),
            which => scene.count(&scene.filled(which)),
        };
        if found != *expected {
            let calls = scene.home.calls();
            return Err(format!("{which} came {found}, not {expected} times\n  {calls:?}"));
        }
    }
    Ok(())
}

/// What an operation came to, and how long it took; an error when it hangs or tells secrets.
fn run_through(scene: Scene, faults: &str, run: Run) -> Result<Ended, String> {
    for fault in scene.filled(faults).split(" ; ") {
        let (host, fault) = match fault.strip_prefix("cdn ") {
            Some(fault) => (&scene.other, fault),
            None => (&scene.home, fault),
        };
        testkit::faults::parse(fault).into_iter().for_each(|fault| host.fail(fault));
    }
    let started = Instant::now();
    let scene = Arc::new(scene);
    let (send, receive) = mpsc::channel();
    let running = scene.clone();
    // A client that hangs is left behind: the test must end and say so.
    std::thread::spawn(move || send.send(run(&running)));
    let came = receive
        .recv_timeout(DEADLINE)
        .map_err(|_| format!("no end after {:?}\n  {:?}", started.elapsed(), scene.home.calls()))?;
    let took = started.elapsed();
    if let Err(failure) = &came
        && tells_secrets(&failure.text)
    {
        return Err(format!("a secret is told: {}", failure.text));
    }
    match scene.leaks().pop() {
        Some(leak) => Err(leak),
        None => Ok((scene, came, took)),
    }
}
