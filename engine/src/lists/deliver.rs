//! Entries into a repository: what it has stays, what another repository has is mounted or copied, what the store has
//! is pushed. Afterwards an index over them can be put there.

use std::io::{self, Read};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use exporter::{Job, Prepared};
use oci::{Descriptor, Digest, Document, ImageId, Reference, media};
use progress::EventKind;
use registry::{Pushed, RegistryClient, RegistryError};
use store::{StoredManifest, Tagged, TaggedIndex};

use super::entry::{ListEntry, Origin};
use crate::error::{BuildError, BuildErrorKind};
use crate::image::Claims;
use crate::images::{fetch_of, prepared};
use crate::internal::Internal;
use crate::output::job::job;
use crate::session::Session;

/// Blobs that are under way at the same time.
const TRANSFERS_MAX: usize = 4;

/// Sees to it that a repository has an entry's manifest and content. False when it is said to have it already.
///
/// # Errors
/// The content is gone, or a registry refuses or cannot be reached.
pub(super) fn deliver(
    session: &Session,
    client: &RegistryClient,
    entry: &ListEntry,
    to: &Reference,
) -> Result<bool, BuildError> {
    session.check_cancelled()?;
    match &entry.origin {
        Origin::Registry(from) if from.name() == to.name() => return Ok(false),
        Origin::Registry(from) => copy(session, client, entry, from, to)?,
        Origin::Image(id) => push_image(session, client, entry, *id, to)?,
        Origin::Documents(documents) => {
            for one in documents {
                let open = || Ok(Box::new(&one.bytes[..]) as Box<dyn Read>);
                client
                    .push_blob(to, &one.digest, one.bytes.len() as u64, &open, None)
                    .map_err(|error| failed(to, error))?;
            }
        }
    }
    let target = to.with_digest(entry.descriptor.digest);
    client
        .push_manifest(&target, &entry.descriptor.media_type, &entry.manifest)
        .map_err(|error| failed(to, error))?;
    Ok(true)
}

/// An image of the store with the very manifest that the list has.
fn push_image(
    session: &Session,
    client: &RegistryClient,
    entry: &ListEntry,
    id: ImageId,
    to: &Reference,
) -> Result<(), BuildError> {
    let manifest = StoredManifest {
        media_type: entry.descriptor.media_type.clone(),
        digest: entry.descriptor.digest,
        bytes: entry.manifest.clone(),
    };
    let images = vec![(id, manifest.clone())];
    let tagged = Tagged::Index(TaggedIndex { index: manifest, images, attached: Vec::new() });
    let mut prepared: Prepared = prepared(session, &tagged).map_err(|error| {
        let text = format!("cannot push the image of {}: {error}", entry.named.familiar());
        error
            .saying(text)
            .with_hint("if it is gone, make it again and `shale manifest create --amend`")
    })?;
    prepared.index = None;
    prepared.target = prepared.images[0].descriptor.clone();
    let fetch = fetch_of(session, Claims::of([&prepared]));
    let job = Job { fetch: Some(&fetch), ..job(session) };
    let target = to.with_digest(prepared.target.digest);
    exporter::push(&prepared, &[target], true, client, job).map_err(BuildError::export)
}

/// Blobs from one repository to another, some at a time. Within a registry they are mounted where it does that.
fn copy(
    session: &Session,
    client: &RegistryClient,
    entry: &ListEntry,
    from: &Reference,
    to: &Reference,
) -> Result<(), BuildError> {
    let blobs = blobs_of(entry)?;
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<BuildError>> = Mutex::new(None);
    let lock = || failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if lock().is_some() {
                return;
            }
            let done =
                session.check_cancelled().and_then(|()| copy_blob(session, client, blob, from, to));
            if let Err(error) = done {
                // The first failure is the cause of what follows.
                lock().get_or_insert(error);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(2, NonZero::get);
    let threads = TRANSFERS_MAX.min(cores.max(2)).min(blobs.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    lock().take().map_or(Ok(()), Err)
}

fn copy_blob(
    session: &Session,
    client: &RegistryClient,
    blob: &Descriptor,
    from: &Reference,
    to: &Reference,
) -> Result<(), BuildError> {
    // The reader checks size and digest, and the registry that gets it checks the digest once more.
    let open = |at: u64| -> io::Result<Box<dyn Read>> {
        let mut content = client.blob(from, blob).map_err(io::Error::other)?;
        io::copy(&mut (&mut content).take(at), &mut io::sink())?;
        Ok(Box::new(content))
    };
    let (digest, size_bytes) = (blob.digest, blob.size_bytes);
    let (pushed, _) = client
        .push_blob_from(to, &digest, size_bytes, &open, &[from])
        .map_err(|error| failed(to, error))?;
    let how = match pushed {
        Pushed::Uploaded => "copied",
        Pushed::Mounted => "mounted",
        Pushed::Existed => "exists",
    };
    session.events.emit(EventKind::Transfer {
        vertex: Internal::Export.vertex(),
        item: format!("{} {how}", short(&digest)),
        done_bytes: size_bytes,
        total_bytes: Some(size_bytes),
    });
    Ok(())
}

/// Config and layers, each once; what may not be given on is left where it is.
pub(super) fn blobs_of(entry: &ListEntry) -> Result<Vec<Descriptor>, BuildError> {
    let document = Document::from_json(&entry.manifest, &entry.descriptor.media_type);
    let manifest = match document {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Ok(Vec::new()),
        Err(error) => {
            let text = format!("cannot read the manifest of {}", entry.named.familiar());
            return Err(BuildError::new(BuildErrorKind::Registry, text).because(error));
        }
    };
    let mut blobs: Vec<Descriptor> = Vec::new();
    for blob in manifest.layers.into_iter().chain([manifest.config]) {
        let is_known = blobs.iter().any(|known| known.digest == blob.digest);
        if !is_known && !media::is_foreign(&blob.media_type) {
            blobs.push(blob);
        }
    }
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size_bytes));
    Ok(blobs)
}

/// Puts an index under a name.
///
/// # Errors
/// The registry refuses it or cannot be reached.
pub(super) fn put_index(
    client: &RegistryClient,
    name: &Reference,
    media_type: &str,
    bytes: &[u8],
) -> Result<Digest, BuildError> {
    client.push_manifest(name, media_type, bytes).map_err(|error| failed(name, error))
}

fn failed(name: &Reference, error: RegistryError) -> BuildError {
    let text = format!("cannot push to {}", name.familiar());
    BuildError::new(BuildErrorKind::Registry, text).because(error)
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
