//! Manifests and indexes: what every image output has in common. Afterwards all blobs are in the store.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use layer::Compression;
use oci::{Descriptor, DiffId, Digest, Document, Index, Manifest, Platform, media};
use store::Lease;

use crate::ExportError;
use crate::attach::Attached;
use crate::blob::{self, ZSTD_NEEDS_OCI};
use crate::error::Failure;
use crate::image::{Annotations, BuiltImage, ImageOptions, LayerSource};
use crate::job::Job;

/// One platform's image with all its documents.
#[derive(Clone, Debug)]
pub struct PreparedImage {
    /// The platform.
    pub platform: Platform,
    /// The config document.
    pub config: Vec<u8>,
    /// The manifest document.
    pub manifest: Vec<u8>,
    /// The manifest's descriptor, with platform and annotations as an index wants it.
    pub descriptor: Descriptor,
    /// The config's descriptor.
    pub config_descriptor: Descriptor,
    /// The layers' descriptors, lowest first; the blobs are in the store.
    pub layers: Vec<Descriptor>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// For each layer where its blob was pulled from.
    pub(crate) pulled_from: Vec<Option<oci::Reference>>,
}

/// A result that can be written, pushed and loaded.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The images in the order of the platforms asked for.
    pub images: Vec<PreparedImage>,
    /// The index over them, if there is one.
    pub index: Option<Vec<u8>>,
    /// What names and digests point to: the index, else the only manifest.
    pub target: Descriptor,
    /// Manifests beside the images.
    pub attached: Vec<Attached>,
    /// A push sends layers that may not be given on, too.
    pub gives_foreign: bool,
}

/// Encodes what has no blob yet, in parallel, and makes the documents. One image gives a plain manifest, several an
/// index (PLAT-07, PLAT-08).
pub fn prepare(
    images: &[BuiltImage],
    options: &ImageOptions,
    job: Job,
) -> Result<Prepared, ExportError> {
    check(images, options)?;
    let descriptors = encode(images, options, job)?;
    let prepared: Vec<PreparedImage> = images
        .iter()
        .map(|image| prepare_image(image, options, &descriptors))
        .collect::<Result<_, _>>()?;
    let (index, target) = match (prepared.as_slice(), &options.index) {
        (_, Some(kept)) => {
            let size_bytes = kept.bytes.len() as u64;
            let target = Descriptor::new(&kept.media_type, kept.digest, size_bytes);
            (Some(kept.bytes.clone()), target)
        }
        ([only], None) if !options.force_index => (None, only.descriptor.clone()),
        (several, None) => {
            let (bytes, descriptor) = make_index(several, options);
            (Some(bytes), descriptor)
        }
    };
    let (attached, gives_foreign) = (Vec::new(), false);
    Ok(Prepared { images: prepared, index, target, attached, gives_foreign })
}

