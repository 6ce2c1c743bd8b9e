//! Docker, through its socket.
//!
//! An engine with storage drivers of its own knows layers by the digests of their tars, and looks for each before it
//! opens the archive's file of it: those that it has are left out. Which these are is what its images say. One that
//! keeps its images in containerd knows them by blobs, and gets the whole archive.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::mpsc::sync_channel;
use std::thread;

use layer::TarWriter;
use oci::{Digest, ImageId, Reference};
use sys::Cancel;

use super::engine_image::EngineImage;
use super::tars::{self, ARCHIVE, LayerTar};
use super::{
    Prepare, asked, common, diff_ids, done, in_path, io_error, json_lines, names_missing, posted,
    reason, refused, sent, tags,
};
use crate::error::{ExportErrorKind, Failure, write_tar};
use crate::http::{self, EngineAddress};
use crate::image::BuiltImage;
use crate::job::Job;
use crate::layout::blob_path;
use crate::{ExportError, write_docker_archive};

/// A Docker engine.
pub(super) struct Docker {
    engine: EngineAddress,
}

/// Images that are looked at for what the engine has.
const LOOKED_AT_MAX: usize = 1000;

impl Docker {
    pub(super) fn new(engine: &EngineAddress) -> Docker {
        Docker { engine: engine.clone() }
    }

    pub(super) fn shown(&self) -> String {
        format!("the Docker engine at {}", self.engine)
    }

    pub(super) fn inspect(
        &self,
        name: &str,
        cancel: &Cancel,
    ) -> Result<Option<EngineImage>, ExportError> {
        let found = asked(&self.engine, &format!("/images/{}/json", in_path(name)), cancel)?;
        let Some(value) = found else { return Ok(None) };
        let no_id = || refused(&self.engine, "it gives the image no id".to_owned());
        EngineImage::from_json(&value).map(Some).ok_or_else(no_id)
    }

    pub(super) fn tag_if_there(
        &self,
        id: &ImageId,
        names: &[Reference],
        cancel: &Cancel,
    ) -> Result<bool, ExportError> {
        let Some(image) = self.inspect(&id.0.to_string(), cancel)? else { return Ok(false) };
        for (name, tag) in names_missing(&image, names, Reference::familiar_name) {
            let path = format!("/images/{}/tag?repo={}&tag={tag}", image.id, in_path(&name));
            done(&self.engine, &path, cancel)?;
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
            posted(&self.engine, LOAD, job, |out| {
                write_docker_archive(&prepared, names, out, job)
            })?;
            return Ok(image.layers.len());
        }
        let has = self.layers_there(image, names, job)?;
        sent(has, (image, job), |has| self.send(image, names, *has, job))
    }

    /// Whether its images are containerd's.
    fn keeps_manifests(&self, cancel: &Cancel) -> Result<bool, ExportError> {
        let info = asked(&self.engine, "/info", cancel)?.unwrap_or_default();
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
        let all = asked(&self.engine, "/images/json", job.cancel)?.unwrap_or_default();
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
        let mut seen = HashSet::new();
        wanted.retain(|at| seen.insert(image.layers[*at].diff_id));
        let is_alone = Cell::new(false);
        let send = |may_be_alone: bool| {
            tars::ready(image, &wanted, job, |mut tars| {
                let lowest = if has == 0 { tars.next().transpose()? } else { None };
                let fits = lowest.as_ref().is_some_and(|tar| fits_alone(tar, image));
                is_alone.set(may_be_alone && fits);
                match lowest {
                    Some(tar) if is_alone.get() => {
                        self.load_above(tar, image, names, &mut tars, job)
                    }
                    lowest => {
                        let mut tars = lowest.into_iter().map(Ok).chain(tars);
                        self.load(image, names, &mut tars, &mut || Ok(()), job)
                    }
                }
            })
        };
        let mut sent = send(true);
        // What stands before the engine may let nothing but archives pass.
        let is_refused = sent.as_ref().is_err_and(|e| e.kind() == ExportErrorKind::Engine);
        if is_alone.get() && is_refused {
            job.check()?;
            sent = send(false);
        }
        self.check(image, &sent?, job.cancel)?;
        Ok(image.layers.len() - has)
    }

    /// Sends the lowest layer alone, beside an archive of all others.
    ///
    /// An archive is written to disk by the engine before it unpacks the first layer of it, and is read again then. A
    /// file system that is imported is unpacked as it comes, and is the same layer as that of an image without others
    /// below: so the largest part of most images takes the shorter way. The image that importing makes has no name, and
    /// is removed when the real one has its layer.
    fn load_above(
        &self,
        lowest: LayerTar,
        image: &BuiltImage,
        names: &[Reference],
        others: &mut dyn Iterator<Item = Result<LayerTar, ExportError>>,
        job: Job,
    ) -> Result<Vec<u8>, ExportError> {
        thread::scope(|scope| {
            let (sender, there) = sync_channel(1);
            scope.spawn(move || {
                // Nobody waits for it when sending the others has failed.
                let _ = sender.send(self.import(&lowest, job));
            });
            let mut held = None;
            let mut there = || {
                let part = there.recv().unwrap_or_else(|_| Err(Failure::Cancelled.into()))?;
                held = Some(part);
                Ok(())
            };
            let loaded = self.load(image, names, others, &mut there, job);
            drop(held);
            loaded
        })
    }

