//! Lists of manifests: what `shale manifest` puts together here and pushes as an index, and what `shale join` makes of
//! parts that several machines have pushed (docs/manifests.md).
//!
//! Owns which entries a list has and what an index over them is. How content moves is the registry client's and the
//! exporter's; where lists lie is the store's.

mod deliver;
mod entry;
mod gather;
mod join;
mod results;

use std::collections::BTreeMap;

use oci::{Digest, Reference};
use progress::Emitter;
use registry::RegistryClient;
use store::{Lease, ManifestList};
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::internal::{self, Internal};
use crate::room;
use crate::session::Session;

use entry::index_of;
pub use entry::{ListEntry, ListedPlatform, Origin};
pub use join::{JoinRequest, Joined, Part, join};
pub use results::parts_in;

/// An image that a list is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: Reference,
    /// The registry's is meant, whatever the store has under the name.
    pub at_registry: bool,
}

/// What is to be another way in an entry; what is empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlatformChange {
    /// Processor.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// Version of the operating system.
    pub os_version: String,
    /// Features of the operating system that are added.
    pub os_features: Vec<String>,
    /// Variant of the processor.
    pub variant: String,
}

/// A manifest or index as `shale manifest inspect` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The document.
    pub bytes: Vec<u8>,
    /// It is a list, and these are its entries where they were asked for.
    pub is_list: bool,
    /// The entries, or the only manifest; a registry's are there only when they were asked for.
    pub entries: Vec<ListEntry>,
}

/// What was pushed under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedList {
    /// Digest of the index.
    pub digest: Digest,
    /// What the repository did not have before.
    pub copied: Vec<Reference>,
}

/// Puts a list together, or adds to one. An image that the list has already is taken anew.
///
/// # Errors
/// There is such a list and it is not to be amended, or neither store nor registry has an image.
pub fn create_list(
    name: &Reference,
    wanted: &[Wanted],
    amend: bool,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let _alone = alone(&session, name)?;
    let mut entries = match read(&session.lease, name)? {
        Some(_) if !amend => {
            let text = "refusing to amend an existing manifest list with no --amend flag";
            return Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint("add --amend, or remove the list with `shale manifest rm`"));
        }
        Some(entries) => entries,
        None => Vec::new(),
    };
    for one in wanted {
        session.check_cancelled()?;
        let local = match one.at_registry {
            true => None,
            false => gather::from_store(&session, &one.name)?,
        };
        let found = match local {
            Some(found) => found,
            None => gather::from_registry(&session.registry, &one.name).map_err(|error| {
                error.with_hint(
                    "a list names what the store or the registry has: push the image first, or build it here",
                )
            })?,
        };
        entries.retain(|known| !is_same(&known.named, &one.name));
        for entry in found {
            entries.retain(|known| known.descriptor.digest != entry.descriptor.digest);
            entries.push(entry);
        }
    }
    keep(&session.lease, name, &entries)
}

/// Changes what an entry says that it is for.
///
/// # Errors
/// There is no such list or no such entry in it, or no such platform.
pub fn annotate_list(
    name: &Reference,
    wanted: &Reference,
    change: &PlatformChange,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let _alone = alone(&session, name)?;
    let mut entries = read(&session.lease, name)?.ok_or_else(|| no_list(name))?;
    let at = position(&entries, name, wanted)?;
    let platform = &mut entries[at].platform;
    let set = |old: &mut String, new: &str| {
        if !new.is_empty() {
            *old = new.to_owned();
        }
    };
    set(&mut platform.os, &change.os);
    set(&mut platform.architecture, &change.architecture);
    set(&mut platform.variant, &change.variant);
    set(&mut platform.os_version, &change.os_version);
    for feature in &change.os_features {
        if !platform.os_features.contains(feature) {
            platform.os_features.push(feature.clone());
        }
    }
    if !is_platform(&platform.os, &platform.architecture) {
        let text = format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            platform.os, platform.architecture
        );
        return Err(BuildError::new(BuildErrorKind::Files, text)
            .with_hint("write Go's names, such as --os linux --arch arm64"));
    }
    keep(&session.lease, name, &entries)
}

