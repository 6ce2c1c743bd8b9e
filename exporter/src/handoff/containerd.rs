//! containerd, through its program `ctr`.
//!
//! It keeps blobs and manifests as they are, so it gets the image as a registry would: an OCI archive, without the
//! blobs that it has.

use std::collections::HashSet;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use layer::TarWriter;
use oci::{Digest, Reference};

use super::program::Program;
use super::tars::{self, ARCHIVE};
use crate::ExportError;
use crate::error::{ExportErrorKind, Failure, write_tar};
use crate::job::Job;
use crate::layout::{OCI_LAYOUT, blob_path, file_entry, index_of};
use crate::prepare::Prepared;
use crate::verify::open_blob;

/// A containerd and a namespace of it.
pub(super) struct Containerd {
    ctr: Program,
    namespace: String,
}

/// Where containerd listens unless it is told otherwise.
const USUAL_SOCKET: &str = "/run/containerd/containerd.sock";

impl Containerd {
    /// The one that listens at a socket; else what there is not.
    pub(super) fn find(
        address: &Option<PathBuf>,
        namespace: &Option<String>,
        dirs: &[PathBuf],
    ) -> Result<Containerd, String> {
        let namespace = namespace.clone().unwrap_or_else(|| "default".to_owned());
        let ctr = Program::find("ctr", dirs).ok_or("the program ctr")?;
        let address = address.as_deref().unwrap_or(Path::new(USUAL_SOCKET));
        // The program would wait for ten seconds for one to appear.
        if let Err(error) = UnixStream::connect(address) {
            return Err(format!("{} ({error})", address.display()));
        }
        let ctr = ctr.with(&["--address", &address.to_string_lossy(), "--namespace", &namespace]);
        Ok(Containerd { ctr, namespace })
    }

    pub(super) fn shown(&self) -> String {
        format!("containerd's namespace {}", self.namespace)
    }

    /// Sends an image; gives the number of layers that were sent.
    pub(super) fn take(
        &self,
        prepared: &Prepared,
        names: &[Reference],
        job: Job,
    ) -> Result<usize, ExportError> {
        if names.iter().all(|name| name.tag().is_none()) {
            return Err(Failure::Unsupported(
                "containerd knows images by their names, and this one has none",
            )
            .into());
        }
        if self.has(prepared, names, job)? {
            return Ok(0);
        }
        let content = self.ctr.output(&["content", "ls", "--quiet"], job.cancel)?;
        let content = String::from_utf8_lossy(&content).into_owned();
        let has: HashSet<Digest> =
            content.lines().filter_map(|line| line.trim().parse().ok()).collect();
        match self.send(prepared, names, &has, job) {
            // It may have dropped one meanwhile.
            Err(error) if !has.is_empty() && error.kind() == ExportErrorKind::Engine => {
                self.send(prepared, names, &HashSet::new(), job)
            }
            sent => sent,
        }
    }

    /// Whether all names are there and mean this image.
    fn has(&self, prepared: &Prepared, names: &[Reference], job: Job) -> Result<bool, ExportError> {
        let list = self.ctr.output(&["images", "ls"], job.cancel)?;
        let list = String::from_utf8_lossy(&list).into_owned();
        let digest = prepared.target.digest.to_string();
        Ok(names.iter().filter(|name| name.tag().is_some()).all(|name| {
            let name = name.to_string();
            list.lines().any(|line| {
                let mut columns = line.split_whitespace();
                columns.next() == Some(name.as_str()) && columns.any(|column| column == digest)
            })
        }))
    }

    fn send(
        &self,
        prepared: &Prepared,
        names: &[Reference],
        has: &HashSet<Digest>,
        job: Job,
    ) -> Result<usize, ExportError> {
        let layers: Vec<_> = prepared.layer_blobs();
        let layers: Vec<_> =
            layers.into_iter().filter(|blob| !has.contains(&blob.digest)).collect();
        let arguments = ["images", "import", "--all-platforms", "-"];
        self.ctr.feed(&arguments, job.cancel, |out| {
            let mut archive = TarWriter::new(out);
            tars::put(&mut archive, "oci-layout", OCI_LAYOUT)?;
            tars::put(&mut archive, "index.json", &index_of(prepared, names))?;
            tars::put_directories(&mut archive)?;
            for (digest, bytes) in prepared.documents() {
                tars::put(&mut archive, &blob_path(&digest), bytes)?;
            }
            for blob in &layers {
                job.check()?;
                let mut content = open_blob(job, blob)?;
                let entry = file_entry(&blob_path(&blob.digest), blob.size_bytes);
                archive.entry(&entry, Some(&mut content)).map_err(write_tar(ARCHIVE))?;
            }
            archive.finish().map_err(write_tar(ARCHIVE))
        })?;
        Ok(layers.len())
    }
}
