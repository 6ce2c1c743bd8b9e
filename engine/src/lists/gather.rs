//! What a name means, taken apart into entries of a list: an image of the store, or a manifest or index of a registry.

use std::io::Read as _;

use oci::{Descriptor, Digest, Document, Reference, media};
use registry::{RegistryClient, Resolved};
use serde::Deserialize;
use store::{Tagged, TaggedIndex};

use super::entry::{ListEntry, ListedPlatform, Origin};
use crate::error::{BuildError, BuildErrorKind};
use crate::images::prepared;
use crate::session::Session;

/// A config that says what an image is for may be this long (spec/security.md C7).
const CONFIG_MAX_BYTES: u64 = 8 << 20;

/// More bytes of manifests than this are no image of several platforms: an index names thousands of them in a page.
const MANIFESTS_MAX_BYTES: usize = 64 << 20;

/// The same document once more, for the platforms' own words.
#[derive(Deserialize)]
struct Platforms {
    manifests: Vec<PlatformOf>,
}

#[derive(Deserialize)]
struct PlatformOf {
    #[serde(default)]
    platform: Option<ListedPlatform>,
}

/// The entries of an image that the store has under this very name; `None` when it has none.
pub(super) fn from_store(
    session: &Session,
    name: &Reference,
) -> Result<Option<Vec<ListEntry>>, BuildError> {
    let tagged = session.lease.tag(name);
    let tagged = tagged.map_err(|e| BuildError::store("cannot look for the image", e))?;
    match tagged {
        None => Ok(None),
        Some(Tagged::Index(listed)) => of_stored_index(session, name, &listed).map(Some),
        Some(tagged @ Tagged::Image(id)) => {
            let prepared = prepared(session, &tagged)?;
            let image = &prepared.images[0];
            Ok(Some(vec![ListEntry {
                named: name.clone(),
                descriptor: Descriptor { platform: None, ..image.descriptor.clone() },
                platform: config_platform(name, &image.config)?,
                manifest: image.manifest.clone(),
                origin: Origin::Image(id),
            }]))
        }
    }
}

fn of_stored_index(
    session: &Session,
    name: &Reference,
    listed: &TaggedIndex,
) -> Result<Vec<ListEntry>, BuildError> {
    // Encodes nothing: the manifests are known. It leases what the images need.
    prepared(session, &Tagged::Index(listed.clone()))?;
    let find = |digest: Digest| {
        let image = listed.images.iter().find(|(_, manifest)| manifest.digest == digest);
        let attached = listed.attached.iter().find(|one| one.manifest.digest == digest);
        match (image, attached) {
            (Some((id, manifest)), _) => Some((manifest, Origin::Image(*id))),
            (None, Some(one)) => Some((&one.manifest, Origin::Documents(one.blobs.clone()))),
            (None, None) => None,
        }
    };
    let mut entries = Vec::new();
    for (descriptor, platform) in lines(name, &listed.index.bytes, &listed.index.media_type)? {
        let Some((manifest, origin)) = find(descriptor.digest) else { continue };
        let manifest = manifest.bytes.clone();
        let platform = platform.unwrap_or_default();
        entries.push(ListEntry { named: name.clone(), descriptor, platform, manifest, origin });
    }
    Ok(entries)
}

/// The entries of what a registry has.
pub(super) fn from_registry(
    client: &RegistryClient,
    name: &Reference,
) -> Result<Vec<ListEntry>, BuildError> {
    let found = resolve(client, name)?;
    of_resolved(client, name, found)
}

/// The entries of a manifest or index that a registry gave under a name.
pub(super) fn of_resolved(
    client: &RegistryClient,
    name: &Reference,
    found: Resolved,
) -> Result<Vec<ListEntry>, BuildError> {
    if !is_index(name, &found)? {
        let size_bytes = found.bytes.len() as u64;
        let descriptor = Descriptor::new(&found.media_type, found.digest, size_bytes);
        return Ok(vec![of_manifest(client, name, descriptor, None, found.bytes)?]);
    }
    let mut entries = Vec::new();
    let mut bytes = 0;
    for (descriptor, platform) in lines(name, &found.bytes, &found.media_type)? {
        if media::is_index(&descriptor.media_type) {
            let text = format!("{} lists another index, {}", name.familiar(), descriptor.digest);
            return Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint("name the images that it lists one by one"));
        }
        let part = resolve(client, &name.with_digest(descriptor.digest))?;
        bytes += part.bytes.len();
        if bytes > MANIFESTS_MAX_BYTES {
            let text = format!("{} lists more than 64 MiB of manifests", name.familiar());
            return Err(BuildError::new(BuildErrorKind::Registry, text)
                .with_hint("name the images that are wanted one by one, by their digests"));
        }
        entries.push(of_manifest(client, name, descriptor, platform, part.bytes)?);
    }
    Ok(entries)
}

