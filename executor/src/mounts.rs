//! The mounts of a step (`--mount`): each becomes a detached mount or a small file, in the order that works.
//!
//! Sources are opened once, in their own root, and it is the open file that is mounted (security.md A1). What can be
//! refused is refused before a process of the step exists.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use graph::MountKind;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use sys::mount::{self, Attributes};

use crate::rootfs::{self, Rootfs, SubtreeError};
use crate::sandbox::{FdList, FdRef, FileSpec, SetupOp};
use crate::ssh::{self, Agent, AgentProxy};
use crate::{ExecError, Level, RunStep, StepMount};

/// What the mounts of a step need and give. Not to be printed: values of secrets are among the variables.
#[derive(Default)]
pub(crate) struct Prepared {
    /// Operations with their targets, in order of mounting.
    ops: Vec<(String, SetupOp)>,
    /// Variables that mounts set.
    pub(crate) env: Vec<(String, Vec<u8>)>,
    /// A variable that is set only if the environment does not have it.
    pub(crate) ssh_auth_sock: Option<String>,
    /// Agents that are served while the step runs.
    _agents: Vec<AgentProxy>,
    views: Vec<Rootfs>,
}

impl Prepared {
    /// Adds a generated file.
    pub(crate) fn add_file(
        &mut self,
        fds: &mut FdList,
        target: String,
        content: &[u8],
        mode: u32,
    ) -> Result<(), ExecError> {
        let content = memory_file(fds, content)?;
        let executable = mode & 0o111 != 0;
        let file = FileSpec { content, target: target.clone(), mode, uid: 0, gid: 0, executable };
        self.ops.push((target, SetupOp::File(file)));
        Ok(())
    }

    /// Shows a program of this machine at its own path, for foreign programs of the step.
    pub(crate) fn add_interpreter(
        &mut self,
        fds: &mut FdList,
        path: &Path,
    ) -> Result<(), ExecError> {
        let what = format!("show the interpreter {}", path.display());
        let attributes = Attributes::NOSUID | Attributes::NODEV | Attributes::RDONLY;
        let tree = clone_file(rustix::fs::CWD, path, attributes, what)?;
        self.attach(fds, tree, &path.to_string_lossy(), false);
        Ok(())
    }

    /// Adds a detached mount.
    pub(crate) fn attach(&mut self, fds: &mut FdList, tree: OwnedFd, at: &str, directory: bool) {
        let target = at.to_owned();
        let op = SetupOp::Attach { mount: fds.add(tree), target: target.clone(), directory };
        self.ops.push((target, op));
    }

    /// The operations: parents before children, of equal targets the last (MNT-12).
    pub(crate) fn take_ops(&mut self) -> Vec<SetupOp> {
        let mut ops: Vec<(Vec<String>, SetupOp)> = Vec::new();
        for (target, op) in std::mem::take(&mut self.ops) {
            let target = clean(&target);
            ops.retain(|(other, _)| *other != target);
            ops.push((target, op));
        }
        ops.sort_by_key(|(target, _)| target.len());
        ops.into_iter().map(|(_, op)| op).collect()
    }
}

/// Components of an absolute path, `.` and `..` resolved in the text.
fn clean(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

/// Prepares all mounts of a step, adding to what is there already.
///
/// # Errors
/// A mount that cannot be made, with its target.
pub(crate) fn prepare(
    step: &RunStep<'_>,
    level: Level,
    fds: &mut FdList,
    prepared: &mut Prepared,
) -> Result<(), ExecError> {
    for (number, (mount, source)) in step.run.mounts.iter().zip(&step.mounts).enumerate() {
        let at = At { mount, ingest: step.ingest, number, level };
        if !mount.target.is_empty() {
            at.check_target()?;
        }
        match source {
            StepMount::Bind { layers, source } => at.bind(layers, source, fds, prepared)?,
            StepMount::Cache { dir, source } => at.cache(dir, source, fds, prepared)?,
            StepMount::Tmpfs => at.tmpfs(prepared),
            StepMount::Secret(value) => at.secret(value.as_deref(), fds, prepared)?,
            StepMount::Ssh(agent) => at.ssh(agent.as_ref(), fds, prepared)?,
        }
    }
    Ok(())
}

/// One mount that is being prepared.
struct At<'a> {
    mount: &'a graph::Mount,
    ingest: &'a Path,
    number: usize,
    level: Level,
}

