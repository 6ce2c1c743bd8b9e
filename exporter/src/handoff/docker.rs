//! Docker, through its socket.
//!
//! An engine with storage drivers of its own knows layers by the digests of their tars, and looks for each before it
//! opens the archive's file of it: those that it has are left out. Which these are is what its images say. One that
//! keeps its images in containerd knows them by blobs, and gets the whole archive.

use std::path::{Path, PathBuf};

use layer::TarWriter;
use oci::{ImageId, Reference};
use sys::Cancel;

use super::engine_image::EngineImage;
use super::tars::{self, ARCHIVE};
use super::{
    Prepare, asked, common, diff_ids, done, in_path, io_error, json_lines, posted, reason, refused,
    tags,
};
use crate::error::{ExportErrorKind, write_tar};
use crate::image::BuiltImage;
use crate::job::Job;
use crate::layout::blob_path;
use crate::{ExportError, http, write_docker_archive};

/// A Docker engine.
pub(super) struct Docker {
    socket: PathBuf,
}

/// Images that are looked at for what the engine has.
const LOOKED_AT_MAX: usize = 1000;

impl Docker {
    pub(super) fn new(socket: &Path) -> Docker {
        Docker { socket: socket.to_owned() }
    }

    pub(super) fn shown(&self) -> String {
        format!("the Docker engine at {}", self.socket.display())
    }

    pub(super) fn inspect(
        &self,
        name: &str,
        cancel: &Cancel,
    ) -> Result<Option<EngineImage>, ExportError> {
        let found = asked(&self.socket, &format!("/images/{}/json", in_path(name)), cancel)?;
        let Some(value) = found else { return Ok(None) };
        let no_id = || refused(&self.socket, "it gives the image no id".to_owned());
        EngineImage::from_json(&value).map(Some).ok_or_else(no_id)
    }

    pub(super) fn tag_if_there(
        &self,
        id: &ImageId,
        names: &[Reference],
        cancel: &Cancel,
    ) -> Result<bool, ExportError> {
        let Some(image) = self.inspect(&id.0.to_string(), cancel)? else { return Ok(false) };
        for (name, tag) in tags(names) {
            if image.names.contains(&format!("{name}:{tag}")) {
                continue;
            }
            let path = format!("/images/{}/tag?repo={}&tag={tag}", image.id, in_path(&name));
            done(&self.socket, &path, cancel)?;
        }
        Ok(true)
    }

    /// Sends an image; gives the number of layers that were sent.
    pub(super) fn take(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        prepare: Prepare<'_>,
        job: Job,
    ) -> Result<usize, ExportError> {
        if self.keeps_manifests(job.cancel)? {
            let prepared = prepare()?;
            posted(&self.socket, LOAD, job, |out| {
                write_docker_archive(&prepared, names, out, job)
            })?;
            return Ok(image.layers.len());
        }
        let has = self.layers_there(image, names, job)?;
        match self.send(image, names, has, job) {
            // It may have dropped one meanwhile, or be of a kind that wants all of them.
            Err(error) if has > 0 && error.kind() == ExportErrorKind::Engine => {
                self.send(image, names, 0, job)
            }
            sent => sent,
        }
    }

    /// Whether its images are containerd's.
    fn keeps_manifests(&self, cancel: &Cancel) -> Result<bool, ExportError> {
        let info = asked(&self.socket, "/info", cancel)?.unwrap_or_default();
        let status = info["DriverStatus"].as_array().into_iter().flatten();
        Ok(status.into_iter().any(|pair| pair[1].as_str() == Some("io.containerd.snapshotter.v1")))
    }

    /// How many of an image's layers it has, from the lowest on.
    fn layers_there(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        job: Job,
    ) -> Result<usize, ExportError> {
        let wanted = diff_ids(image);
        let mut best = 0;
        let mut look = |name: &str| -> Result<bool, ExportError> {
            job.check()?;
            if let Some(image) = self.inspect(name, job.cancel)? {
                best = best.max(common(&wanted, &image.layers));
            }
            Ok(best == wanted.len())
        };
        // What has the name now is most often the build before this one.
        for (name, tag) in tags(names) {
            if look(&format!("{name}:{tag}"))? {
                return Ok(wanted.len());
            }
        }
        let all = asked(&self.socket, "/images/json", job.cancel)?.unwrap_or_default();
        let ids = all.as_array().into_iter().flatten().filter_map(|image| image["Id"].as_str());
        for id in ids.take(LOOKED_AT_MAX) {
            if look(id)? {
                break;
            }
        }
        Ok(best)
    }

    /// Sends what `docker save` writes, without the files of the lowest `has` layers.
    fn send(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        has: usize,
        job: Job,
    ) -> Result<usize, ExportError> {
        let mut wanted: Vec<usize> = (has..image.layers.len()).collect();
        // One file for layers that are equal.
        wanted.dedup_by_key(|at| image.layers[*at].diff_id);
        let mut seen = std::collections::HashSet::new();
        wanted.retain(|at| seen.insert(image.layers[*at].diff_id));
        let body = tars::ready(image, &wanted, job, |mut tars| {
            posted(&self.socket, LOAD, job, |out| {
                let mut archive = TarWriter::new(out);
                tars::put(&mut archive, "manifest.json", &manifest(image, names))?;
                tars::put_directories(&mut archive)?;
                tars::put(&mut archive, &blob_path(&image.id.0), &image.config)?;
                tars::write(&mut tars, &|tar| blob_path(&tar.diff_id.0), &mut archive, job)?;
                archive.finish().map_err(write_tar(ARCHIVE))
            })
        })?;
        self.check(image, &body, job.cancel)?;
        Ok(image.layers.len() - has)
    }

    /// Whether it has the image now: an engine may answer well to what it did not take.
    fn check(&self, image: &BuiltImage, body: &[u8], cancel: &Cancel) -> Result<(), ExportError> {
        let id = image.id.0.to_string();
        if self.inspect(&id, cancel)?.is_some() {
            return Ok(());
        }
        let lines = json_lines(body);
        let said: Vec<&str> = lines.iter().filter_map(|line| line["stream"].as_str()).collect();
        let said = crate::error::show(said.concat().trim().as_bytes());
        Err(refused(
            &self.socket,
            format!("it has no image {id} after it was sent, and says: {said}"),
        ))
    }

    pub(super) fn archive<'a>(
        &self,
        image: &EngineImage,
        cancel: &'a Cancel,
    ) -> Result<Box<dyn std::io::Read + Send + 'a>, ExportError> {
        let path = format!("/images/{}/get", image.id);
        let opened = http::open(&self.socket, &path, cancel);
        let opened =
            opened.map_err(|source| io_error("get the image from", &self.socket, source))?;
        opened.map_err(|answer| refused(&self.socket, reason(&answer)))
    }
}

const LOAD: &str = "/images/load?quiet=1";

/// `manifest.json` of one image.
fn manifest(image: &BuiltImage, names: &[Reference]) -> Vec<u8> {
    let mut repo_tags: Vec<String> =
        tags(names).map(|(name, tag)| format!("{name}:{tag}")).collect();
    repo_tags.sort();
    repo_tags.dedup();
    let layers = image.layers.iter().map(|layer| blob_path(&layer.diff_id.0));
    let layers: Vec<String> = layers.collect();
    let config = blob_path(&image.id.0);
    let entry = serde_json::json!([{ "Config": config, "RepoTags": repo_tags, "Layers": layers }]);
    serde_json::to_vec(&entry).expect("strings alone")
}
