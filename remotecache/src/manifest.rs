//! The manifest that names all blobs of a cache, in each of its forms (CIO-04, CIO-10), and the way from one to the
//! document.
//!
//! A cache of ours is an image manifest or an index with BuildKit's config, the blobs of layers, mounts and listings,
//! and our document. An image with an inline cache has the document in its config.

use oci::{Descriptor, Digest, Document, Index, Manifest, media};

use crate::buildkit::{self, CONFIG_MEDIA_TYPE};
use crate::document::{COMPRESSED_MAX_BYTES, check_limits};
use crate::{CacheDocument, DOCUMENT_MEDIA_TYPE, RemoteError, RemoteErrorKind, inline};

/// Registries take no longer manifest.
const MANIFEST_MAX_BYTES: usize = 4 << 20;
/// Longest config of an image.
const CONFIG_MAX_BYTES: u64 = 64 << 20;
/// Most manifests of an index that are looked into.
const MANIFESTS_MAX: usize = 64;

/// How the manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// OCI media types; Docker's when false.
    pub(crate) oci: bool,
    /// An image manifest; an index when false.
    pub(crate) image_manifest: bool,
}

impl Default for Form {
    fn default() -> Form {
        Form { oci: true, image_manifest: true }
    }
}

/// What has to be written for a document besides the blobs that it names.
pub(crate) struct Published {
    /// The document and BuildKit's config, to be there before the manifest.
    pub(crate) blobs: Vec<(Descriptor, Vec<u8>)>,
    /// The manifest and its descriptor.
    pub(crate) manifest: (Descriptor, Vec<u8>),
}

/// Writes a document's manifest.
pub(crate) fn write(document: &CacheDocument, form: Form) -> Result<Published, RemoteError> {
    let document = &converted(document.in_order(), form.oci);
    let of = |media_type: &str, bytes: &[u8]| {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    };
    let bytes = document.encode()?;
    let own = of(DOCUMENT_MEDIA_TYPE, &bytes);
    let config_bytes = buildkit::config_json(document);
    let config = of(CONFIG_MEDIA_TYPE, &config_bytes);
    let mut listed: Vec<Descriptor> = document.blobs().into_iter().cloned().collect();
    listed.push(own.clone());
    let (media_type, manifest) = match form.image_manifest {
        true => (media::OCI_MANIFEST, image_manifest(config.clone(), listed)),
        false => index(form.oci, config.clone(), listed),
    };
    if manifest.len() > MANIFEST_MAX_BYTES {
        let reason = format!("{} bytes, registries take {MANIFEST_MAX_BYTES}", manifest.len());
        let error = RemoteError::new(RemoteErrorKind::TooLarge, "write the cache's manifest");
        return Err(error.because(reason));
    }
    let manifest = (of(media_type, &manifest), manifest);
    Ok(Published { blobs: vec![(own, bytes), (config, config_bytes)], manifest })
}

fn image_manifest(config: Descriptor, layers: Vec<Descriptor>) -> Vec<u8> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: Default::default(),
    };
    manifest.to_json()
}

fn index(oci: bool, config: Descriptor, mut manifests: Vec<Descriptor>) -> (&'static str, Vec<u8>) {
    let media_type = if oci { media::OCI_INDEX } else { media::DOCKER_INDEX };
    manifests.push(config);
    let index = Index {
        schema_version: 2,
        media_type: media_type.to_owned(),
        manifests,
        annotations: Default::default(),
    };
    (media_type, index.to_json())
}

/// The same with layers' media types of one family.
fn converted(mut document: CacheDocument, oci: bool) -> CacheDocument {
    for layer in &mut document.layers {
        let blob = &mut layer.descriptor;
        if let Some(other) = layer_type(&blob.media_type, oci) {
            blob.media_type = other.to_owned();
        }
    }
    document
}

