//! Manifests beside the images of a result: attestations, in the index or as what refers to an image (ATT-03 to
//! ATT-08).

use std::collections::BTreeMap;

use attest::{STATEMENT_MEDIA_TYPE, Statement, Subject, image_purl};
use oci::{Descriptor, Digest, Document, Index, Manifest, Platform, Reference, media};
use serde_json::Value;

use crate::ExportError;
use crate::error::Failure;
use crate::image::ImageOptions;
use crate::prepare::{Prepared, PreparedImage};

/// Kind of the artifact that holds all statements on an image.
pub const ATTESTATIONS: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// Media type of a config that says nothing.
pub(crate) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// What is said of one image.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// Kind of the predicate.
    pub predicate_type: String,
    /// The predicate.
    pub predicate: Value,
    /// Name of the file that it becomes beside files (OUT-34).
    pub file_name: String,
}

/// How attestations are put beside images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachForm {
    /// A manifest in the index, an OCI artifact (ATT-06).
    Artifact,
    /// A manifest in the index, in the older form with a config.
    Config,
    /// Artifacts that refer to the image, which stays as it is without them.
    Referrers,
}

/// A manifest beside the images.
#[derive(Clone, Debug)]
pub struct Attached {
    /// As an index lists it.
    pub descriptor: Descriptor,
    /// The document.
    pub manifest: Vec<u8>,
    /// Its config and its statements, each with its bytes.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
    /// The image that it refers to, when it is found by that and is in no index.
    pub refers_to: Option<Digest>,
}

/// Puts statements beside the images: `attestations` has a list for each of them. Where they go into an index there
/// has to be one.
///
/// # Errors
/// Docker's media types were asked for (ATT-07).
pub fn attach(
    mut prepared: Prepared,
    attestations: &[Vec<Attestation>],
    form: AttachForm,
    names: &[Reference],
    options: &ImageOptions,
) -> Result<Prepared, ExportError> {
    if attestations.iter().all(Vec::is_empty) {
        return Ok(prepared);
    }
    if !options.oci_types {
        let text = r#"cannot export attestations with "oci-mediatypes=false""#;
        return Err(Failure::Unsupported(text).into());
    }
    for (image, list) in prepared.images.iter().zip(attestations).filter(|(_, l)| !l.is_empty()) {
        let statements = statements(image, list, names);
        match form {
            AttachForm::Referrers => {
                let one = |statement| referrer(image, statement);
                prepared.attached.extend(statements.into_iter().map(one));
            }
            form => prepared.attached.push(in_index(image, statements, form)),
        }
    }
    if form != AttachForm::Referrers {
        list(&mut prepared)?;
    }
    Ok(prepared)
}

/// The statements on an image with their descriptors.
fn statements(
    image: &PreparedImage,
    list: &[Attestation],
    names: &[Reference],
) -> Vec<(Descriptor, Vec<u8>)> {
    let digest = image.descriptor.digest;
    let subject = |name: &Reference| Subject {
        name: image_purl("docker", name, Some(&image.platform)),
        digest,
    };
    let mut subjects: Vec<Subject> = names.iter().map(subject).collect();
    if subjects.is_empty() {
        subjects.push(Subject { name: "_".to_owned(), digest });
    }
    let statement = |one: &Attestation| {
        let Attestation { predicate_type, predicate, .. } = one;
        let bytes = Statement { predicate_type, predicate, subjects: &subjects }.to_json();
        let mut descriptor = described(STATEMENT_MEDIA_TYPE, &bytes);
        descriptor.annotations.insert(PREDICATE_TYPE.to_owned(), predicate_type.clone());
        (descriptor, bytes)
    };
    list.iter().map(statement).collect()
}

fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

/// The descriptor of a config that says nothing, its content included.
fn empty() -> Descriptor {
    let mut descriptor = described(EMPTY_TYPE, EMPTY);
    descriptor.extra.insert("data".to_owned(), "e30=".into());
    descriptor
}

