//! Control groups: limits of processes, memory and processor time, where they can be had.
//!
//! The launcher puts itself into a group with a limit of processes, and every step is in it by birth: joining a group
//! costs 10 ms and more on busy machines, too much for each step. A step gets groups of its own only when somebody asks
//! for a limit or a parent. Works with the old hierarchies (one for each controller) and with the new one. A machine
//! that lets us make no group has steps without limits; that is no error unless a limit was asked for.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use graph::Limits;

/// Processes of the steps of one build at once (security.md D21).
const PIDS_MAX: u64 = 32_768;

/// Our directory in each hierarchy, unless the caller names another one.
const PARENT: &str = "shale";

/// Puts the calling process and all that it will start into a group with a limit of processes. A machine where that
/// cannot be has no such limit.
pub(crate) fn confine_self() {
    let (groups, joins, _) = make(None, &Limits::default());
    for join in joins {
        let _ = rustix::io::write(&join, b"0");
    }
    std::mem::forget(groups); // we are in them; whoever reaps us removes them
}

/// Removes the groups of a process that has ended.
pub(crate) fn remove_groups_of(pid: i32) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for settings in settings(&Limits::default()) {
        if let Some(Hierarchy::Old(root) | Hierarchy::New(root)) =
            hierarchy(&mounts, settings.controller)
        {
            let _ = fs::remove_dir(root.join(PARENT).join(format!("{pid}-0")));
        }
    }
}

/// The groups of a step that wants some.
pub(crate) fn for_step(
    parent: Option<&str>,
    limits: &Limits,
) -> (StepGroups, Vec<OwnedFd>, Vec<String>) {
    if parent.is_none() && *limits == Limits::default() {
        return (StepGroups::default(), Vec::new(), Vec::new());
    }
    make(parent, limits)
}

/// A step's groups; removed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct StepGroups {
    dirs: Vec<PathBuf>,
    memory_events: Option<PathBuf>,
    kills_before: u64,
}

