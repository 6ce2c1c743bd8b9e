//! Bad input: a clear error, a documented exit code, no half-made image (docs/exit-codes.md, spec section 11).

use world::{Run, World};

/// Builds a Dockerfile that must fail, and sees that nothing was tagged.
fn fails(world: &World, dockerfile: &str, code: i32, words: &[&str]) -> Run {
    world.dockerfile(dockerfile);
    let run = world.build(&["-t", "half-made"]);
    run.fails(code, words);
    let listed = world.shale(&["images"]);
    assert!(!listed.ok().contains("half-made"), "tagged although the build failed\n{run}");
    run
}

#[test]
fn files_that_cannot_be_parsed_show_the_place() {
    let world = World::new();
    let run = world.build(&[]);
    run.fails(2, &["failed to read dockerfile: open Dockerfile: no such file or directory"]); // ERR-71
    let place = ["failed to solve", "unknown instruction: RNU", "Dockerfile:2", ">>> RNU x", "^^^"];
    fails(&world, "FROM scratch\nRNU x\n", 2, &place); // ERR-06
    fails(&world, "", 2, &["the Dockerfile cannot be empty"]); // ERR-01
    fails(&world, "RUN x\n", 2, &["no build stage in current context"]); // ERR-04
    let flag = ["unknown flag: --form", "Dockerfile:2"];
    fails(&world, "FROM scratch\nCOPY --form=x a b\n", 2, &flag); // ERR-28
    fails(&world, "FROM scratch\nRUN <<END\nmake\n", 2, &["unterminated heredoc"]); // ERR-56
    world.dockerfile("FROM scratch AS one\n");
    let target = ["target stage \"oen\" could not be found", "one"];
    world.build(&["--target", "oen"]).fails(2, &target); // ERR-68
}

#[test]
fn a_command_that_fails_shows_its_code_and_last_output() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let words =
        ["last words", "exit code: 3", "did not complete successfully", "Dockerfile:2", ">>> RUN"];
    fails(&world, "FROM base\nRUN echo last words; exit 3\n", 1, &words); // ERR-34
    fails(&world, "FROM base\nRUN [\"/no/such\"]\n", 1, &["/no/such", "not found"]); // ERR-36
    fails(&world, "FROM scratch\nRUN x\n", 1, &["/bin/sh", "not found"]); // ERR-76
    fails(&world, "FROM base\nUSER nobody-here\nRUN x\n", 1, &["unable to find user nobody-here"]);
}

#[test]
fn a_missing_file_is_named_with_its_neighbours() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.write("context/config.yaml", "");
    let words = ["config.yml", "not found", "config.yaml", "Dockerfile:2"];
    fails(&world, "FROM base\nCOPY config.yml /\n", 1, &words); // ERR-44, COPY-05
    let words = ["/etc/pasword", "not found"];
    fails(&world, "FROM base AS a\nFROM base\nCOPY --from=a /etc/pasword /\n", 1, &words);
}

#[test]
fn links_stay_inside_the_context() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.write("outside.txt", "host secret");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, world.path("context").join(name)).unwrap();
    };
    link("../outside.txt", "relative");
    link(world.path("outside.txt").to_str().unwrap(), "absolute");
    for source in ["relative", "absolute", "../outside.txt"] {
        let dockerfile = format!("FROM base\nCOPY {source} /got\n");
        let run = fails(&world, &dockerfile, 1, &["not found"]); // COPY-10, COPY-13
        assert!(!run.stderr.contains("host secret"), "{run}");
    }
}

#[test]
fn a_store_that_cannot_be_used_says_why() {
    let world = World::new();
    world.dockerfile("FROM scratch\nENV A=b\n");
    let file = world.write("a-file", "");
    world.shale(&["--root", file.to_str().unwrap(), "build", "."]).fails(3, &["a-file"]);
    // The kernel makes no directories there, and says that the one above does not exist.
    for command in [&["images"][..], &["build", "."]] {
        let run = world.shale(&[&["--root", "/proc/x"], command].concat());
        run.fails(3, &["/proc/x", "hint", "SHALE_ROOT"]);
    }
    world.build(&["-t", "app"]).ok();
    world.write("home/store/version", "shale-store 999999\n");
    world.build(&["-t", "app"]).fails(6, &["format 999999"]);
}

#[test]
fn a_command_that_only_looks_makes_no_store_at_a_wrong_root() {
    let world = World::new();
    let root = world.path("misspelt");
    let at = |command: &[&str]| {
        let root = ["--root", root.to_str().unwrap()];
        world.shale(&[&root[..], command].concat())
    };
    let looks: [&[&str]; 7] = [
        &["images"],
        &["why"],
        &["rmi", "app"],
        &["save", "-o", "../app.tar", "app"],
        &["prune"],
        &["cache", "du"],
        &["cache", "mounts", "ls"],
    ];
    for command in looks {
        at(command).fails(3, &["there is no store at", "misspelt", "hint"]);
    }
    assert!(!root.exists());
    // One that was made for it is empty, not missing, and what the variable names may be still to come.
    std::fs::create_dir(&root).unwrap();
    at(&["images"]).ok();
    world.shale(&["images"]).ok();
}

