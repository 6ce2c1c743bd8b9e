//! The ordinary users that tests run as. `dev/test-users` makes them and takes them away again.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// An ordinary user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestUser {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The user of this name. Without it the test says so and is skipped, or fails where all tests have to run.
///
/// - `shale-test-ranges` has subordinate ids
/// - `shale-test-single` has none
///
/// Both may open /dev/net/tun ([`World::close_tun`](crate::World::close_tun) takes that away).
///
/// # Panics
/// When the user is missing and `SHALE_TEST_ALL` is set.
#[allow(clippy::print_stderr, reason = "a skipped test has no other way to say so")]
pub fn user(name: &str) -> Option<TestUser> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields[..] else { return None };
        let user = || {
            Some(TestUser { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        };
        if found == name { user() } else { None }
    });
    let demanded = std::env::var_os("SHALE_TEST_ALL").is_some();
    assert!(found.is_some() || !demanded, "this test needs the user {name}: dev/test-users up");
    if found.is_none() {
        eprintln!("skipped: this test needs the user {name} (dev/test-users up)");
    }
    found
}

/// Covers /dev/net/tun by a file that nobody may open, for what is executed then.
const CLOSE_TUN: &str = r#"mount --bind "$1" /dev/net/tun && shift && exec "$@""#;

impl TestUser {
    /// A command that becomes this user first; with a `cover` it has no /dev/net/tun.
    pub(crate) fn command(&self, program: &Path, cover: Option<&Path>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(cover) = cover {
            let unshare =
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", CLOSE_TUN, "sh"];
            words.extend(unshare.map(OsString::from));
            words.push(cover.into());
        }
        words.push("setpriv".into());
        words.push(format!("--reuid={}", self.uid).into());
        words.push(format!("--regid={}", self.gid).into());
        words.extend(["--init-groups", "--"].map(OsString::from));
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}
