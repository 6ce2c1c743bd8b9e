//! To a registry: blobs in parallel, then manifests, then what the tags point to (OUT-14).

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oci::{Descriptor, Reference};
use registry::{Pushed, RegistryClient, RegistryError};

use crate::ExportError;
use crate::error::Failure;
use crate::job::Job;
use crate::prepare::Prepared;
use crate::verify::{open_blob, short};

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
    }
    Ok(())
}

struct Blob<'a> {
    descriptor: &'a Descriptor,
    /// Its bytes, when they are not in the store.
    bytes: Option<&'a [u8]>,
    mount_from: Option<&'a Reference>,
}

/// All blobs, large ones first: the last transfer decides when all is done.
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
            if !all.iter().any(|known| known.descriptor.digest == blob.descriptor.digest) {
                all.push(blob);
            }
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
    let open = || -> std::io::Result<Box<dyn std::io::Read + '_>> {
        match blob.bytes {
            Some(bytes) => Ok(Box::new(bytes)),
            None => match open_blob(job, blob.descriptor) {
                Ok(reader) => Ok(Box::new(reader)),
                Err(error) => Err(std::io::Error::other(error)),
            },
        }
    };
    let pushed = client
        .push_blob(name, digest, *size_bytes, &open, blob.mount_from)
        .map_err(failed(name))?;
    if pushed != Pushed::Uploaded {
        job.transferred(&short(digest), *size_bytes, *size_bytes);
    }
    Ok(())
}

fn failed(name: &Reference) -> impl FnOnce(RegistryError) -> ExportError {
    let name = name.to_string();
    move |source| Failure::Push { name, source }.into()
}
