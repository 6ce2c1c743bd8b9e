//! Users and groups of a file system: --chown, WORKDIR's owner and the user of RUN.
//!
//! Reads `/etc/passwd` and `/etc/group` as text and nothing else: no library of the host or the image is asked.

use std::io::{self, Read};

use graph::Who;
use layer::EntryKind;

use crate::{Tree, resolve};

/// How long an account file may be (security.md A6).
pub const ACCOUNT_FILE_MAX_BYTES: u64 = 1 << 20;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// Reads a small regular file of the file system in question, in-root; `None` when there is none.
pub type ReadFile<'a> = dyn Fn(&[u8]) -> io::Result<Option<Vec<u8>>> + 'a;

/// A user or group could not be found.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A name, and no file system to look it up in (COPY-57, WDIR-05).
    #[error("invalid user index: -1 (look up `{name}` in an empty file system: use a number)")]
    NothingToLookIn {
        /// The name.
        name: String,
    },
    /// A negative number, or one that no id can have (COPY-58).
    #[error("invalid user or group id `{text}`")]
    BadNumber {
        /// What was written.
        text: String,
    },
    /// USER names nobody (XENV-11).
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoUser {
        /// The name.
        name: String,
    },
    /// USER names a group that is not there (XENV-11).
    #[error("unable to find group {name}: no matching entries in group file")]
    NoGroup {
        /// The name.
        name: String,
    },
    /// The file is not a small regular file, or could not be read.
    #[error("read /{file}")]
    Read {
        /// Path without the leading slash.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Who a RUN step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, only when no group was named (XENV-13).
    pub groups: Vec<u32>,
    /// Home directory, `/` when the user has none (XENV-02).
    pub home: Vec<u8>,
}

/// The ids of `--chown` and of directories that WORKDIR makes (COPY-52 to COPY-58, WDIR-05). Without `read` there is
/// no file system to look names up in; a name that is not found there is 0, as everywhere.
///
/// # Errors
/// A name without a file system, a negative number, an account file that cannot be read.
pub fn lookup_owner(who: &Who, read: Option<&ReadFile<'_>>) -> Result<(u32, u32), AccountError> {
    let (uid, primary) = match owner_id(&who.user)? {
        Some(id) => (id, id),
        None => {
            let user = named(&who.user, read, PASSWD)?;
            user.map_or((0, 0), |line| (line.number(2), line.number(3)))
        }
    };
    let gid = match &who.group {
        None => primary,
        Some(group) => match owner_id(group)? {
            Some(id) => id,
            None => named(group, read, GROUP)?.map_or(0, |line| line.number(2)),
        },
    };
    Ok((uid, gid))
}

/// `Some` for what needs no look-up: numbers, nothing, and root. A number over 2147483647 is a name, as in BuildKit.
fn owner_id(text: &str) -> Result<Option<u32>, AccountError> {
    match text {
        "" | "root" => return Ok(Some(0)),
        _ => {}
    }
    match text.parse::<i32>() {
        Ok(id) => {
            let bad = |_| AccountError::BadNumber { text: text.to_owned() };
            u32::try_from(id).map(Some).map_err(bad)
        }
        Err(_) => Ok(None),
    }
}

fn named(
    name: &str,
    read: Option<&ReadFile<'_>>,
    file: &'static str,
) -> Result<Option<Line>, AccountError> {
    let nothing = || AccountError::NothingToLookIn { name: name.to_owned() };
    let lines = lines(read.ok_or_else(nothing)?, file)?;
    Ok(lines.into_iter().find(|line| line.field(0) == name.as_bytes()))
}

