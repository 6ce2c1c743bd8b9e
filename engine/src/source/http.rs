//! Files at URLs: asked about once in a build, downloaded when their bytes are needed.
//!
//! Owns what is remembered of a URL between builds: the ETag and what it stood for. Contents are not kept; they are in
//! the layers that were made of them.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use context::{Downloads, HttpFile, HttpRequest, KnownContent};
use executor::StepSource;
use graph::HttpSource;
use layer::Mtime;
use oci::Digest;
use serde::{Deserialize, Serialize};

use super::{credentials, new_ingest, one_at_a_time, remote_error};
use crate::error::BuildError;
use crate::facts::Download;
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{RemoteFile, Seen, Value};

/// Longest download of an ADD or a context.
const DOWNLOAD_MAX_BYTES: u64 = 64 << 30;

/// The value of a file whose digest the Dockerfile names: no server is asked until its bytes are needed (ADD-41).
pub(crate) fn pinned(source: &HttpSource) -> Option<Value> {
    let seen = Seen { digest: source.checksum?, last_modified: None, download: None };
    Some(value(source, seen))
}

/// What the server has now. Its bytes come along unless it says that they are those of an earlier build (ADD-36).
pub(crate) fn look(session: &Session, source: &HttpSource) -> Result<Value, Stop> {
    Ok(value(source, seen(session, &source.url)?))
}

fn value(source: &HttpSource, seen: Seen) -> Value {
    Value::Http(Arc::new(RemoteFile { source: source.clone(), seen: Mutex::new(seen) }))
}

/// The file for a copy; downloaded now if it was not before.
pub(crate) fn file(session: &Session, remote: &RemoteFile) -> Result<StepSource, Stop> {
    let mut seen = lock(&remote.seen);
    let download = match &seen.download {
        Some(download) => download.clone(),
        None => {
            let download = download(session, &remote.source.url, remote.source.checksum)?;
            *seen = Seen::of(&download);
            download
        }
    };
    let Download { path, file } = download;
    let name = remote.source.file_name.as_bytes();
    let tree = context::FileTree::new(name, path, (file.size_bytes, file.digest), file.mtime);
    let name = tree.file().path.clone();
    let last_modified = file.mtime.map(|mtime| mtime.secs);
    Ok(StepSource::Http { tree: Arc::new(tree), name, last_modified })
}

/// `Last-Modified` of a URL's file, else the newest time of a file in it when it is an archive (EPO-04).
pub(crate) fn time(session: &Session, source: &HttpSource) -> Result<Option<i64>, BuildError> {
    let seen = seen(session, &source.url)?;
    if seen.last_modified.is_some() {
        return Ok(seen.last_modified);
    }
    let download = download(session, &source.url, source.checksum)?;
    let file = fs::File::open(&download.path);
    let file = file.map_err(|e| BuildError::io("cannot read a downloaded file", e))?;
    Ok(context::newest_in_archive(file).map(|mtime| mtime.secs))
}

fn seen(session: &Session, url: &str) -> Result<Seen, BuildError> {
    one_at_a_time(session, url, || ask(session, url))
}

fn ask(session: &Session, url: &str) -> Result<Seen, BuildError> {
    if let Some(download) = lock(&session.facts).download(url) {
        return Ok(Seen::of(download));
    }
    if let Some(file) = lock(&session.facts).unchanged(url) {
        return Ok(Seen { download: None, ..Seen::of_file(file) });
    }
    let known = recall(session, url);
    match fetch(session, url, None, known.as_ref(), &|_, _| ())? {
        Some(download) => Ok(Seen::of(&download)),
        None => {
            let known = known.expect("only a known content can be unchanged");
            lock(&session.facts).learn_unchanged(url, known.clone());
            Ok(Seen { download: None, ..Seen::of_file(&known) })
        }
    }
}

/// Downloads a URL, once in a build: the process that does the work gets the file of the one that looked up.
pub(crate) fn download(
    session: &Session,
    url: &str,
    checksum: Option<Digest>,
) -> Result<Download, BuildError> {
    download_told(session, url, checksum, &|_, _| ())
}