    /// Sends an archive of the image with the files of some layers. Its end is only sent when `before_end` says so.
    fn load(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        tars: &mut dyn Iterator<Item = Result<LayerTar, ExportError>>,
        before_end: &mut dyn FnMut() -> Result<(), ExportError>,
        job: Job,
    ) -> Result<Vec<u8>, ExportError> {
        posted(&self.engine, LOAD, job, |out| {
            let mut archive = TarWriter::new(out);
            tars::put(&mut archive, "manifest.json", &manifest(image, names))?;
            tars::put_directories(&mut archive)?;
            tars::put(&mut archive, &blob_path(&image.id.0), &image.config)?;
            tars::write(tars, &|tar| blob_path(&tar.diff_id.0), &mut archive, job)?;
            before_end()?;
            archive.finish().map_err(write_tar(ARCHIVE))
        })
    }

    /// Makes an image of one layer alone.
    fn import(&self, tar: &LayerTar, job: Job) -> Result<Part<'_>, ExportError> {
        let body = posted(&self.engine, IMPORT, job, |out| tars::write_alone(tar, out, job))?;
        let id =
            json_lines(&body).iter().find_map(|line| Some(line["status"].as_str()?.to_owned()));
        let id = id.and_then(|id| id.parse::<Digest>().ok());
        let id = id.ok_or_else(|| refused(&self.engine, "it gives a layer no id".to_owned()))?;
        let part = Part { docker: self, id };
        let has = self.inspect(&id.to_string(), job.cancel)?.map(|image| image.layers);
        match has.as_deref() {
            Some([found]) if *found == tar.diff_id => Ok(part),
            // Whose fault that is will be found out.
            _ => Err(refused(&self.engine, format!("it takes layer {} for another", tar.diff_id))),
        }
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
            &self.engine,
            format!("it has no image {id} after it was sent, and says: {said}"),
        ))
    }

    pub(super) fn archive<'a>(
        &self,
        image: &EngineImage,
        cancel: &'a Cancel,
    ) -> Result<Box<dyn std::io::Read + Send + 'a>, ExportError> {
        let path = format!("/images/{}/get", image.id);
        let opened = http::open(&self.engine, &path, cancel);
        let opened =
            opened.map_err(|source| io_error("get the image from", &self.engine, source))?;
        opened.map_err(|answer| refused(&self.engine, reason(&answer)))
    }
}

const LOAD: &str = "/images/load?quiet=1";
const IMPORT: &str = "/images/create?fromSrc=-&message=a%20layer%20that%20shale%20is%20loading";
/// Lowest layers of this length are sent alone: it costs three requests more.
const ALONE_FROM_BYTES: u64 = 4 << 20;

/// Whether it is worth it to send the lowest layer alone. Where it comes again higher up, the archive needs its file.
fn fits_alone(lowest: &LayerTar, image: &BuiltImage) -> bool {
    let comes_again = image.layers[1..].iter().any(|layer| layer.diff_id == lowest.diff_id);
    lowest.size_bytes >= ALONE_FROM_BYTES && !comes_again
}

/// An image of one layer that is there until the image with that layer is.
struct Part<'a> {
    docker: &'a Docker,
    id: Digest,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // Whoever wants to stop wants this too. An engine that has gone keeps it, for `docker image prune`.
        let cancel = Cancel::new();
        let found = self.docker.inspect(&self.id.to_string(), &cancel);
        // Somebody who has given it a name meanwhile wants it; removing it would remove that name.
        if found.is_ok_and(|found| found.is_some_and(|image| image.names.is_empty())) {
            let path = format!("/images/{}?noprune=1", self.id);
            let _ = http::delete(&self.docker.engine, &path, &cancel);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What an engine is asked when a part goes that has these names there.
    fn asked_of_part(names: &str) -> Vec<String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("bind");
        let id = Digest::of(b"part");
        let body = format!(r#"{{"Id":"{id}","RepoTags":[{names}]}}"#);
        let serving = thread::spawn(move || {
            let mut asked = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("accept");
                let lines = BufReader::new(&stream).lines().map(|line| line.expect("text"));
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let method = head[0].split(' ').next().expect("a method").to_owned();
                if method == "POST" {
                    break;
                }
                asked.push(method);
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())
                    .and_then(|()| stream.write_all(body.as_bytes()))
                    .expect("answered");
            }
            asked
        });
        let engine = EngineAddress::Unix(path);
        drop(Part { docker: &Docker::new(&engine), id });
        let _ = http::command(&engine, "/end", &Cancel::new());
        serving.join().expect("no panic")
    }

    #[test]
    fn a_part_that_somebody_has_named_stays() {
        assert_eq!(asked_of_part(""), ["GET", "DELETE"]);
        assert_eq!(asked_of_part("\"mine:1\""), ["GET"]);
    }
}