#[test]
fn a_store_that_is_not_ours_to_write_is_refused() {
    testkit::need!("root", "setpriv");
    let Some(user) = world::user("shale-test-ranges") else { return };
    let world = World::of(user);
    world.dockerfile("FROM scratch\nENV A=b\n");
    let root = World::new();
    let store = root.path("store");
    std::fs::create_dir(&store).unwrap();
    world.shale(&["--root", store.to_str().unwrap(), "build", "."]).fails(3, &["store"]);
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    testkit::need!("root", "mount");
    let mut world = World::new();
    // Small, and outside of the world, so that unmounting it is this test's own business.
    let disk = tempfile::Builder::new().prefix("shale-disk-").tempdir().unwrap();
    let path = disk.path().to_str().unwrap().to_owned();
    world.program("mount", &["-t", "tmpfs", "-o", "size=6m,mode=0700", "none", &path]).ok();
    let unmount = Unmount(path.clone());
    world.set("SHALE_ROOT", &format!("{path}/store"));
    world.write("context/big", vec![b'x'; 8 << 20]);
    world.dockerfile("FROM scratch\nCOPY big /big\n");
    world.build(&["-t", "half-made"]).fails(5, &["no space left"]);
    let listed = world.shale(&["images"]);
    assert!(!listed.ok().contains("half-made"), "{listed}");
    let ingest = std::fs::read_dir(disk.path().join("store/ingest"));
    assert_eq!(ingest.map_or(0, Iterator::count), 0);
    drop(unmount);
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn a_dockerfile_that_leads_out_of_the_context_is_not_read() {
    let world = World::new();
    world.write("outside", "host secret\n");
    world.write("context/inside", "FROM scratch\nENV A=b\n");
    let link = |target: &str| {
        let path = world.path("context/Dockerfile");
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    link("../context/inside"); // `..` of the root is the root, and there is no such name in it
    world.build(&[]).fails(2, &["no such file"]);
    link("inside"); // CTX-06
    world.build(&[]).ok();
    for target in ["../outside", world.path("outside").to_str().unwrap(), "/dev/zero", "/dev/stdin"]
    {
        link(target);
        let named = world.path("context/Dockerfile");
        let odd = world.path("tmp/../context/Dockerfile");
        let ways: [&[&str]; 4] = [
            &[],
            &["-f", "Dockerfile"],
            &["-f", named.to_str().unwrap()],
            &["-f", odd.to_str().unwrap()],
        ];
        for arguments in ways {
            let run = world.build(arguments);
            run.fails(2, &["failed to read dockerfile", "no such file"]);
            assert!(!run.stderr.contains("host secret"), "{run}");
        }
    }
    std::fs::remove_file(world.path("context/Dockerfile")).unwrap();
    world.program("mkfifo", &["Dockerfile"]).ok();
    world.build(&[]).fails(1, &["failed to read dockerfile", "not a regular file"]);
    // What the user names outside of the context is the user's choice: the naive way would show it here too.
    let shown = world.build(&["-f", "../outside"]);
    shown.fails(2, &["host secret"]);
}

#[test]
fn a_full_disk_is_told_wherever_it_is_noticed() {
    testkit::need!("root", "mount");
    let mut world = World::new();
    if !world.base() {
        return;
    }
    let disk = tempfile::Builder::new().prefix("shale-disk-").tempdir().unwrap();
    let path = disk.path().to_str().unwrap().to_owned();
    world.program("mount", &["-t", "tmpfs", "-o", "size=700k,mode=0700", "none", &path]).ok();
    let unmount = Unmount(path.clone());
    let tar = world.path("base.tar");
    world.dockerfile("FROM base\n");
    world.build(&["--iidfile", "/dev/full"]).fails(5, &["/dev/full", "no space left"]);
    let is_device = std::fs::metadata("/dev/full").unwrap().file_type();
    assert!(!is_device.is_file(), "the device was replaced by a file");
    world.set("SHALE_ROOT", &format!("{path}/store"));
    world.shale(&["import", tar.to_str().unwrap(), "base"]).fails(5, &["no space left"]);
    drop(unmount);
}

#[test]
fn a_tree_may_be_deeper_than_a_stack() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile(
        "FROM base AS a\nRUN i=0; while [ $i -lt 1300 ]; do mkdir d; cd d; i=$((i+1)); done\n\
         FROM base\nCOPY --from=a /d /deep\n",
    );
    world.build(&[]).ok();
}

#[test]
fn what_is_no_image_archive_is_told() {
    let world = World::new();
    world.dockerfile("FROM scratch\n");
    let words = ["cannot load Dockerfile", "no image archive", "docker save", "shale import"];
    world.shale(&["load", "-i", "Dockerfile"]).fails(1, &words);
}

#[test]
fn programs_that_do_not_run_have_a_shell_s_codes() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let missing = ["nosuch", "not found", "hint", "in the image"];
    world.shale(&["run", "base", "nosuch"]).fails(127, &missing);
    world.shale(&["run", "base", "ls -l /"]).fails(127, &["sh -c"]);
    world.dockerfile("FROM base\nRUN echo x > /plain\n");
    world.build(&["-t", "app"]).ok();
    world.shale(&["run", "app", "/plain"]).fails(126, &["/plain", "permission denied"]);
}

#[test]
fn what_can_be_removed_is_removed() {
    let world = World::new();
    world.dockerfile("FROM scratch\nENV A=b\n");
    world.build(&["-t", "first", "-t", "last"]).ok();
    let run = world.shale(&["rmi", "first", "nosuch", "last", "none"]);
    run.fails(1, &["no such image: nosuch", "no such image: none"]);
    for word in ["Untagged: first", "Untagged: last", "Deleted: "] {
        assert!(run.stdout.contains(word), "no {word:?}\n{run}");
    }
    world.shale(&["rmi", "nosuch", "none"]).fails(1, &["nosuch", "none"]);
}
