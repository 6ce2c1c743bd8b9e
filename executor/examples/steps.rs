//! Runs steps without the rest of the engine: for timings, for tests of the process model, and to look around inside.
//!
//! `steps ROOT N [key=value …] [-- COMMAND…]` makes a layer of the machine's busybox below ROOT if there is none, runs
//! the command N times and prints the median of a step. Keys: `par` steps at once, `layers` below, `net` (default,
//! none, host), `user`, `workdir`, `tty` (a step with our descriptors), `show` (output of the steps), `strict`, `pids`
//! (print the engine's processes), `insecure`, and mounts: `tmpfs=TARGET`, `secret=TARGET`, `cache=TARGET`,
//! `bind=TARGET`, `bindrw=TARGET`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a tool")]

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use executor::process::{EngineStart, engine_started, run_engine, watch_signals};
use executor::{OutputSink, RunStep, StepMount, Worker, WorkerOptions};
use graph::{Limits, Mount, MountKind, Network, Run, Security};
use progress::Stream;

fn main() {
    let engine = engine_started().unwrap();
    let cancel = watch_signals(engine.as_ref()).unwrap();
    let Some(engine) = engine else {
        let args: Vec<OsString> = std::env::args_os().skip(1).collect();
        let terminal = args.iter().any(|arg| arg == "tty=1");
        let exit = run_engine(EngineStart { args, files: Vec::new(), terminal });
        match exit {
            Ok(exit) => std::process::exit(exit.code()),
            Err(error) => {
                print_error(&error);
                std::process::exit(3)
            }
        }
    };
    let options = Options::parse(engine.arguments());
    if options.has("pids") {
        println!("engine {} level {:?}", std::process::id(), engine.level());
    }
    let strict = options.has("strict");
    let worker =
        engine.worker(WorkerOptions { require_isolation: strict, require_network: strict });
    let code = options.run(&worker, &cancel);
    drop((worker, engine)); // the launcher and its control group go in order
    std::process::exit(code);
}

fn print_error(error: &dyn std::error::Error) {
    eprint!("error: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        eprint!(": {cause}");
        next = cause.source();
    }
    eprintln!();
}

struct Options {
    root: PathBuf,
    count: usize,
    keys: Vec<(String, String)>,
    argv: Vec<String>,
}

