//! Which directory a cache mount means.
//!
//! Owns what counts for that, on every machine alike. Refuses to know where such directories are, or what is in them.

use graph::{Mount, MountKind, StackIdentity};
use oci::Digest;
use store::{CacheMountId, CacheMountOwner};

use crate::finish;
use crate::stop::Stop;
use crate::value::StackValue;
use crate::work::Work;

/// Equal identities share a directory (MNT-32).
pub(crate) fn of(work: &Work, mount: &Mount) -> Result<CacheMountId, Stop> {
    let MountKind::Cache { namespace, id, input, source, mode, uid, gid, .. } = &mount.kind else {
        unreachable!("called for cache mounts only")
    };
    let is_given = uid.is_some() || gid.is_some() || mode.is_some();
    let owner = is_given.then(|| CacheMountOwner {
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
        mode: mode.unwrap_or(NEW_MODE),
    });
    let stack = input.and_then(|input| work.value(input).stack());
    let origin = stack.map(|stack| origin(work, stack, source)).transpose()?;
    Ok(CacheMountId { namespace: namespace.clone(), id: id.clone(), owner, origin })
}

/// Stands for a cache's first content, on every machine alike.
fn origin(work: &Work, stack: &StackValue, source: &str) -> Result<String, Stop> {
    let StackIdentity { base, contents } = finish::identity(&work.session, stack)?;
    let mut text = base.map(|chain| chain.0.hex()).unwrap_or_default();
    for content in contents {
        text.push_str(&format!(" {}", content.0.hex()));
    }
    Ok(Digest::of(format!("{text}\0{source}").as_bytes()).hex())
}

/// Mode of a cache directory unless the mount or its first content says another (MNT-35).
pub(crate) const NEW_MODE: u32 = 0o755;
