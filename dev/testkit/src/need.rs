//! What a test needs of the machine. On a developer's machine a test without it says so and ends; where
//! `SHALE_TEST_ALL` is set, as in CI, it fails, unless `SHALE_TEST_WITHOUT` names what is missing: dev/test says so
//! aloud for what no distribution has and could not be fetched.

use std::path::PathBuf;

/// The path of an installed program.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether all that a test needs is there: programs by their names, or `root` for being user 0.
///
/// # Panics
/// When something is missing that is not excused and `SHALE_TEST_ALL` is set.
#[allow(clippy::print_stderr, reason = "a skipped test has no other way to say so")]
pub fn is_met(needs: &[&str]) -> bool {
    let missing: Vec<&str> = needs.iter().copied().filter(|need| !has(need)).collect();
    if missing.is_empty() {
        return true;
    }
    let excused = std::env::var("SHALE_TEST_WITHOUT").unwrap_or_default();
    let excused = missing.iter().all(|need| excused.split_whitespace().any(|name| name == *need));
    let strict = std::env::var_os("SHALE_TEST_ALL").is_some() && !excused;
    assert!(!strict, "this test needs {missing:?}");
    eprintln!("skipped: this test needs {missing:?}");
    false
}

fn has(need: &str) -> bool {
    match need {
        "root" => is_root(),
        name => program(name).is_some(),
    }
}

/// Whether the test runs as user 0.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Ends the test early when the machine lacks something: `need!("skopeo", "root")`.
#[macro_export]
macro_rules! need {
    ($($what:literal),+ $(,)?) => {
        if !$crate::need::is_met(&[$($what),+]) {
            return;
        }
    };
}
