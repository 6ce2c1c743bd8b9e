//! Parts of an image that several machines have pushed, one for each platform, joined into one index under one tag.
//!
//! Owns the rules of a join: nothing is tagged before all parts are there, a platform that comes twice is an error, and
//! the same parts give the same index in whatever order they were named.

use std::collections::BTreeMap;

use oci::{Digest, ImageId, Platform, Reference};
use progress::Emitter;
use sys::Cancel;

use super::entry::{ListEntry, index_of};
use super::{gather, send};
use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::session::Session;

/// What is to be joined.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinRequest {
    /// The names that the index gets.
    pub names: Vec<Reference>,
    /// Its parts.
    pub parts: Vec<Part>,
    /// The platforms that there must be, no more and no less; empty for whatever comes.
    pub expect: Vec<Platform>,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// Pushes nothing.
    pub dry_run: bool,
}

/// A part of what is joined: an image, or an index over some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// By its name at its registry.
    Named(Reference),
    /// By its digest, in the repository of the first name. That of an image's config is one too, as --iidfile has it,
    /// where the store has the image.
    Digest(Digest),
    /// Whatever has a tag like this in the repository of the first name; `*` stands for any characters.
    Tags(String),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Media type of the index.
    pub media_type: &'static str,
    /// Its digest.
    pub digest: Digest,
    /// The index.
    pub bytes: Vec<u8>,
    /// What it lists, in its order.
    pub entries: Vec<ListEntry>,
}

/// Joins parts and pushes the index under all names.
///
/// # Errors
/// A part is missing at its registry or is no image, a platform comes twice, or the platforms are not those expected;
/// nothing was pushed then. Or a registry refuses.
pub fn join(
    request: &JoinRequest,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<Joined, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let mut entries: Vec<ListEntry> = Vec::new();
    for part in &request.parts {
        session.check_cancelled()?;
        for entry in found(&session, request, part)? {
            if !entries.iter().any(|known| known.descriptor.digest == entry.descriptor.digest) {
                entries.push(entry);
            }
        }
    }
    let entries = ordered(entries, &request.expect)?;
    let (media_type, bytes) = index_of(&entries, &request.annotations);
    if !request.dry_run {
        send(&session, &entries, &request.names, &request.annotations)?;
    }
    Ok(Joined { media_type, digest: Digest::of(&bytes), bytes, entries })
}

fn found(
    session: &Session,
    request: &JoinRequest,
    part: &Part,
) -> Result<Vec<ListEntry>, BuildError> {
    let client = &session.registry;
    let home = request.names.first().ok_or_else(|| failure("there is no name to join under"))?;
    match part {
        Part::Named(name) => gather::from_registry(client, name),
        Part::Digest(digest) => {
            let name = home.with_digest(manifest_of(session, digest)?.unwrap_or(*digest));
            gather::from_registry(client, &name).map_err(|error| {
                error.with_hint(
                    "a digest means a manifest in the repository of the joined name. What --iidfile has for one \
                     platform is the image's id, by which no registry finds it: pass on --metadata-file instead",
                )
            })
        }
        Part::Tags(pattern) => {
            let tags = client.tags(home).map_err(|error| {
                let text = format!("cannot list the tags of {}", home.familiar_name());
                BuildError::new(BuildErrorKind::Registry, text).because(error)
            })?;
            let mut found = Vec::new();
            for tag in tags.iter().filter(|tag| matches(pattern, tag)) {
                let Ok(name) = format!("{}:{tag}", home.name()).parse() else { continue };
                found.extend(gather::from_registry(client, &name)?);
            }
            match found.is_empty() {
                true => Err(failure(format!("{} has no tag like {pattern}", home.familiar_name()))),
                false => Ok(found),
            }
        }
    }
}

/// The manifest of an image of the store, where a digest is such an image's id.
fn manifest_of(session: &Session, digest: &Digest) -> Result<Option<Digest>, BuildError> {
    let image = session.lease.image(&ImageId(*digest));
    let image = image.map_err(|e| BuildError::store("cannot look for the image", e))?;
    Ok(image.and_then(|image| image.manifest).map(|manifest| manifest.digest))
}

/// Images in the order of `expect`, else of their platforms' names, and behind them what is said of them.
fn ordered(entries: Vec<ListEntry>, expect: &[Platform]) -> Result<Vec<ListEntry>, BuildError> {
    let (mut said, mut images): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(ListEntry::is_attestation);
    if let Some(vague) = images.iter().find(|image| !image.platform.is_complete()) {
        let text = format!("{} is no image for a platform", vague.reference().familiar());
        return Err(failure(text));
    }
    images.sort_by_cached_key(|image| {
        let platform = image.platform.normal();
        let at = expect.iter().position(|wanted| *wanted == platform);
        (at.unwrap_or(usize::MAX), platform.to_string(), image.platform.os_features.clone())
    });
    let same = |a: &ListEntry, b: &ListEntry| {
        a.platform.normal() == b.platform.normal()
            && a.platform.os_features == b.platform.os_features
    };
    if let Some(two) = images.windows(2).find(|two| same(&two[0], &two[1])) {
        let text = format!(
            "{} comes twice: {} and {}",
            two[0].platform.normal(),
            two[0].reference().familiar(),
            two[1].reference().familiar()
        );
        return Err(failure(text).with_hint("leave out the one that is of another run"));
    }
    check(&images, expect)?;
    said.sort_by_cached_key(|one| {
        let about = one.descriptor.annotations.get("vnd.docker.reference.digest");
        let at = images.iter().position(|i| about == Some(&i.descriptor.digest.to_string()));
        (at.unwrap_or(usize::MAX), one.descriptor.digest)
    });
    images.extend(said);
    Ok(images)
}

