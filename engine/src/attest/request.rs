//! What the caller asked for, as provenance names it.

use std::collections::BTreeMap;

use ::attest::mask_url;

use crate::request::{BuildRequest, DockerfileInput};

/// The Dockerfile's name, relative to the context where it lies in it.
pub(super) fn dockerfile_name(request: &BuildRequest) -> String {
    match &request.dockerfile {
        DockerfileInput::Default | DockerfileInput::Text(_) => "Dockerfile".to_owned(),
        DockerfileInput::File { path, shown } => {
            // Where the file lies on this machine is nobody's business.
            let inside = match &request.context {
                crate::ContextInput::Directory(dir) => path.strip_prefix(dir).ok(),
                _ => None,
            };
            let name = || shown.rsplit('/').next().unwrap_or(shown).to_owned();
            inside.map_or_else(name, |inside| inside.display().to_string())
        }
        DockerfileInput::InContext(path) => path.clone(),
        DockerfileInput::Http(url) => mask_url(url),
    }
}

/// Arguments by the names that BuildKit's frontend knows them by (ATT-10).
pub(super) fn arguments(request: &BuildRequest) -> BTreeMap<String, String> {
    let plan = &request.plan;
    let mut out = BTreeMap::new();
    for (name, value) in &plan.build_args {
        // What asks for the document is no part of what it describes.
        if !name.starts_with("BUILDKIT_ATTEST_") {
            out.insert(format!("build-arg:{name}"), mask_url(value));
        }
    }
    for (name, value) in &plan.labels {
        out.insert(format!("label:{name}"), value.clone());
    }
    let target = plan.target.iter().map(|target| ("target".to_owned(), target.clone()));
    out.extend(target);
    if plan.no_cache || !plan.no_cache_filter.is_empty() {
        out.insert("no-cache".to_owned(), plan.no_cache_filter.join(","));
    }
    if !plan.add_hosts.is_empty() {
        let hosts = plan.add_hosts.iter().map(|(name, address)| format!("{name}={address}"));
        out.insert("add-hosts".to_owned(), hosts.collect::<Vec<_>>().join(","));
    }
    match plan.network {
        graph::Network::Default => {}
        graph::Network::None => drop(out.insert("force-network-mode".to_owned(), "none".into())),
        graph::Network::Host => drop(out.insert("force-network-mode".to_owned(), "host".into())),
    }
    out
}
