//! Images that come from files: OCI layouts as directories and tars, and archives of `docker save`.
//!
//! Owns which images an archive holds and under which names. Refuses to unpack layers: it gives their bytes, checked
//! where a digest is known. Every path in an archive is a key, never a path of this machine (spec/security.md B).

mod docker;
mod layout;
mod source;

use std::io::Read;
use std::path::Path;

use oci::{Descriptor, DiffId, Digest, ImageConfig, ImageId, Platform, Reference};
use store::{AttachedManifest, Lease, StoredManifest};

use crate::ExportError;
use crate::error::Failure;
use crate::verify::Verified;
use docker::DockerEntry;
use source::Source;

/// Documents may be this long (spec/security.md C7).
const DOCUMENT_MAX_BYTES: u64 = 4 << 20;
/// Layers of one image (spec/security.md C7).
pub const LAYERS_MAX: usize = 500;

/// An OCI layout or an archive.
pub struct ImageArchive {
    source: Source,
    listed: Vec<Listed>,
}

/// An image, or an index over several, that an archive lists.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its full names.
    pub names: Vec<Reference>,
    /// Its bare tags, where a layout has no full name.
    pub tags: Vec<String>,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Oci(Box<Descriptor>),
    Docker(DockerEntry),
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct ImportedImage {
    /// Digest of `config`.
    pub id: ImageId,
    /// The config document, byte for byte.
    pub config: Vec<u8>,
    /// The platform that the config is for.
    pub platform: Platform,
    /// The manifest, byte for byte; archives of older Docker have none.
    pub manifest: Option<StoredManifest>,
    /// The layers, lowest first, as many as the config has diff ids.
    pub layers: Vec<ImportedLayer>,
}

/// An entry of an archive with all that it has.
#[derive(Clone, Debug)]
pub enum Whole {
    /// One image.
    Image(ImportedImage),
    /// An index over images.
    Index(ImportedIndex),
}

/// An index with all that it lists.
#[derive(Clone, Debug)]
pub struct ImportedIndex {
    /// The document, byte for byte.
    pub index: StoredManifest,
    /// Its images, in its order, each with a manifest; at least one.
    pub images: Vec<ImportedImage>,
    /// What it lists besides images, such as attestations.
    pub attached: Vec<AttachedManifest>,
}

/// A layer in an archive.
#[derive(Clone, Debug)]
pub struct ImportedLayer {
    /// Digest of its tar; to be checked when it is unpacked.
    pub diff_id: DiffId,
    /// The blob's descriptor, where there is a manifest.
    pub descriptor: Option<Descriptor>,
    place: Vec<u8>,
}

impl ImageArchive {
    /// Opens an OCI layout directory.
    pub fn open_directory(dir: &Path) -> Result<ImageArchive, ExportError> {
        ImageArchive::from_source(Source::directory(dir)?)
    }

    /// Reads an archive, compressed or not, to its end; its larger files become blobs of the store.
    pub fn unpack(
        archive: &mut (dyn Read + Send),
        lease: &Lease,
    ) -> Result<ImageArchive, ExportError> {
        ImageArchive::from_source(Source::unpack(archive, lease)?)
    }

    fn from_source(source: Source) -> Result<ImageArchive, ExportError> {
        let docker = docker::entries(&source)?;
        let mut listed = layout::entries(&source)?;
        if listed.is_empty() {
            listed = docker.into_iter().map(docker::listed).collect::<Result<_, _>>()?;
        } else {
            docker::add_names(&source, docker, &mut listed);
        }
        if listed.is_empty() {
            let what = "an image (neither index.json nor manifest.json lists one)".to_owned();
            return Err(Failure::Missing { what }.into());
        }
        Ok(ImageArchive { source, listed })
    }

    /// What the archive lists, each content once.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// The entry with a tag, a full name or a digest; without one the only entry, else the one tagged `latest`.
    pub fn find(&self, name: Option<&str>) -> Result<Listed, ExportError> {
        let missing = |what: String| ExportError::from(Failure::Missing { what });
        let Some(name) = name else {
            return match self.listed.as_slice() {
                [only] => Ok(only.clone()),
                several => several
                    .iter()
                    .find(|l| l.has_name("latest"))
                    .cloned()
                    .ok_or_else(|| missing("a tag (the layout has several images)".to_owned())),
            };
        };
        if let Ok(digest) = name.trim_start_matches('@').parse::<Digest>() {
            return self.find_digest(digest);
        }
        let found = self.listed.iter().find(|listed| listed.has_name(name)).cloned();
        found.ok_or_else(|| {
            missing(format!("`{}` in the layout", crate::error::show(name.as_bytes())))
        })
    }

