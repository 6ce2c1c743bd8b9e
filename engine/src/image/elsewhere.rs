//! Layers that a registry may lack because they may not be given on: their descriptors say where else they are.
//!
//! Such an address comes from an image: it gets no credential, and may not lead to addresses that only this machine can
//! reach unless the registry is one of these (spec/security.md C11). Digest and size are checked by whoever keeps the
//! bytes, as of all blobs.

use std::fs::File;

use context::{Downloads, HttpRequest};
use oci::{Descriptor, Reference};
use registry::Asked;

use super::blob::Opened;
use crate::error::BuildError;
use crate::session::Session;
use crate::source;

/// So many addresses of one layer are tried.
const URLS_MAX: usize = 8;

/// Opens a blob at the first address of its descriptor that has it; `None` when none has.
pub(super) fn open(
    session: &Session,
    wanted: &Reference,
    blob: &Descriptor,
) -> Result<Option<Opened>, BuildError> {
    if blob.urls.is_empty() {
        return Ok(None);
    }
    let registry = registry_url(session, wanted);
    // Whatever asks for it: a registry has named the address.
    let agent = |url: &str, _: Option<&str>| {
        session.registry.download_agent(url, Some(&registry)).map_err(|error| Box::new(error) as _)
    };
    let cancelled = || session.cancel.is_cancelled();
    let downloads = Downloads { agent: &agent, cancelled: &cancelled, told: &|_, _| () };
    for url in blob.urls.iter().take(URLS_MAX) {
        session.check_cancelled()?;
        let ingest = source::new_ingest(session)?;
        let path = ingest.path().join("layer");
        let request = HttpRequest {
            url,
            checksum: Some(blob.digest),
            auth: None,
            known: None,
            size_max_bytes: blob.size_bytes,
        };
        // The next may be better; what the registry said is told if none is.
        if let Ok(Some(_)) = context::fetch_http(&downloads, &request, &path) {
            let file = File::open(&path);
            let file = file.map_err(|e| BuildError::io("cannot read a downloaded layer", e))?;
            return Ok(Some(Opened { body: Box::new(file), is_rest: false }));
        }
    }
    session.check_cancelled()?;
    Ok(None)
}

/// Where the registry of an image is asked.
fn registry_url(session: &Session, wanted: &Reference) -> String {
    let plan = session.registry.plan(wanted, Asked::Blob).ok();
    let last = plan.as_ref().and_then(|plan| plan.endpoints.last());
    let url = last.map_or_else(|| format!("https://{}/", wanted.registry()), |e| e.link.url());
    url.replacen("http(s)://", "http://", 1)
}
