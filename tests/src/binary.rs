//! Finds the program under test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program, in a place that every user can reach; the next run of the tests removes it.
pub(crate) fn shale() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| for_everybody(&built()))
}

/// `SHALE`, else the program that cargo builds beside this one.
fn built() -> PathBuf {
    if let Some(path) = std::env::var_os("SHALE") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "SHALE={} is no file", path.display());
        return path.canonicalize().unwrap();
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    // This file is target/TRIPLE/PROFILE/deps/tests-HASH.
    let here = std::env::current_exe().unwrap();
    let profile = here.parent().and_then(Path::parent).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "shale"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = command.current_dir(top).status().unwrap();
    assert!(status.success(), "the program under test does not build");
    profile.join("shale")
}

const PREFIX: &str = "shale-test-bin-";

/// Removes the copies of runs that have ended.
fn remove_old() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(process).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn for_everybody(built: &Path) -> PathBuf {
    remove_old();
    let directory = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let copy = directory.join("shale");
    std::fs::copy(built, &copy).unwrap_or_else(|e| panic!("copy {}: {e}", built.display()));
    for path in [&directory, &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}
