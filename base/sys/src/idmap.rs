//! Ids of a user namespace: ranges of /etc/subuid and /etc/subgid, and who writes them.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first one, outside.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// How ids inside are ids outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdMap {
    /// Each id is itself: for root that may not make mounts without a user namespace.
    Identity,
    /// 0 is the caller, 1 and up come from the ranges.
    Ranges {
        /// For users.
        users: Vec<Range>,
        /// For groups.
        groups: Vec<Range>,
    },
    /// 0 is the caller and there is no other.
    Single,
}

/// Why a map could not be chosen or written.
#[derive(Debug)]
pub enum IdMapError {
    /// A range of the file cannot be given to a namespace.
    Range {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// `newuidmap` or `newgidmap` could not be started or refused.
    Tool {
        /// Its name.
        tool: &'static str,
        /// What it said.
        said: String,
    },
    /// A file below /proc could not be written.
    Write {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl std::fmt::Display for IdMapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IdMapError::Range { file, problem } => write!(f, "{file}: {problem}"),
            IdMapError::Tool { tool, said } => write!(f, "`{tool}`: {said}"),
            IdMapError::Write { path, .. } => write!(f, "write {path}"),
        }
    }
}

impl std::error::Error for IdMapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            IdMapError::Write { source, .. } => Some(source),
            IdMapError::Range { .. } | IdMapError::Tool { .. } => None,
        }
    }
}

/// The best map for the calling user: the ranges that the machine gives them, else a single id.
///
/// # Errors
/// [`IdMapError::Range`] for ranges that overlap, wrap, or hold the machine's own ids (security.md D8).
pub fn choose() -> Result<IdMap, IdMapError> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    if uid == 0 {
        return Ok(IdMap::Identity);
    }
    let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
    let read = |file: &'static str, own: u32| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let ranges = parse(&text, name.as_deref(), uid);
        check(&ranges, own).map_err(|problem| IdMapError::Range { file, problem })?;
        Ok(ranges)
    };
    let (users, groups) = (read("/etc/subuid", uid)?, read("/etc/subgid", gid)?);
    if users.is_empty() || groups.is_empty() {
        return Ok(IdMap::Single);
    }
    Ok(IdMap::Ranges { users, groups })
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn parse(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let who = fields.next()?;
            if Some(who) != name && who != number {
                return None;
            }
            let start = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            Some(Range { start, count })
        })
        .filter(|range| range.count > 0)
        .collect()
}

/// Ids of the machine itself lie below this.
const MACHINE_IDS: u32 = 1000;

fn check(ranges: &[Range], own: u32) -> Result<(), String> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut next = 0u64;
    for range in &sorted {
        let end = u64::from(range.start) + u64::from(range.count);
        let text = format!("the range {}:{}", range.start, range.count);
        if range.start < MACHINE_IDS {
            return Err(format!("{text} holds ids of the machine itself"));
        }
        if end > u64::from(u32::MAX) {
            return Err(format!("{text} goes beyond the last id"));
        }
        if u64::from(own) >= u64::from(range.start) && u64::from(own) < end {
            return Err(format!("{text} holds your own id {own}"));
        }
        if u64::from(range.start) < next {
            return Err(format!("{text} overlaps another one of yours"));
        }
        next = end;
    }
    Ok(())
}

/// Writes the maps of a process that waits in a new user namespace.
///
/// # Errors
/// [`IdMapError::Tool`] and [`IdMapError::Write`].
pub fn write(pid: i32, map: &IdMap) -> Result<(), IdMapError> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    match map {
        IdMap::Identity => {
            write_proc(pid, "uid_map", &identity("/proc/self/uid_map"))?;
            write_proc(pid, "gid_map", &identity("/proc/self/gid_map"))
        }
        IdMap::Single => {
            write_proc(pid, "setgroups", "deny")?;
            write_proc(pid, "uid_map", &format!("0 {uid} 1"))?;
            write_proc(pid, "gid_map", &format!("0 {gid} 1"))
        }
        IdMap::Ranges { users, groups } => {
            // Side by side: each of them costs a millisecond or two.
            let users = start("newuidmap", pid, uid, users)?;
            let groups = start("newgidmap", pid, gid, groups)?;
            finish("newuidmap", users)?;
            finish("newgidmap", groups)
        }
    }
}

/// Whether the calling process's user namespace has one user.
pub fn has_single_id() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() == 1
}

fn write_proc(pid: i32, file: &str, text: &str) -> Result<(), IdMapError> {
    let path = format!("/proc/{pid}/{file}");
    fs::write(&path, text).map_err(|source| IdMapError::Write { path, source })
}

/// Every id that exists here, mapped to itself.
fn identity(own_map: &str) -> String {
    let own = fs::read_to_string(own_map).unwrap_or_default();
    let lines = own.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

fn start(tool: &'static str, pid: i32, own: u32, ranges: &[Range]) -> Result<Child, IdMapError> {
    let mut command = Command::new(tool);
    command.args([pid.to_string(), "0".into(), own.to_string(), "1".into()]);
    let mut inside = 1u32;
    for range in ranges {
        command.args([inside, range.start, range.count].map(|n| n.to_string()));
        inside = inside.saturating_add(range.count);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map_err(|error| IdMapError::Tool { tool, said: error.to_string() })
}

fn finish(tool: &'static str, child: Child) -> Result<(), IdMapError> {
    let failed = |said: String| IdMapError::Tool { tool, said };
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_ranges() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ann"));
        let check = |text: &str, want: &str| {
            let ranges = parse(text, Some("ann"), 1000);
            let got = match super::check(&ranges, 1000) {
                Ok(()) => ranges
                    .iter()
                    .map(|r| format!("{}:{}", r.start, r.count))
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(problem) => problem,
            };
            assert!(got.contains(want) && got.is_empty() == want.is_empty(), "{text}: {got}");
        };
        check("ann:100000:65536\nbob:165536:65536\n", "100000:65536");
        check("ann:100000:10\n1000:200000:10\n", "100000:10 200000:10");
        check("bob:100000:65536\n", "");
        check("ann:500:10\n", "machine itself");
        check("ann:4294967290:10\n", "beyond the last id");
        check("ann:900:10\n", "machine itself");
        check("ann:1000:65536\n", "your own id");
        check("ann:100000:10\nann:100009:10\n", "overlaps");
        check("ann:100000:0\nann:x:1\nann\n", "");
    }
}
