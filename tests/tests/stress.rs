//! Many builds on one store, some of them killed, while a loop collects: every build that was left alone succeeds and
//! its result is right (design D6, security.md R17). `dev/stress --minutes 2` runs it for longer.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use world::{Run, World};

const BUILDERS: u64 = 8;
/// Every two builders have the same Dockerfile.
const PROJECTS: u64 = 4;
/// Each project has so many states of its files, so that hits and misses mix.
const VERSIONS: u64 = 5;
const SECONDS: u64 = 15;
const KILLS: u64 = 15;
/// A killed build is killed within this time, which is about what a build takes.
const KILL_WITHIN_MS: u64 = 700;

const UNCAPPED: &str = "--cache-max=unlimited";

/// What a project does: two stages, copies of both kinds, a cache mount, an equal step in all projects.
const DOCKERFILE: &str = "\
FROM base AS shared
COPY shared.txt /in
RUN sleep 0.1; sha256sum /in > /sum

FROM shared AS work
COPY src /src
RUN --mount=type=cache,target=/c,id=stress-@project@ cat /src/a /src/b > /work; date >> /c/log
RUN rm /src/b && mkdir /src/new && echo @project@ > /src/new/name

FROM base
COPY --from=work /work /result
COPY --link --from=work /src /src
RUN --mount=from=shared,source=/sum,target=/m cat /m >> /result
";

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// Random numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    number_from("SHALE_STRESS_SEED", now.as_nanos() as u64 | 1)
}

/// One builder's context directory.
struct Site {
    directory: PathBuf,
    output: PathBuf,
}

impl Site {
    fn new(world: &World, name: &str) -> Site {
        let directory = world.path(name);
        std::fs::create_dir_all(directory.join("src")).unwrap();
        Site { directory, output: world.path(&format!("{name}-out")) }
    }

    /// Writes a project's files in one of its states.
    fn write(&self, project: u64, version: u64) {
        let write = |path: &str, text: &str| {
            std::fs::write(self.directory.join(path), text).unwrap();
        };
        write("Dockerfile", &DOCKERFILE.replace("@project@", &format!("p{project}")));
        write("shared.txt", &format!("shared {}\n", version % 2));
        write("src/a", &format!("project {project}\n"));
        write("src/b", &format!("version {version}\n"));
    }

    /// Gets a tagged image's files: collections leave alone what a tag needs.
    fn unpack(&self, world: &World, tag: &str) -> Result<(), String> {
        std::fs::create_dir_all(self.output.join("src/new")).unwrap();
        let run = world.shale(&["run", tag, "sh", "-c", "cat /result && cat /src/new/name"]);
        if run.code != Some(0) {
            return Err(format!("{run}"));
        }
        let at = run.stdout.trim_end().rfind('\n').map_or(0, |at| at + 1);
        std::fs::write(self.output.join("result"), &run.stdout[..at]).unwrap();
        std::fs::write(self.output.join("src/new/name"), &run.stdout[at..]).unwrap();
        Ok(())
    }

    /// Whether the output is what that state gives.
    fn is_right(&self, project: u64, version: u64) -> Result<(), String> {
        let read = |path: &str| {
            let path = self.output.join(path);
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
        };
        let result = read("result")?;
        let begins = format!("project {project}\nversion {version}\n");
        let sum = Command::new("sh")
            .arg("-c")
            .arg(format!("printf 'shared {}\\n' | sha256sum", version % 2))
            .output()
            .unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        let hex = sum.split(' ').next().unwrap();
        let want = format!("{begins}{hex}  /in\n");
        let removed = self.output.join("src/b").exists();
        let name = read("src/new/name")?;
        if result != want || removed || name != format!("p{project}\n") {
            return Err(format!("wrong: {result:?} {removed} {name:?}, wanted {want:?}"));
        }
        Ok(())
    }