impl At<'_> {
    fn problem(&self, problem: impl Into<String>) -> ExecError {
        ExecError::Mount { target: self.mount.target.clone(), problem: problem.into() }
    }

    /// The places that the sandbox fills itself (security.md D4).
    fn check_target(&self) -> Result<(), ExecError> {
        let parts = clean(&self.mount.target);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Err(self.problem("invalid mount target \"/\"")),
            ["proc" | "sys", ..] => Err(self.problem("nothing can be mounted on /proc and /sys")),
            ["dev"] => Err(self.problem("/dev is made by the engine")),
            _ => Ok(()),
        }
    }

    fn attach(&self, tree: OwnedFd, directory: bool, fds: &mut FdList, prepared: &mut Prepared) {
        prepared.attach(fds, tree, &self.mount.target, directory);
    }

    fn attributes(&self) -> Attributes {
        let attributes = Attributes::NOSUID | Attributes::NODEV;
        if self.mount.read_only { attributes | Attributes::RDONLY } else { attributes }
    }

    fn restrict(&self, tree: &OwnedFd) -> Result<(), ExecError> {
        mount::add_attributes(tree.as_fd(), self.attributes(), false)
            .map_err(ExecError::setup(format!("restrict the mount at {}", self.mount.target)))
    }

    fn bind(
        &self,
        layers: &[OwnedFd],
        source: &[u8],
        fds: &mut FdList,
        prepared: &mut Prepared,
    ) -> Result<(), ExecError> {
        let name = format!("bind{}", self.number);
        let writable = !self.mount.read_only;
        let (mut view, mounted) =
            rootfs::mount_view(layers, self.ingest, &name, writable, self.level)?;
        let shown = String::from_utf8_lossy(source).into_owned();
        let (tree, directory) = view.subtree(&mounted, source).map_err(|error| match error {
            SubtreeError::Open(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.problem(format!("\"{shown}\": not found"))
            }
            SubtreeError::Open(error) => self.problem(format!("\"{shown}\": {error}")),
            SubtreeError::Clone(error) => ExecError::setup(format!("bind {shown}"))(error),
            SubtreeError::Attach(error) => *error,
        })?;
        self.restrict(&tree)?;
        self.attach(tree, directory, fds, prepared);
        prepared.views.push(view);
        Ok(())
    }

    fn cache(
        &self,
        dir: &OwnedFd,
        source: &[u8],
        fds: &mut FdList,
        prepared: &mut Prepared,
    ) -> Result<(), ExecError> {
        let shown = String::from_utf8_lossy(source);
        let fd = sys::open_in_root(dir.as_fd(), source, OFlags::PATH, Mode::empty());
        let fd = fd.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                self.problem(format!("\"{shown}\" of the cache: not found"))
            }
            _ => self.problem(format!("\"{shown}\" of the cache: {error}")),
        })?;
        let what = || format!("mount the cache at {}", self.mount.target);
        let kind = rustix::fs::fstat(&fd).map_err(ExecError::prepare(what()))?.st_mode;
        let directory = match rustix::fs::FileType::from_raw_mode(kind) {
            rustix::fs::FileType::Directory => true,
            rustix::fs::FileType::RegularFile => false,
            _ => {
                let problem = format!("\"{shown}\" of the cache: no file and no directory");
                return Err(self.problem(problem));
            }
        };
        let tree = mount::clone_tree(fd.as_fd(), false).map_err(ExecError::setup(what()))?;
        self.restrict(&tree)?;
        self.attach(tree, directory, fds, prepared);
        Ok(())
    }

    fn tmpfs(&self, prepared: &mut Prepared) {
        let size_bytes = match &self.mount.kind {
            MountKind::Tmpfs { size_bytes } => *size_bytes,
            _ => None,
        };
        let target = self.mount.target.clone();
        let read_only = self.mount.read_only;
        prepared.ops.push((target.clone(), SetupOp::Tmpfs { target, size_bytes, read_only }));
    }

    fn secret(
        &self,
        value: Option<&[u8]>,
        fds: &mut FdList,
        prepared: &mut Prepared,
    ) -> Result<(), ExecError> {
        let MountKind::Secret { id, env, mode, uid, gid, .. } = &self.mount.kind else {
            return Err(self.problem("a secret for another kind of mount"));
        };
        if let Some(name) = env {
            if value.is_some_and(|value| value.contains(&0)) {
                let text = format!("secret {id} has a NUL byte, which no variable can hold");
                return Err(ExecError::Mount { target: name.clone(), problem: text });
            }
            // Set even when there is no secret (MNT-65).
            prepared.env.push((name.clone(), value.unwrap_or_default().to_vec()));
        }
        let (Some(value), false) = (value, self.mount.target.is_empty()) else { return Ok(()) };
        let content = memory_file(fds, value)?;
        let target = self.mount.target.clone();
        let file = FileSpec {
            content,
            target: target.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            executable: mode & 0o111 != 0,
        };
        prepared.ops.push((target, SetupOp::File(file)));
        Ok(())
    }

    fn ssh(
        &self,
        agent: Option<&Agent>,
        fds: &mut FdList,
        prepared: &mut Prepared,
    ) -> Result<(), ExecError> {
        let MountKind::Ssh { mode, uid, gid, .. } = &self.mount.kind else {
            return Err(self.problem("an agent for another kind of mount"));
        };
        prepared.ssh_auth_sock.get_or_insert_with(|| self.mount.target.clone());
        let Some(agent) = agent else { return Ok(()) };
        let what = || format!("offer the ssh agent at {}", self.mount.target);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(self.ingest, flags, Mode::empty())
            .map_err(ExecError::prepare("open the step's directory"))?;
        let name = format!("agent{}", self.number);
        let (proxy, socket) = ssh::serve(&dir, &name, (*mode, *uid, *gid), agent.clone())
            .map_err(ExecError::prepare::<std::io::Error>(what()))?;
        let tree = mount::clone_tree(socket.as_fd(), false).map_err(ExecError::setup(what()))?;
        mount::add_attributes(tree.as_fd(), Attributes::DATA, false)
            .map_err(ExecError::setup(what()))?;
        self.attach(tree, false, fds, prepared);
        prepared._agents.push(proxy);
        Ok(())
    }
}