    /// An entry of the index, or any manifest that the layout holds.
    fn find_digest(&self, digest: Digest) -> Result<Listed, ExportError> {
        let is_it = |l: &&Listed| matches!(&l.target, Target::Oci(d) if d.digest == digest);
        if let Some(listed) = self.listed.iter().find(is_it) {
            return Ok(listed.clone());
        }
        let descriptor = layout::describe(&self.source, digest)?;
        let target = Target::Oci(Box::new(descriptor));
        Ok(Listed { names: Vec::new(), tags: Vec::new(), target })
    }

    /// The image for a platform. An index without one for it is [`crate::ExportErrorKind::NotFound`]; an entry that
    /// is a single image is taken whatever it is for.
    pub fn image(
        &self,
        listed: &Listed,
        platform: &Platform,
    ) -> Result<ImportedImage, ExportError> {
        match &listed.target {
            Target::Oci(descriptor) => layout::image(&self.source, descriptor, platform),
            Target::Docker(entry) => docker::image(&self.source, entry),
        }
    }

    /// What an entry is without a platform being asked for: an index with all that it lists, where the archive has all
    /// of that; else the image for `platform`, or the only one that the archive has whole.
    pub fn whole(&self, listed: &Listed, platform: &Platform) -> Result<Whole, ExportError> {
        match &listed.target {
            Target::Oci(descriptor) => layout::whole(&self.source, descriptor, platform),
            Target::Docker(entry) => docker::image(&self.source, entry).map(Whole::Image),
        }
    }

    /// Digest and length of a layer's blob where reading the archive has put it into the store already.
    pub fn stored_layer(&self, layer: &ImportedLayer) -> Option<(Digest, u64)> {
        self.source.blob(&layer.place)
    }

    /// A layer's bytes, compressed as they are in the archive. Where a digest is known the end is only reached when
    /// it is right.
    pub fn open_layer(&self, layer: &ImportedLayer) -> Result<Box<dyn Read + Send>, ExportError> {
        let file = self.source.open(&layer.place)?;
        Ok(match &layer.descriptor {
            Some(d) => {
                let what = format!("blob {} in the archive", d.digest);
                Box::new(Verified::new(file, &what, d.digest, d.size_bytes))
            }
            None => Box::new(file),
        })
    }
}

impl Listed {
    fn has_name(&self, name: &str) -> bool {
        self.tags.iter().any(|tag| tag == name)
            || self.names.iter().any(|own| {
                own.tag() == Some(name) || own.to_string() == name || own.familiar() == name
            })
    }
}

/// Puts an image together after config and layers were found; checks that they belong together.
fn assemble(
    config: Vec<u8>,
    manifest: Option<StoredManifest>,
    places: Vec<(Option<Descriptor>, Vec<u8>)>,
) -> Result<ImportedImage, ExportError> {
    let malformed = |reason: String| {
        ExportError::from(Failure::Malformed { what: "the image config".to_owned(), reason })
    };
    let parsed = ImageConfig::from_json(&config).map_err(|e| malformed(e.to_string()))?;
    let diff_ids = &parsed.rootfs.diff_ids;
    if diff_ids.len() != places.len() {
        let (named, there) = (diff_ids.len(), places.len());
        return Err(malformed(format!("it names {named} layers, there are {there}")));
    }
    if places.len() > LAYERS_MAX {
        return Err(malformed(format!("it has more than {LAYERS_MAX} layers")));
    }
    let layers = diff_ids
        .iter()
        .zip(places)
        .map(|(diff_id, (descriptor, place))| ImportedLayer {
            diff_id: *diff_id,
            descriptor,
            place,
        })
        .collect();
    let id = ImageId(Digest::of(&config));
    Ok(ImportedImage { id, config, platform: parsed.platform(), manifest, layers })
}
