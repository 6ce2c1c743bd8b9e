//! What the parent process has learnt and the child need not ask again (design D1).
//!
//! Owns the small document that goes over in a memfd. It names inputs only (resolved images, downloads, commits), never
//! layers: the child leases and looks up for itself. What could be read only once lies in directories of the parent,
//! which waits until the child has ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use context::{HttpFile, ResolvedGit};
use graph::GitSource;
use layer::Mtime;
use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use store::Ingest;

/// Facts on inputs, by what was asked.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    images: BTreeMap<(Reference, Platform), Digest>,
    /// Images whose registry could not be asked, with what was said of it.
    unasked: BTreeMap<(Reference, Platform), String>,
    /// Configs of images of container engines, by their names there.
    engine_images: BTreeMap<(String, Platform), Digest>,
    downloads: BTreeMap<String, Download>,
    /// URLs whose content is that of an earlier build.
    unchanged: BTreeMap<String, HttpFile>,
    resolved: BTreeMap<String, ResolvedGit>,
    checkouts: BTreeMap<String, Checkout>,
    /// What became of caches that were to be read, by their place among those that are named.
    imports: BTreeMap<usize, Imported>,
    /// The directories that downloads and checkouts are in, as long as this lives.
    kept: Vec<Arc<Ingest>>,
}

/// What became of a cache that was to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Imported {
    /// Its document is in this file.
    Document(PathBuf),
    /// There is nothing to be had of it; said to the user in these words.
    Nothing { warning: String },
}

/// A commit that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkout {
    /// Where it is.
    pub(crate) path: PathBuf,
    pub(crate) commit_time: Mtime,
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
    #[serde(default)]
    unasked: Vec<(String, String, String)>,
    #[serde(default)]
    engine_images: Vec<(String, String, String)>,
    downloads: Vec<DownloadFile>,
    resolved: Vec<(String, String, Option<String>, Option<String>)>,
    checkouts: Vec<(String, PathBuf, i64)>,
    /// Place, file of the document, else the warning.
    #[serde(default)]
    imports: Vec<(usize, Option<PathBuf>, String)>,
}

#[derive(Serialize, Deserialize)]
struct DownloadFile {
    url: String,
    path: Option<PathBuf>,
    digest: String,
    size_bytes: u64,
    mtime: Option<(i64, u32)>,
    etag: Option<String>,
    location: String,
}

impl DownloadFile {
    fn new(url: &str, path: Option<&PathBuf>, file: &HttpFile) -> DownloadFile {
        DownloadFile {
            url: url.to_owned(),
            path: path.cloned(),
            digest: file.digest.to_string(),
            size_bytes: file.size_bytes,
            mtime: file.mtime.map(|mtime| (mtime.secs, mtime.nanos)),
            etag: file.etag.clone(),
            location: file.location.clone(),
        }
    }

    fn into_file(self) -> Option<(String, Option<PathBuf>, HttpFile)> {
        let file = HttpFile {
            digest: self.digest.parse().ok()?,
            size_bytes: self.size_bytes,
            mtime: self.mtime.map(|(secs, nanos)| Mtime { secs, nanos }),
            etag: self.etag,
            location: self.location,
        };
        Some((self.url, self.path, file))
    }
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

    /// What was said of a registry that could not be asked: then the store's image is meant, in all of the build.
    pub(crate) fn unasked(&self, reference: &Reference, platform: &Platform) -> Option<String> {
        self.unasked.get(&(reference.clone(), platform.clone())).cloned()
    }

    /// Notes that the store's image is meant, and what is said of it.
    pub(crate) fn learn_unasked(&mut self, reference: &Reference, platform: &Platform, said: &str) {
        self.unasked.insert((reference.clone(), platform.clone()), said.to_owned());
    }

    /// The config that an engine's image had when it was asked for.
    pub(crate) fn engine_image(&self, name: &str, platform: &Platform) -> Option<Digest> {
        self.engine_images.get(&(name.to_owned(), platform.clone())).copied()
    }