/// What a name means: a list that is put together here, else what the registry has. With `list` an entry of that one.
/// The entries of a registry's index are only looked at `with_entries`.
///
/// # Errors
/// There is no such list or entry, or the registry has no such image.
pub fn inspect_manifest(
    list: Option<&Reference>,
    name: &Reference,
    with_entries: bool,
    environment: &Environment,
) -> Result<Shown, BuildError> {
    let lease = environment.store.lease();
    let lease = lease.map_err(|e| BuildError::store("cannot open a lease on the store", e))?;
    if let Some(list) = list {
        let mut entries = read(&lease, list)?.ok_or_else(|| no_list(list))?;
        let at = position(&entries, list, name)?;
        let entry = entries.swap_remove(at);
        return Ok(Shown { bytes: entry.manifest.clone(), is_list: false, entries: vec![entry] });
    }
    if let Some(entries) = read(&lease, name)? {
        let (_, bytes) = index_of(&entries, &BTreeMap::new());
        return Ok(Shown { bytes, is_list: true, entries });
    }
    let client: &RegistryClient = &environment.registry;
    let found = gather::resolve(client, name)?;
    let (bytes, is_list) = (found.bytes.clone(), gather::is_index(name, &found)?);
    let entries = match with_entries {
        true => gather::of_resolved(client, name, found)?,
        false => Vec::new(),
    };
    Ok(Shown { bytes, is_list, entries })
}

/// Pushes a list as an index under its name, with all that its repository does not have yet. With `purge` the list is
/// forgotten afterwards.
///
/// # Errors
/// There is no such list, an entry does not say what it is for, or a registry refuses or cannot be reached.
pub fn push_list(
    name: &Reference,
    purge: bool,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<PushedList, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let entries = read(&session.lease, name)?.ok_or_else(|| no_list(name))?;
    let vague = |entry: &&ListEntry| !entry.platform.is_complete() && !entry.is_attestation();
    if let Some(entry) = entries.iter().find(vague) {
        let text = format!(
            "manifest {} must have an OS and Architecture to be pushed to a registry",
            entry.named
        );
        return Err(BuildError::new(BuildErrorKind::Files, text)
            .with_hint("say what it is for with `shale manifest annotate --os OS --arch ARCH`"));
    }
    let pushed = send(&session, &entries, std::slice::from_ref(name), &BTreeMap::new());
    room::settle(&session);
    let pushed = pushed?;
    if purge {
        let removed = environment.store.remove_manifest_list(name);
        removed.map_err(|e| BuildError::store("cannot remove the list", e))?;
    }
    Ok(pushed)
}

/// All lists that are put together here.
///
/// # Errors
/// The store cannot be read.
pub fn lists(environment: &Environment) -> Result<Vec<(Reference, Vec<ListEntry>)>, BuildError> {
    let all = environment.store.manifest_lists();
    let all = all.map_err(|e| BuildError::store("cannot read the lists", e))?;
    all.into_iter().map(|list| Ok((list.name, entry::from_document(&list.document)?))).collect()
}

/// Forgets a list.
///
/// # Errors
/// There is no such list.
pub fn remove_list(name: &Reference, environment: &Environment) -> Result<(), BuildError> {
    let removed = environment.store.remove_manifest_list(name);
    match removed.map_err(|e| BuildError::store("cannot remove the list", e))? {
        true => Ok(()),
        false => Err(no_list(name)),
    }
}

/// Delivers the entries to each name's repository and puts the index over them there, last.
fn send(
    session: &Session,
    entries: &[ListEntry],
    names: &[Reference],
    annotations: &BTreeMap<String, String>,
) -> Result<PushedList, BuildError> {
    let (media_type, bytes) = index_of(entries, annotations);
    let mut repositories: Vec<&Reference> = Vec::new();
    for name in names {
        // However many tags it gets, a repository needs the content once.
        if !repositories.iter().any(|known| known.name() == name.name()) {
            repositories.push(name);
        }
    }
    let shown: Vec<String> = names.iter().map(Reference::familiar).collect();
    let title = format!("pushing {}", shown.join(", "));
    internal::step(&session.events, Internal::Export, &title, || {
        let mut copied = Vec::new();
        for to in repositories {
            for entry in entries {
                if deliver::deliver(session, &session.registry, entry, to)? {
                    copied.push(to.with_digest(entry.descriptor.digest));
                }
            }
        }
        for name in names {
            deliver::put_index(&session.registry, name, media_type, &bytes)?;
        }
        Ok(PushedList { digest: Digest::of(&bytes), copied })
    })
}