/// Whether every blob that [`prepare`] wants is in the store, so that no layer has to be opened.
pub fn is_encoded(
    images: &[BuiltImage],
    options: &ImageOptions,
    lease: &Lease,
) -> Result<bool, ExportError> {
    let made = images.iter().filter(|image| keeps_manifest(image, options).is_none());
    for source in made.flat_map(|image| &image.layers) {
        if blob::find(lease, source, options)?.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check(images: &[BuiltImage], options: &ImageOptions) -> Result<(), ExportError> {
    let unsupported = |text| Err(Failure::Unsupported(text).into());
    if images.is_empty() {
        return unsupported("there is no image to export");
    }
    if !options.oci_types && matches!(options.compression, Compression::Zstd(_)) {
        return unsupported(ZSTD_NEEDS_OCI);
    }
    if !options.oci_types && !options.annotations.is_empty() {
        // IMG-47
        return unsupported(r#"cannot export annotations with "oci-mediatypes=false""#);
    }
    let annotations = &options.annotations;
    let for_index = !annotations.index.is_empty() || !annotations.index_descriptor.is_empty();
    if for_index && images.len() == 1 && !options.force_index {
        return unsupported("index annotations not supported for single platform export");
    }
    let wanted = annotations.manifest.iter().chain(&annotations.manifest_descriptor);
    match wanted.filter_map(|(only, _, _)| only.as_ref()).find(|p| !has_platform(images, p)) {
        Some(missing) => Err(Failure::NoPlatform(missing.clone()).into()), // IMG-47
        None => Ok(()),
    }
}

fn has_platform(images: &[BuiltImage], wanted: &Platform) -> bool {
    images.iter().any(|image| image.platform == *wanted)
}

/// Whether an image's own manifest is written again as it is.
fn keeps_manifest<'a>(image: &'a BuiltImage, options: &ImageOptions) -> Option<&'a [u8]> {
    let manifest = image.manifest.as_ref()?;
    let annotated = !options.annotations.manifest.is_empty();
    (!options.force_compression && !annotated).then_some(&manifest.bytes)
}

type Descriptors = HashMap<DiffId, Descriptor>;

/// The descriptors of all layers that need one, each encoded once, on some threads.
fn encode(
    images: &[BuiltImage],
    options: &ImageOptions,
    job: Job,
) -> Result<Descriptors, ExportError> {
    let mut todo: Vec<&LayerSource> = Vec::new();
    for image in images.iter().filter(|image| keeps_manifest(image, options).is_none()) {
        for source in &image.layers {
            if !todo.iter().any(|known| known.diff_id == source.diff_id) {
                todo.push(source);
            }
        }
    }
    // Encoding uses all cores for each layer; a few at once hide each other's reading and writing.
    let threads = thread::available_parallelism().map_or(2, NonZero::get).min(4).min(todo.len());
    let next = AtomicUsize::new(0);
    let done: Mutex<Result<Descriptors, ExportError>> = Mutex::new(Ok(HashMap::new()));
    let work = || {
        while let Some(source) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            let made = blob::descriptor(job, source, options);
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match (&mut *done, made) {
                (Err(_), _) => return,
                (Ok(all), Ok(descriptor)) => {
                    all.insert(source.diff_id, descriptor);
                }
                (all, Err(error)) => *all = Err(error),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn prepare_image(
    image: &BuiltImage,
    options: &ImageOptions,
    descriptors: &Descriptors,
) -> Result<PreparedImage, ExportError> {
    let made = match keeps_manifest(image, options) {
        Some(bytes) => kept(image, bytes)?,
        None => new_manifest(image, options, descriptors)?,
    };
    let (bytes, manifest) = made;
    let mut descriptor =
        Descriptor::new(&manifest.media_type, Digest::of(&bytes), bytes.len() as u64);
    descriptor.platform = Some(image.platform.clone());
    descriptor.annotations =
        Annotations::of(&options.annotations.manifest_descriptor, &image.platform);
    Ok(PreparedImage {
        platform: image.platform.clone(),
        config: image.config.clone(),
        manifest: bytes,
        descriptor,
        config_descriptor: manifest.config,
        layers: manifest.layers,
        created: image.created(),
        pulled_from: image.layers.iter().map(|layer| layer.pulled_from.clone()).collect(),
    })
}

/// The image's own manifest, byte for byte.
fn kept(image: &BuiltImage, bytes: &[u8]) -> Result<(Vec<u8>, Manifest), ExportError> {
    let said = image.manifest.as_ref().map_or("", |m| m.media_type.as_str());
    let malformed = |reason: String| Failure::Malformed {
        what: format!("the manifest of image {}", image.id),
        reason,
    };
    let mut manifest = match Document::from_json(bytes, said) {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Err(malformed("it is an index".to_owned()).into()),
        Err(error) => return Err(malformed(error.to_string()).into()),
    };
    if manifest.config.digest != image.id.0 {
        return Err(malformed("it names another config".to_owned()).into());
    }
    if manifest.media_type.is_empty() {
        manifest.media_type = said.to_owned();
    }
    #[allow(clippy::useless_conversion, reason = "the variant may be boxed")]
    Ok((bytes.to_vec(), manifest.into()))
}

fn new_manifest(
    image: &BuiltImage,
    options: &ImageOptions,
    descriptors: &Descriptors,
) -> Result<(Vec<u8>, Manifest), ExportError> {
    let layer = |source: &LayerSource| {
        descriptors.get(&source.diff_id).cloned().ok_or(Failure::NoContent(source.diff_id))
    };
    let config_type = if options.oci_types { media::OCI_CONFIG } else { media::DOCKER_CONFIG };
    let media_type = if options.oci_types { media::OCI_MANIFEST } else { media::DOCKER_MANIFEST };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type.to_owned(),
        artifact_type: None,
        config: Descriptor::new(config_type, image.id.0, image.config.len() as u64),
        layers: image.layers.iter().map(layer).collect::<Result<_, _>>()?,
        subject: None,
        annotations: Annotations::of(&options.annotations.manifest, &image.platform),
    };
    Ok((manifest.to_json(), manifest))
}

fn make_index(images: &[PreparedImage], options: &ImageOptions) -> (Vec<u8>, Descriptor) {
    let media_type = if options.oci_types { media::OCI_INDEX } else { media::DOCKER_INDEX };
    let index = Index {
        schema_version: 2,
        media_type: media_type.to_owned(),
        manifests: images.iter().map(|image| image.descriptor.clone()).collect(),
        annotations: options.annotations.index.clone(),
    };
    let bytes = index.to_json();
    let mut descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
    descriptor.annotations = options.annotations.index_descriptor.clone();
    (bytes, descriptor)
}

impl Prepared {
    /// The only image, when there is no index.
    pub(crate) fn single(&self) -> Option<&PreparedImage> {
        match self.images.as_slice() {
            [only] if self.index.is_none() => Some(only),
            _ => None,
        }
    }

    /// When the result was made: the latest image's time.
    pub(crate) fn created(&self) -> Option<&str> {
        self.images.iter().filter_map(|image| image.created.as_deref()).max()
    }

    /// Documents that are not in the store, by digest: configs, manifests, the index. Each once, sorted.
    pub(crate) fn documents(&self) -> Vec<(Digest, &[u8])> {
        let mut all: Vec<(Digest, &[u8])> = Vec::new();
        for image in &self.images {
            all.push((image.config_descriptor.digest, &image.config));
            all.push((image.descriptor.digest, &image.manifest));
        }
        for attached in &self.attached {
            all.push((attached.descriptor.digest, &attached.manifest));
            all.extend(attached.blobs.iter().map(|(d, bytes)| (d.digest, bytes.as_slice())));
        }
        all.extend(self.index.iter().map(|bytes| (self.target.digest, bytes.as_slice())));
        all.sort_by_key(|(digest, _)| *digest);
        all.dedup_by_key(|(digest, _)| *digest);
        all
    }

    /// Layer blobs of the store, each once, sorted by digest.
    pub(crate) fn layer_blobs(&self) -> Vec<&Descriptor> {
        let mut all: Vec<&Descriptor> = self.images.iter().flat_map(|i| &i.layers).collect();
        all.sort_by_key(|descriptor| descriptor.digest);
        all.dedup_by_key(|descriptor| descriptor.digest);
        all
    }
}
