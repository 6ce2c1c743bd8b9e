//! What this machine and this process may do. Looked at, never assumed.

use std::fs;
use std::io;

/// Whether the process is in a user namespace other than the first one.
pub fn in_user_namespace() -> bool {
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => !is_whole_range(&map),
        Err(_) => false,
    }
}

fn is_whole_range(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// A name of this run of the machine: another one after each boot.
///
/// # Errors
/// As reading `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

/// The running kernel's major and minor version; (0, 0) when its name says nothing.
pub fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether the calling process has a capability in its effective set (its number in `linux/capability.h`).
pub fn has_capability(number: u32) -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("CapEff:")) else {
        return false;
    };
    u64::from_str_radix(line.trim(), 16).is_ok_and(|bits| bits >> number & 1 == 1)
}

/// Whether a directory lies on overlayfs, where no upper directory can be.
///
/// # Errors
/// As fstatfs(2).
pub fn is_on_overlay(dir: impl std::os::fd::AsFd) -> io::Result<bool> {
    const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
    Ok(rustix::fs::fstatfs(dir)?.f_type as u64 == OVERLAYFS_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_plausible() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(kernel_version() >= (4, 0));
        assert!(is_whole_range("         0          0 4294967295\n"));
        assert!(!is_whole_range("0 1000 1\n1 100000 65536\n"));
    }
}
