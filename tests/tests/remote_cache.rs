//! Caches outside the store: one machine writes them, another one, which has nothing, builds with them (CIO-11 to 15).

use std::io::Read as _;
use std::net::TcpListener;
use std::path::PathBuf;

use testkit::need;
use world::{Registry, Run, World};

/// Two stages and what they read; every instruction makes a layer of its own.
const STAGES: &str = "\
FROM BASE AS tools
COPY tool.txt /tool.txt
RUN dd if=/dev/urandom of=/big bs=1k count=300 2>/dev/null && sha256sum /tool.txt > /tool.sum

FROM BASE AS app
RUN date +%N > /made && echo done > /first
COPY src /src
RUN cat /src/* /made > /all
COPY --from=tools /tool.sum /tool.sum
CMD [\"cat\", \"/all\"]
";

/// A machine with the context, the first of them with a registry that has the base image.
struct Site {
    /// Ends before the world that it lives in is looked over.
    registry: Registry,
    first: World,
}

impl Site {
    fn new() -> Option<Site> {
        let first = World::new();
        if !first.base() {
            return None;
        }
        let registry = Registry::start(&first);
        let base = format!("{}/base:1", registry.address());
        first.shale(&["tag", "base", &base]).ok();
        first.shale(&["push", &base]).ok();
        let site = Site { first, registry };
        site.fill(&site.first, STAGES);
        Some(site)
    }

    /// The same after a build of all stages that has left them in the cache `a`.
    fn with_cache() -> Option<Site> {
        let site = Site::new()?;
        let to = site.all_to("a");
        site.first.build(&["-t", "app", "--cache-to", &to]).ok();
        Some(site)
    }

    /// The same, with the cache in a directory.
    fn with_directory() -> Option<(Site, PathBuf, String)> {
        let site = Site::new()?;
        let directory = site.first.path("cache");
        let to = format!("type=local,dest={},mode=max", directory.display());
        site.first.build(&["-t", "app", "--cache-to", &to]).ok();
        let from = format!("type=local,src={}", directory.display());
        Some((site, directory, from))
    }

    fn fill(&self, world: &World, dockerfile: &str) {
        world.write("context/tool.txt", "tool");
        world.write("context/src/one.txt", "1");
        world.write("context/src/two.txt", "2");
        let base = format!("{}/base:1", self.registry.address());
        world.dockerfile(&dockerfile.replace("BASE", &base));
    }

    /// A machine that has nothing but the context.
    fn machine(&self) -> World {
        let world = World::new();
        self.fill(&world, STAGES);
        world
    }

    /// A cache in the registry, as the two flags take it.
    fn cache(&self, name: &str) -> String {
        format!("type=registry,ref={}/cache:{name}", self.registry.address())
    }

    /// `--cache-to` for all stages.
    fn all_to(&self, name: &str) -> String {
        format!("{},mode=max", self.cache(name))
    }

    /// Blobs that were got from a repository since the request with this number.
    fn got(&self, repository: &str, since: usize) -> Vec<String> {
        let begin = format!("GET /v2/{repository}/blobs/");
        let requests = self.registry.requests();
        requests[since..].iter().filter(|line| line.starts_with(&begin)).cloned().collect()
    }
}

fn id(world: &World, name: &str) -> String {
    let told = world.shale(&["inspect", name]);
    let told: serde_json::Value = serde_json::from_str(told.ok()).unwrap();
    told[0]["Id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_cached(run: &Run) {
    run.ok();
    assert_eq!(run.ran(), Vec::<String>::new(), "{run}");
}

#[test]
fn an_empty_machine_builds_from_a_cache_and_fetches_only_what_the_result_has() {
    need!("docker-registry");
    let Some(site) = Site::with_cache() else { return };

    let second = site.machine();
    let since = site.registry.requests().len();
    let built = second.build(&["-t", "app", "--cache-from", &site.cache("a")]);
    assert_cached(&built);
    assert!(!built.stderr.contains("warning"), "{built}");
    // The document, and the four layers that the result has; neither of the other stage's two.
    assert_eq!(site.got("cache", since).len(), 5, "{:#?}", site.got("cache", since));
    assert_eq!(id(&second, "app"), id(&site.first, "app")); // CIO-12
    let run = |world: &World| world.shale(&["run", "app"]).ok().to_owned();
    assert_eq!(run(&second), run(&site.first));

    // What was brought is the store's own now; the other stage never was.
    let again = second.build(&["-t", "again"]);
    again.ok();
    assert!(again.ran().iter().all(|step| step.contains("[tools ")), "{again}");
    assert_eq!(id(&second, "again"), id(&site.first, "app"));
}

#[test]
fn nothing_is_fetched_until_a_byte_of_it_is_needed() {
    need!("docker-registry");
    let Some(site) = Site::with_cache() else { return };

    let second = site.machine();
    let since = site.registry.requests().len();
    let from = site.cache("a");
    let only = ["--output", "type=cacheonly", "--cache-from", &from];
    assert_cached(&second.build(&only));
    assert_eq!(site.got("cache", since).len(), 1, "{:#?}", site.got("cache", since)); // CIO-13
    assert_eq!(site.got("base", since).len(), 1, "the config of the base alone");

    // The file of the other stage that is copied changes: that stage is brought, nothing of the target's own.
    let third = site.machine();
    let (tools, _) = STAGES.split_once("\n\n").unwrap();
    let copy = format!("{tools}\nFROM scratch\nCOPY --from=tools /tool.sum /other.sum\n");
    site.fill(&third, &copy);
    let since = site.registry.requests().len();
    let built = third.build(&["-t", "sum", "--cache-from", &from]);
    built.ok();
    assert_eq!(built.ran().len(), 1, "{built}");
    assert_eq!(site.got("cache", since).len(), 3, "{:#?}", site.got("cache", since));
}

#[test]
fn a_changed_file_reruns_only_what_depends_on_it() {
    need!("docker-registry");
    let Some(site) = Site::with_cache() else { return };
    let second = site.machine();
    second.write("context/src/two.txt", "changed");
    let built = second.build(&["-t", "app", "--cache-from", &site.cache("a")]);
    built.ok();
    let ran = built.ran();
    // The copy of a file from another stage stands on other content: it runs, and is copied from an imported stage.
    let want = ["COPY src", "RUN cat", "COPY --from=tools"];
    assert_eq!(ran.len(), want.len(), "{built}");
    assert!(want.iter().all(|part| ran.iter().any(|step| step.contains(part))), "{built}");
    for reason in ["src/two.txt", "app:3", "app:4"] {
        assert!(built.stderr.contains(&format!("because {reason} changed")), "{reason}: {built}");
    }
    assert!(second.shale(&["run", "app"]).ok().contains("changed"));
}

#[test]
fn an_ordinary_user_and_root_share_a_cache() {
    need!("root", "docker-registry", "newuidmap", "setpriv");
    let Some(site) = Site::new() else { return };
    let dockerfile = "FROM BASE\nCOPY --chown=1000:2000 src /src\n\
        RUN rm /src/one.txt && chmod 4750 /src/two.txt && ln /src/two.txt /link && mknod /pipe p\n\
        RUN rm -rf /src && mkdir /src && touch /src/new && chown 7:8 /src/new\n";
    site.fill(&site.first, dockerfile);
    let to = site.all_to("root");
    site.first.build(&["-t", "app", "--cache-to", &to]).ok();
    for name in ["shale-test-ranges", "shale-test-single"] {
        let Some(user) = world::user(name) else { return };
        let world = World::of(user);
        site.fill(&world, dockerfile);
        let built = world.build(&["-t", "app", "--cache-from", &site.cache("root")]);
        assert_cached(&built);
        assert!(!built.stderr.contains("warning"), "{built}");
        assert_eq!(id(&world, "app"), id(&site.first, "app"), "{name}");
        let to = format!("type=local,dest={},mode=max", world.path("home/cache").display());
        assert_cached(&world.build(&["-t", "app", "--cache-to", &to]));
        let from = format!("type=local,src={}", world.path("home/cache").display());
        let third = site.machine();
        site.fill(&third, dockerfile);
        assert_cached(&third.build(&["-t", "app", "--cache-from", &from]));
    }
}

#[test]
fn mode_min_has_the_result_s_steps_alone() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    site.first.build(&["-t", "app", "--cache-to", &site.cache("min")]).ok();
    let second = site.machine();
    let built = second.build(&["-t", "app", "--cache-from", &site.cache("min")]);
    built.ok();
    let ran = built.ran();
    // The other stage's content is not known without running it; the copy of its equal file is found then.
    assert!(ran.iter().all(|step| step.contains("tools")), "{built}");
    assert!(ran.iter().any(|step| step.contains("RUN dd")), "{built}");
    assert_eq!(id(&second, "app"), id(&site.first, "app"));
}

#[test]
fn a_directory_is_a_cache_too_and_several_are_written_at_once() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let directory = site.first.path("cache");
    let local = format!("type=local,dest={},mode=max,compression=zstd", directory.display());
    let to = site.all_to("a");
    site.first.build(&["-t", "app", "--cache-to", &local, "--cache-to", &to]).ok();
    for from in [format!("type=local,src={}", directory.display()), site.cache("a")] {
        let second = site.machine();
        assert_cached(&second.build(&["-t", "app", "--cache-from", &from]));
        assert_eq!(id(&second, "app"), id(&site.first, "app"));
    }
    // Nothing changed: nothing is sent.
    let since = site.registry.requests().len();
    let again = site.first.build(&["-t", "app", "--cache-to", &to]);
    assert_cached(&again);
    let layers_sent = site.registry.requests()[since..]
        .iter()
        .filter(|line| line.starts_with("PUT /v2/cache/blobs"))
        .count();
    assert!(layers_sent <= 2, "only the document and its config may be new: {layers_sent}");
    let blobs = again.stderr.lines().filter(|line| line.contains(" sha256:")).count();
    let kept = again.stderr.lines().filter(|line| line.contains(" exists ")).count();
    assert!(kept > 0 && kept >= blobs - 1, "all but the image's line: {again}");
    // A directory whose index is broken is left to its owner.
    site.first.write("cache/index.json", "{");
    let words = ["index.json: ", "hint: ", "left as it is", "another directory"];
    site.first.build(&["-t", "app", "--cache-to", &local]).fails(1, &words);
    assert_eq!(site.first.read("cache/index.json"), "{");
}

#[test]
fn an_imported_cache_can_be_exported_by_who_never_had_its_layers() {
    need!("docker-registry");
    let Some(site) = Site::with_cache() else { return };

    let second = site.machine();
    let other = format!("type=registry,ref={}/other:b,mode=max", site.registry.address());
    let since = site.registry.requests().len();
    let from = site.cache("a");
    let arguments = ["--output", "type=cacheonly", "--cache-from", &from, "--cache-to", &other];
    assert_cached(&second.build(&arguments));
    // A registry takes the blobs from its own other repository.
    assert_eq!(site.got("cache", since).len(), 1, "{:#?}", site.got("cache", since));

    let third = site.machine();
    let from = format!("type=registry,ref={}/other:b", site.registry.address());
    assert_cached(&third.build(&["-t", "app", "--cache-from", &from])); // CIO-15
    assert_eq!(id(&third, "app"), id(&site.first, "app"));
}

#[test]
fn a_push_to_the_cache_s_registry_fetches_no_layer() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let (to, from) = (site.all_to("a"), site.cache("a"));
    let names = ["one", "two"].map(|name| format!("{}/{name}:1", site.registry.address()));
    let first = ["-t", &*names[0], "--push", "--cache-to", &to, "--metadata-file", "../first.json"];
    site.first.build(&first).ok();

    let second = site.machine();
    let since = site.registry.requests().len();
    let push = ["-t", &*names[1], "--push", "--cache-from", &from, "--metadata-file", "../m.json"];
    let pushed = second.build(&push);
    assert_cached(&pushed);
    // What was not sent is told so, and how large it is although it is not here.
    assert!(pushed.stderr.lines().any(|line| line.contains(" mounted ")), "{pushed}");
    let listed = second.shale(&["images", names[1].trim_end_matches(":1")]);
    assert!(listed.ok().lines().count() == 2 && !listed.ok().contains(" 0B"), "{listed}");
    let requests = site.registry.requests();
    let got: Vec<_> = requests[since..].iter().filter(|line| line.starts_with("GET")).collect();
    let blobs = got.iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!(blobs, 2, "the cache's document and the base's config alone: {got:#?}");
    let digest = |world: &World, file: &str| {
        let facts: serde_json::Value = serde_json::from_str(&world.read(file)).unwrap();
        facts["containerimage.digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(&second, "m.json"), digest(&site.first, "first.json"));
    // What was not fetched is had from where it was pushed.
    let third = format!("{}/third:1", site.registry.address());
    second.shale(&["tag", &names[1], &third]).ok();
    second.shale(&["push", &third]).ok();
    second.shale(&["save", "-o", "../app.tar", &names[1]]).ok();
    let want = site.first.shale(&["run", &names[0]]).ok().to_owned();
    assert_eq!(second.shale(&["run", &names[1]]).ok(), want);
    let third = site.machine();
    third.shale(&["pull", &names[1]]).ok();
    assert_eq!(third.shale(&["run", &names[1]]).ok(), want);
}

#[test]
fn a_push_of_layers_that_are_gone_builds_them() {
    need!("docker-registry");
    let Some((site, directory, from)) = Site::with_directory() else { return };
    let name = format!("{}/app:1", site.registry.address());
    let push = ["-t", &*name, "--push", "--cache-from", &from];
    assert_cached(&site.machine().build(&push));
    let runs = |name: &str| {
        let other = site.machine();
        other.shale(&["pull", name]).ok();
        assert!(other.shale(&["run", name]).ok().starts_with("12"));
    };
    runs(&name);

    layer_blobs(&directory).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let other = format!("{}/other:1", site.registry.address());
    let built = site.machine().build(&["-t", &other, "--push", "--cache-from", &from]);
    built.ok();
    assert_eq!(built.ran().len(), 6, "{built}");
    runs(&other);
}

#[test]
fn an_image_carries_its_cache_when_asked() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let plain = {
        site.first.build(&["-t", "plain"]).ok();
        id(&site.first, "plain")
    };
    let name = format!("{}/app:1", site.registry.address());
    site.first.build(&["-t", &name, "--push", "--cache-to", "type=inline"]).ok();
    assert_ne!(id(&site.first, &name), plain);
    let again = ["-t", "again", "--build-arg", "BUILDKIT_INLINE_CACHE=1"];
    assert_cached(&site.first.build(&again)); // CIO-06
    assert_eq!(id(&site.first, "again"), id(&site.first, &name));

    let second = site.machine();
    let built = second.build(&["-t", "app", "--cache-from", &name]);
    built.ok();
    assert!(built.ran().iter().all(|step| step.contains("tools")), "{built}");
    assert_eq!(id(&second, "app"), plain);
}

#[test]
fn one_cache_holds_several_platforms() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY src /src-$TARGETARCH\nCOPY tool.txt /\n";
    let both = "--platform=linux/amd64,linux/arm64";
    site.fill(&site.first, dockerfile);
    let to = site.all_to("both");
    site.first.build(&[both, "-t", "app", "--cache-to", &to]).ok();
    for platform in [both, "--platform=linux/arm64", "--platform=linux/amd64"] {
        let second = site.machine();
        site.fill(&second, dockerfile);
        let from = site.cache("both");
        assert_cached(&second.build(&[platform, "-t", "app", "--cache-from", &from])); // CIO-14
    }
    let second = site.machine();
    site.fill(&second, dockerfile);
    let name = format!("{}/app:1", site.registry.address());
    let from = site.cache("both");
    assert_cached(&second.build(&[both, "-t", &name, "--push", "--cache-from", &from]));
    second.shale(&["save", "-o", "../app.tar", &name]).ok();
    let third = site.machine();
    third.shale(&["pull", &name]).ok();
    third.shale(&["save", "-o", "../app.tar", &name]).ok();
}

#[test]
fn a_linked_copy_is_found_on_any_base() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let linked =
        |base: &str| format!("FROM {base}\nCOPY --link src /src\nCOPY --link tool.txt /\n");
    site.fill(&site.first, &linked("BASE"));
    let to = site.all_to("linked");
    site.first.build(&["-t", "app", "--cache-to", &to]).ok();
    for base in ["BASE", "scratch"] {
        let second = site.machine();
        site.fill(&second, &linked(base));
        let from = site.cache("linked");
        assert_cached(&second.build(&["-t", "app", "--cache-from", &from]));
        let out = second.path("out").display().to_string();
        second.build(&["--output", &format!("type=local,dest={out}")]).ok();
        assert_eq!(second.read("out/src/two.txt"), "2");
    }
}

#[test]
fn a_cache_that_cannot_be_used_never_fails_a_build() {
    need!("docker-registry");
    let Some((site, directory, from)) = Site::with_directory() else { return };
    let builds_anew = |from: &str, steps: usize| {
        let second = site.machine();
        let built = second.build(&["-t", "app", "--cache-from", from]);
        built.ok();
        assert_eq!(built.stderr.to_lowercase().matches("warning").count(), 1, "{built}"); // CIO-11
        assert!(built.ran().len() >= steps, "{built}");
        assert!(second.shale(&["run", "app"]).ok().starts_with("12"));
    };
    builds_anew(&site.cache("never-written"), 6);
    builds_anew("type=local,src=/no/such/directory", 6);

    // A layer's blob is there no more, then it is another one: seen only when it is brought.
    let blobs: Vec<PathBuf> = layer_blobs(&directory);
    let whole: Vec<Vec<u8>> = blobs.iter().map(|path| std::fs::read(path).unwrap()).collect();
    blobs.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    builds_anew(&from, 6);
    for (path, bytes) in blobs.iter().zip(&whole) {
        let mut other = bytes.clone();
        let middle = other.len() / 2;
        other[middle] ^= 0xff;
        std::fs::write(path, other).unwrap();
    }
    builds_anew(&from, 6);
    for (path, bytes) in blobs.iter().zip(&whole) {
        std::fs::write(path, bytes).unwrap();
    }
    assert_cached(&site.machine().build(&["-t", "app", "--cache-from", &from]));

    // All that is not a layer is cut in half: the document among it.
    for entry in std::fs::read_dir(directory.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if !blobs.contains(&path) {
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    builds_anew(&from, 6);
}

/// The blobs of a layout that are compressed tars.
fn layer_blobs(layout: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let is_gzip = |path: &PathBuf| std::fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
    let mut blobs: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(is_gzip).collect();
    blobs.sort();
    assert_eq!(blobs.len(), 6, "one for each step");
    blobs
}

#[test]
fn a_registry_that_never_answers_is_not_waited_for() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let listening = std::thread::spawn(move || {
        // Takes what is said, and says nothing; ends with the first client.
        let (mut client, _) = silent.accept().unwrap();
        let _ = client.read_to_end(&mut Vec::new());
    });
    let from = format!("type=registry,ref=127.0.0.1:{port}/cache:a");
    let built = site.first.build(&["-t", "app", "--cache-from", &from]);
    built.ok();
    assert!(built.stderr.contains("does not answer"), "{built}");
    listening.join().unwrap();
}

#[test]
fn an_export_that_fails_fails_the_build_unless_that_is_no_matter() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let nowhere = "type=registry,ref=127.0.0.1:1/cache:a";
    site.first.build(&["-t", "one", "--cache-to", nowhere]).fails(4, &["cache", "127.0.0.1:1"]);
    assert!(!id(&site.first, "one").is_empty(), "the result is done all the same");
    let ignored = format!("{nowhere},ignore-error=true");
    let built = site.first.build(&["-t", "two", "--cache-to", &ignored]);
    built.ok();
    assert!(built.stderr.contains("127.0.0.1:1"), "{built}"); // CIO-11
}

#[test]
fn neither_secrets_nor_cache_mounts_travel() {
    need!("docker-registry");
    let Some(site) = Site::new() else { return };
    let directory = site.first.path("cache");
    site.first.write("secret", "hush-hush");
    let dockerfile = "FROM BASE\n\
        RUN --mount=type=secret,id=key --mount=type=cache,target=/kept \
        wc -c < /run/secrets/key > /length && echo kept-apart > /kept/file\n";
    site.fill(&site.first, dockerfile);
    let to = format!("type=local,dest={},mode=max,compression=uncompressed", directory.display());
    let secret = format!("id=key,src={}", site.first.path("secret").display());
    site.first.build(&["-t", "app", "--secret", &secret, "--cache-to", &to]).ok();
    for entry in std::fs::read_dir(directory.join("blobs/sha256")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!has(b"hush-hush") && !has(b"kept-apart")); // CIO-16
    }
}
