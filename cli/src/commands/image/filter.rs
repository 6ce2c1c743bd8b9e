//! The images of the store as lists and removals see them, and which of them are meant.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use oci::{Digest, Reference};
use store::{StoredImage, Tagged};

use super::{Shelf, config, store_error};
use crate::args::{ImageFilter, LabelFilter};
use crate::commands::Failure;
use crate::render::date_secs;

/// An image, or an index with its images.
#[derive(Debug)]
pub(super) struct Listed {
    /// Digest of config or index, with its algorithm.
    pub(super) id: String,
    pub(super) names: Vec<Reference>,
    /// One, or several of an index.
    pub(super) images: Vec<StoredImage>,
    /// When it was made: of several the last, in seconds since 1970.
    pub(super) created_secs: Option<i64>,
    /// The digests under which repositories have it.
    pub(super) digests: Vec<Reference>,
    labels: BTreeMap<String, String>,
    /// When it came into the store.
    built_at: String,
}

impl Listed {
    fn new(
        id: String,
        names: Vec<Reference>,
        images: Vec<StoredImage>,
        digests: Vec<Reference>,
    ) -> Result<Listed, Failure> {
        let (mut created_secs, mut labels) = (None, BTreeMap::new());
        for image in &images {
            let config = config(image)?;
            created_secs = created_secs.max(config.created.as_deref().and_then(date_secs));
            labels.extend(config.config.labels);
        }
        let built_at = images.iter().map(|image| image.built_at.clone()).max().unwrap_or_default();
        Ok(Listed { id, names, images, created_secs, digests, labels, built_at })
    }

    /// Whether its labels are as they have to be.
    fn has_labels(&self, filters: &[LabelFilter]) -> bool {
        filters.iter().all(|filter| {
            let label = self.labels.get(&filter.key);
            let has = label.is_some_and(|label| filter.value.as_ref().is_none_or(|v| v == label));
            has != filter.is_not
        })
    }
}

/// All images, the latest first. `all` has those of single platforms that only an index names, too.
pub(super) fn listed(shelf: &Shelf, all: bool) -> Result<Vec<Listed>, Failure> {
    let tags = shelf.tags()?;
    let known = shelf.repo_digests()?;
    let digests = |object: &Digest| {
        let own = known.iter().filter(|(about, _)| about == object);
        own.map(|(_, name)| name.clone()).collect::<Vec<Reference>>()
    };
    let images = shelf.lease.images().map_err(store_error("cannot list the images"))?;
    let mut listed = Vec::new();
    for image in &images {
        let own = Tagged::Image(image.id);
        let names: Vec<Reference> = tags
            .iter()
            .filter(|(_, tagged)| *tagged == own)
            .map(|(name, _)| name.clone())
            .collect();
        let is_part = tags.iter().any(|(_, tagged)| tagged.images().contains(&image.id));
        if names.is_empty() && is_part && !all {
            continue;
        }
        let id = image.id.to_string();
        listed.push(Listed::new(id, names, vec![image.clone()], digests(&image.id.0))?);
    }
    let mut indexes: BTreeMap<Digest, (Vec<Reference>, &Tagged)> = BTreeMap::new();
    for (name, tagged) in &tags {
        if let Tagged::Index(index) = tagged {
            let entry = indexes.entry(index.index.digest).or_insert((Vec::new(), tagged));
            entry.0.push(name.clone());
        }
    }
    for (digest, (names, tagged)) in indexes {
        let own = tagged.images();
        let own = images.iter().filter(|image| own.contains(&image.id)).cloned().collect();
        listed.push(Listed::new(digest.to_string(), names, own, digests(&digest))?);
    }
    // As docker: what was made last is first. Of equal times, what came last.
    listed.sort_by(|a, b| {
        let key = |of: &Listed| (Reverse(of.created_secs), Reverse(of.built_at.clone()));
        key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
    });
    Ok(listed)
}

/// Leaves what matches, and of its names those that do.
pub(super) fn retain(
    shelf: &Shelf,
    listed: &mut Vec<Listed>,
    filter: &ImageFilter,
) -> Result<(), Failure> {
    let created = |name: &Option<String>| match name {
        Some(name) => {
            let image = shelf.find(name, None)?;
            let created = config(&image)?.created.as_deref().and_then(date_secs);
            Ok::<_, Failure>(Some(created.unwrap_or(i64::MIN)))
        }
        None => Ok(None),
    };
    let (before, since) = (created(&filter.before)?, created(&filter.since)?);
    listed.retain_mut(|one| {
        let made = one.created_secs.unwrap_or(i64::MIN);
        if before.is_some_and(|before| made >= before)
            || since.is_some_and(|since| made <= since)
            || filter.until_secs.is_some_and(|until| made > until)
            || filter.dangling.is_some_and(|is| is != one.names.is_empty())
            || !one.has_labels(&filter.labels)
        {
            return false;
        }
        if filter.references.is_empty() {
            return true;
        }
        let is_meant =
            |name: &Reference| filter.references.iter().any(|pattern| pattern.matches(name));
        one.names.retain(is_meant);
        if one.names.is_empty() {
            one.digests.retain(is_meant);
        }
        !one.names.is_empty() || !one.digests.is_empty()
    });
    Ok(())
}
