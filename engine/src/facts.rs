//! What the parent process has learnt and the child need not ask again (design D1).
//!
//! Owns the small document that goes over in a memfd. It names inputs only (resolved images, downloads, commits), never
//! layers: the child leases and looks up for itself. What could be read only once lies in directories of the parent,
//! which waits until the child has ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use context::HttpFile;
use graph::GitSource;
use layer::Mtime;
use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use store::Ingest;

/// Facts on inputs, by what was asked.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    images: BTreeMap<(Reference, Platform), Digest>,
    downloads: BTreeMap<String, Download>,
    commits: BTreeMap<String, String>,
    /// The directories that the downloads are in, as long as this lives.
    kept: Vec<Arc<Ingest>>,
}

/// A file that was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is known of it.
    pub(crate) file: HttpFile,
}

/// The document. Numbers and texts only; see the getters for their meaning.
#[derive(Default, Serialize, Deserialize)]
struct File {
    images: Vec<(String, String, String)>,
    downloads: Vec<DownloadFile>,
    commits: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct DownloadFile {
    url: String,
    path: PathBuf,
    digest: String,
    size_bytes: u64,
    mtime: Option<(i64, u32)>,
    etag: Option<String>,
}

impl Facts {
    /// The manifest that a reference meant when it was asked for.
    pub(crate) fn image(&self, reference: &Reference, platform: &Platform) -> Option<Digest> {
        self.images.get(&(reference.clone(), platform.clone())).copied()
    }

    /// Notes what a reference means in this build: it is resolved once (FROM-17).
    pub(crate) fn learn_image(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        manifest: Digest,
    ) {
        self.images.insert((reference.clone(), platform.clone()), manifest);
    }

    /// What a URL gave. A server is asked once in a build: it might say something else the second time.
    pub(crate) fn download(&self, url: &str) -> Option<&Download> {
        self.downloads.get(url).filter(|download| download.path.exists())
    }

    /// Notes what a URL gave, and keeps the directory that it is in.
    pub(crate) fn learn_download(&mut self, url: &str, download: Download, home: Arc<Ingest>) {
        self.downloads.insert(url.to_owned(), download);
        self.kept.push(home);
    }

    /// The commit that a repository's reference means (ADD-61).
    pub(crate) fn commit(&self, source: &GitSource) -> Option<&str> {
        self.commits.get(&git_name(source)).map(String::as_str)
    }

    /// Notes the commit that a repository's reference means in this build.
    pub(crate) fn learn_commit(&mut self, source: &GitSource, commit: &str) {
        self.commits.insert(git_name(source), commit.to_owned());
    }

    /// Writes the document.
    pub fn to_json(&self) -> Vec<u8> {
        let images = self
            .images
            .iter()
            .map(|((r, p), d)| (r.to_string(), p.to_string(), d.to_string()))
            .collect();
        let downloads = self.downloads.iter().map(|(url, download)| DownloadFile {
            url: url.clone(),
            path: download.path.clone(),
            digest: download.file.digest.to_string(),
            size_bytes: download.file.size_bytes,
            mtime: download.file.mtime.map(|mtime| (mtime.secs, mtime.nanos)),
            etag: download.file.etag.clone(),
        });
        let commits = self.commits.clone().into_iter().collect();
        let file = File { images, downloads: downloads.collect(), commits };
        serde_json::to_vec(&file).expect("facts are lists of texts and numbers")
    }

    /// Reads the document; anything that is not one counts as no facts, since all of it can be asked again.
    pub fn from_json(bytes: &[u8]) -> Facts {
        let file: File = serde_json::from_slice(bytes).unwrap_or_default();
        let images = file.images.iter().filter_map(|(reference, platform, digest)| {
            let key = (reference.parse().ok()?, platform.parse().ok()?);
            Some((key, digest.parse().ok()?))
        });
        let downloads = file.downloads.into_iter().filter_map(|download| {
            let file = HttpFile {
                digest: download.digest.parse().ok()?,
                size_bytes: download.size_bytes,
                mtime: download.mtime.map(|(secs, nanos)| Mtime { secs, nanos }),
                etag: download.etag,
            };
            Some((download.url, Download { path: download.path, file }))
        });
        Facts {
            images: images.collect(),
            downloads: downloads.collect(),
            commits: file.commits.into_iter().collect(),
            kept: Vec::new(),
        }
    }
}

/// What decides which commit is meant.
fn git_name(source: &GitSource) -> String {
    format!("{} {}", source.remote, source.reference.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_to_the_child() {
        let mut facts = Facts::default();
        let reference: Reference = "debian:12".parse().expect("valid");
        facts.learn_image(&reference, &Platform::host(), Digest::of(b"x"));
        facts.commits.insert("remote main".to_owned(), "abc".to_owned());
        let file = HttpFile {
            digest: Digest::of(b"y"),
            size_bytes: 1,
            mtime: Some(Mtime { secs: -1, nanos: 2 }),
            etag: None,
        };
        let download = Download { path: "/".into(), file };
        facts.downloads.insert("http://example/f".to_owned(), download.clone());
        let read = Facts::from_json(&facts.to_json());
        assert_eq!(read.image(&reference, &Platform::host()), Some(Digest::of(b"x")));
        assert_eq!(read.download("http://example/f"), Some(&download));
        assert_eq!(read.to_json(), facts.to_json());
        assert_eq!(Facts::from_json(b"garbage").to_json(), Facts::default().to_json());
    }
}
