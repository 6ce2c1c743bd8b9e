//! RUN --mount: options to mounts (MNT-01 to MNT-84). Checks do not depend on the order of options (MNT-06).

use graph::{CacheSharing, Mount, MountKind};
use parser::ast::MountFlag;
use parser::did_you_mean;

use super::from::Tree;
use super::names::{self, Asker};
use super::{StageBuild, workdir};
use crate::git::parse_bool;
use crate::site::{Fail, Site};

/// The mounts of a step.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    /// Where the first ssh mount puts its socket.
    pub(super) ssh_socket: Option<String>,
    /// Variables that get a secret's value.
    pub(super) secret_variables: Vec<String>,
    ssh_count: usize,
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

const KEYS: [&str; 18] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
];

pub(super) fn lower(
    build: &mut StageBuild<'_, '_>,
    flags: &[MountFlag],
    site: &Site,
) -> Result<Mounts, Fail> {
    let mut mounts = Mounts::default();
    for flag in flags {
        let fail = |message: String| site.error_in("invalid-mount", message, flag.span);
        let mut options = Options { kind: "bind".to_owned(), ..Options::default() };
        for (key, value) in &flag.options {
            let value = match (&**key, value) {
                ("from", value) => value.clone(),
                (_, None) => None,
                (_, Some(value)) => {
                    Some(build.expand(value, flag.span, site)?) // EXP-48
                }
            };
            options.take(key, value).map_err(fail)?;
        }
        options.check().map_err(fail)?;
        let mount = options.lower(build, &mut mounts, site, &fail)?;
        mounts.list.push(mount);
    }
    Ok(mounts)
}

