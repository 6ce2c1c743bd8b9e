//! What a step's mounts show: layers, cache directories, secrets, sockets.
//!
//! Owns finding and locking them. Refuses to know how anything is mounted.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use executor::{CopyStep, StepMount, StepSource};
use graph::{CopySource, LayerId, Mount, MountKind, Run, Selection, Unpack};
use store::{CacheMount, CacheMountRequest};
use tree::Tree;

use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image;
use crate::secrets;
use crate::session::Session;
use crate::stack_tree;
use crate::stop::{Stop, lock};
use crate::work::Work;

/// The mounts of a step in their order, and what keeps its cache directories locked.
pub(crate) fn of(work: &Work, run: &Run) -> Result<(Vec<StepMount>, Vec<CacheMount>), Stop> {
    let mut guards = Vec::new();
    let mut mounts: Vec<Option<StepMount>> = Vec::new();
    for mount in &run.mounts {
        mounts.push(match &mount.kind {
            MountKind::Cache { .. } => None,
            other => Some(plain(work, other)?),
        });
    }
    // Locks are taken in the order of their identities: two steps never wait for each other (design D6).
    let mut caches = Vec::new();
    for (at, mount) in run.mounts.iter().enumerate() {
        if let MountKind::Cache { .. } = mount.kind {
            caches.push((identity(work, mount)?, at));
        }
    }
    caches.sort();
    for (identity, at) in caches {
        let mount = &run.mounts[at];
        let cache = cache(work, mount, &identity)?;
        let dir = cache.dir().try_clone_to_owned();
        let dir = dir.map_err(|e| BuildError::io("cannot open a cache mount", e))?;
        mounts[at] = Some(StepMount::Cache { dir, source: path_in_cache(mount) });
        guards.push(cache);
    }
    Ok((mounts.into_iter().map(|m| m.expect("every mount has been made")).collect(), guards))
}

/// The part of a cache directory that is mounted; a source with `from` names the first content instead (MNT-34).
fn path_in_cache(mount: &Mount) -> Vec<u8> {
    match &mount.kind {
        MountKind::Cache { input: None, source, .. } => source.clone().into_bytes(),
        _ => Vec::new(),
    }
}

/// Directories of layers, lowest first.
pub(crate) fn layer_dirs(
    session: &Session,
    layers: &[LayerId],
) -> Result<Vec<OwnedFd>, BuildError> {
    let open = |layer: &LayerId| session.lease.layer_dir(*layer);
    let dirs: Result<Vec<OwnedFd>, _> = layers.iter().map(open).collect();
    dirs.map_err(|e| BuildError::store("cannot open a layer", e))
}

fn plain(work: &Work, kind: &MountKind) -> Result<StepMount, Stop> {
    let session = &work.session;
    match kind {
        MountKind::Bind { input, source } => {
            let stack = work.value(*input).stack().expect("the planner makes bind sources stacks");
            let stack = image::ensure(session, stack, work.number())?;
            let layers = layer_dirs(session, &stack.layers)?;
            Ok(StepMount::Bind { layers, source: source.clone().into_bytes() })
        }
        MountKind::Tmpfs { .. } => Ok(StepMount::Tmpfs),
        MountKind::Secret { id, required, .. } => secret(session, id, *required),
        MountKind::Ssh { id, required, .. } => match session.request.ssh.get(id) {
            Some(agent) => Ok(StepMount::Ssh(Some(agent.clone()))),
            None if *required => {
                let text = format!("no SSH key \"{id}\" forwarded from the client"); // MNT-82
                let failed = BuildError::new(BuildErrorKind::Step, text);
                Err(failed.with_hint(ssh_hint(id)).into())
            }
            None => Ok(StepMount::Ssh(None)),
        },
        MountKind::Cache { .. } => unreachable!("cache mounts are made apart"),
    }
}

/// Only the default may leave out which agent it is.
fn ssh_hint(id: &str) -> String {
    match id {
        "default" => "give it with --ssh default, with an ssh-agent running, or with --ssh \
                      default=KEYFILE"
            .to_owned(),
        id => format!("give it with --ssh {id}=KEYFILE or --ssh {id}=SOCKET"),
    }
}

