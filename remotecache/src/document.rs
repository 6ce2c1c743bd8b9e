//! The document: every record of a cache with its keys, its layers and where they lie.

mod format;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use graph::{CacheKey, ContentId, InstructionDigest, OperationDigest, TreeDigest};
use oci::{ChainId, Descriptor, DiffId, Digest};

pub(crate) use format::{COMPRESSED_MAX_BYTES, check_limits, decode_inline, encode_inline};

/// Media type of an encoded document.
pub const DOCUMENT_MEDIA_TYPE: &str = "application/vnd.shale.cache.v1+json+zstd";

/// All that a cache holds, read at once: look-ups need no further round trip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheDocument {
    /// Layers that records name by their place in this list.
    pub layers: Vec<CacheLayer>,
    /// Results of steps.
    pub records: Vec<CacheEntry>,
    /// Cache mounts that travel along.
    pub mounts: Vec<MountBlob>,
    /// Lists of files behind digests that records name as inputs, for whoever explains a miss.
    pub listings: Vec<(TreeDigest, Descriptor)>,
}

/// A layer above a base image.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheLayer {
    /// Digest of its uncompressed tar.
    pub diff_id: DiffId,
    /// Digest of its content without times: what cache keys name (design D4).
    pub content_id: ContentId,
    /// The blob.
    pub descriptor: Descriptor,
    /// When the step ran that made it, RFC 3339.
    pub created: String,
}

/// The result of a step, as a record of the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// What was known before the step ran.
    pub instruction: InstructionDigest,
    /// The same with the digests of contents.
    pub operation: Option<OperationDigest>,
    /// The weak and strong keys that it is found by; one at least.
    pub keys: Vec<CacheKey>,
    /// Chain of the image below, whose layers are not part of the cache.
    pub base: Option<ChainId>,
    /// The layers above the base, lowest first, as places in [`CacheDocument::layers`].
    pub layers: Vec<u32>,
    /// The layer that the step made, as a place in [`CacheDocument::layers`]; then it is the last of `layers`.
    pub layer: Option<u32>,
    /// When the step ran, RFC 3339.
    pub created: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The instruction as people know it.
    pub step: String,
    /// What it read, as label and digest.
    pub inputs: Vec<(String, String)>,
}

/// A cache mount that travels along.
#[derive(Clone, Debug, PartialEq)]
pub struct MountBlob {
    /// BUILDKIT_CACHE_MOUNT_NS; empty for none.
    pub namespace: String,
    /// What the Dockerfile calls it.
    pub id: String,
    /// Owner, group and mode of a new one, when the Dockerfile gives one of them: another one then.
    pub owner: Option<(u32, u32, u32)>,
    /// A digest that stands for its first content, in hexadecimal digits.
    pub origin: Option<String>,
    /// A compressed tar of its content.
    pub descriptor: Descriptor,
}

/// Id, namespace, owner with mode, origin: see [`MountBlob`].
type MountIdentity<'a> = (&'a str, &'a str, Option<(u32, u32, u32)>, Option<&'a str>);

impl MountBlob {
    /// What makes it this mount: all but the content.
    fn identity(&self) -> MountIdentity<'_> {
        (&self.id, &self.namespace, self.owner, self.origin.as_deref())
    }
}