    /// Notes what an engine's image is in this build.
    pub(crate) fn learn_engine_image(&mut self, name: &str, platform: &Platform, config: Digest) {
        self.engine_images.insert((name.to_owned(), platform.clone()), config);
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

    /// What is known of a URL whose content did not change.
    pub(crate) fn unchanged(&self, url: &str) -> Option<&HttpFile> {
        self.unchanged.get(url)
    }

    /// Notes that a URL has the content of an earlier build.
    pub(crate) fn learn_unchanged(&mut self, url: &str, file: HttpFile) {
        self.unchanged.insert(url.to_owned(), file);
    }

    /// The commit that a repository's reference means (ADD-61).
    pub(crate) fn resolved(&self, source: &GitSource) -> Option<&ResolvedGit> {
        self.resolved.get(&git_name(source))
    }

    /// Notes the commit that a repository's reference means in this build.
    pub(crate) fn learn_resolved(&mut self, source: &GitSource, resolved: ResolvedGit) {
        self.resolved.insert(git_name(source), resolved);
    }

    /// Where a repository was checked out for just this source.
    pub(crate) fn checkout(&self, source: &GitSource) -> Option<&Checkout> {
        self.checkouts.get(&checkout_name(source)).filter(|checkout| checkout.path.exists())
    }

    /// Notes where a repository was checked out, and keeps the directory that it is in.
    pub(crate) fn learn_checkout(
        &mut self,
        source: &GitSource,
        checkout: Checkout,
        home: Arc<Ingest>,
    ) {
        self.checkouts.insert(checkout_name(source), checkout);
        self.kept.push(home);
    }

    /// What became of a cache that was to be read.
    pub(crate) fn import(&self, at: usize) -> Option<&Imported> {
        self.imports.get(&at)
    }

    /// Notes what became of a cache that was to be read, and keeps the directory that its document is in.
    pub(crate) fn learn_import(&mut self, at: usize, import: Imported, home: Option<Arc<Ingest>>) {
        self.imports.insert(at, import);
        self.kept.extend(home);
    }

    /// Writes the document.
    pub fn to_json(&self) -> Vec<u8> {
        let images = self
            .images
            .iter()
            .map(|((r, p), d)| (r.to_string(), p.to_string(), d.to_string()))
            .collect();
        let engine_images = self.engine_images.iter();
        let engine_images = engine_images
            .map(|((name, p), config)| (name.clone(), p.to_string(), config.to_string()));
        let unasked = self.unasked.iter();
        let unasked = unasked.map(|((r, p), said)| (r.to_string(), p.to_string(), said.clone()));
        let downloads = self.downloads.iter();
        let downloads = downloads.map(|(url, d)| DownloadFile::new(url, Some(&d.path), &d.file));
        let unchanged = self.unchanged.iter();
        let unchanged = unchanged.map(|(url, file)| DownloadFile::new(url, None, file));
        let resolved = self.resolved.iter().map(|(name, git)| {
            (name.clone(), git.commit.clone(), git.reference.clone(), git.tag.clone())
        });
        let checkouts = self.checkouts.iter();
        let checkouts =
            checkouts.map(|(name, c)| (name.clone(), c.path.clone(), c.commit_time.secs));
        let file = File {
            images,
            unasked: unasked.collect(),
            engine_images: engine_images.collect(),
            downloads: downloads.chain(unchanged).collect(),
            resolved: resolved.collect(),
            checkouts: checkouts.collect(),
            imports: self.imports.iter().map(import_to_file).collect(),
        };
        serde_json::to_vec(&file).expect("facts are lists of texts and numbers")
    }

    /// Reads the document; anything that is not one counts as no facts, since all of it can be asked again.
    pub fn from_json(bytes: &[u8]) -> Facts {
        let file: File = serde_json::from_slice(bytes).unwrap_or_default();
        let images = file.images.iter().filter_map(|(reference, platform, digest)| {
            let key = (reference.parse().ok()?, platform.parse().ok()?);
            Some((key, digest.parse().ok()?))
        });
        let mut facts = Facts { images: images.collect(), ..Facts::default() };
        for (name, platform, config) in &file.engine_images {
            if let (Ok(platform), Ok(config)) = (platform.parse(), config.parse()) {
                facts.learn_engine_image(name, &platform, config);
            }
        }
        for (reference, platform, said) in &file.unasked {
            if let (Ok(reference), Ok(platform)) = (reference.parse(), platform.parse()) {
                facts.learn_unasked(&reference, &platform, said);
            }
        }
        for (url, path, file) in file.downloads.into_iter().filter_map(DownloadFile::into_file) {
            match path {
                Some(path) => drop(facts.downloads.insert(url, Download { path, file })),
                None => drop(facts.unchanged.insert(url, file)),
            }
        }
        let resolved = file
            .resolved
            .into_iter()
            .map(|(name, commit, reference, tag)| (name, ResolvedGit { commit, reference, tag }));
        facts.resolved = resolved.collect();
        let checkouts = file.checkouts.into_iter().map(|(name, path, secs)| {
            (name, Checkout { path, commit_time: Mtime { secs, nanos: 0 } })
        });
        facts.checkouts = checkouts.collect();
        facts.imports = file.imports.into_iter().map(import_of_file).collect();
        facts
    }
}

fn import_to_file((at, import): (&usize, &Imported)) -> (usize, Option<PathBuf>, String) {
    match import {
        Imported::Document(path) => (*at, Some(path.clone()), String::new()),
        Imported::Nothing { warning } => (*at, None, warning.clone()),
    }
}

fn import_of_file((at, path, warning): (usize, Option<PathBuf>, String)) -> (usize, Imported) {
    (at, path.map_or(Imported::Nothing { warning }, Imported::Document))
}

/// What decides which commit is meant.
fn git_name(source: &GitSource) -> String {
    let checksum = source.checksum.as_deref().unwrap_or_default();
    let reference = source.reference.as_deref().unwrap_or_default();
    format!("{} {reference} {checksum} {}", source.remote, source.fetch_by_commit)
}

/// What decides which files are checked out, too.
fn checkout_name(source: &GitSource) -> String {
    let flags = [source.keep_git_dir, source.submodules, source.commit_times];
    format!("{} {flags:?} {}", git_name(source), source.subdir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_to_the_child() {
        let mut facts = Facts::default();
        let reference: Reference = "debian:12".parse().expect("valid");
        facts.learn_image(&reference, &Platform::host(), Digest::of(b"x"));
        facts.learn_unasked(&reference, &Platform::host(), "no route");
        facts.learn_engine_image("docker-daemon:a", &Platform::host(), Digest::of(b"a"));
        let tag = Some("def".to_owned());
        let resolved = ResolvedGit { commit: "abc".to_owned(), reference: None, tag };
        facts.resolved.insert("remote main".to_owned(), resolved);
        let commit_time = Mtime { secs: 7, nanos: 0 };
        facts.checkouts.insert("c".to_owned(), Checkout { path: "/".into(), commit_time });
        let file = HttpFile {
            digest: Digest::of(b"y"),
            size_bytes: 1,
            mtime: Some(Mtime { secs: -1, nanos: 2 }),
            etag: None,
            location: "http://example/f".to_owned(),
        };
        facts.learn_unchanged("http://example/g", file.clone());
        let download = Download { path: "/".into(), file };
        facts.downloads.insert("http://example/f".to_owned(), download.clone());
        facts.learn_import(0, Imported::Document("/d".into()), None);
        facts.learn_import(1, Imported::Nothing { warning: "not there".to_owned() }, None);
        let read = Facts::from_json(&facts.to_json());
        assert_eq!(read.imports, facts.imports);
        assert_eq!(read.image(&reference, &Platform::host()), Some(Digest::of(b"x")));
        assert_eq!(read.unasked(&reference, &Platform::host()).as_deref(), Some("no route"));
        let config = read.engine_image("docker-daemon:a", &Platform::host());
        assert_eq!(config, Some(Digest::of(b"a")));
        assert_eq!(read.download("http://example/f"), Some(&download));
        assert_eq!(read.download("http://example/g"), None);
        assert_eq!(read.unchanged("http://example/g"), Some(&download.file));
        assert_eq!((&read.resolved, &read.checkouts), (&facts.resolved, &facts.checkouts));
        assert_eq!(read.to_json(), facts.to_json());
        assert_eq!(Facts::from_json(b"garbage").to_json(), Facts::default().to_json());
    }
}
