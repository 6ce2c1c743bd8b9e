//! Listings that travel with a cache: names and digests of the files that a step read, so that another machine can say
//! which of them changed.
//!
//! Only explanations depend on them. So nothing here fails: what cannot be sent or had is left out.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};

use graph::TreeDigest;
use layer::Compression;
use oci::{Descriptor, Digest};
use remotecache::{CacheEntry, CachePlace};

use super::import;
use super::index::Source;
use super::state::Export;
use crate::session::Session;

const MEDIA_TYPE: &str = "application/vnd.shale.listing.v1+zstd";
/// Longer ones, compressed and not, are not sent and not read: some hundred thousand files.
const PACKED_MAX_BYTES: u64 = 16 << 20;
const MAX_BYTES: u64 = 64 << 20;

/// Sends the listings of what records read; where they lie.
pub(super) fn export(
    session: &Session,
    records: &[CacheEntry],
    export: &Export,
) -> Vec<(TreeDigest, Descriptor)> {
    let digests = records.iter().flat_map(|record| &record.inputs);
    let digests: BTreeSet<TreeDigest> =
        digests.filter_map(|(_, digest)| digest.parse().ok()).collect();
    let imports = import::read(session);
    let send = |digest: TreeDigest| {
        let blob = send_here(session, &digest, export).or_else(|| {
            let (source, blob) = find(&imports, &digest)?;
            send_on(source, blob, export).then(|| blob.clone())
        });
        Some((digest, blob?))
    };
    digests.into_iter().filter_map(send).collect()
}

fn send_here(session: &Session, digest: &TreeDigest, export: &Export) -> Option<Descriptor> {
    if session.cancel.is_cancelled() || !session.lease.has_listing(digest).ok()? {
        return None;
    }
    let listing = session.lease.listing(digest).ok()??;
    let mut packed = Vec::new();
    layer::compress(Compression::zstd(), &mut &listing[..], &mut packed).ok()?;
    let size_bytes = packed.len() as u64;
    if size_bytes > PACKED_MAX_BYTES || listing.len() as u64 > MAX_BYTES {
        return None;
    }
    let blob = Descriptor::new(MEDIA_TYPE, Digest::of(&packed), size_bytes);
    let open = || Ok(Box::new(Cursor::new(packed.clone())) as Box<dyn Read + Send>);
    export.put_blob(&blob, &open, None).ok()?;
    Some(blob)
}

fn send_on(source: &Source, blob: &Descriptor, export: &Export) -> bool {
    let open = || source.place.open(blob).map_err(std::io::Error::other);
    export.put_blob(blob, &open, source.reference.as_ref()).is_ok()
}

fn find<'a>(
    imports: &'a [(usize, Source)],
    digest: &TreeDigest,
) -> Option<(&'a Source, &'a Descriptor)> {
    imports.iter().find_map(|(_, source)| {
        let listed = source.document.listings.iter().find(|(of, _)| of == digest)?;
        (listed.1.media_type == MEDIA_TYPE).then_some((source, &listed.1))
    })
}

/// A listing from an imported cache, which the store has from then on.
pub(crate) fn listing(session: &Session, digest: &TreeDigest) -> Option<Vec<u8>> {
    if session.request.cache_from.is_empty() || session.cancel.is_cancelled() {
        return None;
    }
    let imports = import::read(session);
    let (source, blob) = find(&imports, digest)?;
    let listing = read(&*source.place, blob)?;
    session.lease.put_listing(digest, &listing).ok()?;
    // What does not have the digest that names it was not kept.
    session.lease.listing(digest).ok()?
}

fn read(place: &dyn CachePlace, blob: &Descriptor) -> Option<Vec<u8>> {
    if blob.size_bytes > PACKED_MAX_BYTES {
        return None;
    }
    let body = place.open(blob).ok()?;
    let mut listing = Vec::new();
    layer::decompress(body).take(MAX_BYTES + 1).read_to_end(&mut listing).ok()?;
    (listing.len() as u64 <= MAX_BYTES).then_some(listing)
}