impl CacheDocument {
    /// Every blob that the document names, each once, in the order of layers, mounts, listings.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut known = std::collections::HashSet::new();
        let layers = self.layers.iter().map(|layer| &layer.descriptor);
        let mounts = self.mounts.iter().map(|mount| &mount.descriptor);
        let listings = self.listings.iter().map(|(_, descriptor)| descriptor);
        let all = layers.chain(mounts).chain(listings);
        all.filter(|blob| known.insert(blob.digest)).collect()
    }

    /// The layers of a record above its base, lowest first; `None` when a place is none.
    pub fn layers_of<'a>(&'a self, entry: &CacheEntry) -> Option<Vec<&'a CacheLayer>> {
        entry.layers.iter().map(|place| self.layers.get(*place as usize)).collect()
    }

    /// Takes over everything of `other` that is not here yet: of records with equal keys, of mounts with equal ids
    /// and of equal layers, those that are here stay.
    pub fn merge(&mut self, other: CacheDocument) {
        let mut places: HashMap<LayerIdentity, u32> = HashMap::new();
        for (place, layer) in (0..).zip(&self.layers) {
            places.entry(identity(layer)).or_insert(place);
        }
        let mut moved = Vec::with_capacity(other.layers.len());
        for layer in other.layers {
            let next = u32::try_from(self.layers.len()).unwrap_or(u32::MAX);
            let place = *places.entry(identity(&layer)).or_insert(next);
            if place == next {
                self.layers.push(layer);
            }
            moved.push(place);
        }
        let mut known: std::collections::HashSet<Vec<CacheKey>> =
            self.records.iter().map(|entry| sorted(&entry.keys)).collect();
        for mut entry in other.records {
            let to = |place: &u32| moved.get(*place as usize).copied();
            let Some(layers) = entry.layers.iter().map(to).collect() else { continue };
            entry.layers = layers;
            entry.layer = entry.layer.and_then(|place| to(&place));
            if known.insert(sorted(&entry.keys)) {
                self.records.push(entry);
            }
        }
        for mount in other.mounts {
            if !self.mounts.iter().any(|have| have.identity() == mount.identity()) {
                self.mounts.push(mount);
            }
        }
        for (tree, descriptor) in other.listings {
            if !self.listings.iter().any(|(have, _)| *have == tree) {
                self.listings.push((tree, descriptor));
            }
        }
    }

    /// The same content in the one order that it is written in: records by their digests, layers by their first use.
    /// Layers that no record names are left out, as are records that name none of ours.
    pub(crate) fn in_order(&self) -> CacheDocument {
        let is_whole = |entry: &&CacheEntry| {
            let mut places = entry.layers.iter().chain(&entry.layer);
            places.all(|place| (*place as usize) < self.layers.len())
        };
        let mut records: Vec<CacheEntry> = self.records.iter().filter(is_whole).cloned().collect();
        for entry in &mut records {
            entry.keys = sorted(&entry.keys);
        }
        let order = |entry: &CacheEntry| {
            (entry.instruction, entry.operation, entry.keys.clone(), entry.created.clone())
        };
        records.sort_by_cached_key(order);
        records.dedup();
        let mut layers: Vec<CacheLayer> = Vec::new();
        let mut places: HashMap<LayerIdentity, u32> = HashMap::new();
        for entry in &mut records {
            for place in entry.layers.iter_mut().chain(&mut entry.layer) {
                let layer = &self.layers[*place as usize];
                let next = u32::try_from(layers.len()).unwrap_or(u32::MAX);
                *place = *places.entry(identity(layer)).or_insert_with(|| {
                    layers.push(dated(layer.clone()));
                    next
                });
            }
        }
        let mut mounts = self.mounts.clone();
        mounts.sort_by(|a, b| a.identity().cmp(&b.identity()));
        let mut listings = self.listings.clone();
        listings.sort_by_key(|(tree, _)| *tree);
        listings.dedup_by_key(|(tree, _)| *tree);
        CacheDocument { layers, records, mounts, listings }
    }
}

/// A layer that came with some image may have that image's time, which is none at all in some.
fn dated(layer: CacheLayer) -> CacheLayer {
    match format::is_time(&layer.created) {
        true => layer,
        false => CacheLayer { created: "1970-01-01T00:00:00Z".to_owned(), ..layer },
    }
}

type LayerIdentity = (DiffId, ContentId, Digest, String);

/// What makes two layers of a cache the same one. Two steps may make the same bytes at different times, and images say
/// the times (CIO-12).
fn identity(layer: &CacheLayer) -> LayerIdentity {
    (layer.diff_id, layer.content_id, layer.descriptor.digest, layer.created.clone())
}

fn sorted(keys: &[CacheKey]) -> Vec<CacheKey> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys
}
