//! To a registry: blobs in parallel, then manifests, then what the tags point to (OUT-14).

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oci::{Descriptor, Digest, Reference, media};
use registry::{Pushed, RegistryClient, RegistryError};

use crate::ExportError;
use crate::error::Failure;
use crate::job::Job;
use crate::prepare::Prepared;
use crate::verify::{open_blob_at, short};

/// Blobs that are under way at the same time.
const TRANSFERS_MAX: usize = 5;

/// Pushes under all names. Blobs go to each repository once; a further repository of the same registry gets them by
/// mounting. With `by_digest` nothing is tagged and names must have no tag (OUT-11).
pub fn push(
    prepared: &Prepared,
    names: &[Reference],
    by_digest: bool,
    client: &RegistryClient,
    job: Job,
) -> Result<(), ExportError> {
    if names.is_empty() {
        // ERR-74
        return Err(Failure::Unsupported("tag is needed when pushing to registry").into());
    }
    if by_digest && let Some(tagged) = names.iter().find(|name| is_tagged(name)) {
        return Err(Failure::TaggedByDigest(tagged.to_string()).into());
    }
    let mut done: Vec<&Reference> = Vec::new();
    for name in names {
        let is_new = !done.iter().any(|other| other.name() == name.name());
        if is_new {
            let sibling = done.iter().find(|other| other.registry() == name.registry()).copied();
            push_content(prepared, name, sibling, client, job)?;
            done.push(name);
        }
        let target =
            if by_digest { name.with_digest(prepared.target.digest) } else { name.clone() };
        let bytes = match &prepared.index {
            Some(bytes) => bytes,
            None => &prepared.images[0].manifest,
        };
        client.push_manifest(&target, &prepared.target.media_type, bytes).map_err(failed(name))?;
        if is_new {
            push_referrers(prepared, name, client)?;
        }
    }
    Ok(())
}

/// What refers to the images; they are there by now.
fn push_referrers(
    prepared: &Prepared,
    name: &Reference,
    client: &RegistryClient,
) -> Result<(), ExportError> {
    for attached in &prepared.attached {
        let Some(subject) = &attached.refers_to else { continue };
        client
            .push_referrer(name, subject, &attached.descriptor, &attached.manifest)
            .map_err(failed(name))?;
    }
    Ok(())
}

/// `latest` is implied by a name without a tag, so only a written tag counts; a digest hides it.
fn is_tagged(name: &Reference) -> bool {
    name.digest().is_none() && name.tag().is_some_and(|tag| tag != "latest")
}

/// Layers and configs, then the manifests that an index names.
fn push_content(
    prepared: &Prepared,
    name: &Reference,
    sibling: Option<&Reference>,
    client: &RegistryClient,
    job: Job,
) -> Result<(), ExportError> {
    let todo = blobs(prepared, sibling);
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<ExportError>> = Mutex::new(None);
    let lock = || failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(blob) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            if lock().is_some() {
                return;
            }
            if let Err(error) = push_blob(blob, name, client, job) {
                // The first failure is the cause of what follows.
                lock().get_or_insert(error);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(2, NonZero::get);
    let threads = TRANSFERS_MAX.min(cores.max(3)).min(todo.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = lock().take() {
        return Err(error);
    }
    if prepared.index.is_some() {
        for image in &prepared.images {
            let target = name.with_digest(image.descriptor.digest);
            client
                .push_manifest(&target, &image.descriptor.media_type, &image.manifest)
                .map_err(failed(name))?;
        }
        for attached in prepared.attached.iter().filter(|one| one.refers_to.is_none()) {
            let Descriptor { media_type, digest, .. } = &attached.descriptor;
            client
                .push_manifest(&name.with_digest(*digest), media_type, &attached.manifest)
                .map_err(failed(name))?;
        }
    }
    Ok(())
}

struct Blob<'a> {
    descriptor: &'a Descriptor,
    /// Its bytes, when they are not in the store.
    bytes: Option<&'a [u8]>,
    mount_from: Option<&'a Reference>,
}

/// All blobs that may be given on, large ones first: the last transfer decides when all is done.
fn blobs<'a>(prepared: &'a Prepared, sibling: Option<&'a Reference>) -> Vec<Blob<'a>> {
    let mut all: Vec<Blob> = Vec::new();
    for image in &prepared.images {
        let layers = image.layers.iter().enumerate().map(|(at, descriptor)| Blob {
            descriptor,
            bytes: None,
            mount_from: sibling
                .or_else(|| image.pulled_from.get(at).and_then(|from| from.as_ref())),
        });
        let config = Blob {
            descriptor: &image.config_descriptor,
            bytes: Some(&image.config),
            mount_from: sibling,
        };
        for blob in layers.chain([config]) {
            if media::is_foreign(&blob.descriptor.media_type) && !prepared.gives_foreign {
                continue;
            }
            if !all.iter().any(|known| known.descriptor.digest == blob.descriptor.digest) {
                all.push(blob);
            }
        }
    }
    for (descriptor, bytes) in prepared.attached.iter().flat_map(|attached| &attached.blobs) {
        if !all.iter().any(|known| known.descriptor.digest == descriptor.digest) {
            all.push(Blob { descriptor, bytes: Some(bytes), mount_from: sibling });
        }
    }
    all.sort_by_key(|blob| std::cmp::Reverse(blob.descriptor.size_bytes));
    all
}

fn push_blob(
    blob: &Blob,
    name: &Reference,
    client: &RegistryClient,
    job: Job,
) -> Result<(), ExportError> {
    job.check()?;
    let Descriptor { digest, size_bytes, .. } = blob.descriptor;
    let open = |from_byte: u64| -> std::io::Result<Box<dyn std::io::Read + '_>> {
        match blob.bytes {
            Some(bytes) => {
                let from = usize::try_from(from_byte).unwrap_or(usize::MAX).min(bytes.len());
                Ok(Box::new(&bytes[from..]))
            }
            None => match open_blob_at(job, blob.descriptor, from_byte) {
                Ok(reader) => Ok(reader),
                Err(error) => Err(std::io::Error::other(error)),
            },
        }
    };
    let seen = seen_in(job, digest, name);
    let candidates: Vec<&Reference> = blob.mount_from.into_iter().chain(&seen).collect();
    let (pushed, from) = client
        .push_blob_from(name, digest, *size_bytes, &open, &candidates)
        .map_err(failed(name))?;
    // That is a hint for the next push, and no reason to fail this one.
    let _ = job.lease.note_blob_place(digest, &name.name());
    let how = match (pushed, from) {
        // Told while it went.
        (Pushed::Uploaded, _) => return Ok(()),
        (Pushed::Mounted, Some(from)) => format!("mounted from {}", from.repository()),
        (Pushed::Mounted, None) => "mounted".to_owned(),
        (Pushed::Existed, _) => "exists".to_owned(),
    };
    job.transferred(&format!("{} {how}", short(digest)), *size_bytes, *size_bytes);
    Ok(())
}

/// Other repositories of the same registry in which a blob was seen.
fn seen_in(job: Job, digest: &Digest, name: &Reference) -> Vec<Reference> {
    let places = job.lease.store().blob_places(digest).unwrap_or_default();
    let places = places.iter().filter_map(|place| place.parse::<Reference>().ok());
    places
        .filter(|place| place.registry() == name.registry() && place.name() != name.name())
        .collect()
}

fn failed(name: &Reference) -> impl FnOnce(RegistryError) -> ExportError {
    let name = name.to_string();
    move |source| Failure::Push { name, source }.into()
}
