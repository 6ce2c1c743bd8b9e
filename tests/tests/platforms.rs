//! Several platforms, and steps for others than this machine's (spec section 4.3, PLAT-*).

use std::process::Command;

use testkit::need;
use world::{Registry, Run, World};

/// Nobody has an emulator of this one.
const NOWHERE: &str = "linux/nowhere";

#[test]
fn a_step_for_a_foreign_platform_is_refused_before_anything_runs() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let native = "FROM --platform=$BUILDPLATFORM base AS native\nRUN echo it ran > /f\n";
    let foreign = "FROM scratch\nCOPY --from=native /f /f\nRUN [\"/x\"]\n";
    world.dockerfile(&format!("{native}{foreign}"));
    let refused = world.build(&["--platform", NOWHERE]);
    let words = ["cannot run programs for linux/nowhere", "exec format error", "Dockerfile:5:1"];
    refused.fails(3, &words).fails(3, &["qemu-user-static", "binfmt"]);
    assert_eq!(refused.ran(), [""; 0], "{refused}");
    // One of several platforms is enough, and a stage without steps needs nothing.
    world.build(&["--platform", "local,linux/nowhere"]).fails(3, &words[..1]);
    world.dockerfile(&format!("{native}FROM scratch\nCOPY --from=native /f /f\nWORKDIR /d\n"));
    world.build(&["--platform", NOWHERE, "-o", "../out"]).ok();
    assert_eq!(world.read("out/f"), "it ran\n");
}

/// A line for `register` that knows 64 bit arm programs.
fn registration(interpreter: &str, flags: &str) -> String {
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    format!(":emulator:M::{magic}:{mask}:{interpreter}:{flags}")
}

/// shale in a user namespace with a binfmt_misc of its own (Linux 6.7) that has one entry: nothing of it outlives the
/// command, and the machine's own list is not touched.
fn with_entry(world: &World, entry: &str, arguments: &[&str]) -> Run {
    const SCRIPT: &str = r#"
        mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 99
        [ -z "$1" ] || printf '%s\n' "$1" > /proc/sys/fs/binfmt_misc/register || exit 98
        shift; exec "$@""#;
    let shale = world.command(&[]).get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh", entry]);
    command.arg(shale).args(arguments).current_dir(world.path("context"));
    world.environment(&mut command);
    Run::new(&mut command)
}

/// Whether the kernel has lists for user namespaces; says so if not.
#[allow(clippy::print_stderr, reason = "a test that cannot be made has no other way to say so")]
fn has_private_lists(world: &World) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let works = with_entry(world, "", &["--version"]).code == Some(0);
    assert!(works || version < (6, 7), "a kernel of {version:?} has private lists");
    if !works {
        eprintln!("not tested: this kernel has no binfmt_misc for user namespaces (Linux 6.7)");
    }
    works
}

/// A 64 bit arm program without libraries: prints a line, makes the directory /made, ends.
fn arm64_program() -> Vec<u8> {
    let set = |register: u32, value: u32| 0xd280_0000 | value << 5 | register;
    let call = |number: u32| [set(8, number), 0xd400_0001];
    // From the word that the instruction is to a byte behind the code.
    let address = |register: u32, from: u32, to: u32| {
        let distance = to - from;
        0x1000_0000 | (distance & 3) << 29 | (distance >> 2) << 5 | register
    };
    let code_bytes = 14 * 4;
    let (line, path) = (b"hello from arm64\n", b"/made\0");
    let mut code = vec![set(0, 1), address(1, 4, code_bytes), set(2, line.len() as u32)];
    code.extend(call(64)); // write
    code.push(0x9280_0000 | 99 << 5); // mov x0, AT_FDCWD
    code.extend([address(1, 6 * 4, code_bytes + line.len() as u32), set(2, 0o755)]);
    code.extend(call(34)); // mkdirat
    code.push(set(0, 0));
    code.extend(call(93)); // exit
    code.push(0);
    assert_eq!(code.len() as u32 * 4, code_bytes);
    let mut all: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    all.extend_from_slice(line);
    all.extend_from_slice(path);
    elf(183, &all)
}