    /// Starts a build of the directory, into a directory or to a tag, with a cap on the store.
    fn start(&self, world: &World, tag: Option<&str>, cap: &str) -> Child {
        let _ = std::fs::remove_dir_all(&self.output);
        let to = match tag {
            Some(tag) => format!("--tag={tag}"),
            None => format!("--output=type=local,dest={}", self.output.display()),
        };
        let mut command = world.command(&["build", "--progress=plain", &to, cap, "."]);
        command.current_dir(&self.directory).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

/// How a build is killed.
#[derive(Clone, Copy)]
struct Kill {
    after: Duration,
    /// Not the process that was started, but this one of those that come of it, if there are so many.
    descendant: Option<u64>,
}

impl Kill {
    fn random(dice: &mut Dice) -> Kill {
        let after = Duration::from_millis(dice.below(KILL_WITHIN_MS));
        let descendant = (dice.below(2) == 0).then(|| dice.below(3));
        Kill { after, descendant }
    }

    fn strike(self, child: &mut Child) {
        let descendants = descendants(child.id());
        let chosen = self.descendant.and_then(|at| descendants.get(at as usize).copied());
        let _ = match chosen.and_then(|id| Pid::from_raw(id as i32)) {
            Some(id) => kill_process(id, Signal::KILL).map_err(Into::into),
            None => child.kill(),
        };
    }
}

/// Processes that come of one, nearest first.
fn descendants(of: u32) -> Vec<u32> {
    let parent = |id: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let ids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}

/// Waits for a build, or kills it after a time. `None` when it was killed before its end.
fn ended(mut child: Child, kill: Option<Kill>) -> Option<(bool, String)> {
    if let Some(kill) = kill {
        let deadline = Instant::now() + kill.after;
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(3));
        }
        // Not yet waited for, so that its number is nobody else's.
        if child.try_wait().unwrap().is_none() {
            kill.strike(&mut child);
        }
    }
    let output = child.wait_with_output().unwrap();
    let is_ok = output.status.success();
    if kill.is_some() && !is_ok {
        return None;
    }
    Some((is_ok, String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[derive(Default)]
struct Counts {
    built: AtomicUsize,
    killed: AtomicUsize,
    pruned: AtomicUsize,
    dice: AtomicU64,
}

fn builder(world: &World, number: u64, until: Instant, counts: &Counts) -> Result<(), String> {
    let site = Site::new(world, &format!("builder-{number}"));
    let mut dice = Dice(counts.dice.load(Ordering::Relaxed).wrapping_mul(2 * number + 3) | 1);
    while Instant::now() < until {
        let (project, version) = (number % PROJECTS, dice.below(VERSIONS));
        site.write(project, version);
        let cap = if dice.below(4) == 0 { "--cache-max=3m" } else { UNCAPPED };
        let kill = (dice.below(3) == 0).then(|| Kill::random(&mut dice));
        let tag = format!("builder-{number}");
        let tag = (dice.below(3) == 0).then_some(tag.as_str());
        let Some((is_ok, said)) = ended(site.start(world, tag, cap), kill) else {
            counts.killed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if !is_ok {
            return Err(format!("builder {number}, project {project}, version {version}\n{said}"));
        }
        tag.map_or(Ok(()), |tag| site.unpack(world, tag))?;
        site.is_right(project, version).map_err(|wrong| format!("{wrong}\n{said}"))?;
        counts.built.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn pruner(world: &World, until: Instant, counts: &Counts) -> Result<(), String> {
    let mut dice = Dice(counts.dice.load(Ordering::Relaxed).wrapping_mul(7) | 1);
    while Instant::now() < until {
        let arguments: &[&str] = match dice.below(3) {
            0 => &["cache", "prune"],
            1 => &["cache", "prune", "--all"],
            _ => &["cache", "prune", "--max-used-space", "2m"],
        };
        let run = world.shale(arguments);
        if run.code != Some(0) {
            return Err(format!("{run}"));
        }
        counts.pruned.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(dice.below(300)));
    }
    Ok(())
}

#[test]
#[allow(clippy::print_stdout, reason = "how much was done says whether the test means something")]
fn eight_builders_a_prune_loop_and_kills() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let seed = seed();
    let until = Instant::now() + Duration::from_secs(number_from("SHALE_STRESS_SECONDS", SECONDS));
    let counts = Counts { dice: seed.into(), ..Counts::default() };
    let failed = Mutex::new(Vec::new());
    let note = |result: Result<(), String>| {
        if let Err(text) = result {
            failed.lock().unwrap().push(text);
        }
    };
    std::thread::scope(|scope| {
        for number in 0..BUILDERS {
            let (note, world, counts) = (&note, &world, &counts);
            scope.spawn(move || note(builder(world, number, until, counts)));
        }
        scope.spawn(|| note(pruner(&world, until, &counts)));
    });
    let failed = failed.into_inner().unwrap();
    let count = |one: &AtomicUsize| one.load(Ordering::Relaxed);
    let (built, killed) = (count(&counts.built), count(&counts.killed));
    let line = format!("{built} built, {killed} killed, {} collections", count(&counts.pruned));
    println!("{line}, seed {seed}");
    assert!(failed.is_empty(), "{line}, SHALE_STRESS_SEED={seed}\n{}", failed.join("\n"));
    assert!(built > 0 && killed > 0, "{line}");
    is_whole(&world);
}

/// The store is sound, the next build of each project right, and what the dead left is gone with it.
fn is_whole(world: &World) {
    let site = Site::new(world, "last");
    for project in 0..PROJECTS {
        site.write(project, 0);
        let (is_ok, said) =
            ended(site.start(world, None, UNCAPPED), None).expect("nobody kills it");
        assert!(is_ok, "{said}");
        site.is_right(project, 0).unwrap();
    }
    verified(world);
}

fn verified(world: &World) {
    let run: Run = world.shale(&["cache", "verify"]);
    run.ok();
}

/// A build is killed at any moment; what it left does not make the next one wrong.
#[test]
fn after_a_killed_build_the_next_is_right() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let seed = seed();
    let mut dice = Dice(seed);
    let site = Site::new(&world, "site");
    let mut killed = 0;
    for number in 0..number_from("SHALE_STRESS_KILLS", KILLS) {
        let version = number + 100;
        site.write(0, version);
        let kill = Kill::random(&mut dice);
        killed += u64::from(ended(site.start(&world, None, UNCAPPED), Some(kill)).is_none());
        let (is_ok, said) =
            ended(site.start(&world, None, UNCAPPED), None).expect("nobody kills it");
        assert!(is_ok, "SHALE_STRESS_SEED={seed}, kill {number}\n{said}");
        site.is_right(0, version).unwrap_or_else(|wrong| {
            panic!("SHALE_STRESS_SEED={seed}, kill {number}: {wrong}\n{said}")
        });
    }
    assert!(killed > 0, "every build ended before it was killed");
    verified(&world);
}

/// Eight builds of the same thing at the same time do each step once: the cache mount counts (CACHE-44).
#[test]
fn eight_equal_builds_do_the_work_once() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.write("context/f", "f");
    world.dockerfile(
        "FROM base AS work\nCOPY f /f\n\
         RUN --mount=type=cache,target=/c,id=count sleep 0.5; echo one >> /c/runs\n\
         RUN --mount=type=cache,target=/c,id=count sleep 0.2; echo two >> /c/runs\n\
         FROM work AS told\nRUN --mount=type=cache,target=/c,id=count cat /c/runs > /runs\n",
    );
    std::thread::scope(|scope| {
        for _ in 0..BUILDERS {
            scope.spawn(|| world.build(&["--target", "work"]).ok().to_owned());
        }
    });
    world.build(&["-t", "told"]).ok();
    assert_eq!(world.shale(&["run", "told", "cat", "/runs"]).ok(), "one\ntwo");
}

/// A writer flips files between two contents while builds read them (security.md A12): a large one by putting another
/// in its place, a small one in place, always with the same size and time. An image has one of the two, whole; and the
/// records made meanwhile say what their layers hold: with a content at rest a build has that one, cached or not.
#[test]
fn a_file_that_changes_while_it_is_read_is_one_of_its_contents() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let large = [vec![b'a'; 300_000], vec![b'b'; 300_000]];
    let small = [b"aaaaa".to_vec(), b"bbbbb".to_vec()];
    world.dockerfile(
        "FROM base\nCOPY large small /f/\nCOPY . /g/\n\
         RUN --mount=target=/m mkdir /h && cp /m/large /m/small /h\n",
    );
    let seconds = number_from("SHALE_STRESS_SECONDS", SECONDS);
    let until = Instant::now() + Duration::from_secs(seconds / 2);
    world.write("context/large", &large[0]);
    world.write("context/small", &small[0]);
    let out = |path: String| std::fs::read(world.path("out").join(path)).unwrap();
    let build = || world.build(&["-o", "type=local,dest=../out"]);
    std::thread::scope(|scope| {
        scope.spawn(|| flip(&world, &large, &small, until));
        let mut built = 0;
        while Instant::now() < until {
            let run = build();
            if run.code != Some(0) {
                run.fails(1, &["kept changing"]); // The build may give up, and says so.
                continue;
            }
            built += 1;
            for directory in ["f", "g", "h"] {
                let got = out(format!("{directory}/large"));
                assert!(large.contains(&got), "/{directory}/large is torn\n{run}");
                let got = out(format!("{directory}/small"));
                assert!(small.contains(&got), "/{directory}/small is {got:?}\n{run}");
            }
        }
        assert!(built > 0);
    });
    for (large, small) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(l, s)| (&large[l], &small[s])) {
        world.write("context/large", large);
        world.write("context/small", small);
        let run = build();
        run.ok();
        for directory in ["f", "g", "h"] {
            let got = (out(format!("{directory}/large")), out(format!("{directory}/small")));
            assert!((&got.0, &got.1) == (large, small), "/{directory} is stale\n{run}");
        }
    }
}

fn flip(world: &World, large: &[Vec<u8>; 2], small: &[Vec<u8>; 2], until: Instant) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let date = |path: &Path| {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    };
    let mut dice = Dice(seed());
    while Instant::now() < until {
        let new = world.path("new");
        std::fs::write(&new, &large[dice.below(2) as usize]).unwrap();
        date(&new);
        std::fs::rename(&new, world.path("context/large")).unwrap();
        let path = world.path("context/small");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&small[dice.below(2) as usize], 0).unwrap();
        date(&path);
        std::thread::sleep(Duration::from_millis(dice.below(30)));
    }
}
