//! Cache mounts that travel with caches (`mounts=` of `--cache-from` and `--cache-to`).
//!
//! Owns which content a mount gets and what is sent of it. Nothing here fails a build: what cannot be had or sent is
//! left out with a warning. What the machine has counts before what a cache has, unless it is empty.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use graph::{Graph, MountKind, Op};
use layer::{Compression, DirScan};
use oci::{Descriptor, Digest};
use remotecache::{MountBlob, MountSelection};
use store::{CacheMount, CacheMountBlob, CacheMountId, CacheMountOwner};

use super::import;
use super::index::Source;
use super::state::Export;
use crate::cache_mounts::{pack, scan, unpack};
use crate::error::{BuildError, BuildErrorKind, told};
use crate::internal::{self, Internal};
use crate::mount_identity;
use crate::session::Session;
use crate::stop::{Stop, Stoppable, lock};
use crate::work::{Values, Work};

/// Media type of a mount's content.
const MEDIA_TYPE: &str = "application/vnd.shale.cache-mount.v1.tar+zstd";
/// How the content is written. Another way gets another name, so that what was sent is not taken for it.
const FORM: &str = "tar+zstd 1";
const COMPRESSION: Compression = Compression::zstd();

/// Content of a mount in an imported cache.
struct Found {
    source: Source,
    descriptor: Descriptor,
    max_bytes: u64,
    is_readonly: bool,
}

/// Gives a cache mount that has nothing in it what an imported cache has for it.
pub(crate) fn bring(session: &Arc<Session>, id: &CacheMountId) {
    let is_wanted = session.request.cache_from.iter().any(|import| import.mounts.has(&id.id));
    if !is_wanted || lock(&session.travelling.lost).contains(&id.key()) {
        return;
    }
    if let Err(error) = try_bring(session, id) {
        lock(&session.travelling.lost).insert(id.key());
        if error.kind() != BuildErrorKind::Cancelled {
            session.warn(format!("cache mount {} begins empty: {}", id.id, told(&error)));
        }
    }
}

fn try_bring(session: &Arc<Session>, id: &CacheMountId) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot fill it", e);
    let is_empty = || session.lease.is_cache_mount_empty(id).map_err(store);
    if !is_empty()? {
        return Ok(());
    }
    let Some(found) = find(session, id, true) else { return Ok(()) };
    let work = format!("cache mount {}", id.key());
    let cancel = || session.cancel.is_cancelled();
    let _flight = session.lease.single_flight(&work, &cancel).map_err(store)?;
    if !is_empty()? {
        return Ok(());
    }
    let number = session.travelling.brought.fetch_add(1, Ordering::Relaxed);
    let name = format!("importing cache mount {} from {}", id.id, found.source.place.name());
    let fill = || Ok::<_, Stop>(fill(session, id, &found));
    match internal::step(&session.events, Internal::ImportMount(number), &name, fill) {
        Ok(filled) => filled,
        Err(_) => Ok(()),
    }
}

fn fill(session: &Session, id: &CacheMountId, found: &Found) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot fill it", e);
    let lost = || BuildError::new(BuildErrorKind::Registry, "cannot get its content");
    let body = found.source.place.open(&found.descriptor).map_err(|e| lost().because(e))?;
    let mut body = Stoppable { inner: body, cancel: &session.cancel };
    let unpacked = unpack(&session.lease, &mut body, found.max_bytes, session.maps_one_id());
    session.check_cancelled()?;
    let (prepared, _) = unpacked?;
    let state = layer::scan_dir(prepared.dir()).map(|scan| scan.state);
    // Without the note it is sent again, no more.
    let note = state.ok().map(|state| note(&state, &found.descriptor));
    prepared.install(id, note.as_ref()).map(drop).map_err(store)
}

/// The first imported cache that has the mount; of all, or of those that the user wants mounts from.
fn find(session: &Session, id: &CacheMountId, wanted_only: bool) -> Option<Found> {
    let imports = import::read(session);
    imports.into_iter().find_map(|(at, source)| {
        let import = &session.request.cache_from[at];
        let blob = source.document.mounts.iter().find(|blob| identity(blob) == *id)?;
        let descriptor = blob.descriptor.clone();
        let is_known = descriptor.media_type == MEDIA_TYPE;
        (is_known && (!wanted_only || import.mounts.has(&id.id))).then_some(Found {
            descriptor,
            max_bytes: import.mounts_max_bytes,
            is_readonly: import.mounts_readonly,
            source,
        })
    })
}

fn identity(blob: &MountBlob) -> CacheMountId {
    let owner = blob.owner.map(|(uid, gid, mode)| CacheMountOwner { uid, gid, mode });
    let MountBlob { namespace, id, origin, .. } = blob.clone();
    CacheMountId { namespace, id, owner, origin }
}

/// Sends the mounts that the build's steps name; what the document says of them.
pub(super) fn export(
    session: &Arc<Session>,
    graph: &Arc<Graph>,
    values: &Values,
    export: &Export,
) -> Vec<MountBlob> {
    let mut ids = BTreeSet::new();
    for vertex in &graph.vertices {
        let Op::Run(run) = &vertex.op else { continue };
        for mount in &run.mounts {
            let MountKind::Cache { id, .. } = &mount.kind else { continue };
            if !export.options.mounts.has(id) {
                continue;
            }
            let (session, graph, values) = (session.clone(), graph.clone(), values.clone());
            let work = Work { session, graph, id: vertex.id, values };
            // One whose first content cannot be told any more is none that a later build could name.
            ids.extend(mount_identity::of(&work, mount).ok());
        }
    }
    warn_of_unknown(session, export, &ids);
    let send = |id: CacheMountId| {
        let sent = send(session, &id, export).unwrap_or_else(|error| {
            if session.cancel.is_cancelled() {
                return None; // nothing is published
            }
            let text = format!("cache mount {} was not exported: {}", id.id, told(&error));
            session.warn(text);
            // The state of before is better than none.
            find(session, &id, false).and_then(|found| send_on(&found, export).ok())
        });
        sent.map(|descriptor| named(id, descriptor))
    };
    ids.into_iter().filter_map(send).collect()
}

