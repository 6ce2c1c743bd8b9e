//! When and how a layer gets its blob: from the store if it has one, else made now and kept.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use graph::LayerId;
use layer::{BlockWriter, Compression, Encoding, Toc, estargz};
use oci::{Descriptor, DiffId, Digest, media};
use store::{BlobWriter, LayerBlob, Lease};

use crate::ExportError;
use crate::error::{Failure, store};
use crate::image::{ImageOptions, LayerSource};
use crate::job::Job;
use crate::verify::{Hashing, open_blob};

/// A layer's tar and the blob that was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeBlob {
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// The blob, in the store.
    pub blob: LayerBlob,
}

/// Makes a layer's blob and learns its diff id in the same pass; what the store has is not made again.
pub fn make_layer_blob(
    lease: &Lease,
    layer: LayerId,
    encoding: &Encoding,
    compression: Compression,
) -> Result<MadeBlob, ExportError> {
    if let Some(diff_id) = known_diff_id(lease, layer, encoding)? {
        let blobs = lease.layer_blobs(diff_id).map_err(store("look for a layer's blobs"))?;
        let name = compression_name(compression);
        if let Some(blob) = blobs.into_iter().find(|blob| blob.compression == name) {
            return Ok(MadeBlob { diff_id, blob });
        }
    }
    let (toc, dir) = open_layer(lease, layer)?;
    let fail = |source| Failure::Encode { layer, source };
    let mut out = lease.blob_writer().map_err(store("start a blob"))?;
    if let Some(level) = encoding.estargz {
        let (sums, tar_bytes) =
            estargz::write_estargz(dir.as_fd(), &toc, encoding, level, &mut out).map_err(fail)?;
        let made = (out, (sums.digest, sums.size_bytes));
        return keep_layer_blob(
            lease,
            (layer, encoding),
            compression,
            made,
            (sums.diff_id, tar_bytes),
        );
    }
    let mut blocks = BlockWriter::new(compression, &mut out);
    let sums = layer::write_tar(dir.as_fd(), &toc, encoding, &mut blocks).map_err(fail)?;
    let made = blocks.finish().map_err(fail)?;
    keep_layer_blob(
        lease,
        (layer, encoding),
        compression,
        (out, made),
        (sums.diff_id, sums.size_bytes),
    )
}

/// Commits a layer's blob, and notes it and its diff id.
fn keep_layer_blob(
    lease: &Lease,
    (layer, encoding): (LayerId, &Encoding),
    compression: Compression,
    (out, made): (BlobWriter, (Digest, u64)),
    (diff_id, tar_bytes): (DiffId, u64),
) -> Result<MadeBlob, ExportError> {
    let (digest, size_bytes) = out.finish(Some(made)).map_err(store("commit a layer's blob"))?;
    let blob = LayerBlob {
        compression: compression_name(compression),
        media_type: media_type(compression, true).to_owned(),
        digest,
        size_bytes,
    };
    lease.set_layer_blob(diff_id, &blob).map_err(store("note a layer's blob"))?;
    if known_diff_id(lease, layer, encoding)? != Some(diff_id) {
        lease
            .set_diff_id(layer, &encoding_name(encoding), diff_id, tar_bytes)
            .map_err(store("note a layer's diff id"))?;
    }
    Ok(MadeBlob { diff_id, blob })
}

/// A layer's blob for a cache: in the wanted compression if the store has it so, else, unless that is forced, as the
/// store has it, else made now. Times in its tar are as they are.
pub fn cache_blob(
    lease: &Lease,
    layer: LayerId,
    compression: Compression,
    force: bool,
) -> Result<MadeBlob, ExportError> {
    let encoding = Encoding::default();
    if let (false, Some(diff_id)) = (force, known_diff_id(lease, layer, &encoding)?) {
        let blobs = lease.layer_blobs(diff_id).map_err(store("look for a layer's blobs"))?;
        let name = compression_name(compression);
        let wanted = blobs.iter().find(|blob| blob.compression == name);
        if let Some(blob) = wanted.or(blobs.first()) {
            return Ok(MadeBlob { diff_id, blob: blob.clone() });
        }
    }
    make_layer_blob(lease, layer, &encoding, compression)
}

/// The descriptor of a layer's blob, with the media type of its family.
pub fn blob_descriptor(blob: &LayerBlob, oci_types: bool) -> Descriptor {
    Descriptor::new(blob_media_type(blob, oci_types), blob.digest, blob.size_bytes)
}