/// A detached mount of one file of this machine; `what` is for errors.
///
/// # Errors
/// There is no such file, or it cannot be mounted.
pub(crate) fn clone_file(
    dir: impl AsFd,
    path: &Path,
    attributes: Attributes,
    what: String,
) -> Result<OwnedFd, ExecError> {
    let file = rustix::fs::openat(dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(ExecError::prepare(what.clone()))?;
    let tree = mount::clone_tree(file.as_fd(), false).map_err(ExecError::setup(what.clone()))?;
    mount::add_attributes(tree.as_fd(), attributes, false).map_err(ExecError::setup(what))?;
    Ok(tree)
}

/// Puts bytes into a file on memory.
///
/// # Errors
/// As memfd_create(2) and write(2).
pub(crate) fn memory_file(fds: &mut FdList, content: &[u8]) -> Result<FdRef, ExecError> {
    Ok(fds.add(memfd(content)?))
}

/// A new file on memory with some content.
///
/// # Errors
/// As [`memory_file`].
pub(crate) fn memfd(content: &[u8]) -> Result<OwnedFd, ExecError> {
    let fd = rustix::fs::memfd_create("shale", MemfdFlags::CLOEXEC)
        .map_err(ExecError::prepare("make a file on memory"))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)
        .map_err(ExecError::prepare::<std::io::Error>("write a file on memory"))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnt_12_order() {
        let mut prepared = Prepared::default();
        for (target, size) in [("/a/b/c", 1), ("/a", 2), ("/x/../a/b", 3), ("/a/", 4), ("/b", 5)] {
            let target = target.to_owned();
            let size_bytes = Some(size);
            let op = SetupOp::Tmpfs { target: target.clone(), size_bytes, read_only: false };
            prepared.ops.push((target, op));
        }
        let order: Vec<u64> = prepared
            .take_ops()
            .into_iter()
            .map(|op| match op {
                SetupOp::Tmpfs { size_bytes, .. } => size_bytes.unwrap(),
                op => panic!("{op:?}"),
            })
            .collect();
        assert_eq!(order, [4, 5, 3, 1]);
    }
}
