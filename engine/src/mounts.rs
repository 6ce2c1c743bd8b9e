//! What a step's mounts show: layers, cache directories, secrets, sockets.
//!
//! Owns finding and locking them. Refuses to know how anything is mounted.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use executor::{CopyStep, StepMount, StepSource};
use graph::{CacheSharing, CopySource, LayerId, Mount, MountKind, Op, Run, Selection, Unpack};
use oci::Digest;
use progress::EventKind;
use store::{CacheMount, CacheMountId, CacheMountRequest};
use tree::Tree;

use crate::error::{BuildError, BuildErrorKind};
use crate::mount_identity::{self, NEW_MODE};
use crate::present;
use crate::remote;
use crate::secrets;
use crate::session::Session;
use crate::stack_tree;
use crate::stop::{Stop, lock};
use crate::work::Work;

/// How often a step asks for a cache mount before a person is told what it waits for: some two seconds.
const ASKED_BEFORE_TOLD: u32 = 45;

/// The cache directories of a step, by the place of their mount in it. They stay locked until this is dropped.
pub(crate) struct Caches {
    session: Arc<Session>,
    opened: Vec<(usize, Rc<CacheMount>)>,
    keys: Vec<Digest>,
}

impl Drop for Caches {
    fn drop(&mut self) {
        let mut held = lock(&self.session.held);
        for key in &self.keys {
            let at = held.iter().position(|held| held == key);
            at.map(|at| held.swap_remove(at));
        }
    }
}

/// Opens the cache directories of a step and waits for those that are locked: before the step has a slot, so that
/// others can run meanwhile (design D7).
pub(crate) fn caches(work: &Work) -> Result<Caches, Stop> {
    let session = &work.session;
    let mut caches = Caches { session: session.clone(), opened: Vec::new(), keys: Vec::new() };
    let Op::Run(run) = &work.vertex().op else { return Ok(caches) };
    session.worker()?;
    // Locks are taken in the order of their identities: two steps never wait for each other (design D6).
    let mut wanted = Vec::new();
    for (at, mount) in run.mounts.iter().enumerate() {
        if let MountKind::Cache { sharing, .. } = mount.kind {
            wanted.push((mount_identity::of(work, mount)?, strictest_first(sharing), at));
        }
    }
    wanted.sort();
    let mut last: Option<(CacheMountId, Rc<CacheMount>)> = None;
    for (identity, _, at) in wanted {
        // A step that mounts one cache twice does not wait for itself.
        let cache = match last.take().filter(|(of, _)| *of == identity) {
            Some((_, cache)) => cache,
            None => Rc::new(cache(work, &run.mounts[at], &identity)?),
        };
        lock(&session.held).push(identity.key());
        caches.keys.push(identity.key());
        caches.opened.push((at, cache.clone()));
        last = Some((identity, cache));
    }
    Ok(caches)
}

/// Of one cache that a step mounts twice the strictest sharing holds.
fn strictest_first(sharing: CacheSharing) -> u8 {
    match sharing {
        CacheSharing::Locked => 0,
        CacheSharing::Private => 1,
        CacheSharing::Shared => 2,
    }
}

/// The mounts of a step in their order.
pub(crate) fn of(work: &Work, run: &Run, caches: &Caches) -> Result<Vec<StepMount>, Stop> {
    let one = |(at, mount): (usize, &Mount)| match &mount.kind {
        MountKind::Cache { .. } => {
            let cache = caches.opened.iter().find(|(of, _)| *of == at);
            let (_, cache) = cache.expect("all cache mounts of the step have been opened");
            let dir = cache.dir().try_clone_to_owned();
            let dir = dir.map_err(|e| BuildError::io("cannot open a cache mount", e))?;
            Ok(StepMount::Cache { dir, source: path_in_cache(mount) })
        }
        other => plain(work, other),
    };
    run.mounts.iter().enumerate().map(one).collect()
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
            let stack = present::ensure(session, stack, work.number())?;
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

fn cache(work: &Work, mount: &Mount, identity: &CacheMountId) -> Result<CacheMount, Stop> {
    let session = &work.session;
    let MountKind::Cache { sharing, input, source, mode, uid, gid, .. } = &mount.kind else {
        unreachable!("called for cache mounts only")
    };
    let first = input.and_then(|input| work.value(input).stack());
    let first = first.map(|stack| stack_tree::open(session, stack, work.number())).transpose()?;
    let init = |dir: &Path| -> io::Result<()> {
        let mut like = (0, 0, NEW_MODE);
        if let Some(tree) = &first {
            fill(work, tree, source, dir).map_err(io::Error::other)?;
            like = attributes(&**tree, source).map_err(io::Error::other)?.unwrap_or(like);
        }
        chown(dir, Some(uid.unwrap_or(like.0)), Some(gid.unwrap_or(like.1)))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode.unwrap_or(like.2)))
    };
    let empty = is_to_be_emptied(work, identity);
    if !lock(&session.emptied).contains(&identity.key()) {
        remote::bring_mount(session, identity);
    }
    let request = CacheMountRequest { id: identity, sharing: *sharing, empty };
    let asked = Cell::new(0);
    let cancel = || {
        asked.set(asked.get() + 1);
        if asked.get() == ASKED_BEFORE_TOLD && !lock(&session.held).contains(&identity.key()) {
            let message =
                format!("waiting for cache mount {}, which another build uses", identity.id);
            session.events.emit(EventKind::Warning { vertex: Some(work.number()), message });
        }
        session.cancel.is_cancelled()
    };
    let cache = session.lease.cache_mount(&request, &init, &cancel);
    Ok(cache.map_err(|e| BuildError::store("cannot open a cache mount", e))?)
}

/// Steps that may not use the cache start with empty cache mounts (MNT-38): each is emptied once in a build.
fn is_to_be_emptied(work: &Work, identity: &CacheMountId) -> bool {
    work.vertex().no_cache && lock(&work.session.emptied).insert(identity.key())
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