/// The options of one flag.
#[derive(Default)]
struct Options {
    kind: String,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: Option<bool>,
    id: Option<String>,
    sharing: Option<CacheSharing>,
    required: Option<bool>,
    size_bytes: Option<u64>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

impl Options {
    fn take(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        let Some(value) = value else { return self.take_bare(key) };
        match key {
            "type" => {
                self.kind = value.to_lowercase();
                if !TYPES.contains(&&*self.kind) {
                    let hint = did_you_mean(&value, TYPES);
                    return Err(format!("unsupported mount type {:?}{hint}", self.kind));
                }
            }
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => self.read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, &value)?),
            "required" => self.required = Some(boolean(key, &value)?),
            "id" => self.id = Some(value),
            "sharing" => self.sharing = Some(sharing(&value)?),
            "size" => self.size_bytes = Some(size(&value)?),
            // Set-id and sticky bits do not survive in BuildKit either.
            "mode" => self.mode = Some(number(key, &value, 8)? & 0o777),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                let hint = did_you_mean(key, KEYS.into_iter().chain(["env"]));
                return Err(format!("unexpected key '{key}' in '{key}={value}'{hint}"));
            }
        }
        Ok(())
    }

    /// MNT-03.
    fn take_bare(&mut self, key: &str) -> Result<(), String> {
        match key {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => self.required = Some(true),
            _ => return Err(format!("invalid field '{key}' must be a key=value pair")),
        }
        Ok(())
    }

    /// Which option goes with which type (MNT-07, MNT-60, MNT-66, MNT-82).
    fn check(&self) -> Result<(), String> {
        let kind = &*self.kind;
        let has_owner = matches!(kind, "secret" | "ssh" | "cache");
        for (key, given) in [
            ("mode", self.mode.is_some()),
            ("uid", self.uid.is_some()),
            ("gid", self.gid.is_some()),
        ] {
            if given && !has_owner {
                return Err(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
        if self.size_bytes.is_some() && kind != "tmpfs" {
            return Err(format!("unexpected key 'size' for mount type '{kind}'"));
        }
        if self.required.is_some() && !matches!(kind, "secret" | "ssh") {
            return Err(format!("unexpected key 'required' for mount type '{kind}'"));
        }
        if self.sharing.is_some() && kind == "secret" {
            return Err("secret mount should not define sharing".to_owned());
        }
        if self.sharing.is_some() && kind != "cache" {
            return Err(format!("invalid cache sharing set for {kind} mount"));
        }
        if kind == "ssh" && is_given(&self.source) {
            return Err("ssh does not support source".to_owned());
        }
        if kind == "secret" {
            if is_given(&self.from) {
                return Err("secret mount should not have a from".to_owned());
            }
            if is_given(&self.source) && is_given(&self.id) {
                return Err("both source and id can't be set".to_owned());
            }
            if ![&self.source, &self.id, &self.target].into_iter().any(is_given) {
                let message = "invalid secret mount. one of source, target required";
                return Err(message.to_owned());
            }
        }
        Ok(())
    }

    fn lower(
        &self,
        build: &mut StageBuild<'_, '_>,
        mounts: &mut Mounts,
        site: &Site,
        fail: &dyn Fn(String) -> Fail,
    ) -> Result<Mount, Fail> {
        match &*self.kind {
            "secret" => return Ok(self.secret(build, mounts)),
            "ssh" => return Ok(self.ssh(build, mounts)),
            _ => {}
        }
        let target = self.path(build, self.target.as_deref().unwrap_or_default());
        if target == "/" {
            let mut fail = fail(format!("invalid mount target {target:?}")); // MNT-09
            if !is_given(&self.target) {
                let kind = &self.kind;
                let help = format!("target= is missing: write type={kind},target=/DIRECTORY");
                fail.help = Some(help);
            }
            return Err(fail);
        }
        let source = workdir::clean(self.source.as_deref().unwrap_or("/"));
        let kind = match &*self.kind {
            "tmpfs" => MountKind::Tmpfs {
                size_bytes: self.size_bytes.filter(|size| *size > 0), // MNT-50
            },
            "cache" => self.cache(build, &target, source, site)?,
            _ => {
                let tree = self.tree(build, &target, site)?;
                let (input, source) = build.lowering.mountable(tree, &source);
                MountKind::Bind { input, source }
            }
        };
        let read_only = self.read_only.unwrap_or(self.kind == "bind"); // MNT-16
        Ok(Mount { target, read_only, kind })
    }

    /// A target, which starts at the working directory.
    fn path(&self, build: &StageBuild<'_, '_>, target: &str) -> String {
        match target.starts_with('/') {
            true => workdir::clean(target),
            false => workdir::clean(&format!("{}/{target}", workdir::current(build))),
        }
    }

    /// The tree of `from`; the build context without it (MNT-20).
    fn tree(
        &self,
        build: &mut StageBuild<'_, '_>,
        target: &str,
        site: &Site,
    ) -> Result<Tree, Fail> {
        match self.from.as_deref().filter(|from| !from.is_empty()) {
            Some(from) => names::tree(build, from, &Asker::Mount(target), site),
            None => Ok(Tree::Source(build.lowering.local(""))),
        }
    }

    fn cache(
        &self,
        build: &mut StageBuild<'_, '_>,
        target: &str,
        source: String,
        site: &Site,
    ) -> Result<MountKind, Fail> {
        let (input, source) = match self.from.as_deref().filter(|from| !from.is_empty()) {
            None => (None, source),
            Some(_) => {
                let tree = self.tree(build, target, site)?;
                let (input, source) = build.lowering.mountable(tree, &source);
                (Some(input), source)
            }
        };
        let namespace = build.request().build_arg("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default();
        Ok(MountKind::Cache {
            namespace: namespace.to_owned(),
            id: self.cache_id(),
            sharing: self.sharing.unwrap_or_default(),
            input,
            source,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
        })
    }

    /// What the mount calls itself, else where it stands as written (MNT-31).
    fn cache_id(&self) -> String {
        let written = self.target.as_deref().filter(|target| !target.is_empty());
        match (&self.id, written) {
            (Some(id), _) if !id.is_empty() => id.clone(),
            (_, Some(target)) if target.starts_with('/') => workdir::clean(target),
            (_, Some(target)) => workdir::clean(target).trim_start_matches('/').to_owned(),
            (_, None) => ".".to_owned(), // nothing, cleaned
        }
    }

    fn secret(&self, build: &StageBuild<'_, '_>, mounts: &mut Mounts) -> Mount {
        let target = self.target.as_deref().filter(|target| !target.is_empty());
        let id = [&self.source, &self.id].into_iter().find(|id| is_given(id));
        let id = id.and_then(|id| id.as_deref());
        let id = id.unwrap_or_else(|| base_name(target.unwrap_or_default())).to_owned();
        let target = match (target, &self.env) {
            (Some(target), _) => self.path(build, target),
            (None, Some(_)) => String::new(), // MNT-62
            (None, None) => format!("/run/secrets/{}", base_name(&id)), // MNT-61
        };
        mounts.secret_variables.extend(self.env.clone());
        let kind = MountKind::Secret {
            id,
            env: self.env.clone(),
            mode: self.mode.unwrap_or(0o400), // MNT-63
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            required: self.required.unwrap_or(false),
        };
        Mount { target, read_only: self.read_only.unwrap_or(true), kind }
    }

    fn ssh(&self, build: &StageBuild<'_, '_>, mounts: &mut Mounts) -> Mount {
        let target = match self.target.as_deref().filter(|target| !target.is_empty()) {
            Some(target) => self.path(build, target),
            None => format!("/run/buildkit/ssh_agent.{}", mounts.ssh_count), // MNT-80
        };
        mounts.ssh_count += 1;
        mounts.ssh_socket.get_or_insert_with(|| target.clone());
        let id = self.id.as_deref().filter(|id| !id.is_empty()).unwrap_or("default");
        let kind = MountKind::Ssh {
            id: id.to_owned(),
            mode: self.mode.unwrap_or(0o600),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            required: self.required.unwrap_or(false),
        };
        Mount { target, read_only: self.read_only.unwrap_or(true), kind }
    }
}

/// An option without a text is like none.
fn is_given(option: &Option<String>) -> bool {
    option.as_ref().is_some_and(|text| !text.is_empty())
}

/// What stands behind the last slash.
pub(super) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"))
}

fn sharing(value: &str) -> Result<CacheSharing, String> {
    match value.to_lowercase().as_str() {
        "shared" => Ok(CacheSharing::Shared),
        "private" => Ok(CacheSharing::Private),
        "locked" => Ok(CacheSharing::Locked),
        _ => {
            let hint = did_you_mean(value, ["shared", "private", "locked"]);
            Err(format!("unsupported sharing value {value:?}{hint}"))
        }
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, String> {
    let plain = value.bytes().all(|b| b.is_ascii_digit());
    let parsed = u32::from_str_radix(value, radix).ok().filter(|_| plain);
    parsed.ok_or_else(|| format!("invalid value {value} for {key}"))
}

/// A count of bytes with a unit of base 1024: `100m`, `1g`, `1.5GiB` (MNT-50).
fn size(value: &str) -> Result<u64, String> {
    let invalid = || format!("invalid value for size: {value}");
    let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(invalid);
    }
    let number: f64 = digits.parse().map_err(|_| invalid())?;
    let bytes = number * (1_u64 << shift) as f64;
    if bytes < i64::MAX as f64 { Ok(bytes as u64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let check = |text: &str, want: Option<u64>| assert_eq!(size(text).ok(), want, "{text}");
        check("100m", Some(100 << 20)); // MNT-50
        check("1g", Some(1 << 30));
        check("1.5k", Some(1536));
        check("10 MiB", Some(10 << 20));
        check("7", Some(7));
        check("zz", None); // MNT-05
        check("-1", None);
        check("99999999999999999999", None);
    }
}