/// `None` for kinds that are of no family.
fn layer_type(media_type: &str, oci: bool) -> Option<&'static str> {
    const PAIRS: [(&str, &str); 3] = [
        (media::OCI_LAYER, media::DOCKER_LAYER),
        (media::OCI_LAYER_GZIP, media::DOCKER_LAYER_GZIP),
        (media::OCI_LAYER_ZSTD, media::DOCKER_LAYER_ZSTD),
    ];
    let (a, b) = PAIRS.iter().find(|(a, b)| *a == media_type || *b == media_type)?;
    Some(if oci { a } else { b })
}

/// Gets the whole of a small blob, checked; of a manifest when the media type says so.
pub(crate) type Fetch<'a> = &'a dyn Fn(&Descriptor) -> Result<Vec<u8>, RemoteError>;

/// Finds and reads the document that a manifest, index or image leads to.
pub(crate) fn read(
    bytes: &[u8],
    media_type: &str,
    fetch: Fetch<'_>,
) -> Result<CacheDocument, RemoteError> {
    let found = read_one(bytes, media_type, fetch, true)?;
    found.ok_or_else(|| {
        RemoteError::new(RemoteErrorKind::Foreign, "read the cache").because(
            "there is no cache of shale in it (one that BuildKit wrote cannot be used, and an \
             image has one only when it was built with --cache-to type=inline)",
        )
    })
}

fn read_one(
    bytes: &[u8],
    media_type: &str,
    fetch: Fetch<'_>,
    look_inside: bool,
) -> Result<Option<CacheDocument>, RemoteError> {
    let document = Document::from_json(bytes, media_type).map_err(|error| {
        RemoteError::new(RemoteErrorKind::Damaged, "read the cache's manifest").because(error)
    })?;
    match document {
        Document::Manifest(manifest) => match own(&manifest.layers) {
            Some(own) => read_document(own, fetch).map(Some),
            None => of_image(&manifest, fetch),
        },
        Document::Index(index) => match own(&index.manifests) {
            Some(own) => read_document(own, fetch).map(Some),
            None if look_inside => of_images(&index, fetch),
            None => Ok(None),
        },
    }
}

fn own(listed: &[Descriptor]) -> Option<&Descriptor> {
    listed.iter().find(|blob| blob.media_type == DOCUMENT_MEDIA_TYPE)
}

fn read_document(blob: &Descriptor, fetch: Fetch<'_>) -> Result<CacheDocument, RemoteError> {
    check_size(blob, COMPRESSED_MAX_BYTES, "the cache's document")?;
    CacheDocument::decode(&fetch(blob)?)
}

/// The document in an image's config.
fn of_image(manifest: &Manifest, fetch: Fetch<'_>) -> Result<Option<CacheDocument>, RemoteError> {
    if !matches!(&*manifest.config.media_type, media::OCI_CONFIG | media::DOCKER_CONFIG) {
        return Ok(None);
    }
    check_size(&manifest.config, CONFIG_MAX_BYTES, "the image's config")?;
    inline::read(&fetch(&manifest.config)?, &manifest.layers)
}

/// The documents of all images of an index, as one (CIO-14).
fn of_images(index: &Index, fetch: Fetch<'_>) -> Result<Option<CacheDocument>, RemoteError> {
    let mut all: Option<CacheDocument> = None;
    let is_manifest = |entry: &&Descriptor| {
        matches!(&*entry.media_type, media::OCI_MANIFEST | media::DOCKER_MANIFEST)
    };
    for entry in index.manifests.iter().filter(is_manifest).take(MANIFESTS_MAX) {
        check_size(entry, MANIFEST_MAX_BYTES as u64, "a manifest")?;
        let Some(found) = read_one(&fetch(entry)?, &entry.media_type, fetch, false)? else {
            continue;
        };
        match &mut all {
            Some(all) => all.merge(found),
            None => all = Some(found),
        }
        // Together they may have no more than one document.
        if let Some(Err(reason)) = all.as_ref().map(check_limits) {
            let error = RemoteError::new(RemoteErrorKind::TooLarge, "read the caches of an index");
            return Err(error.because(reason));
        }
    }
    Ok(all)
}

