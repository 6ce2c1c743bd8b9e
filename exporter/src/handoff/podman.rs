//! Podman, through its socket or its program.
//!
//! It gets an OCI archive of plain tars, and takes a layer that it has, wherever it has it, by the tar's digest: the
//! archive leaves those out. The names are given afterwards.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use layer::TarWriter;
use oci::{Descriptor, DiffId, Digest, ImageId, Index, Manifest, Reference, media};
use serde_json::Value;
use sys::Cancel;

use super::engine_image::EngineImage;
use super::program::Program;
use super::tars::{self, ARCHIVE, LayerTar};
use super::{asked, done, in_path, io_error, names_missing, posted, reason, refused, sent};
use crate::ExportError;
use crate::error::{Failure, write_tar};
use crate::http;
use crate::http::EngineAddress;
use crate::image::BuiltImage;
use crate::job::Job;
use crate::layout::{OCI_LAYOUT, blob_path};

/// A way to talk to podman.
pub(super) enum Podman {
    /// Its service. `api` is the beginning of its paths.
    Socket { engine: EngineAddress, api: String },
    /// Its program, which works on the user's own storage.
    Program(Program),
}

/// Images that are looked at for what podman has.
const LOOKED_AT_MAX: usize = 1000;

impl Podman {
    /// The one that answered at a socket with a version of its API.
    pub(super) fn socket(engine: &EngineAddress, version: &str) -> Podman {
        let is_plain = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let version = if is_plain { version } else { "4.0.0" };
        Podman::Socket { engine: engine.clone(), api: format!("/v{version}/libpod") }
    }

    /// The one whose program is installed. Nothing but the user's own namespaces has the user's own storage.
    pub(super) fn program(dirs: &[PathBuf]) -> Option<Podman> {
        Program::find("podman", dirs).map(Podman::Program)
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Podman::Socket { engine, .. } => format!("podman at {}", engine),
            Podman::Program(program) => program.shown(),
        }
    }

    pub(super) fn inspect(
        &self,
        name: &str,
        cancel: &Cancel,
    ) -> Result<Option<EngineImage>, ExportError> {
        let value = match self {
            Podman::Socket { engine, api } => {
                asked(engine, &format!("{api}/images/{}/json", in_path(name)), cancel)?
            }
            Podman::Program(program) => {
                if !program.says(&["image", "exists", name], cancel)? {
                    return Ok(None);
                }
                let output = program.output(&["image", "inspect", name], cancel)?;
                serde_json::from_slice::<Vec<Value>>(&output)
                    .ok()
                    .and_then(|all| all.into_iter().next())
            }
        };
        Ok(value.as_ref().and_then(EngineImage::from_json))
    }

    pub(super) fn tag_if_there(
        &self,
        id: &ImageId,
        names: &[Reference],
        cancel: &Cancel,
    ) -> Result<bool, ExportError> {
        let Some(image) = self.inspect(&id.0.hex(), cancel)? else { return Ok(false) };
        self.tag(&image, names, cancel)?;
        Ok(true)
    }

    fn tag(
        &self,
        image: &EngineImage,
        names: &[Reference],
        cancel: &Cancel,
    ) -> Result<(), ExportError> {
        let id = image.id.hex();
        for (repository, tag) in names_missing(image, names, Reference::name) {
            match self {
                Podman::Socket { engine, api } => {
                    let repository = in_path(&repository);
                    let path = format!("{api}/images/{id}/tag?repo={repository}&tag={tag}");
                    done(engine, &path, cancel)?;
                }
                Podman::Program(program) => {
                    let full = format!("{repository}:{tag}");
                    program.output(&["image", "tag", &id, &full], cancel)?;
                }
            }
        }
        Ok(())
    }

    /// Sends an image; gives the number of layers that were sent.
    pub(super) fn take(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        job: Job,
    ) -> Result<usize, ExportError> {
        let has = self.layers_there(job)?;
        let sent = sent(has, (image, job), |has| self.send(image, has, job))?;
        if !self.tag_if_there(&image.id, names, job.cancel)? {
            let reason = format!("it has no image {} after it was sent", image.id.0);
            return Err(Failure::EngineRefused { socket: self.shown(), reason }.into());
        }
        Ok(sent)
    }

    /// All layers that its images have.
    fn layers_there(&self, job: Job) -> Result<HashSet<DiffId>, ExportError> {
        let mut all = HashSet::new();
        match self {
            Podman::Socket { engine, api } => {
                let list = asked(engine, &format!("{api}/images/json"), job.cancel)?;
                let list = list.unwrap_or_default();
                let ids = list.as_array().into_iter().flatten().filter_map(|i| i["Id"].as_str());
                for id in ids.take(LOOKED_AT_MAX) {
                    job.check()?;
                    let image = self.inspect(id, job.cancel)?;
                    all.extend(image.into_iter().flat_map(|image| image.layers));
                }
            }
            Podman::Program(program) => {
                let ids = program.output(&["image", "ls", "-q", "--no-trunc"], job.cancel)?;
                let ids = String::from_utf8_lossy(&ids).into_owned();
                let ids: Vec<&str> = ids.lines().take(LOOKED_AT_MAX).collect();
                if !ids.is_empty() {
                    let arguments = [&["image", "inspect"], &ids[..]].concat();
                    let output = program.output(&arguments, job.cancel)?;
                    let images: Vec<Value> = serde_json::from_slice(&output).unwrap_or_default();
                    let images = images.iter().filter_map(EngineImage::from_json);
                    all.extend(images.flat_map(|image| image.layers));
                }
            }
        }
        Ok(all)
    }

    /// Sends an image without the layers that podman has.
    fn send(
        &self,
        image: &BuiltImage,
        has: &HashSet<DiffId>,
        job: Job,
    ) -> Result<usize, ExportError> {
        // The manifest says how long each layer is: those that stay away are looked at too.
        let mut seen = HashSet::new();
        let mut wanted: Vec<usize> = (0..image.layers.len()).collect();
        wanted.retain(|at| seen.insert(image.layers[*at].diff_id));
        let is_sent = |tar: &LayerTar| !has.contains(&tar.diff_id);
        let mut count = 0;
        tars::ready(image, &wanted, job, |tars| {
            let all = tars.collect::<Result<Vec<LayerTar>, ExportError>>()?;
            let manifest = manifest(image, &all);
            let sent: Vec<LayerTar> = all.into_iter().filter(is_sent).collect();
            count = sent.len();
            self.load(job, |out| write_archive(image, &manifest, sent, out, job))
        })?;
        Ok(count)
    }

    fn load(
        &self,
        job: Job,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        match self {
            Podman::Socket { engine, api } => {
                posted(engine, &format!("{api}/images/load"), job, fill).map(drop)
            }
            Podman::Program(program) => {
                program.feed(&["image", "load"], job.cancel, fill).map(drop)
            }
        }
    }

    pub(super) fn archive<'a>(
        &self,
        image: &EngineImage,
        cancel: &'a Cancel,
    ) -> Result<Box<dyn std::io::Read + Send + 'a>, ExportError> {
        // Only its own form leaves a config byte for byte what it is.
        let is_docker = image.manifest_type.as_deref() == Some(media::DOCKER_MANIFEST);
        let form = if is_docker { "docker-archive" } else { "oci-archive" };
        let id = image.id.hex();
        match self {
            Podman::Socket { engine, api } => {
                let opened =
                    http::open(engine, &format!("{api}/images/{id}/get?format={form}"), cancel);
                let opened =
                    opened.map_err(|source| io_error("get the image from", engine, source))?;
                opened.map_err(|answer| refused(engine, reason(&answer)))
            }
            Podman::Program(program) => {
                program.read(&["image", "save", "--quiet", "--format", form, &id], cancel)
            }
        }
    }
}

