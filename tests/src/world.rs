//! One test's directories, and shale run inside them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::binary::shale;
use crate::leftovers;
use crate::run::Run;
use crate::users::TestUser;

/// A test's world. On drop it checks that nothing is left over.
pub struct World {
    top: tempfile::TempDir,
    user: Option<TestUser>,
    variables: Vec<(String, String)>,
    tun_is_closed: bool,
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    /// A new world for the user who runs the tests.
    pub fn new() -> World {
        World::made_for(None)
    }

    /// A new world for another user.
    pub fn of(user: TestUser) -> World {
        World::made_for(Some(user))
    }

    fn made_for(user: Option<TestUser>) -> World {
        let top = tempfile::Builder::new().prefix("shale-test-").tempdir().unwrap();
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let world = World { top, user, variables: Vec::new(), tun_is_closed: false };
        for directory in ["home", "tmp", "context"] {
            std::fs::create_dir(world.path(directory)).unwrap();
            world.hand_over(directory);
        }
        world
    }

    /// Sets an environment variable for what runs from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Takes /dev/net/tun away from what runs from now on, as where only root may open it.
    pub fn close_tun(&mut self) {
        let cover = self.path("no-tun");
        std::fs::write(&cover, "").unwrap();
        std::fs::set_permissions(&cover, std::fs::Permissions::from_mode(0o000)).unwrap();
        self.tun_is_closed = true;
    }

    /// A path in this world.
    pub fn path(&self, below: &str) -> PathBuf {
        self.top.path().join(below)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path("home/store")
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        self.hand_over(below);
        path
    }

    /// A file's text.
    #[track_caller]
    pub fn read(&self, below: &str) -> String {
        let path = self.path(below);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Gives a path, and what lies above it in this world, to the world's user.
    fn hand_over(&self, below: &str) {
        let Some(user) = &self.user else { return };
        let mut path = self.path(below);
        while path.starts_with(self.top.path()) && path != self.top.path() {
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
            path = path.parent().unwrap().to_owned();
        }
    }

    /// shale with these arguments, in the context directory, in an environment of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.user {
            Some(user) => {
                let cover = self.path("no-tun");
                user.command(shale(), self.tun_is_closed.then_some(&cover))
            }
            None => Command::new(shale()),
        };
        command.args(arguments).current_dir(self.path("context")).stdin(Stdio::null());
        self.environment(&mut command);
        command
    }

    /// Gives a command this world's environment and no other.
    pub fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("SHALE_ROOT", self.store())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// Runs shale to its end.
    pub fn shale(&self, arguments: &[&str]) -> Run {
        Run::new(&mut self.command(arguments))
    }

    /// Runs shale with text on its standard input.
    pub fn shale_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        let line = format!("{command:?}");
        let started = Instant::now();
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that does not read all of it closes the pipe: no error of ours.
        let writer = std::thread::spawn(move || {
            let _ = std::io::Write::write_all(&mut stdin, &input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Run::from_output(line, output, started.elapsed())
    }

    /// Builds the context directory with plain progress and these further arguments.
    pub fn build(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["build", "--progress=plain"];
        all.extend(arguments);
        all.push(".");
        self.shale(&all)
    }

    /// Writes a Dockerfile into the context directory.
    pub fn dockerfile(&self, text: &str) {
        self.write("context/Dockerfile", text);
    }

    /// Imports a tiny root file system under the name `base`. False without busybox.
    pub fn base(&self) -> bool {
        let Some(tar) = testkit::rootfs::busybox_tar() else {
            return testkit::need::is_met(&["busybox"]);
        };
        let file = self.write("base.tar", tar);
        let change = r#"CMD ["sh"]"#;
        self.shale(&["import", "-c", change, &file.to_string_lossy(), "base"]).ok();
        true
    }

    /// Runs another program in this world's environment.
    #[track_caller]
    pub fn program(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Run {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(self.path("context")).stdin(Stdio::null());
        self.environment(&mut command);
        Run::new(&mut command)
    }

    /// What is left over by now.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers::find(self.top.path(), &self.path("tmp"), &[self.store()])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left = self.leftovers();
            assert!(left.is_empty(), "left over:\n{}", left.join("\n"));
        }
        // Layers hold files of other owners and directories without permissions: only root can remove all of them.
        let _ =
            Command::new("rm").arg("-rf").arg("--one-file-system").arg(self.top.path()).status();
    }
}