/// A layer's diff id in an encoding: known to the store, else by writing the tar to nowhere.
pub fn layer_diff_id(
    lease: &Lease,
    layer: LayerId,
    encoding: &Encoding,
) -> Result<DiffId, ExportError> {
    if let Some(diff_id) = known_diff_id(lease, layer, encoding)? {
        return Ok(diff_id);
    }
    if let Some(level) = encoding.estargz {
        // Its tar is known when it is compressed.
        return Ok(make_layer_blob(lease, layer, encoding, Compression::Gzip(level))?.diff_id);
    }
    let (toc, dir) = open_layer(lease, layer)?;
    let sums = layer::write_tar(dir.as_fd(), &toc, encoding, &mut io::sink())
        .map_err(|source| Failure::Encode { layer, source })?;
    lease
        .set_diff_id(layer, &encoding_name(encoding), sums.diff_id, sums.size_bytes)
        .map_err(store("note a layer's diff id"))?;
    Ok(sums.diff_id)
}

/// The descriptor of a layer's blob as the options want it; the blob is in the store afterwards.
pub(crate) fn descriptor(
    job: Job,
    source: &LayerSource,
    options: &ImageOptions,
) -> Result<Descriptor, ExportError> {
    job.check()?;
    let blob = find_or_make(job, source, options)?;
    let media_type = blob_media_type(&blob, options.oci_types);
    let mut descriptor = Descriptor::new(media_type, blob.digest, blob.size_bytes);
    if let (Some(epoch), Some(_)) = (options.epoch, source.encoding.clamp_to) {
        // IMG-45
        let key = "buildkit/rewritten-timestamp".to_owned();
        descriptor.annotations.insert(key, epoch.to_string());
    }
    if source.encoding.estargz.is_some() {
        let key = "containerd.io/snapshot/stargz/toc.digest".to_owned();
        let table = table_digest(job.lease, &blob)?;
        descriptor.annotations.insert(key, table.to_string());
    }
    Ok(descriptor)
}

/// Digest of the table of contents of an eStargz blob.
fn table_digest(lease: &Lease, blob: &LayerBlob) -> Result<Digest, ExportError> {
    let file = lease.open_blob(&blob.digest).map_err(store("open a blob"))?;
    let mut file = file.ok_or(Failure::NoBlob(blob.digest))?;
    let mut read = || {
        let mut footer = [0; estargz::FOOTER_BYTES];
        file.seek(SeekFrom::End(-(estargz::FOOTER_BYTES as i64)))?;
        file.read_exact(&mut footer)?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no footer of eStargz");
        let begin = estargz::table_begin(&footer).ok_or_else(invalid)?;
        file.seek(SeekFrom::Start(begin))?;
        Ok(Digest::of(&estargz::read_table(io::BufReader::new(&mut file))?))
    };
    read().map_err(|source| Failure::Fetch { digest: blob.digest, source }.into())
}

fn find_or_make(
    job: Job,
    source: &LayerSource,
    options: &ImageOptions,
) -> Result<LayerBlob, ExportError> {
    let blobs = match find(job.lease, source, options)? {
        Ok(blob) => return Ok(blob),
        Err(others) => others,
    };
    if let Some(blob) = blobs.first() {
        return recompress(job, source, blob, options.compression);
    }
    let layer = source.layer.ok_or(Failure::NoContent(source.diff_id))?;
    let made = make_layer_blob(job.lease, layer, &source.encoding, options.compression)?;
    if made.diff_id != source.diff_id {
        let (expected, found) = (source.diff_id, made.diff_id);
        return Err(Failure::OtherTar { layer, expected, found }.into());
    }
    Ok(made.blob)
}

/// The blob of a layer that is as the options want it; else those that the store has of it.
pub(crate) fn find(
    lease: &Lease,
    source: &LayerSource,
    options: &ImageOptions,
) -> Result<Result<LayerBlob, Vec<LayerBlob>>, ExportError> {
    let wanted = compression_name(options.compression);
    let can_stay = |blob: &&LayerBlob| !options.force_compression || blob.compression == wanted;
    if let Some(own) = source.own.as_ref().filter(can_stay) {
        return Ok(Ok(own.clone()));
    }
    let blobs = lease.layer_blobs(source.diff_id).map_err(store("look for a layer's blobs"))?;
    let fitting = blobs.iter().find(|blob| blob.compression == wanted);
    let kept = || blobs.first().filter(|_| source.is_base).filter(can_stay);
    Ok(fitting.or_else(kept).cloned().ok_or(blobs))
}

/// Makes a blob of another one: the tar inside is the same and is checked to be.
fn recompress(
    job: Job,
    source: &LayerSource,
    from: &LayerBlob,
    compression: Compression,
) -> Result<LayerBlob, ExportError> {
    let diff_id = source.diff_id;
    let fail = |source| Failure::Compress { diff_id, source };
    let old = Descriptor::new(&from.media_type, from.digest, from.size_bytes);
    let tar = layer::decompress(open_blob(job, &old)?);
    let mut tar = Hashing::new(tar);
    let mut out = job.lease.blob_writer().map_err(store("start a blob"))?;
    let sums = layer::compress(compression, &mut tar, &mut out).map_err(fail)?;
    let found = tar.finish();
    if found != diff_id.0 {
        let what = format!("the tar in blob {}", from.digest);
        return Err(Failure::Digest { what, expected: diff_id.0, found }.into());
    }
    let (digest, size_bytes) = out.finish(Some(sums)).map_err(store("commit a layer's blob"))?;
    let blob = LayerBlob {
        compression: compression_name(compression),
        media_type: media_type(compression, true).to_owned(),
        digest,
        size_bytes,
    };
    job.lease.set_layer_blob(diff_id, &blob).map_err(store("note a layer's blob"))?;
    Ok(blob)
}