/// As [`download`]; `told` hears how much has come, and of how much if the server says it.
pub(crate) fn download_told(
    session: &Session,
    url: &str,
    checksum: Option<Digest>,
    told: &dyn Fn(u64, Option<u64>),
) -> Result<Download, BuildError> {
    one_at_a_time(session, url, || {
        if let Some(known) = lock(&session.facts).download(url)
            && checksum.is_none_or(|checksum| checksum == known.file.digest)
        {
            return Ok(known.clone());
        }
        let download = fetch(session, url, checksum, None, told)?;
        Ok(download.expect("without a known content there is always an answer with one"))
    })
}

fn fetch(
    session: &Session,
    url: &str,
    checksum: Option<Digest>,
    known: Option<&HttpFile>,
    told: &dyn Fn(u64, Option<u64>),
) -> Result<Option<Download>, BuildError> {
    let ingest = new_ingest(session)?;
    let path = ingest.path().join("download");
    let auth = credentials::of_url(session, url)?;
    let known = known.and_then(|known| {
        Some(KnownContent { etag: known.etag.as_deref()?, location: &known.location })
    });
    let request = HttpRequest {
        url,
        checksum,
        auth: auth.as_ref(),
        known,
        size_max_bytes: DOWNLOAD_MAX_BYTES,
    };
    let agent = |url: &str, from: Option<&str>| {
        session.registry.download_agent(url, from).map_err(|error| Box::new(error) as _)
    };
    let cancelled = || session.cancel.is_cancelled();
    let downloads = Downloads { agent: &agent, cancelled: &cancelled, told };
    let file = context::fetch_http(&downloads, &request, &path);
    let Some(file) = file.map_err(|e| remote_error(session, e))? else { return Ok(None) };
    remember(session, url, &file);
    let download = Download { path, file };
    lock(&session.facts).learn_download(url, download.clone(), Arc::new(ingest));
    Ok(Some(download))
}

impl Seen {
    fn of(download: &Download) -> Seen {
        Seen { download: Some(download.clone()), ..Seen::of_file(&download.file) }
    }

    fn of_file(file: &HttpFile) -> Seen {
        let last_modified = file.mtime.map(|mtime| mtime.secs);
        Seen { digest: file.digest, last_modified, download: None }
    }
}

/// What is remembered of a URL.
#[derive(Serialize, Deserialize)]
struct Memory {
    etag: String,
    location: String,
    digest: String,
    size_bytes: u64,
    last_modified: Option<i64>,
}

/// A URL may hold a password, so its file is called by its digest.
fn memory_path(session: &Session, url: &str) -> PathBuf {
    let name = format!("http-{}", Digest::of(url.as_bytes()).hex());
    session.lease.store().area("sources").join(name)
}

/// What an earlier build saw. A file that is missing or not whole is as good as none.
fn recall(session: &Session, url: &str) -> Option<HttpFile> {
    let bytes = fs::read(memory_path(session, url)).ok()?;
    let memory: Memory = serde_json::from_slice(&bytes).ok()?;
    Some(HttpFile {
        digest: memory.digest.parse().ok()?,
        size_bytes: memory.size_bytes,
        mtime: memory.last_modified.map(|secs| Mtime { secs, nanos: 0 }),
        etag: Some(memory.etag),
        location: memory.location,
    })
}

/// Notes what a URL gave; if that fails the next build downloads again.
fn remember(session: &Session, url: &str, file: &HttpFile) {
    let path = memory_path(session, url);
    let Some(etag) = file.etag.clone() else {
        let _ = fs::remove_file(path);
        return;
    };
    let memory = Memory {
        etag,
        location: file.location.clone(),
        digest: file.digest.to_string(),
        size_bytes: file.size_bytes,
        last_modified: file.mtime.map(|mtime| mtime.secs),
    };
    let bytes = serde_json::to_vec(&memory).expect("texts and numbers can be written");
    let Ok(ingest) = new_ingest(session) else { return };
    let new = ingest.path().join("memory");
    let _ = fs::write(&new, bytes).and_then(|()| fs::rename(&new, path));
}
