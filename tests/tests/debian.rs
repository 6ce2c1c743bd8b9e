//! A real distribution: packages installed in a step, a compiler, an interpreter. The root file system is made from
//! the machine's own package sources by `dev/debian-root`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use testkit::need;
use world::World;

const COMPILE: &str = r#"
FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY hello.c .
RUN gcc -static -O2 -o /hello hello.c

FROM scratch
COPY --from=build /hello /hello
ENTRYPOINT ["/hello"]
"#;

const C_PROGRAM: &str = "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n";

/// The archive of a minimal Debian; made once and kept in the target directory.
fn root_file_system() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tar = top.join("target/debian-root.tar");
        if !tar.is_file() {
            let partial = tar.with_extension(format!("{}.part", std::process::id()));
            let out = std::fs::File::create(&partial).unwrap();
            let mut make = Command::new(top.join("dev/debian-root"));
            let status = make.stdin(Stdio::null()).stdout(out).status().unwrap();
            assert!(status.success(), "dev/debian-root failed");
            std::fs::rename(&partial, &tar).unwrap();
        }
        tar.canonicalize().unwrap()
    })
}

fn debian(world: &World) {
    // By standard input: an ordinary user need not be able to reach the file.
    let tar = std::fs::read(root_file_system()).unwrap();
    let import = ["import", "-c", "CMD [\"bash\"]", "-", "debian:12"];
    world.shale_with_input(&import, &tar).ok();
}

fn compiles(world: &World) {
    debian(world);
    world.write("context/hello.c", C_PROGRAM);
    world.dockerfile(COMPILE);
    world.build(&["-t", "hello"]).ok();
    assert_eq!(world.shale(&["run", "hello"]).ok(), "compiled");
    assert_eq!(world.build(&["-t", "hello"]).ran(), Vec::<String>::new());
}

#[test]
fn root_installs_a_compiler_and_uses_it() {
    need!("root", "debootstrap");
    compiles(&World::new());
}

#[test]
fn a_user_installs_a_compiler_and_uses_it() {
    need!("root", "debootstrap", "setpriv", "newuidmap");
    let Some(user) = world::user("shale-test-ranges") else { return };
    compiles(&World::of(user));
}

/// Python believes a .pyc file by the time and size of its source: a cached compilation must not be put on a source
/// with the same bytes and another time (design D4).
#[test]
fn a_cached_compilation_stays_valid() {
    need!("root", "debootstrap");
    let world = World::new();
    debian(&world);
    let dockerfile = |salt: &str| {
        world.dockerfile(&format!(
            "FROM debian:12 AS python\n\
             RUN apt-get update && apt-get install -y --no-install-recommends python3\n\
             FROM python\n\
             RUN mkdir /m && echo 'x = 1' > /m/a.py && : {salt}\n\
             RUN python3 -m compileall -q /m\n"
        ));
    };
    dockerfile("first");
    world.build(&["-t", "m"]).ok();
    dockerfile("second");
    let again = world.build(&["-t", "m"]);
    again.ok();
    let ran = again.ran();
    assert!(ran.iter().any(|name| name.contains("mkdir /m")), "{again}");
    assert!(!ran.iter().any(|name| name.contains("compileall")), "{again}");
    let verdict = "import struct,os,glob; p=glob.glob('/m/__pycache__/*.pyc')[0]; \
                   t=struct.unpack('<I',open(p,'rb').read()[8:12])[0]; \
                   print('valid' if t==int(os.stat('/m/a.py').st_mtime) else 'stale')";
    assert_eq!(world.shale(&["run", "m", "python3", "-c", verdict]).ok(), "valid");
}