fn known_diff_id(
    lease: &Lease,
    layer: LayerId,
    encoding: &Encoding,
) -> Result<Option<DiffId>, ExportError> {
    let info = lease.layer(layer).map_err(store("look at a layer"))?;
    Ok(info.and_then(|info| info.diff_ids.get(&encoding_name(encoding)).copied()))
}

pub(crate) fn open_layer(
    lease: &Lease,
    layer: LayerId,
) -> Result<(Arc<Toc>, OwnedFd), ExportError> {
    let toc = lease.layer_toc(layer).map_err(store("read a layer's table of contents"))?;
    let what = || Failure::Missing { what: format!("the table of contents of layer {layer}") };
    let toc = toc.ok_or_else(what)?;
    let dir = lease.layer_dir(layer).map_err(store("open a layer"))?;
    Ok((toc, dir))
}

/// The name under which the store keeps a tar's diff id.
pub(crate) fn encoding_name(encoding: &Encoding) -> String {
    match (encoding.estargz, encoding.clamp_to) {
        (None, None) => "plain".to_owned(),
        (None, Some(epoch)) => format!("clamp-{epoch}"),
        (Some(level), None) => format!("estargz-{level}"),
        (Some(level), Some(epoch)) => format!("estargz-{level}-clamp-{epoch}"),
    }
}

/// The name under which the store keeps a blob. A level other than the default one is part of it.
pub fn compression_name(compression: Compression) -> String {
    match compression {
        Compression::None => "none".to_owned(),
        gzip if gzip == Compression::gzip() => "gzip".to_owned(),
        zstd if zstd == Compression::zstd() => "zstd".to_owned(),
        Compression::Gzip(level) => format!("gzip-{level}"),
        Compression::Zstd(level) => format!("zstd-{level}"),
    }
}

fn media_type(compression: Compression, oci_types: bool) -> &'static str {
    match (compression, oci_types) {
        (Compression::None, true) => media::OCI_LAYER,
        (Compression::Gzip(_), true) => media::OCI_LAYER_GZIP,
        (Compression::Zstd(_), true) => media::OCI_LAYER_ZSTD,
        (Compression::None, false) => media::DOCKER_LAYER,
        (Compression::Gzip(_), false) => media::DOCKER_LAYER_GZIP,
        // Layers of a base only: making such is refused (IMG-43).
        (Compression::Zstd(_), false) => media::DOCKER_LAYER_ZSTD,
    }
}

/// The media type of a blob in a manifest of one kind, whatever it was called where it came from.
fn blob_media_type(blob: &LayerBlob, oci_types: bool) -> &str {
    let family = blob.compression.split('-').next().unwrap_or_default();
    let compression = match family {
        "none" => Compression::None,
        "gzip" => Compression::gzip(),
        "zstd" => Compression::zstd(),
        _ => return &blob.media_type,
    };
    media_type(compression, oci_types)
}

/// IMG-43
pub(crate) const ZSTD_NEEDS_OCI: &str =
    r#"exporter option "compression=zstd" conflicts with "oci-mediatypes=false""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_levels_other_than_the_default() {
        let check = |compression, name: &str| assert_eq!(compression_name(compression), name);
        check(Compression::gzip(), "gzip");
        check(Compression::Gzip(9), "gzip-9");
        check(Compression::zstd(), "zstd");
        check(Compression::Zstd(19), "zstd-19");
        check(Compression::None, "none");
        assert_eq!(encoding_name(&Encoding { clamp_to: Some(-5), estargz: None }), "clamp--5");
    }

    #[test]
    fn media_types_follow_the_manifest() {
        let blob = |compression: &str| LayerBlob {
            compression: compression.to_owned(),
            media_type: "foreign".to_owned(),
            digest: oci::Digest::of(b""),
            size_bytes: 0,
        };
        let of = |name: &str, oci| blob_media_type(&blob(name), oci).to_owned();
        assert_eq!(of("gzip-9", true), media::OCI_LAYER_GZIP);
        assert_eq!(of("gzip", false), media::DOCKER_LAYER_GZIP);
        assert_eq!(of("none", false), media::DOCKER_LAYER);
        assert_eq!(of("zstd", true), media::OCI_LAYER_ZSTD);
        assert_eq!(of("zstd", false), media::DOCKER_LAYER_ZSTD);
        assert_eq!(of("bzip2", true), "foreign");
    }
}