/// A little-endian 64 bit program of one segment.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([2u16, machine].iter().flat_map(|n| n.to_le_bytes()));
    out.extend(1u32.to_le_bytes());
    out.extend([BASE + 120, 64, 0].iter().flat_map(|n: &u64| n.to_le_bytes()));
    out.extend(0u32.to_le_bytes());
    out.extend([64u16, 56, 1, 64, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([1u32, 5].iter().flat_map(|n| n.to_le_bytes()));
    let size = 120 + code.len() as u64;
    out.extend([0, BASE, BASE, size, size, 0x1_0000].iter().flat_map(|n: &u64| n.to_le_bytes()));
    out.extend_from_slice(code);
    out
}

#[test]
fn a_step_for_a_foreign_platform_runs_where_an_interpreter_is_registered() {
    need!("unshare", "qemu-aarch64-static");
    let world = World::new();
    if !has_private_lists(&world) {
        return;
    }
    if cfg!(target_arch = "aarch64") {
        return; // there is nothing foreign about it
    }
    world.write("context/program", arm64_program());
    world.dockerfile("FROM scratch\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n");
    let emulator = testkit::need::program("qemu-aarch64-static").unwrap();
    let emulator = emulator.to_str().unwrap();
    let build = |flags: &str, more: &[&str]| {
        let common = ["build", "--progress=plain", "--platform=linux/arm64", "-o=../out"];
        let entry = if flags.is_empty() { String::new() } else { registration(emulator, flags) };
        let _ = std::fs::remove_dir_all(world.path("out"));
        with_entry(&world, &entry, &[&common[..], more, &["."]].concat())
    };
    build("", &[]).fails(3, &["cannot run programs for linux/arm64", "Dockerfile:3:1"]);
    // With F the kernel holds the interpreter; without it is shown to the step, and leaves no trace.
    for flags in ["F", "OC"] {
        let run = build(flags, &["--no-cache"]);
        run.ok();
        assert!(run.stderr.contains("hello from arm64"), "{flags}: {run}");
        let list = world.program("find", &["../out", "-mindepth", "1"]);
        let mut names: Vec<&str> = list.ok().lines().collect();
        names.retain(|name| !["../out/dev", "../out/proc", "../out/sys"].contains(name));
        names.sort_unstable();
        assert_eq!(names, ["../out/made", "../out/program"], "{flags}");
    }
    // What is cached needs no interpreter.
    build("", &[]).ok();
}

#[test]
fn narrow_programs_run_where_the_kernel_runs_them() {
    let (platform, program) = match std::env::consts::ARCH {
        "x86_64" => ("linux/386", narrow(3, 0, &[0x31, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80])),
        "aarch64" => {
            let code = [0, 0, 0xa0, 0xe3, 1, 0x70, 0xa0, 0xe3, 0, 0, 0, 0xef];
            ("linux/arm/v7", narrow(40, 0x500_0000, &code))
        }
        _ => return,
    };
    let world = World::new();
    let path = world.write("context/program", program);
    world.program("chmod", &["755", path.to_str().unwrap()]).ok();
    let runs_here = Command::new(&path).status().is_ok_and(|status| status.success());
    world.dockerfile("FROM scratch\nCOPY program /program\nRUN [\"/program\"]\n");
    let run = world.build(&["--platform", platform]);
    match runs_here {
        true => drop(run.ok()),
        false => drop(run.fails(3, &["exec format error"])),
    }
}

/// A little-endian 32 bit program of one segment.
fn narrow(machine: u16, flags: u32, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x40_0000;
    let mut out = b"\x7fELF\x01\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([2u16, machine].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([1, BASE + 84, 52, 0, flags].iter().flat_map(|n: &u32| n.to_le_bytes()));
    out.extend([52u16, 32, 1, 40, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    let size = 84 + code.len() as u32;
    out.extend([1, 0, BASE, BASE, size, size, 5, 0x1000].iter().flat_map(|n| n.to_le_bytes()));
    out.extend_from_slice(code);
    out
}

const SEVERAL: &str = "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /arch\nCMD [\"/arch\"]\n";

fn several(world: &World, arguments: &[&str]) -> Run {
    for architecture in ["amd64", "arm64", "s390x"] {
        world.write(&format!("context/{architecture}"), architecture);
    }
    world.dockerfile(SEVERAL);
    let platforms = ["--platform", "linux/arm64,linux/amd64,linux/s390x", "-q"];
    world.build(&[&platforms[..], arguments].concat())
}

#[test]
fn plat_07_a_name_of_several_platforms_is_one_of_an_index() {
    let world = World::new();
    let built = several(&world, &["-t", "app:1", "-t", "app:2"]);
    let index = built.ok().rsplit(':').next().unwrap().to_owned();
    let listed = world.shale(&["images", "--no-trunc"]);
    let rows: Vec<&str> = listed.ok().lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(rows.iter().all(|row| row.contains(&index)), "{listed}");
    // FROM takes the image of the platform that is wanted.
    world.dockerfile("FROM app:1\n");
    for platform in ["amd64", "s390x"] {
        world.build(&["--platform", &format!("linux/{platform}"), "-o", "../out"]).ok();
        assert_eq!(world.read("out/arch"), platform);
    }
    let refused = world.build(&["--platform", "linux/riscv64", "--pull=false"]);
    assert_ne!(refused.code, Some(0), "{refused}");
    let inspected = world.shale(&["inspect", "app:1"]);
    // It has met no registry, so it has no digest there (docs/images.md).
    assert!(inspected.ok().contains("\"RepoDigests\": []"), "{inspected}");
    let by_id = world.shale(&["inspect", &index[..12]]);
    assert_eq!(by_id.ok(), inspected.ok());
    let id = |args: &[&str]| {
        let inspected = world.shale(&[&["inspect", "-f", "{{.Id}}"], args].concat());
        inspected.ok().trim().to_owned()
    };
    assert!(id(&["app:1"]).contains(&index[..12]), "{index}");
    let one = world.shale(&["rmi", &id(&["--platform", "linux/s390x", "app:1"])]);
    one.fails(1, &["is one of several platforms", "app:1"]);
    world.shale(&["tag", "app:1", "other"]).ok();
    world.shale(&["rmi", "app:1", "app:2"]).ok();
    let left = world.shale(&["images", "-q", "--no-trunc"]);
    assert!(left.ok().contains(&index), "{left}");
    let removed = world.shale(&["rmi", "other"]);
    // Three images, and the one layer of each.
    assert_eq!(removed.ok().matches("Deleted: sha256:").count(), 6, "{removed}");
}

#[test]
fn plat_07_an_index_is_saved_and_pushed_as_it_was_made() {
    need!("docker-registry", "skopeo");
    let world = World::new();
    let registry = Registry::start(&world);
    let name = format!("{}/app:1", registry.address());
    let digest = several(&world, &["-t", &name, "--annotation", "index:made=here"]);
    let digest = digest.ok();
    assert!(world.shale(&["push", &name]).ok().contains(&format!("1: digest: {digest} size: ")));
    let raw = format!("docker://{name}");
    let raw = world.program("skopeo", &["inspect", "--tls-verify=false", "--raw", &raw]);
    let index: serde_json::Value = serde_json::from_str(raw.ok()).unwrap();
    let listed = index["manifests"].as_array().unwrap().iter();
    let architectures: Vec<_> = listed.map(|m| m["platform"]["architecture"].clone()).collect();
    assert_eq!(architectures, ["arm64", "amd64", "s390x"]);
    assert_eq!(index["annotations"]["made"], "here");
    world.shale(&["save", "-o", "../app.tar", &name]).ok();
    let inside = |file: &str| {
        let read = world.program("tar", &["-xOf", "../app.tar", file]);
        serde_json::from_str::<serde_json::Value>(read.ok()).unwrap()
    };
    assert_eq!(inside("index.json")["manifests"][0]["digest"], digest);
    // Older engines read this file alone, which can name one image.
    assert_eq!(inside("manifest.json").as_array().map(Vec::len), Some(1));
    assert_eq!(inside("manifest.json")[0]["RepoTags"], serde_json::json!([name]));
}

#[test]
fn plat_08_one_platform_can_have_an_index() {
    let world = World::new();
    world.dockerfile("FROM scratch\nENV A=b\n");
    let force = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1"];
    let outputs = ["-o", "type=oci,tar=false,dest=../one", "-o", "../tree", "--iidfile", "../id"];
    world.build(&[&force[..], &outputs].concat()).ok();
    let index: serde_json::Value = serde_json::from_str(&world.read("one/index.json")).unwrap();
    let target = &index["manifests"][0];
    assert_eq!(target["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(target["digest"], world.read("id"), "OUT-40");
    assert!(world.path("tree/linux_amd64").exists() || !cfg!(target_arch = "x86_64"));
    let conflict = ["--platform=linux/amd64,linux/386", "--build-arg=BUILDKIT_MULTI_PLATFORM=0"];
    world.build(&conflict).fails(2, &["conflicting config: returning multiple target platforms"]);
    let word = ["--build-arg=BUILDKIT_MULTI_PLATFORM=perhaps"];
    world.build(&word).fails(2, &["invalid boolean value for multi-platform: perhaps"]);
}
