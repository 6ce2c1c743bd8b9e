//! As an ordinary user: subordinate ids, one id, and networks that do and do not work (design D1, D11).

use testkit::need;
use world::World;

const OWNERS: &str = "\
FROM base
COPY --chown=web:web f /f
RUN touch /g && chown 1000:2000 /g && chmod 4755 /g && id -u > /who
USER web
RUN id -u > /tmp/who
";

#[test]
fn subordinate_ids_give_every_owner() {
    need!("root", "newuidmap", "setpriv");
    let Some(user) = world::user("shale-test-ranges") else { return };
    let world = World::of(user);
    if !world.base() {
        return;
    }
    world.write("context/f", "x");
    world.dockerfile(OWNERS);
    world.build(&["-t", "app", "-o", "type=tar,dest=../home/tree.tar"]).ok();
    let listed = world.program("tar", &["--numeric-owner", "-tvf", "../home/tree.tar"]);
    let has = |owner: &str, name: &str| {
        listed.ok().lines().any(|line| line.contains(owner) && line.ends_with(name))
    };
    assert!(has("1000/1000", " f"), "{listed}");
    assert!(has("-rwsr-xr-x 1000/2000", " g"), "{listed}");
    assert_eq!(world.shale(&["run", "app", "sh", "-c", "cat /who /tmp/who"]).ok(), "0\n1000");
    assert_eq!(world.build(&["-t", "app"]).ran(), Vec::<String>::new());
}

#[test]
fn a_single_id_builds_what_needs_no_other() {
    need!("root", "setpriv");
    let Some(user) = world::user("shale-test-single") else { return };
    let world = World::of(user);
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nRUN echo mine > /f && id -u > /who\n");
    world.build(&["-t", "app"]).ok();
    assert_eq!(world.shale(&["run", "app", "sh", "-c", "cat /f /who"]).ok(), "mine\n0");
}

#[test]
fn an_own_network_is_not_the_host_s() {
    need!("root", "pasta", "setpriv");
    let Some(user) = world::user("shale-test-ranges") else { return };
    let world = World::of(user);
    if !world.base() {
        return;
    }
    let here = std::fs::read_link("/proc/self/ns/net").unwrap();
    let here = here.to_str().unwrap();
    world.dockerfile(&format!(
        "FROM base\nRUN ls -l /proc/self/ns/net && ! ls -l /proc/self/ns/net | grep -F '{here}'\n"
    ));
    let run = world.build(&["--network=sandbox"]);
    run.ok();
    assert!(!run.stderr.contains("machine's network"), "{run}");
}

#[test]
fn without_a_network_of_its_own_the_build_says_so_or_refuses() {
    need!("root", "setpriv", "unshare");
    let Some(user) = world::user("shale-test-ranges") else { return };
    let mut world = World::of(user);
    world.close_tun();
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nRUN echo networked\n");
    let run = world.build(&[]);
    run.ok();
    let about = |line: &&str| line.contains("steps use this machine's network");
    let said = run.stderr.lines().filter(about).count();
    assert_eq!(said, 1, "one line says that the machine's network is used\n{run}");
    world.build(&["--no-cache", "--network=sandbox"]).fails(3, &["network"]);
    world.build(&["--no-cache", "--require-isolation"]).fails(3, &["network"]);
    world.build(&["--no-cache", "--network=none"]).ok();
}
