//! `RUN --device` with made descriptions (RUN-27, RUN-28).

use world::{World, user};

const YAML: &str = "\
cdiVersion: \"0.6.0\"
kind: \"example.com/dev\"
containerEdits:
  env: [\"COMMON=1\"]
devices:
- name: nodes
  containerEdits:
    env: [\"NODES=a b\"]
    deviceNodes:
    - path: /dev/made/null
      hostPath: /dev/null
    - path: /dev/five
      hostPath: /dev/zero
      fileMode: 0640
      uid: 7
      gid: 8
    mounts:
    - hostPath: SHOWN
      containerPath: /shown
      options: [ro, rbind]
    additionalGids: [44]
- name: auto
  annotations:
    org.mobyproject.buildkit.device.autoallow: true
    org.mobyproject.buildkit.device.class: anything
  containerEdits:
    env: [\"AUTO=yes\"]
";

const DIRECTORY: [&str; 2] = ["--cdi-spec-dir", "../cdi"];

fn prepared(world: World) -> Option<World> {
    if !world.base() {
        return None;
    }
    world.write("shown/file", "it is shown\n");
    let shown = world.path("shown").display().to_string();
    world.write("cdi/dev.yaml", YAML.replace("SHOWN", &shown));
    Some(world)
}

#[test]
fn run_27_a_step_gets_what_the_description_says() {
    let Some(world) = prepared(World::new()) else { return };
    let checks = [
        "test \"$COMMON $NODES\" = '1 a b'",
        "echo x > /dev/made/null",
        "test \"$(stat -c '%F %a %u %g %t %T' /dev/five)\" = 'character special file 640 7 8 1 5'",
        "test \"$(head -c 3 /dev/five | wc -c)\" = 3",
        "test \"$(cat /shown/file)\" = 'it is shown'",
        "! touch /shown/new",
        "id -G | grep -w 44",
    ];
    let flags = "--device=example.com/dev=nodes,required --device=example.com/none";
    world.dockerfile(&format!("FROM base\nRUN {flags} {}\n", checks.join(" && ")));
    let allow = ["--allow", "device=example.com/dev=nodes", "-o", "../out"];
    world.build(&[&DIRECTORY[..], &allow].concat()).ok();
    assert!(!world.path("out/shown").exists() && !world.path("out/dev/made").exists());
    world.build(&[&DIRECTORY[..], &["--allow", "device", "--no-cache"]].concat()).ok();
}

#[test]
fn run_27_devices_for_an_ordinary_user() {
    let Some(user) = user("shale-test-ranges") else { return };
    let Some(world) = prepared(World::of(user)) else { return };
    let checks = "echo x > /dev/made/null && test -c /dev/five && cat /shown/file";
    let flag = "--device=example.com/dev=nodes,required";
    world.dockerfile(&format!("FROM base\nRUN {flag} {checks}\n"));
    world.build(&[&DIRECTORY[..], &["--allow", "device"]].concat()).ok();
}

#[test]
fn run_28_devices_have_to_be_allowed() {
    let Some(world) = prepared(World::new()) else { return };
    let build = |flag: &str, arguments: &[&str]| {
        world.dockerfile(&format!("FROM base\nRUN echo first\nRUN {flag} echo second\n"));
        world.build(&[&DIRECTORY[..], arguments, &["--no-cache"]].concat())
    };
    let refused = build("--device=example.com/dev=*", &[]);
    let words = ["device example.com/dev=nodes is requested by the build but not allowed"];
    refused.fails(2, &words).fails(2, &["Dockerfile:3:1", "--allow device=example.com/dev=nodes"]);
    assert_eq!(refused.ran(), [""; 0], "{refused}");
    let other = ["--allow", "device=example.com/dev=auto"];
    build("--device=example.com/dev=nodes", &other).fails(2, &words);
    build("--device=example.com/dev=nodes", &["--allow", "device=example.com/dev=*"]).ok();
    // Allowed by its description, by its class too; what is optional may be missing.
    build("--device=example.com/dev=auto,required test \"$AUTO\" = yes &&", &[]).ok();
    build("--device=anything test \"$AUTO\" = yes &&", &[]).ok();
    build("--device=example.com/dev=none", &[]).ok();
    let missing = build("--device=example.com/dev=none,required", &["--allow", "device"]);
    missing.fails(3, &["required device \"example.com/dev=none\" is not registered", "../cdi"]);
}