/// Gets what a registry has under a name.
pub(super) fn resolve(client: &RegistryClient, name: &Reference) -> Result<Resolved, BuildError> {
    client.resolve(name).map_err(|error| {
        let text = format!("cannot get {}", name.familiar());
        BuildError::new(BuildErrorKind::Registry, text).because(error)
    })
}

/// Whether a registry's document is an index.
pub(super) fn is_index(name: &Reference, found: &Resolved) -> Result<bool, BuildError> {
    let document = Document::from_json(&found.bytes, &found.media_type);
    Ok(matches!(document.map_err(|error| unreadable(name, error))?, Document::Index(_)))
}

fn of_manifest(
    client: &RegistryClient,
    name: &Reference,
    descriptor: Descriptor,
    platform: Option<ListedPlatform>,
    manifest: Vec<u8>,
) -> Result<ListEntry, BuildError> {
    let platform = match platform.filter(ListedPlatform::is_complete) {
        Some(platform) => platform,
        None => platform_of(client, name, &manifest, &descriptor.media_type)?,
    };
    let (named, origin) = (name.clone(), Origin::Registry(name.clone()));
    Ok(ListEntry { named, descriptor, platform, manifest, origin })
}

/// What an image is for, by its config.
fn platform_of(
    client: &RegistryClient,
    name: &Reference,
    manifest: &[u8],
    media_type: &str,
) -> Result<ListedPlatform, BuildError> {
    let document = Document::from_json(manifest, media_type);
    let config = match document.map_err(|error| unreadable(name, error))? {
        Document::Manifest(manifest) => manifest.config,
        Document::Index(_) => return Ok(ListedPlatform::default()),
    };
    if !matches!(&*config.media_type, media::OCI_CONFIG | media::DOCKER_CONFIG) {
        // An artifact is for no platform.
        return Ok(ListedPlatform::default());
    }
    if config.size_bytes > CONFIG_MAX_BYTES {
        let text = format!("the config of {} is too large", name.familiar());
        return Err(BuildError::new(BuildErrorKind::Registry, text));
    }
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
        let text = format!("cannot get the config of {}: {cause}", name.familiar());
        BuildError::new(BuildErrorKind::Registry, text)
    };
    let mut blob = client.blob(name, &config).map_err(|error| failed(error.into()))?;
    let mut bytes = Vec::new();
    blob.read_to_end(&mut bytes).map_err(|error| failed(error.into()))?;
    config_platform(name, &bytes)
}

fn config_platform(name: &Reference, config: &[u8]) -> Result<ListedPlatform, BuildError> {
    serde_json::from_slice(config).map_err(|error| unreadable(name, error))
}

/// What an index lists.
fn lines(
    name: &Reference,
    bytes: &[u8],
    media_type: &str,
) -> Result<Vec<(Descriptor, Option<ListedPlatform>)>, BuildError> {
    let document = Document::from_json(bytes, media_type);
    let Document::Index(index) = document.map_err(|error| unreadable(name, error))? else {
        return Ok(Vec::new());
    };
    let platforms: Platforms =
        serde_json::from_slice(bytes).map_err(|error| unreadable(name, error))?;
    let without = |descriptor: Descriptor| Descriptor { platform: None, ..descriptor };
    let platforms = platforms.manifests.into_iter().map(|one| one.platform);
    Ok(index.manifests.into_iter().map(without).zip(platforms).collect())
}

fn unreadable(
    name: &Reference,
    error: impl std::error::Error + Send + Sync + 'static,
) -> BuildError {
    let text = format!("cannot read what {} is", name.familiar());
    BuildError::new(BuildErrorKind::Registry, text).because(error)
}