/// A manifest of plain tars.
fn manifest(image: &BuiltImage, tars: &[LayerTar]) -> Vec<u8> {
    let size_of = |diff_id: DiffId| {
        tars.iter().find(|tar| tar.diff_id == diff_id).map_or(0, |tar| tar.size_bytes)
    };
    let layers = image
        .layers
        .iter()
        .map(|layer| Descriptor::new(media::OCI_LAYER, layer.diff_id.0, size_of(layer.diff_id)));
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor::new(media::OCI_CONFIG, image.id.0, image.config.len() as u64),
        layers: layers.collect(),
        subject: None,
        annotations: Default::default(),
    };
    manifest.to_json()
}

fn write_archive(
    image: &BuiltImage,
    manifest: &[u8],
    layers: Vec<LayerTar>,
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    let digest = Digest::of(manifest);
    let mut descriptor = Descriptor::new(media::OCI_MANIFEST, digest, manifest.len() as u64);
    descriptor.platform = Some(image.platform.clone());
    let index = Index {
        schema_version: 2,
        media_type: media::OCI_INDEX.to_owned(),
        manifests: vec![descriptor],
        annotations: Default::default(),
    };
    let mut archive = TarWriter::new(out);
    tars::put(&mut archive, "oci-layout", OCI_LAYOUT)?;
    tars::put(&mut archive, "index.json", &index.to_json())?;
    tars::put_directories(&mut archive)?;
    tars::put(&mut archive, &blob_path(&digest), manifest)?;
    tars::put(&mut archive, &blob_path(&image.id.0), &image.config)?;
    let mut layers = layers.into_iter().map(Ok);
    tars::write(&mut layers, &|tar| blob_path(&tar.diff_id.0), &mut archive, job)?;
    archive.finish().map_err(write_tar(ARCHIVE))
}
