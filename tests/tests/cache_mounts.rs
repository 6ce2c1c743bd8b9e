//! Cache mounts: over processes, in people's hands, and on their way between machines (MNT-30 to MNT-43, CACHE-45,
//! CACHE-47).

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use testkit::need;
use world::{Registry, Run, World};

fn prepared(dockerfile: &str) -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.dockerfile(dockerfile);
        world
    })
}

/// Builds at the same time, each a process of its own with another N.
fn side_by_side(world: &World, count: usize, arguments: &[&str]) -> Vec<Run> {
    std::thread::scope(|scope| {
        let build = |at: usize| {
            let number = format!("N={at}");
            let arguments = [&["--build-arg", &number], arguments].concat();
            world.build(&arguments)
        };
        let threads: Vec<_> = (0..count).map(|at| scope.spawn(move || build(at))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The first directory of the cache mount that has this file.
fn wait_for(world: &World, file: &str) -> PathBuf {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let homes = std::fs::read_dir(world.store().join("cache-mounts")).into_iter().flatten();
        let mut dirs = homes.map(|home| home.unwrap().path().join("0/data"));
        if let Some(dir) = dirs.find(|dir| dir.join(file).exists()) {
            return dir;
        }
        assert!(Instant::now() < deadline, "no step makes {file}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.command(&[&["build"], arguments, &["."]].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn locked_lets_one_in_over_processes() {
    let Some(world) = prepared(
        "FROM base\nARG N\n\
         RUN --mount=type=cache,id=l,target=/l,sharing=locked mkdir /l/busy && \
         was=$(cat /l/count 2>/dev/null || echo 0) && sleep 0.2 && echo $((was + 1)) > /l/count \
         && rmdir /l/busy && : $N\n",
    ) else {
        return;
    };
    for run in side_by_side(&world, 4, &[]) {
        run.ok();
    }
    let out = world.shale(&["cache", "mounts", "export", "l", "-o", "../l.tar"]);
    out.ok();
    assert_eq!(world.program("tar", &["-xOf", "../l.tar", "count"]).ok(), "4");
}

/// Both steps are in at once: they wait for each other in the shared one.
#[test]
fn shared_and_private_over_processes() {
    let Some(world) = prepared(
        "FROM base\nARG N\n\
         RUN --mount=type=cache,id=s,target=/s --mount=type=cache,id=p,sharing=private,target=/p \
         touch /s/$N /p/$N; for i in $(seq 600); do \
         [ $(ls /s | wc -l) = 2 ] && break; sleep 0.1; done; \
         echo \"see $(ls /s | tr '\\n' ' ')and $(ls /p | tr '\\n' ' ')\"\n",
    ) else {
        return;
    };
    for (at, run) in side_by_side(&world, 2, &[]).iter().enumerate() {
        run.ok();
        assert!(run.stderr.contains(&format!("see 0 1 and {at} ")), "{run}");
    }
    let listed = world.shale(&["cache", "mounts", "ls", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    let count = |id: &str| {
        let mut mounts = listed.as_array().unwrap().iter();
        mounts.find(|m| m["id"] == id).unwrap()["directories"].as_array().unwrap().len()
    };
    assert_eq!((count("s"), count("p")), (1, 2));
}

#[test]
fn a_step_does_not_wait_for_itself() {
    let Some(world) = prepared(
        "FROM base\n\
         RUN --mount=type=cache,id=l,target=/a,sharing=locked \
         --mount=type=cache,id=l,target=/b,sharing=locked touch /a/x && ls /b\n\
         RUN --mount=type=cache,id=p,target=/a,sharing=private \
         --mount=type=cache,id=p,target=/b,sharing=private touch /a/y && rm /b/y\n",
    ) else {
        return;
    };
    world.build(&[]).ok();
}

/// A step that waits for a locked mount takes no place from others: with one job the second stage lets the first
/// process go on.
#[test]
fn waiting_takes_no_slot() {
    let Some(world) = prepared(
        "FROM base AS holder\n\
         RUN --mount=type=cache,id=l,target=/l,sharing=locked --mount=type=cache,id=s,target=/s \
         touch /l/held; for i in $(seq 600); do [ -e /s/go ] && exit 0; sleep 0.1; done; exit 1\n\
         FROM base AS waiter\n\
         RUN --mount=type=cache,id=l,target=/l,sharing=locked ls /l > /seen\n\
         FROM base AS other\n\
         RUN --mount=type=cache,id=s,target=/s touch /s/go && touch /went\n\
         FROM base AS both\n\
         COPY --from=waiter /seen /seen\n\
         COPY --from=other /went /went\n",
    ) else {
        return;
    };
    let mut holder = start(&world, &["--target", "holder"]);
    wait_for(&world, "held");
    world.build(&["--target", "both", "--jobs", "1"]).ok();
    assert!(holder.wait().unwrap().success());
}

/// Nobody has to guess why nothing happens.
#[test]
fn a_long_wait_for_another_build_is_told() {
    let Some(world) = prepared(
        "FROM base AS holder\n\
         RUN --mount=type=cache,id=mine,target=/l,sharing=locked touch /l/held; \
         for i in $(seq 600); do [ -e /l/go ] && exit 0; sleep 0.1; done; exit 1\n\
         FROM base AS waiter\n\
         RUN --mount=type=cache,id=mine,target=/l,sharing=locked ls /l\n",
    ) else {
        return;
    };
    let mut holder = start(&world, &["--target", "holder"]);
    let dir = wait_for(&world, "held");
    let mut waiter = world.command(&["build", "--progress=plain", "--target", "waiter", "."]);
    let mut waiter = waiter.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(waiter.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = lines.skip_while(|line| !line.contains("waiting for cache mount mine"));
    assert!(lines.next().is_some(), "nothing was said");
    std::fs::write(dir.join("go"), "").unwrap();
    lines.for_each(drop);
    assert!(waiter.wait().unwrap().success() && holder.wait().unwrap().success());
}

#[test]
fn what_is_in_use_is_named_and_stays() {
    let Some(world) = prepared(
        "FROM base\nARG N\n\
         RUN --mount=type=cache,id=used,target=/u touch /u/held; \
         for i in $(seq 600); do [ -e /u/go ] && exit 0; sleep 0.1; done; exit 1\n",
    ) else {
        return;
    };
    world.write("one/f", "1");
    world.program("tar", &["-cf", "../one.tar", "-C", "../one", "."]).ok();
    let mounts = |arguments: &[&str]| world.shale(&[&["cache", "mounts"], arguments].concat());
    mounts(&["import", "free", "-i", "../one.tar"]).ok();
    let mut build = start(&world, &[]);
    let dir = wait_for(&world, "held");
    assert!(mounts(&["ls"]).ok().lines().any(|l| l.starts_with("used ") && l.contains("1 in use")));
    let cleared = mounts(&["clear", "--all"]);
    cleared.fails(1, &["used is in use"]);
    assert_eq!(cleared.stdout.trim(), "free");
    mounts(&["export", "used", "-o", "../u.tar"]).fails(1, &["used is in use"]);
    mounts(&["import", "used", "-i", "../one.tar"]).fails(1, &["used is in use"]);
    assert!(dir.join("held").exists() && !world.path("u.tar").exists());
    std::fs::write(dir.join("go"), "").unwrap();
    assert!(build.wait().unwrap().success());
    assert_eq!(mounts(&["clear", "used"]).ok(), "used");
    assert!(!mounts(&["ls"]).ok().contains("used"));
    // What was cleared is gone from the disk too.
    assert_eq!(std::fs::read_dir(world.store().join("trash")).unwrap().count(), 0);
    mounts(&["clear", "used"]).fails(2, &["no such cache mount: used", "shale cache mounts ls"]);
}

#[test]
fn content_goes_out_and_in() {
    let Some(world) = prepared(
        "FROM base AS fill\n\
         RUN --mount=type=cache,id=/c,target=/c mkdir /c/d && echo hello > /c/d/f && \
         ln /c/d/f /c/hard && ln -s d/f /c/soft && chown -R 5:6 /c/d && chmod 4711 /c/d/f && \
         mkfifo /c/p && touch /c/.wh.x && touch -d @1000000000 /c/d\n\
         FROM base AS look\n\
         RUN --mount=type=cache,id=/c,target=/c stat -c '%n %a %u:%g %h' /c /c/d /c/d/f; \
         cat /c/soft; stat -c %Y /c/d; ls -A /c | tr '\\n' ' '\n",
    ) else {
        return;
    };
    world.build(&["--target", "fill"]).ok();
    let mounts = |arguments: &[&str]| world.shale(&[&["cache", "mounts"], arguments].concat());
    for name in ["c.tar", "c.tar.gz", "c.tar.zst"] {
        let file = format!("../{name}");
        mounts(&["export", "/c", "-o", &file]).ok();
        mounts(&["clear", "/c"]).ok();
        mounts(&["import", "/c", "-i", &file]).ok();
    }
    let look = world.build(&["--target", "look"]);
    look.ok();
    for line in ["/c 755 0:0 3", "/c/d 755 5:6 2", "/c/d/f 4711 5:6 2", "hello", "1000000000"] {
        assert!(look.stderr.lines().any(|l| l.ends_with(&format!(" {line}"))), "{line}: {look}");
    }
    assert!(look.stderr.contains(".wh.x d hard p soft"), "{look}");
    // Two archives of one content are equal, and the plain one is the others' content.
    mounts(&["export", "/c", "-o", "../again.tar"]).ok();
    let read = |name: &str| std::fs::read(world.path(name)).unwrap();
    assert!(read("c.tar") == read("again.tar"));
    mounts(&["import", "other", "--namespace", "ns", "--uid", "7", "-i", "../c.tar"]).ok();
    let listed = mounts(&["ls"]);
    let line = listed.ok().lines().find(|line| line.starts_with("other ")).unwrap();
    assert!(line.contains(" ns ") && line.contains(" 7:0 0755 "), "{line}");
    // By a pipe, to another machine.
    let piped = world.command(&["cache", "mounts", "export", "/c"]).output().unwrap();
    let second = World::new();
    let imported = second.shale_with_input(&["cache", "mounts", "import", "/c"], &piped.stdout);
    imported.ok();
    second.shale(&["cache", "mounts", "export", "/c", "-o", "../c.tar"]).ok();
    assert!(read("c.tar") == std::fs::read(second.path("c.tar")).unwrap());
}

#[test]
fn a_bad_archive_changes_nothing() {
    need!("root");
    let Some(world) = prepared("FROM base\nRUN --mount=type=cache,id=c,target=/c touch /c/old\n")
    else {
        return;
    };
    world.build(&[]).ok();
    world.write("bad/f", "1");
    let tar = |name: &str| {
        world.program("tar", &["-cf", &format!("../{name}"), "-C", "../bad", "."]).ok();
    };
    let import = |name: &str, more: &[&str]| {
        let file = format!("../{name}");
        world.shale(&[&["cache", "mounts", "import", "c", "-i", &file], more].concat())
    };
    tar("large.tar");
    import("large.tar", &["--max-size", "0"]).fails(1, &["larger than allowed", "--max-size"]);
    world.program("mknod", &["../bad/null", "c", "1", "3"]).ok();
    tar("device.tar");
    import("device.tar", &[]).fails(1, &["a device has no place here"]);
    std::fs::write(world.path("none.tar"), "no archive").unwrap();
    import("none.tar", &[])
        .fails(1, &["cannot import ../none.tar", "cannot unpack", "hint: a tar"]);
    import("nosuch.tar", &[]).fails(1, &["nosuch.tar"]);
    let dir = wait_for(&world, "old");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    // Names that lead out stay in.
    world.write("out/deep/f", "1");
    let names =
        ["-Pcf", "../out.tar", "-C", "../out/deep", "--transform", "s,^f,../../../../f,", "f"];
    world.program("tar", &names).ok();
    import("out.tar", &[]).ok();
    assert_eq!(world.read("out/deep/f"), "1");
    assert!(dir.join("f").exists());
}

/// Owners are those that a step sees, whatever they are outside; what only the namespace may read is counted.
#[test]
fn an_ordinary_user_has_them_too() {
    need!("root", "newuidmap", "setpriv");
    let Some(user) = world::user("shale-test-ranges") else { return };
    let world = World::of(user);
    if !world.base() {
        return;
    }
    world.dockerfile(
        "FROM base\nRUN --mount=type=cache,id=c,target=/c mkdir /c/mine && \
         dd if=/dev/zero of=/c/mine/f bs=1k count=300 && chown -R 1000:2000 /c/mine && chmod 700 /c/mine\n",
    );
    world.build(&[]).ok();
    let mounts = |arguments: &[&str]| world.shale(&[&["cache", "mounts"], arguments].concat());
    let listed = mounts(&["ls", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
    let dir = &listed[0]["directories"][0];
    assert!(dir["sizeIsWhole"] == true && dir["size"].as_u64().unwrap() > 300_000, "{listed}");
    mounts(&["export", "c", "-o", "../home/c.tar"]).ok();
    let owners = world.program("tar", &["--numeric-owner", "-tvf", "../home/c.tar"]);
    assert!(
        owners.ok().lines().any(|l| l.contains("1000/2000") && l.ends_with("mine/f")),
        "{owners}"
    );
    assert_eq!(mounts(&["clear", "c"]).ok(), "c");
    assert_eq!(std::fs::read_dir(world.store().join("trash")).unwrap().count(), 0);
    mounts(&["import", "c", "-i", "../home/c.tar"]).ok();
    mounts(&["export", "c", "-o", "../home/again.tar"]).ok();
    assert!(world.program("cmp", &["../home/c.tar", "../home/again.tar"]).stdout.is_empty());
}

/// With one id nobody but the user can own anything: the archive's owners are left aside, all else comes.
#[test]
fn a_single_id_takes_what_it_can() {
    need!("root", "setpriv");
    let Some(user) = world::user("shale-test-single") else { return };
    let world = World::of(user);
    if !world.base() {
        return;
    }
    world.write("one/sub/f", "content");
    world
        .program("tar", &["--owner=5", "--group=6", "-cf", "../home/c.tar", "-C", "../one", "."])
        .ok();
    world.shale(&["cache", "mounts", "import", "c", "-i", "../home/c.tar"]).ok();
    world.dockerfile(
        "FROM base\nRUN --mount=type=cache,id=c,target=/c cat /c/sub/f && echo more > /c/g\n",
    );
    let built = world.build(&[]);
    built.ok();
    assert!(built.stderr.contains(" content"), "{built}");
    world.shale(&["cache", "mounts", "clear", "c"]).ok();
}

#[test]
fn namespaces_keep_builds_apart() {
    let Some(world) = prepared(
        "FROM base\nARG N\nRUN --mount=type=cache,id=c,target=/c : $N; ls /c; touch /c/$N; echo end\n",
    ) else {
        return;
    };
    let saw = |number: &str, namespace: &str| {
        let (number, namespace) =
            (format!("N=n{number}"), format!("BUILDKIT_CACHE_MOUNT_NS={namespace}"));
        let run = world.build(&["--build-arg", &number, "--build-arg", &namespace]);
        run.ok();
        run.stderr.lines().filter(|line| line.contains(" n")).count()
    };
    saw("1", "a");
    saw("2", "b");
    let ids = world.shale(&["cache", "mounts", "ls"]);
    assert_eq!(ids.ok().lines().filter(|line| line.starts_with("c ")).count(), 2, "{ids}");
    let export = |more: &[&str]| {
        world.shale(&[&["cache", "mounts", "export", "c", "-o", "../c.tar"], more].concat())
    };
    export(&[]).fails(2, &["several cache mounts have the id c", "name one by its key"]);
    export(&["--namespace", "b"]).ok();
    assert_eq!(world.program("tar", &["-tf", "../c.tar"]).ok(), "./\nn2");
}

/// A directory with a cache, from the machines' view.
struct Cache<'a>(&'a World);

impl Cache<'_> {
    fn dir(&self) -> PathBuf {
        self.0.path("cache")
    }

    fn to(&self, more: &str) -> String {
        format!("--cache-to=type=local,dest={},mode=max{more}", self.dir().display())
    }

    fn from(&self, more: &str) -> String {
        format!("--cache-from=type=local,src={}{more}", self.dir().display())
    }

    /// Blobs with their times: one that was written again has another.
    fn blobs(&self) -> Vec<(PathBuf, i64, i64, u64)> {
        let list = std::fs::read_dir(self.dir().join("blobs/sha256")).unwrap();
        let one = |path: PathBuf| {
            let meta = std::fs::metadata(&path).unwrap();
            (path, meta.mtime(), meta.mtime_nsec(), meta.ino())
        };
        let mut all: Vec<_> = list.map(|entry| one(entry.unwrap().path())).collect();
        all.sort();
        all
    }
}

/// `/big` does not compress, so that its blob is the large one.
const TRAVELS: &str = "FROM base\nARG N\n\
     RUN --mount=type=cache,id=c,target=/c --mount=type=cache,id=d,target=/d,uid=7 \
     [ -e /c/big ] || head -c 300000 /dev/urandom > /c/big; touch /d/$N; echo saw $(ls /d); \
     echo sum $(sha256sum < /c/big)\n";

fn word_after(run: &Run, word: &str) -> String {
    let line = run.stderr.lines().rev().find_map(|line| line.split_once(&format!(" {word} ")));
    line.unwrap_or_else(|| panic!("no {word}: {run}")).1.to_owned()
}

fn machine() -> World {
    let world = World::new();
    world.base();
    world.dockerfile(TRAVELS);
    world
}

#[test]
fn mounts_travel_with_the_cache() {
    let Some(first) = prepared(TRAVELS) else { return };
    let cache = Cache(&first);
    let built = first.build(&["--build-arg", "N=1", &cache.to(",mounts=*")]);
    built.ok();
    // The next machine goes on where this one ended, with the owner of the mount.
    let second = machine();
    let (from, to) = (cache.from(",mounts=c;d"), cache.to(",mounts=*"));
    let again = second.build(&["--build-arg", "N=2", &from, &to]);
    again.ok();
    assert_eq!(word_after(&again, "saw"), "1 2");
    assert_eq!(word_after(&again, "sum"), word_after(&built, "sum"));
    assert!(again.stderr.contains("importing cache mount c from"), "{again}");
    let owned = second.shale(&["cache", "mounts", "ls"]);
    assert!(owned.ok().lines().any(|l| l.starts_with("d ") && l.contains("7:0")), "{owned}");
    // Nothing was touched: nothing is sent.
    let before = cache.blobs();
    second.build(&["--build-arg", "N=2", &from, &to]).ok();
    let after = cache.blobs();
    let large = |blobs: &[(PathBuf, i64, i64, u64)]| -> Vec<_> {
        let is_large =
            |path: &PathBuf| (300_000..400_000).contains(&std::fs::metadata(path).unwrap().len());
        blobs.iter().filter(|blob| is_large(&blob.0)).cloned().collect()
    };
    assert_eq!((large(&before).len(), large(&after)), (1, large(&before)));
    // What a machine has counts before what the cache has.
    let third = machine();
    third.build(&["--build-arg", "N=3"]).ok();
    let own = third.build(&["--build-arg", "N=4", &cache.from(",mounts=*")]);
    own.ok();
    assert_eq!(word_after(&own, "saw"), "3 4");
    assert!(!own.stderr.contains("importing cache mount"), "{own}");
    // MNT-38 counts before it too; without `mounts` nothing comes.
    let fourth = machine();
    let fresh = fourth.build(&["--build-arg", "N=5", "--no-cache", &cache.from(",mounts=*")]);
    fresh.ok();
    assert_eq!(word_after(&fresh, "saw"), "5");
    fourth.shale(&["cache", "mounts", "clear", "--all"]).ok();
    let none = fourth.build(&["--build-arg", "N=6", &cache.from("")]);
    none.ok();
    assert_eq!(word_after(&none, "saw"), "6");
}

/// In a registry a mount is a blob that the manifest names; what is there is not sent again.
#[test]
fn mounts_travel_by_a_registry() {
    let Some(first) = prepared(TRAVELS) else { return };
    let registry = Registry::start(&first);
    let cache = format!("type=registry,ref={}/cache:1,mounts=*", registry.address());
    let (from, to) = (format!("--cache-from={cache}"), format!("--cache-to={cache},mode=max"));
    let built = first.build(&["--build-arg", "N=1", &to]);
    built.ok();
    let second = machine();
    let again = second.build(&["--build-arg", "N=2", &from, &to]);
    again.ok();
    assert_eq!(word_after(&again, "saw"), "1 2");
    assert_eq!(word_after(&again, "sum"), word_after(&built, "sum"));
    let sent = |since: usize| {
        let requests = registry.requests();
        requests[since..].iter().filter(|line| line.starts_with("PUT /v2/cache/blobs/")).count()
    };
    assert!(sent(0) > 4, "{:?}", registry.requests());
    let since = registry.requests().len();
    second.build(&["--build-arg", "N=2", &from, &to]).ok();
    // Documents may differ; layers and mounts are there.
    assert!(sent(since) <= 2, "{:?}", &registry.requests()[since..]);
}

#[test]
fn mounts_are_bounded_and_chosen() {
    let Some(first) = prepared(TRAVELS) else { return };
    let cache = Cache(&first);
    let small = first.build(&["--build-arg", "N=1", &cache.to(",mounts=c;d;e,mounts-max=100k")]);
    small.ok();
    for words in ["cache mount c was not exported: it has 300", "no step has a cache mount e"] {
        assert!(small.stderr.contains(words), "{words}: {small}");
    }
    let second = machine();
    let came = second.build(&["--build-arg", "N=2", &cache.from(",mounts=*")]);
    came.ok();
    assert_eq!(word_after(&came, "saw"), "1 2");
    assert_ne!(word_after(&came, "sum"), word_after(&small, "sum"));
    // The bound holds on the way in as well.
    first.build(&["--build-arg", "N=1", &cache.to(",mounts=c")]).ok();
    let third = machine();
    let refused = third.build(&["--build-arg", "N=3", &cache.from(",mounts=*,mounts-max=100k")]);
    refused.ok();
    assert!(refused.stderr.contains("cache mount c begins empty"), "{refused}");
    assert_eq!(word_after(&refused, "saw"), "3");
}

/// `mounts-readonly`: a build uses what it gets, and what it makes of it stays its own.
#[test]
fn a_read_only_mount_goes_back_as_it_came() {
    let Some(first) = prepared(TRAVELS) else { return };
    let cache = Cache(&first);
    first.build(&["--build-arg", "N=1", &cache.to(",mounts=*")]).ok();
    let second = machine();
    let from = cache.from(",mounts=*,mounts-readonly=true");
    let fork = second.build(&["--build-arg", "N=bad", &from, &cache.to(",mounts=*")]);
    fork.ok();
    assert_eq!(word_after(&fork, "saw"), "1 bad");
    let third = machine();
    let next = third.build(&["--build-arg", "N=3", &cache.from(",mounts=*")]);
    next.ok();
    assert_eq!(word_after(&next, "saw"), "1 3");
}

/// A cached build needs no mount, and takes none from those that do.
#[test]
fn a_cached_build_passes_mounts_on() {
    let Some(first) = prepared(TRAVELS) else { return };
    let cache = Cache(&first);
    first.build(&["--build-arg", "N=1", &cache.to(",mounts=*")]).ok();
    let second = machine();
    let cached = second.build(&["--build-arg", "N=1", &cache.from(""), &cache.to(",mounts=*")]);
    cached.ok();
    assert_eq!(cached.ran(), Vec::<String>::new(), "{cached}");
    assert!(!second.shale(&["cache", "mounts", "ls"]).ok().contains("c "));
    let third = machine();
    let next = third.build(&["--build-arg", "N=3", &cache.from(",mounts=*")]);
    next.ok();
    assert_eq!(word_after(&next, "saw"), "1 3");
}

#[test]
fn lost_and_damaged_content_never_fails_a_build() {
    let Some(first) = prepared(TRAVELS) else { return };
    let cache = Cache(&first);
    first.build(&["--build-arg", "N=1", &cache.to(",mounts=*")]).ok();
    let is_large = |path: &PathBuf| std::fs::metadata(path).unwrap().len() > 290_000;
    let large = cache.blobs().into_iter().map(|blob| blob.0).find(is_large).unwrap();
    let mut bytes = std::fs::read(&large).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::set_permissions(&large, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&large, &bytes).unwrap();
    let check = |number: &str| {
        let machine = machine();
        let built = machine.build(&["--build-arg", number, &cache.from(",mounts=*")]);
        built.ok();
        assert!(built.stderr.contains("cache mount c begins empty"), "{built}");
        assert!(word_after(&built, "saw").starts_with("1 "), "{built}");
    };
    check("N=2");
    std::fs::remove_file(&large).unwrap();
    check("N=3");
}