/// The user of a RUN step from USER's text: `name`, `uid`, `name:group`, `uid:gid`, or nothing for root.
///
/// # Errors
/// Names that are not found, numbers that no id can have, account files that cannot be read.
pub fn lookup_user(user: &str, read: &ReadFile<'_>) -> Result<User, AccountError> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let passwd = lines(read, PASSWD)?;
    let number = run_id(if name.is_empty() { "0" } else { name })?;
    let line = passwd.iter().find(|line| match number {
        Some(id) => line.number_of(2) == Some(id),
        None => line.field(0) == name.as_bytes(),
    });
    let (uid, mut gid) = match (line, number) {
        (Some(line), _) => (line.number(2), line.number(3)),
        (None, Some(id)) => (id, 0), // XENV-12
        (None, None) => return Err(AccountError::NoUser { name: name.to_owned() }),
    };
    let mut groups = Vec::new();
    match group {
        Some(group) => gid = group_id(group, read)?,
        None => {
            if let Some(line) = line {
                groups = memberships(line.field(0), read)?;
            }
        }
    }
    let home = line.map(|line| line.field(5).to_vec()).filter(|home| !home.is_empty());
    Ok(User { uid, gid, groups, home: home.unwrap_or_else(|| b"/".to_vec()) })
}

fn group_id(group: &str, read: &ReadFile<'_>) -> Result<u32, AccountError> {
    if let Some(id) = run_id(group)? {
        return Ok(id);
    }
    let lines = lines(read, GROUP)?;
    let line = lines.iter().find(|line| line.field(0) == group.as_bytes());
    line.map(|line| line.number(2)).ok_or_else(|| AccountError::NoGroup { name: group.to_owned() })
}

/// Groups that list a user as a member.
fn memberships(user: &[u8], read: &ReadFile<'_>) -> Result<Vec<u32>, AccountError> {
    let lines = lines(read, GROUP)?;
    let member = |line: &&Line| line.field(3).split(|b| *b == b',').any(|name| name == user);
    Ok(lines.iter().filter(member).map(|line| line.number(2)).collect())
}

/// A text of digits is always a number, even if a user is called so.
fn run_id(text: &str) -> Result<Option<u32>, AccountError> {
    match text.parse::<i64>() {
        Ok(id) if (0..=i64::from(i32::MAX)).contains(&id) => Ok(Some(id as u32)),
        Ok(_) => Err(AccountError::BadNumber { text: text.to_owned() }),
        Err(_) => Ok(None),
    }
}

/// One line of fields between colons.
struct Line(Vec<u8>);

impl Line {
    fn field(&self, index: usize) -> &[u8] {
        self.0.split(|b| *b == b':').nth(index).unwrap_or_default()
    }

    fn number_of(&self, index: usize) -> Option<u32> {
        std::str::from_utf8(self.field(index)).ok()?.parse().ok()
    }

    /// What is no number counts as 0.
    fn number(&self, index: usize) -> u32 {
        self.number_of(index).unwrap_or(0)
    }
}

fn lines(read: &ReadFile<'_>, file: &'static str) -> Result<Vec<Line>, AccountError> {
    let text = read(file.as_bytes()).map_err(|source| AccountError::Read { file, source })?;
    let text = text.unwrap_or_default();
    let lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty());
    Ok(lines.map(|line| Line(line.to_vec())).collect())
}