fn check(images: &[ListEntry], expect: &[Platform]) -> Result<(), BuildError> {
    if images.is_empty() {
        return Err(failure("there is nothing to join"));
    }
    if expect.is_empty() {
        return Ok(());
    }
    let there: Vec<Platform> = images.iter().map(|image| image.platform.normal()).collect();
    let names = |list: Vec<&Platform>| {
        list.iter().map(|platform| platform.to_string()).collect::<Vec<_>>().join(", ")
    };
    let missing = names(expect.iter().filter(|wanted| !there.contains(wanted)).collect());
    let more = names(there.iter().filter(|have| !expect.contains(have)).collect());
    let text = match (missing.is_empty(), more.is_empty()) {
        (true, true) => return Ok(()),
        (false, true) => format!("missing: {missing}"),
        (true, false) => format!("not expected: {more}"),
        (false, false) => format!("missing: {missing}; not expected: {more}"),
    };
    let has = names(there.iter().collect());
    Err(failure(format!("the parts are not those expected: {text}"))
        .with_hint(format!("there is {has}; nothing was pushed")))
}

/// Whether a tag is like a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, tag: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = tag.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

fn failure(text: impl Into<String>) -> BuildError {
    BuildError::new(BuildErrorKind::Files, text)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{ListedPlatform, Origin};
    use super::*;
    use oci::{Descriptor, media};

    fn part(number: u8, platform: &str) -> ListEntry {
        let words: Vec<&str> = platform.split('/').collect();
        let name: Reference = "r.test/a".parse().expect("a name");
        ListEntry {
            named: name.clone(),
            descriptor: Descriptor::new(media::OCI_MANIFEST, Digest::of(&[number]), 1),
            platform: ListedPlatform {
                os: words[0].to_owned(),
                architecture: words[1].to_owned(),
                variant: words.get(2).copied().unwrap_or_default().to_owned(),
                ..ListedPlatform::default()
            },
            manifest: vec![number],
            origin: Origin::Registry(name),
        }
    }

    fn joined(parts: &[ListEntry], expect: &[&str]) -> Result<Vec<String>, String> {
        let expect: Vec<Platform> = expect.iter().map(|p| p.parse().expect("a platform")).collect();
        let entries = ordered(parts.to_vec(), &expect).map_err(|error| error.to_string())?;
        Ok(entries.iter().map(|one| one.platform.normal().to_string()).collect())
    }

    #[test]
    fn the_order_of_coming_does_not_matter() {
        let parts = [part(1, "linux/arm64/v8"), part(2, "linux/amd64"), part(3, "linux/arm/v7")];
        let turned: Vec<ListEntry> = parts.iter().rev().cloned().collect();
        let sorted = ["linux/amd64", "linux/arm/v7", "linux/arm64"].map(str::to_owned).to_vec();
        assert_eq!(joined(&parts, &[]), Ok(sorted.clone()));
        assert_eq!(joined(&turned, &[]), Ok(sorted));
        let expect = ["linux/arm64", "linux/arm/v7", "linux/amd64"];
        assert_eq!(joined(&turned, &expect), Ok(expect.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_said_of_an_image_comes_behind_all_images() {
        let mut said = part(9, "unknown/unknown");
        let about = Digest::of(&[1]).to_string();
        said.descriptor.annotations.insert("vnd.docker.reference.digest".to_owned(), about);
        let all = joined(&[said, part(1, "linux/amd64")], &["linux/amd64"]);
        assert_eq!(all, Ok(["linux/amd64", "unknown/unknown"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let refused = |parts: &[ListEntry], expect: &[&str], want: &str| {
            let error = joined(parts, expect).expect_err(want);
            assert!(error.contains(want), "{error}");
        };
        let amd = part(1, "linux/amd64");
        refused(&[], &[], "nothing to join");
        refused(&[amd.clone(), part(2, "linux/amd64")], &[], "linux/amd64 comes twice");
        refused(&[part(2, "/")], &[], "no image for a platform");
        refused(std::slice::from_ref(&amd), &["linux/amd64", "arm64"], "missing: linux/arm64");
        refused(&[amd, part(2, "linux/s390x")], &["arm64"], "missing: linux/arm64; not expected:");
    }

    #[test]
    fn patterns_of_tags() {
        for (pattern, tag) in
            [("a", "a"), ("a-*", "a-1"), ("*-b", "a-b"), ("a*b*c", "aXbYc"), ("*", "")]
        {
            assert!(matches(pattern, tag), "{pattern} {tag}");
        }
        for (pattern, tag) in [("a", "ab"), ("a-*", "b-1"), ("a*b*c", "acb"), ("ab*ba", "aba")] {
            assert!(!matches(pattern, tag), "{pattern} {tag}");
        }
    }
}