fn check_size(blob: &Descriptor, max_bytes: u64, what: &str) -> Result<(), RemoteError> {
    if blob.size_bytes <= max_bytes {
        return Ok(());
    }
    let error = RemoteError::new(RemoteErrorKind::TooLarge, format!("read {what}"));
    Err(error.because(format!("{} bytes, {max_bytes} at most", blob.size_bytes)))
}

/// The blobs that a manifest or index names, for whoever decides what may be removed.
pub(crate) fn references(bytes: &[u8]) -> Option<Vec<Descriptor>> {
    match Document::from_json(bytes, "").ok()? {
        Document::Manifest(manifest) => {
            let subject = manifest.subject;
            Some([manifest.config].into_iter().chain(manifest.layers).chain(subject).collect())
        }
        Document::Index(index) => Some(index.manifests),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::testing::{entry, layer};

    fn nothing(blob: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        Err(RemoteError::new(RemoteErrorKind::NotFound, format!("get {}", blob.digest)))
    }

    #[test]
    fn what_is_too_large_is_not_asked_for() {
        let digest = Digest::of(b"x");
        let fetch = |_: &Descriptor| -> Result<Vec<u8>, RemoteError> { panic!("asked for") };
        let check = |manifest: String| {
            let error = read(manifest.as_bytes(), "", &fetch).expect_err("too large");
            assert_eq!(error.kind(), RemoteErrorKind::TooLarge, "{manifest}");
        };
        let blob = |media_type: &str| {
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":9999999999}}"#)
        };
        let config = blob(media::OCI_CONFIG);
        check(format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
            blob(DOCUMENT_MEDIA_TYPE)
        ));
        check(format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#));
        check(format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, blob(media::OCI_MANIFEST)));
    }

    #[test]
    fn an_index_of_indexes_is_not_followed() {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":1}}]}}"#,
            media::OCI_INDEX,
            Digest::of(b"x")
        );
        let error = read(index.as_bytes(), "", &nothing).expect_err("nothing in it");
        assert_eq!(error.kind(), RemoteErrorKind::Foreign);
    }

    #[test]
    fn a_manifest_that_no_registry_takes_is_refused_before_it_is_sent() {
        let names: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
        let mut document = CacheDocument {
            layers: names.iter().map(|name| layer(name)).collect(),
            records: names.iter().zip(0..).map(|(name, n)| entry(name, &[n])).collect(),
            ..CacheDocument::default()
        };
        for layer in &mut document.layers {
            layer.descriptor.media_type = "x".repeat(2_000);
        }
        let error = write(&document, Form::default()).err().expect("too many bytes");
        assert_eq!(error.kind(), RemoteErrorKind::TooLarge);
    }

    proptest! {
        #[test]
        fn no_manifest_makes_the_reader_panic(at in 0usize..2000, byte in 32u8..127, text in "\\PC{0,60}") {
            let document = CacheDocument {
                layers: vec![layer("a")],
                records: vec![entry("x", &[0])],
                ..CacheDocument::default()
            };
            let published = write(&document, Form::default()).expect("write");
            let fetch = |blob: &Descriptor| {
                let found = published.blobs.iter().find(|(have, _)| have.digest == blob.digest);
                found.map(|(_, bytes)| bytes.clone()).ok_or(()).or_else(|()| nothing(blob))
            };
            let mut bytes = published.manifest.1.clone();
            prop_assert!(read(&bytes, "", &fetch).is_ok());
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes, "", &fetch);
            let _ = read(text.as_bytes(), "", &fetch);
            let _ = inline::read(&bytes, &[]);
            let _ = inline::read(text.as_bytes(), &[]);
            let _ = references(&bytes);
        }
    }
}