/// A mount that the user names and no step has is a slip of the pen.
fn warn_of_unknown(session: &Session, export: &Export, ids: &BTreeSet<CacheMountId>) {
    let MountSelection::Ids(wanted) = &export.options.mounts else { return };
    for id in wanted.iter().filter(|wanted| ids.iter().all(|id| id.id != **wanted)) {
        session.warn(format!("no step has a cache mount {id}: none was exported"));
    }
}

fn named(id: CacheMountId, descriptor: Descriptor) -> MountBlob {
    let CacheMountId { namespace, id, owner, origin } = id;
    let owner = owner.map(|CacheMountOwner { uid, gid, mode }| (uid, gid, mode));
    MountBlob { namespace, id, owner, origin, descriptor }
}

/// Makes sure that a mount's content is in the place; `None` when there is none.
fn send(
    session: &Session,
    id: &CacheMountId,
    export: &Export,
) -> Result<Option<Descriptor>, BuildError> {
    let store = |e| BuildError::store("cannot read it", e);
    let imported = find(session, id, false);
    if let Some(found) = imported.as_ref().filter(|found| found.is_readonly) {
        return send_on(found, export).map(Some);
    }
    let mount = match session.lease.read_cache_mount(id).map_err(store)? {
        Ok(mount) => mount,
        Err(store::InUse) => {
            session.warn(format!("cache mount {} is in use and was not exported", id.id));
            None
        }
    };
    let scanned = mount.map(|mount| scan(&mount).map(|scan| (mount, scan))).transpose()?;
    let Some((mount, scan)) = scanned.filter(|(_, scan)| scan.count() > 0) else {
        // A build that did not need it must not take it from those that do.
        return imported.map(|found| send_on(&found, export)).transpose();
    };
    if scan.size_bytes > export.options.mounts_max_bytes {
        let (has, max) = (scan.size_bytes, export.options.mounts_max_bytes);
        let text = format!(
            "cache mount {} was not exported: it has {has} bytes, mounts-max allows {max}",
            id.id
        );
        session.warn(text);
        return Ok(None);
    }
    session.check_cancelled()?;
    send_here(session, (&mount, &scan), export).map(Some)
}

/// Sends content from one cache to another one, if it is not there.
fn send_on(found: &Found, export: &Export) -> Result<Descriptor, BuildError> {
    let Found { source, descriptor, .. } = found;
    let open = || source.place.open(descriptor).map_err(io::Error::other);
    put(export, descriptor, &open, source.reference.as_ref())?;
    Ok(descriptor.clone())
}

/// Sends what is in a mount, unless the place has it.
fn send_here(
    session: &Session,
    (mount, scan): (&CacheMount, &DirScan),
    export: &Export,
) -> Result<Descriptor, BuildError> {
    let store = |e| BuildError::store("cannot read it", e);
    let noted = session.lease.cache_mount_blob(mount).map_err(store)?;
    let noted = noted.filter(|noted| noted.state == scan.state.hex() && noted.form == FORM);
    let noted = noted.and_then(|noted| Digest::from_hex(&noted.digest).ok().zip(Some(noted)));
    if let Some((digest, noted)) = noted {
        // Not touched since it was sent or received: it need not even be read.
        let descriptor = Descriptor::new(MEDIA_TYPE, digest, noted.size_bytes);
        if export.has_blob(&descriptor) {
            return Ok(descriptor);
        }
    }
    let cannot = |e| BuildError::io("cannot archive it", e);
    let ingest = session.lease.new_ingest().map_err(store)?;
    let path = ingest.path().join("blob");
    let file = File::create(&path).map_err(cannot)?;
    let packed =
        pack(mount, scan, COMPRESSION, &mut Stoppable { inner: file, cancel: &session.cancel });
    session.check_cancelled()?;
    let (digest, size_bytes) = packed?;
    let descriptor = Descriptor::new(MEDIA_TYPE, digest, size_bytes);
    let open = || Ok(Box::new(File::open(&path)?) as Box<dyn Read + Send>);
    put(export, &descriptor, &open, None)?;
    session.lease.note_cache_mount_blob(mount, &note(&scan.state, &descriptor)).map_err(store)?;
    Ok(descriptor)
}

fn put(
    export: &Export,
    descriptor: &Descriptor,
    open: remotecache::OpenBlob<'_>,
    elsewhere: Option<&oci::Reference>,
) -> Result<(), BuildError> {
    let failed = BuildError::new(BuildErrorKind::Registry, "cannot send it");
    export.put_blob(descriptor, open, elsewhere).map_err(|e| failed.because(e))
}

fn note(state: &Digest, descriptor: &Descriptor) -> CacheMountBlob {
    CacheMountBlob {
        state: state.hex(),
        form: FORM.to_owned(),
        digest: descriptor.digest.hex(),
        size_bytes: descriptor.size_bytes,
    }
}