fn secret(session: &Session, id: &str, required: bool) -> Result<StepMount, Stop> {
    let bytes = secrets::read(session, id)?;
    if bytes.is_none() && required {
        let failed = BuildError::new(BuildErrorKind::Step, format!("secret {id}: not found")); // MNT-65
        return Err(failed.with_hint(format!("give it with --secret id={id},src=FILE")).into());
    }
    Ok(StepMount::Secret(bytes))
}

/// Equal identities share a directory (MNT-32).
fn identity(work: &Work, mount: &Mount) -> Result<String, Stop> {
    let MountKind::Cache { id, input, source, .. } = &mount.kind else {
        unreachable!("called for cache mounts only")
    };
    // The planner has put namespace, owner and mode into the id.
    let mut identity = id.clone();
    if let Some(input) = input
        && let Some(stack) = work.value(*input).stack()
    {
        identity.push_str(&format!("\0{source} {:?}", finish::identity(&work.session, stack)?));
    }
    Ok(identity)
}

fn cache(work: &Work, mount: &Mount, identity: &str) -> Result<CacheMount, Stop> {
    let session = &work.session;
    let MountKind::Cache { sharing, input, source, mode, uid, gid, .. } = &mount.kind else {
        unreachable!("called for cache mounts only")
    };
    let first = input.and_then(|input| work.value(input).stack());
    let first = first.map(|stack| stack_tree::open(session, stack, work.number())).transpose()?;
    let init = |dir: &Path| -> io::Result<()> {
        let mut like = (0, 0, 0o755); // MNT-35
        if let Some(tree) = &first {
            fill(work, tree, source, dir).map_err(io::Error::other)?;
            like = attributes(&**tree, source).map_err(io::Error::other)?.unwrap_or(like);
        }
        chown(dir, Some(uid.unwrap_or(like.0)), Some(gid.unwrap_or(like.1)))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode.unwrap_or(like.2)))
    };
    let request = CacheMountRequest {
        id: identity,
        sharing: *sharing,
        empty: is_to_be_emptied(work, identity),
    };
    let cache = session.lease.cache_mount(&request, &init, &|| session.cancel.is_cancelled());
    Ok(cache.map_err(|e| BuildError::store("cannot open a cache mount", e))?)
}

/// Steps that may not use the cache start with empty cache mounts (MNT-38): each is emptied once in a build.
fn is_to_be_emptied(work: &Work, identity: &str) -> bool {
    work.vertex().no_cache && lock(&work.session.emptied).insert(identity.to_owned())
}

/// Owner, group and mode of what a path of a tree means.
fn attributes(tree: &dyn Tree, path: &str) -> Result<Option<(u32, u32, u32)>, tree::TreeError> {
    let Some(path) = tree::resolve(tree, path.as_bytes(), true)? else { return Ok(None) };
    Ok(tree.entry(&path)?.map(|entry| (entry.uid, entry.gid, entry.mode)))
}

/// Gives an empty directory the first content of a cache: a copy onto nothing, moved into its place.
fn fill(work: &Work, tree: &Arc<dyn Tree>, path: &str, dir: &Path) -> Result<(), BuildError> {
    let cannot = |e| BuildError::io("cannot fill a new cache mount", e);
    let ingest = work.session.lease.new_ingest();
    let ingest = ingest.map_err(|e| BuildError::store("cannot fill a new cache mount", e))?;
    let selection = Selection { path: path.to_owned(), ..Selection::default() };
    let copy = graph::Copy {
        sources: vec![CopySource::Tree { input: work.id, selection, unpack: Unpack::No }],
        dest: "/".to_owned(),
        dest_is_dir: true,
        chown: None,
        chmod: None,
        link: false,
    };
    let sources = [StepSource::Tree(tree.clone())];
    let step = CopyStep { layers: &[], ingest: ingest.path(), copy: &copy, sources: &sources };
    let worker = work.session.worker.as_ref().expect("only a process with a worker runs steps");
    let copied = worker.copy(&step, &work.session.cancel);
    copied.map_err(|e| BuildError::of(BuildErrorKind::Step, e))?;
    fs::rename(ingest.path().join("diff"), dir).map_err(cannot)
}