/// A controller's settings in one group.
struct Settings {
    controller: &'static str,
    old: Vec<(&'static str, String)>,
    new: Vec<(&'static str, String)>,
}

/// Makes the groups and opens the files through which a process joins them. The second value says which of the wanted
/// limits cannot be had.
pub(crate) fn make(
    parent: Option<&str>,
    limits: &Limits,
) -> (StepGroups, Vec<OwnedFd>, Vec<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut groups = StepGroups::default();
    let (mut joins, mut missing) = (Vec::new(), Vec::new());
    let name = group_name();
    let parent = parent.unwrap_or(PARENT).trim_matches('/').to_owned();
    let mut unified = false;
    for settings in settings(limits) {
        let result = match hierarchy(&mounts, settings.controller) {
            Some(Hierarchy::Old(root)) => {
                let dir = groups.add(&root.join(&parent), &name, &settings.old);
                dir.and_then(|dir| open_join(&dir)).map(Some)
            }
            Some(Hierarchy::New(root)) => {
                let dir = groups.add_unified(&root, &parent, &name, &settings);
                // One group for all its controllers is joined once.
                let first = !std::mem::replace(&mut unified, true);
                dir.and_then(|dir| first.then(|| open_join(&dir)).transpose())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match result {
            Ok(Some(join)) => joins.push(join),
            Ok(None) => {}
            Err(_) if settings.controller == "pids" => {} // nobody asked for it
            Err(_) => missing.push(settings.controller.to_owned()),
        }
    }
    groups.kills_before = groups.kills();
    (groups, joins, missing)
}

fn settings(limits: &Limits) -> Vec<Settings> {
    let mut all = vec![Settings {
        controller: "pids",
        old: vec![("pids.max", PIDS_MAX.to_string())],
        new: vec![("pids.max", PIDS_MAX.to_string())],
    }];
    if limits.memory_bytes.is_some() || limits.memory_swap_bytes.is_some() {
        all.push(memory_settings(limits));
    }
    let mut cpu = Settings { controller: "cpu", old: Vec::new(), new: Vec::new() };
    if let Some(shares) = limits.cpu_shares {
        cpu.old.push(("cpu.shares", shares.to_string()));
        let weight = (1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142).to_string();
        cpu.new.push(("cpu.weight", weight));
    }
    let period = limits.cpu_period_us.unwrap_or(100_000);
    if limits.cpu_period_us.is_some() {
        cpu.old.push(("cpu.cfs_period_us", period.to_string()));
    }
    if let Some(quota) = limits.cpu_quota_us {
        cpu.old.push(("cpu.cfs_quota_us", quota.to_string()));
        let quota = if quota < 0 { "max".into() } else { quota.to_string() };
        cpu.new.push(("cpu.max", format!("{quota} {period}")));
    }
    if !cpu.old.is_empty() {
        all.push(cpu);
    }
    if limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some() {
        let list = [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)];
        let list: Vec<_> = list
            .into_iter()
            .filter_map(|(file, value)| value.clone().map(|value| (file, value)))
            .collect();
        all.push(Settings { controller: "cpuset", old: list.clone(), new: list });
    }
    all
}

fn memory_settings(limits: &Limits) -> Settings {
    let mut memory = Settings { controller: "memory", old: Vec::new(), new: Vec::new() };
    if let Some(bytes) = limits.memory_bytes {
        memory.old.push(("memory.limit_in_bytes", bytes.to_string()));
        memory.new.push(("memory.max", bytes.to_string()));
    }
    if let Some(both) = limits.memory_swap_bytes {
        memory.old.push(("memory.memsw.limit_in_bytes", both.to_string()));
        let swap = match (both, limits.memory_bytes) {
            (..0, _) => "max".into(),
            (both, Some(bytes)) => (both - bytes as i64).max(0).to_string(),
            (both, None) => both.to_string(),
        };
        memory.new.push(("memory.swap.max", swap));
    }
    memory
}

enum Hierarchy {
    Old(PathBuf),
    New(PathBuf),
}

/// Where a controller's groups are: an old hierarchy with it, else the new one if it has it.
fn hierarchy(mountinfo: &str, controller: &str) -> Option<Hierarchy> {
    let mut new = None;
    for line in mountinfo.lines() {
        let (left, right) = line.split_once(" - ")?;
        let path = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        match (right.next(), right.nth(1)) {
            (Some("cgroup"), Some(options)) if options.split(',').any(|o| o == controller) => {
                return Some(Hierarchy::Old(path));
            }
            (Some("cgroup2"), _) => new = Some(path),
            _ => {}
        }
    }
    let path = new?;
    let has = fs::read_to_string(path.join("cgroup.controllers")).ok()?;
    has.split_whitespace().any(|name| name == controller).then_some(Hierarchy::New(path))
}

/// `<pid>-<number>`: the pid tells a later build whether the group is still somebody's.
fn group_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn open_join(dir: &Path) -> io::Result<OwnedFd> {
    Ok(fs::OpenOptions::new().write(true).open(dir.join("cgroup.procs"))?.into())
}

impl StepGroups {
    fn add(&mut self, parent: &Path, name: &str, files: &[(&str, String)]) -> io::Result<PathBuf> {
        fs::create_dir_all(parent)?;
        sweep(parent);
        let dir = parent.join(name);
        match fs::create_dir(&dir) {
            Ok(()) => self.dirs.push(dir.clone()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        inherit_cpuset(parent);
        inherit_cpuset(&dir);
        for (file, value) in files {
            fs::write(dir.join(file), value)?;
        }
        for events in ["memory.events", "memory.oom_control"] {
            if dir.join(events).exists() {
                self.memory_events = Some(dir.join(events));
            }
        }
        Ok(dir)
    }

    fn add_unified(
        &mut self,
        root: &Path,
        parent: &str,
        name: &str,
        settings: &Settings,
    ) -> io::Result<PathBuf> {
        // Each level hands the controller down to the next.
        let enable = format!("+{}", settings.controller);
        let mut dir = root.to_path_buf();
        fs::create_dir_all(root.join(parent))?;
        for part in Path::new(parent).components() {
            let _ = fs::write(dir.join("cgroup.subtree_control"), &enable);
            dir.push(part);
        }
        fs::write(dir.join("cgroup.subtree_control"), &enable)?;
        self.add(&dir, name, &settings.new)
    }

    /// How often the kernel killed something for want of memory.
    fn kills(&self) -> u64 {
        let Some(events) = &self.memory_events else { return 0 };
        let text = fs::read_to_string(events).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether something of the step was killed for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.kills() > self.kills_before
    }
}

impl Drop for StepGroups {
    fn drop(&mut self) {
        for dir in &self.dirs {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// A new group of the old cpuset hierarchy has no processors until it is given some.
fn inherit_cpuset(dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = dir.join(file);
        let is_empty = fs::read_to_string(&path).is_ok_and(|text| text.trim().is_empty());
        let above = dir.parent().filter(|_| is_empty);
        if let Some(value) = above.and_then(|above| fs::read(above.join(file)).ok()) {
            let _ = fs::write(&path, value);
        }
    }
}

/// Removes groups of processes that were killed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((pid, _)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_controllers_are() {
        let old = "30 29 0:25 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                   31 29 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let find = |controller| match hierarchy(old, controller) {
            Some(Hierarchy::Old(path)) => path.display().to_string(),
            Some(Hierarchy::New(_)) => "new".into(),
            None => "none".into(),
        };
        assert_eq!(find("pids"), "/sys/fs/cgroup/pids");
        assert_eq!(find("cpu"), "/sys/fs/cgroup/cpu");
        assert_eq!(find("memory"), "none");
    }

    #[test]
    fn values_for_both_forms() {
        let limits = Limits {
            memory_bytes: Some(100),
            memory_swap_bytes: Some(150),
            cpu_shares: Some(1024),
            cpu_quota_us: Some(5000),
            ..Limits::default()
        };
        let text: Vec<String> = settings(&limits)
            .iter()
            .flat_map(|s| s.new.iter().map(|(file, value)| format!("{file}={value}")))
            .collect();
        assert_eq!(
            text,
            [
                "pids.max=32768",
                "memory.max=100",
                "memory.swap.max=50",
                "cpu.weight=39",
                "cpu.max=5000 100000"
            ]
        );
    }
}
