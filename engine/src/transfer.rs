//! Images of registries into the store, and images of the store to registries.
//!
//! Owns what a pull and a push are. How bytes move is the registry client's and the exporter's.

use std::error::Error as _;

use exporter::{Job, Prepared};
use graph::ImageSource;
use oci::{Digest, ImageId, Platform, Reference};
use progress::Emitter;
use store::Tagged;
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::image::{self, Claims};
use crate::images::{by_digest, fetch_of, find_tagged, keep_pulled, prepared, whole};
use crate::internal::{self, Internal};
use crate::output::job::job;
use crate::room;
use crate::session::Session;

/// What [`pull`] brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub id: ImageId,
    /// Digest of the manifest or index that has the name at the registry.
    pub digest: Digest,
    /// The name meant another image before, or none.
    pub is_new: bool,
}

/// Brings an image into the store and names it. Its layers are unpacked when a step needs them.
///
/// # Errors
/// The registry has no such image, cannot be reached or refuses, or gives something else than its digest says.
pub fn pull(
    reference: &Reference,
    platform: &Platform,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Pulled, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let name = format!("pulling {}", reference.familiar());
    let pulled = internal::step(events, Internal::ResolveImages, &name, || {
        let failed = format!("cannot pull {}", reference.familiar());
        let named = image::named(&session, reference, platform);
        let named = session.unless_cancelled(named).map_err(|error| match error.kind() {
            BuildErrorKind::Cancelled => error,
            _ if error.source().is_some() => error.saying(failed),
            // Its own sentence is the cause.
            kind => BuildError::new(kind, failed).because(error),
        })?;
        let before = match reference.digest() {
            Some(_) => by_digest(&session.lease, &reference.to_string()),
            None => session.lease.tag(reference),
        };
        let before = before.map_err(|e| BuildError::store("cannot look for the image", e))?;
        let resolved = image::at_registry(&session, reference, platform);
        session.check_cancelled()?;
        let resolved = resolved.map_err(|error| {
            let text = format!("cannot pull {}: {error}", reference.familiar());
            BuildError::new(error.kind(), text)
        })?;
        let source = ImageSource {
            reference: resolved.reference,
            origin: resolved.origin,
            manifest: resolved.manifest,
            config: resolved.config,
        };
        warn_of_platform(&session, reference, platform, &source.config);
        image::download_all(&session, &source, Internal::ResolveImages.vertex())?;
        let id = keep_pulled(&session, &source, reference)?;
        note(&session, &id.0, &reference.with_digest(named.digest))?;
        let is_new = !before.is_some_and(|before| before.images().contains(&id));
        Ok(Pulled { id, digest: named.digest, is_new })
    });
    room::settle(&session);
    whole(pulled)
}

/// A name that is one image's alone is pulled whatever platform was wanted, as by docker; nobody should find out when
/// it does not start.
fn warn_of_platform(
    session: &Session,
    reference: &Reference,
    wanted: &Platform,
    config: &oci::ImageConfig,
) {
    let says_nothing = config.os.is_empty() && config.architecture.is_empty();
    let fits = config.os == wanted.os && config.architecture == wanted.architecture;
    if !says_nothing && !fits {
        let (name, there) = (reference.familiar(), config.platform());
        session.warn(format!("{name} is an image for {there}, and there is none for {wanted}"));
    }
}

/// All names that a registry has in a repository, in its order.
///
/// # Errors
/// The registry has no such repository, cannot be reached or refuses.
pub fn remote_tags(
    repository: &Reference,
    environment: &Environment,
) -> Result<Vec<Reference>, BuildError> {
    let failed = |error| {
        let text = format!("cannot list the tags of {}", repository.familiar_name());
        BuildError::new(BuildErrorKind::Registry, text).because(error)
    };
    let tags = environment.registry.tags(repository).map_err(failed)?;
    let named = tags.iter().filter_map(|tag| format!("{}:{tag}", repository.name()).parse().ok());
    Ok(named.collect())
}

/// All names that the store has in a repository, in alphabetical order.
///
/// # Errors
/// The store cannot be read.
pub fn local_tags(
    repository: &Reference,
    environment: &Environment,
) -> Result<Vec<Reference>, BuildError> {
    let tags = environment.store.tags();
    let tags = tags.map_err(|e| BuildError::store("cannot look for images", e))?;
    let names = tags.into_iter().map(|(name, _)| name);
    let mut names: Vec<Reference> =
        names.filter(|name| name.name() == repository.name() && name.digest().is_none()).collect();
    names.sort();
    Ok(names)
}

/// What [`push`] left at the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// How [`push`] goes.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// Only the image for this one.
    pub platform: Option<Platform>,
    /// Layers that may not be given on are sent all the same.
    pub gives_foreign: bool,
}

/// Pushes an image, or an index with all that it lists, under its name.
///
/// # Errors
/// There is no such image, or the registry refuses it.
pub fn push(
    reference: &Reference,
    options: &PushOptions,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Pushed, BuildError> {
    let platform = options.platform.as_ref();
    let session = environment::session_for(environment, events, cancel)?;
    let tagged = find_tagged(&session.lease, &reference.to_string())?;
    let name = format!("pushing {}", reference.familiar());
    let pushed = internal::step(events, Internal::Export, &name, || {
        let mut prepared = chosen(&session, &tagged, &reference.familiar(), platform)?;
        prepared.gives_foreign = options.gives_foreign;
        let names = std::slice::from_ref(reference);
        let fetch = fetch_of(&session, Claims::of([&prepared]));
        let job = Job { fetch: Some(&fetch), ..job(&session) };
        let sent = exporter::push(&prepared, names, false, &session.registry, job);
        session.unless_cancelled(sent.map_err(BuildError::export))?;
        let object = match (platform, &prepared.images[..]) {
            (Some(_), [image]) => image.config_descriptor.digest,
            _ => tagged.object(),
        };
        note(&session, &object, &reference.with_digest(prepared.target.digest))?;
        Ok(Pushed { digest: prepared.target.digest, size_bytes: prepared.target.size_bytes })
    });
    // Layers were compressed for it.
    room::settle(&session);
    whole(pushed)
}

/// Notes under which digest a repository has an image or index.
fn note(session: &Session, object: &Digest, name: &Reference) -> Result<(), BuildError> {
    let noted = session.lease.note_repo_digest(object, name);
    noted.map_err(|e| BuildError::store("cannot note the image's digest", e))
}

/// What a name means, or of several platforms the image for one. `name` is for people.
pub(crate) fn chosen(
    session: &Session,
    tagged: &Tagged,
    name: &str,
    platform: Option<&Platform>,
) -> Result<Prepared, BuildError> {
    let mut prepared = prepared(session, tagged)?;
    let Some(platform) = platform else { return Ok(prepared) };
    let best = platform.best_first();
    let at = best.iter().find_map(|p| prepared.images.iter().position(|i| i.platform == *p));
    let Some(at) = at else {
        let has: Vec<String> = prepared.images.iter().map(|i| i.platform.to_string()).collect();
        let text = format!("image {name} has nothing for {platform}, only for {}", has.join(", "));
        return Err(BuildError::new(BuildErrorKind::Dockerfile, text));
    };
    let mut image = prepared.images.swap_remove(at);
    // In an index it says what it is for; alone its config does.
    image.descriptor.platform = None;
    prepared.target = image.descriptor.clone();
    prepared.images = vec![image];
    prepared.index = None;
    prepared.attached.clear();
    Ok(prepared)
}