impl Options {
    fn parse(args: Vec<OsString>) -> Options {
        let args: Vec<String> = args.into_iter().map(|arg| arg.into_string().unwrap()).collect();
        let (left, argv) = match args.iter().position(|arg| arg == "--") {
            Some(at) => (&args[..at], args[at + 1..].to_vec()),
            None => (&args[..], vec!["/bin/true".into()]),
        };
        let keys = left[2..].iter().filter_map(|arg| arg.split_once('='));
        let keys = keys.map(|(key, value)| (key.into(), value.into())).collect();
        Options { root: left[0].clone().into(), count: left[1].parse().unwrap(), keys, argv }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn has(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    fn number(&self, key: &str, default: usize) -> usize {
        self.get(key).map_or(default, |value| value.parse().unwrap())
    }

    fn run(&self, worker: &dyn Worker, cancel: &sys::Cancel) -> i32 {
        make_layers(&self.root, self.number("layers", 1));
        let next = AtomicUsize::new(0);
        let code = AtomicUsize::new(0);
        let begin = Instant::now();
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.number("par", 1))
                .map(|_| {
                    scope.spawn(|| {
                        let mut times = Vec::new();
                        while next.fetch_add(1, Ordering::SeqCst) < self.count {
                            let begin = Instant::now();
                            let exit = self.step(worker, cancel);
                            code.fetch_max(exit as usize, Ordering::SeqCst);
                            times.push(begin.elapsed());
                        }
                        times
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        if self.count > 1 {
            times.sort();
            println!(
                "{} steps, median {:.2?}, p90 {:.2?}, {:.2?} a step in all",
                times.len(),
                times[times.len() / 2],
                times[times.len() * 9 / 10],
                begin.elapsed() / times.len() as u32
            );
        }
        code.into_inner() as i32
    }

    fn step(&self, worker: &dyn Worker, cancel: &sys::Cancel) -> i32 {
        let ingest = tempfile::tempdir_in(self.root.join("ingest")).unwrap();
        let layers = layers(&self.root, self.number("layers", 1));
        let run = self.operation();
        let platform = oci::Platform::host();
        let mounts = self.step_mounts(&layers);
        let step = RunStep {
            layers: &layers,
            ingest: ingest.path(),
            run: &run,
            mounts,
            devices: Vec::new(),
            platform: &platform,
        };
        let mut output = Output { show: self.has("show") || self.count == 1 };
        let result = match self.has("tty") {
            true => worker.attach(&step, &mut |line| eprintln!("warning: {line}"), cancel),
            false => worker.run(&step, &mut output, cancel).map(|end| {
                if let (Some(dir), true) = (self.get("keep"), end.layer.is_some()) {
                    std::fs::rename(ingest.path().join("diff"), dir).unwrap();
                }
                end.exit
            }),
        };
        let parent = std::fs::File::open(self.root.join("ingest")).unwrap();
        let name = ingest.path().file_name().unwrap().as_encoded_bytes().to_vec();
        sys::remove_tree(std::os::fd::AsFd::as_fd(&parent), &name).unwrap();
        match result {
            Ok(exit) => exit.code(),
            Err(error) => {
                print_error(&error);
                200
            }
        }
    }

    fn operation(&self) -> Run {
        Run {
            argv: self.argv.clone(),
            env: vec![("PATH".into(), "/usr/local/bin:/bin".into())],
            workdir: self.get("workdir").unwrap_or("/").into(),
            user: self.get("user").unwrap_or_default().into(),
            mounts: self.mounts().into_iter().map(|(mount, _)| mount).collect(),
            scripts: Vec::new(),
            network: match self.get("net") {
                Some("default") => Network::Default,
                Some("host") => Network::Host,
                _ => Network::None,
            },
            security: if self.has("insecure") { Security::Insecure } else { Security::Sandbox },
            devices: Vec::new(),
            hostname: None,
            extra_hosts: vec![("extra".into(), "10.9.8.7".into())],
            ulimits: Vec::new(),
            shm_size_bytes: None,
            cgroup_parent: None,
            proxy_env: Vec::new(),
            limits: Limits {
                memory_bytes: self.get("memory").map(|value| value.parse().unwrap()),
                ..Limits::default()
            },
        }
    }

    fn mounts(&self) -> Vec<(Mount, &str)> {
        fn one((key, target): &(String, String)) -> Option<(Mount, &str)> {
            let kind = match key.as_str() {
                "tmpfs" => MountKind::Tmpfs { size_bytes: None },
                "secret" => MountKind::Secret {
                    id: "x".into(),
                    env: Some("SECRET".into()),
                    mode: 0o400,
                    uid: 0,
                    gid: 0,
                    required: true,
                },
                "cache" => MountKind::Cache {
                    namespace: String::new(),
                    id: "x".into(),
                    sharing: graph::CacheSharing::Shared,
                    input: None,
                    source: String::new(),
                    mode: None,
                    uid: None,
                    gid: None,
                },
                "bind" | "bindrw" => {
                    MountKind::Bind { input: graph::VertexId(0), source: String::new() }
                }
                _ => return None,
            };
            let read_only = key == "bind" || key == "secret";
            let (target, source) = target.split_once(':').unwrap_or((target, ""));
            Some((Mount { target: target.into(), read_only, kind }, source))
        }
        self.keys.iter().filter_map(one).collect()
    }

    fn step_mounts(&self, layers: &[OwnedFd]) -> Vec<StepMount> {
        let one = |(mount, source): (Mount, &str)| match mount.kind {
            MountKind::Tmpfs { .. } => StepMount::Tmpfs,
            MountKind::Secret { .. } => StepMount::Secret(Some(b"the secret".to_vec())),
            MountKind::Cache { .. } => StepMount::Cache {
                dir: open_dir(&self.root.join("cache")),
                source: source.as_bytes().to_vec(),
            },
            MountKind::Bind { .. } => StepMount::Bind {
                layers: layers.iter().map(|layer| layer.try_clone().unwrap()).collect(),
                source: source.as_bytes().to_vec(),
            },
            MountKind::Ssh { .. } => StepMount::Ssh(None),
        };
        self.mounts().into_iter().map(one).collect()
    }
}

struct Output {
    show: bool,
}

impl OutputSink for Output {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        use std::io::Write;
        match stream {
            _ if !self.show => {}
            Stream::Stdout => std::io::stdout().write_all(bytes).unwrap(),
            Stream::Stderr => std::io::stderr().write_all(bytes).unwrap(),
        }
    }

    fn warn(&mut self, message: &str) {
        eprintln!("warning: {message}");
    }
}

fn open_dir(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn layers(root: &Path, count: usize) -> Vec<OwnedFd> {
    let base = std::iter::once(root.join("base"));
    base.chain((1..count).map(|n| root.join(format!("layer{n}")))).map(|p| open_dir(&p)).collect()
}

/// A root with busybox in it, and layers on top with a file each.
fn make_layers(root: &Path, count: usize) {
    for n in 1..count {
        let dir = root.join(format!("layer{n}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("file{n}")), "").unwrap();
    }
    if root.join("base/bin/sh").exists() {
        return;
    }
    for dir in ["ingest", "cache", "base/bin", "base/etc", "base/tmp", "base/proc", "base/dev"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    std::fs::copy(busybox.expect("busybox is installed"), root.join("base/bin/busybox")).unwrap();
    let list = std::process::Command::new(busybox.unwrap()).arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        let _ = std::os::unix::fs::symlink("busybox", root.join("base/bin").join(name));
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbob:x:1234:1234::/home/bob:/bin/sh\n";
    std::fs::write(root.join("base/etc/passwd"), passwd).unwrap();
    std::fs::write(root.join("base/etc/group"), "root:x:0:\nbob:x:1234:\nextra:x:77:bob\n")
        .unwrap();
}