fn subject(image: &PreparedImage) -> Descriptor {
    let Descriptor { media_type, digest, size_bytes, .. } = &image.descriptor;
    Descriptor::new(media_type, *digest, *size_bytes)
}

/// The manifest of all statements on an image, as BuildKit's indexes have it (ATT-04).
fn in_index(
    image: &PreparedImage,
    statements: Vec<(Descriptor, Vec<u8>)>,
    form: AttachForm,
) -> Attached {
    let layers: Vec<Descriptor> = statements.iter().map(|(d, _)| d.clone()).collect();
    let (config, config_bytes, artifact) = match form {
        AttachForm::Config => {
            let bytes = older_config(&layers);
            (described(media::OCI_CONFIG, &bytes), bytes, false)
        }
        AttachForm::Artifact | AttachForm::Referrers => (empty(), EMPTY.to_vec(), true),
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        artifact_type: artifact.then(|| ATTESTATIONS.to_owned()),
        config: config.clone(),
        layers,
        subject: artifact.then(|| subject(image)),
        annotations: BTreeMap::new(),
    };
    let bytes = manifest.to_json();
    let mut descriptor = described(media::OCI_MANIFEST, &bytes);
    descriptor.platform = Some(Platform::new("unknown", "unknown", ""));
    let mut annotate = |key: &str, value: String| {
        descriptor.annotations.insert(format!("vnd.docker.reference.{key}"), value);
    };
    annotate("digest", image.descriptor.digest.to_string());
    annotate("type", "attestation-manifest".to_owned());
    let blobs = statements.into_iter().chain([(config, config_bytes)]).collect();
    Attached { descriptor, manifest: bytes, blobs, refers_to: None }
}

/// The config of the older form: an image's for no platform, whose layers are the statements.
fn older_config(layers: &[Descriptor]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = serde_json::json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    serde_json::to_vec(&config).expect("values can be written")
}

/// An artifact of one statement, so that who asks what refers to the image can choose by the predicate's type.
fn referrer(image: &PreparedImage, statement: (Descriptor, Vec<u8>)) -> Attached {
    let annotations: BTreeMap<String, String> = statement.0.annotations.clone();
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        artifact_type: Some(STATEMENT_MEDIA_TYPE.to_owned()),
        config: empty(),
        layers: vec![statement.0.clone()],
        subject: Some(subject(image)),
        annotations: annotations.clone(),
    };
    let bytes = manifest.to_json();
    let mut descriptor = described(media::OCI_MANIFEST, &bytes);
    descriptor.artifact_type = Some(STATEMENT_MEDIA_TYPE.to_owned());
    descriptor.annotations = annotations;
    let blobs = vec![statement, (empty(), EMPTY.to_vec())];
    Attached { descriptor, manifest: bytes, blobs, refers_to: Some(image.descriptor.digest) }
}

/// Lists what was attached behind the images (ATT-04).
fn list(prepared: &mut Prepared) -> Result<(), ExportError> {
    let malformed = |reason: String| Failure::Malformed { what: "the index".to_owned(), reason };
    let bytes = prepared
        .index
        .as_deref()
        .ok_or(Failure::Unsupported("attestations need an index, or oci-referrers=true"))?;
    let mut index: Index = match Document::from_json(bytes, &prepared.target.media_type) {
        Ok(Document::Index(index)) => index,
        Ok(Document::Manifest(_)) => return Err(malformed("it is a manifest".to_owned()).into()),
        Err(error) => return Err(malformed(error.to_string()).into()),
    };
    index.manifests.extend(prepared.attached.iter().map(|one| one.descriptor.clone()));
    let bytes = index.to_json();
    prepared.target.digest = Digest::of(&bytes);
    prepared.target.size_bytes = bytes.len() as u64;
    prepared.index = Some(bytes);
    Ok(())
}
