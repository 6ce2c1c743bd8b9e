//! Gives devices to a step: variables, groups, nodes and mounts.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, StatVfsMountFlags, Uid, major, makedev, minor,
};
use rustix::io::Errno;
use sys::mount::{self, Attributes};

use super::spec::{HostMount, Node};
use super::{Device, all_edits};
use crate::mounts::{Prepared, clone_file};
use crate::sandbox::FdList;
use crate::{ExecError, RunStep};

/// Adds all that a step gets of its devices; gives the groups that its user is in besides. Nodes without an owner of
/// their own belong to `owner`, user and group.
///
/// # Errors
/// A node or a file that is not there, or cannot be shown.
pub(crate) fn add_to(
    prepared: &mut Prepared,
    fds: &mut FdList,
    step: &RunStep<'_>,
    owner: (u32, u32),
) -> Result<Vec<u32>, ExecError> {
    if step.devices.is_empty() {
        return Ok(Vec::new());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::open(step.ingest, flags, Mode::empty())
        .map_err(ExecError::prepare("open the step's directory"))?;
    let devices = step.devices.as_slice();
    let mut made = 0;
    let mut groups = Vec::new();
    for edits in all_edits(devices) {
        for pair in &edits.env {
            let Some((name, value)) = pair.split_once('=') else { continue };
            prepared.env.push((name.to_owned(), value.as_bytes().to_vec()));
        }
        for one in &edits.device_nodes {
            made += 1;
            let name = format!("device{made}");
            prepared.attach(fds, node(one, owner, &home, &name)?, &one.path, false);
        }
        for one in &edits.mounts {
            let (tree, directory) = host_mount(one)?;
            prepared.attach(fds, tree, &one.container_path, directory);
        }
        groups.extend(edits.additional_gids.iter().filter(|group| **group != 0));
    }
    Ok(groups)
}

/// What of the devices' descriptions a step does not get, a line for each.
pub(crate) fn left_out(devices: &[Device]) -> Vec<String> {
    let mut lines = Vec::new();
    for device in devices {
        for what in device.edits.iter().flat_map(|edits| edits.left_out()) {
            let line = format!("device {}: {what} of its description are left out", device.name);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// A node of our own with its owner and mode where that is allowed, else the machine's.
fn node(node: &Node, owner: (u32, u32), home: &OwnedFd, name: &str) -> Result<OwnedFd, ExecError> {
    let what = || format!("show the device {} at {}", node.host(), node.path);
    let attributes = Attributes::NOSUID | Attributes::NOEXEC;
    match make(node, owner, home, name) {
        Ok(true) => return clone_file(home, Path::new(name), attributes, what()),
        Ok(false) | Err(Errno::PERM) => {}
        Err(errno) => return Err(ExecError::prepare(what())(errno)),
    }
    clone_file(rustix::fs::CWD, Path::new(node.host()), attributes, what())
}

/// False where nodes are dead, or where this is none that we could make.
fn make(node: &Node, owner: (u32, u32), home: &OwnedFd, name: &str) -> rustix::io::Result<bool> {
    if rustix::fs::fstatvfs(home)?.f_flag.contains(StatVfsMountFlags::NODEV) {
        return Ok(false);
    }
    let host = rustix::fs::stat(node.host()).ok();
    let (kind, device) = match (&*node.kind, &host) {
        ("c" | "u", _) if node.major != 0 => {
            (FileType::CharacterDevice, makedev(node.major, node.minor))
        }
        ("b", _) if node.major != 0 => (FileType::BlockDevice, makedev(node.major, node.minor)),
        (_, Some(host)) => {
            let device = makedev(major(host.st_rdev), minor(host.st_rdev));
            (FileType::from_raw_mode(host.st_mode), device)
        }
        (_, None) => return Err(Errno::NOENT),
    };
    if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        return Ok(false);
    }
    let mode = node.mode().or(host.map(|host| host.st_mode & 0o777)).unwrap_or(0o666);
    rustix::fs::mknodat(home, name, kind, Mode::from_raw_mode(mode), device)?;
    let (uid, gid) = (node.uid.unwrap_or(owner.0), node.gid.unwrap_or(owner.1));
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(home, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    // Last: the mask of the process took bits away, and a new owner may have too.
    rustix::fs::chmodat(home, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok(true)
}

/// A file or directory of the machine, and whether it is a directory.
fn host_mount(mount: &HostMount) -> Result<(OwnedFd, bool), ExecError> {
    let HostMount { host_path, container_path, options, kind } = mount;
    let what = || format!("show {host_path} at {container_path}");
    if !matches!(&**kind, "" | "bind" | "none") {
        let problem = format!("a mount of the type {kind} from a device's description");
        let problem = io::Error::new(io::ErrorKind::Unsupported, problem);
        return Err(ExecError::prepare::<io::Error>(what())(problem));
    }
    let has = |option: &str| options.iter().any(|given| given == option);
    let file = rustix::fs::open(&**host_path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(ExecError::prepare(what()))?;
    let stat = rustix::fs::fstat(&file).map_err(ExecError::prepare(what()))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let recursive = has("rbind");
    let tree = mount::clone_tree(file.as_fd(), recursive).map_err(ExecError::setup(what()))?;
    let mut attributes = Attributes::NOSUID | Attributes::NODEV;
    for (option, attribute) in [("ro", Attributes::RDONLY), ("noexec", Attributes::NOEXEC)] {
        if has(option) {
            attributes = attributes | attribute;
        }
    }
    mount::add_attributes(tree.as_fd(), attributes, recursive).map_err(ExecError::setup(what()))?;
    Ok((tree, directory))
}