/// Reads a small regular file of a tree, links followed in-root (security.md A6).
///
/// # Errors
/// `InvalidData` for something else than a regular file and for one that is too long.
pub fn read_small(
    tree: &dyn Tree,
    path: &[u8],
    size_max_bytes: u64,
) -> io::Result<Option<Vec<u8>>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let Some(path) = resolve(tree, path, true).map_err(io::Error::other)? else { return Ok(None) };
    match tree.entry(&path).map_err(io::Error::other)?.map(|entry| entry.kind) {
        None => return Ok(None),
        Some(EntryKind::File { .. }) => {}
        Some(_) => return Err(invalid("not a regular file".to_owned())),
    }
    let file = tree.open(&path).map_err(io::Error::other)?;
    let mut content = Vec::new();
    file.take(size_max_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > size_max_bytes {
        return Err(invalid(format!("too large: more than {size_max_bytes} bytes")));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD_TEXT: &str = "root:x:0:0:root:/root:/bin/sh\nadm:x:3:4:adm:/var/adm:/bin/false\n\
        app:x:1234:2345:app user:/home/app:/bin/sh\n4242:x:4300:4301:digits:/:/bin/false\n";
    const GROUP_TEXT: &str = "root:x:0:\nadm:x:4:app\napp:x:2345:\nextra:x:3000:web,app\n";

    fn files(path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(match path {
            b"etc/passwd" => Some(PASSWD_TEXT.into()),
            b"etc/group" => Some(GROUP_TEXT.into()),
            _ => None,
        })
    }

    fn who(text: &str) -> Who {
        match text.split_once(':') {
            Some((user, group)) => Who { user: user.into(), group: Some(group.into()) },
            None => Who { user: text.into(), group: None },
        }
    }

    #[test]
    fn owners_of_copied_files() {
        let check = |text: &str, want: (u32, u32)| {
            assert_eq!(lookup_owner(&who(text), Some(&files)).expect(text), want, "{text}");
        };
        check("7", (7, 7)); // COPY-53
        check("app", (1234, 2345));
        check("app:adm", (1234, 4)); // COPY-52
        check("7:extra", (7, 3000));
        check("app:8", (1234, 8));
        check("app:", (1234, 0)); // COPY-54
        check(":extra", (0, 3000));
        check("nosuch", (0, 0)); // COPY-56
        check("nosuch:adm", (0, 4));
        check("4242", (4242, 4242));
        check("99999999999", (0, 0));
        let error = lookup_owner(&who("-1"), Some(&files)).expect_err("negative"); // COPY-58
        assert!(matches!(error, AccountError::BadNumber { .. }));
    }

    #[test]
    fn an_empty_file_system_knows_numbers_only() {
        assert_eq!(lookup_owner(&who("3:4"), None).expect("numbers"), (3, 4));
        assert_eq!(lookup_owner(&who("root:root"), None).expect("root"), (0, 0)); // COPY-55
        let error = lookup_owner(&who("app"), None).expect_err("name"); // COPY-57
        assert!(error.to_string().contains("invalid user index: -1"));
    }

    #[test]
    fn users_of_steps() {
        let check = |text: &str, want: (u32, u32, &[u32], &str)| {
            let user = lookup_user(text, &files).expect(text);
            let home = String::from_utf8_lossy(&user.home).into_owned();
            assert_eq!((user.uid, user.gid, &*user.groups, &*home), want, "{text}");
        };
        check("", (0, 0, &[], "/root")); // XENV-02
        check("app", (1234, 2345, &[4, 3000], "/home/app")); // XENV-13
        check("1234", (1234, 2345, &[4, 3000], "/home/app"));
        check("app:adm", (1234, 4, &[], "/home/app"));
        check("app:77", (1234, 77, &[], "/home/app"));
        check("99", (99, 0, &[], "/")); // XENV-12
        check("99:98", (99, 98, &[], "/"));
        check("4242", (4242, 0, &[], "/"));
        let text = |user| lookup_user(user, &files).expect_err(user).to_string();
        assert_eq!(
            text("nosuch"), // XENV-11
            "unable to find user nosuch: no matching entries in passwd file"
        );
        assert!(text("app:nosuch").contains("group file"));
        let none = |_: &[u8]| Ok(None);
        assert_eq!(lookup_user("", &none).expect("root needs no file").uid, 0);
        assert!(lookup_user("app", &none).is_err());
    }

    #[test]
    fn only_small_regular_files_are_read() {
        use crate::memory::memory_tree;
        let tree = memory_tree("etc/passwd->/real real=text etc/group->/etc dir/x=1");
        assert_eq!(read_small(&tree, b"etc/passwd", 9).expect("read"), Some(b"text".to_vec()));
        assert_eq!(read_small(&tree, b"etc/none", 9).expect("read"), None);
        assert!(read_small(&tree, b"etc/group", 9).is_err());
        assert!(read_small(&tree, b"real", 3).is_err());
    }
}