/// Keeps others from changing a list at the same time.
fn alone(session: &Session, name: &Reference) -> Result<store::FlightGuard, BuildError> {
    let flight =
        session.lease.single_flight(&format!("list {name}"), &|| session.cancel.is_cancelled());
    flight.map_err(|error| match error.is_cancelled() {
        true => BuildError::cancelled(),
        false => BuildError::store("cannot change the list", error),
    })
}

fn read(lease: &Lease, name: &Reference) -> Result<Option<Vec<ListEntry>>, BuildError> {
    let list = lease.store().manifest_list(name);
    let list = list.map_err(|e| BuildError::store("cannot read the list", e))?;
    list.map(|list| entry::from_document(&list.document)).transpose()
}

fn keep(lease: &Lease, name: &Reference, entries: &[ListEntry]) -> Result<(), BuildError> {
    let image = |entry: &ListEntry| match entry.origin {
        Origin::Image(id) => Some(id),
        Origin::Registry(_) | Origin::Documents(_) => None,
    };
    let mut blobs = Vec::new();
    for entry in entries.iter().filter(|entry| image(entry).is_some()) {
        blobs.extend(deliver::blobs_of(entry)?.iter().map(|blob| blob.digest));
    }
    let list = ManifestList {
        name: name.clone(),
        images: entries.iter().filter_map(image).collect(),
        blobs,
        document: entry::to_document(entries),
    };
    lease.set_manifest_list(&list).map_err(|e| BuildError::store("cannot keep the list", e))
}

/// Where an entry stands that is named by what was added, or by its digest.
fn position(
    entries: &[ListEntry],
    list: &Reference,
    wanted: &Reference,
) -> Result<usize, BuildError> {
    let fits = |entry: &ListEntry| match wanted.digest() {
        Some(digest) => entry.descriptor.digest == digest,
        None => is_same(&entry.named, wanted) && !entry.is_attestation(),
    };
    let mut found = entries.iter().enumerate().filter(|(_, entry)| fits(entry)).map(|(at, _)| at);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => {
            let text = format!("{} has several manifests in the list", wanted.familiar());
            Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint(format!("name one by its digest, {}@sha256:…", wanted.familiar_name())))
        }
        (None, _) => {
            let text = format!(
                "manifest for image {} does not exist in {}",
                wanted.familiar(),
                list.familiar()
            );
            Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint(format!("see `shale manifest inspect {}`", list.familiar())))
        }
    }
}

/// Whether two names mean the same; one may leave out the tag that it implies.
fn is_same(one: &Reference, other: &Reference) -> bool {
    one.to_string() == other.to_string()
}

fn no_list(name: &Reference) -> BuildError {
    BuildError::new(BuildErrorKind::Files, format!("No such manifest: {name}"))
        .with_hint("lists that are put together here: `shale manifest ls`")
}

/// Whether Go knows such a platform: what others would never choose helps nobody in an index.
fn is_platform(os: &str, architecture: &str) -> bool {
    const COMMON: [&str; 4] = ["386", "amd64", "arm", "arm64"];
    let others: &[&str] = match os {
        "linux" => &[
            "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
            "s390x",
        ],
        "freebsd" | "openbsd" => &["ppc64", "riscv64"],
        "android" | "darwin" | "netbsd" | "windows" | "plan9" => &[],
        "dragonfly" | "illumos" | "solaris" => return architecture == "amd64",
        "aix" => return architecture == "ppc64",
        "wasi" | "wasip1" | "js" => return architecture == "wasm",
        _ => return false,
    };
    COMMON.contains(&architecture) || others.contains(&architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_go_s() {
        for (os, architecture) in [("linux", "arm64"), ("linux", "s390x"), ("windows", "amd64")] {
            assert!(is_platform(os, architecture), "{os}/{architecture}");
        }
        for (os, architecture) in [("linux", "x86_64"), ("", "amd64"), ("solaris", "arm")] {
            assert!(!is_platform(os, architecture), "{os}/{architecture}");
        }
    }
}
