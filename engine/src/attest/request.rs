//! What the caller asked for, as provenance names it.

use std::collections::BTreeMap;

use ::attest::{MASK, mask_urls};

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
        DockerfileInput::Http(url) => mask_urls(url),
    }
}

/// What is said of a variable's value: nothing when its name sounds like a secret's.
pub(super) fn told(name: &str, value: &str) -> String {
    if planner::is_secret(name) && !value.is_empty() { MASK.to_owned() } else { mask_urls(value) }
}

/// Values of build arguments that are told nowhere: secrets by their names, and proxies.
pub(super) fn withheld(request: &BuildRequest) -> Vec<String> {
    // Where no proxy is used is no secret, and names of hosts stand in many places.
    let is_proxy = |name: &str| planner::is_proxy(name) && !name.eq_ignore_ascii_case("no_proxy");
    let is_withheld = |name: &str| planner::is_secret(name) || is_proxy(name);
    let args = request.plan.build_args.iter();
    args.filter(|(name, value)| is_withheld(name) && !value.is_empty())
        .map(|(_, value)| value.clone())
        .collect()
}

/// Arguments by the names that BuildKit's frontend knows them by (ATT-10).
pub(super) fn arguments(request: &BuildRequest) -> BTreeMap<String, String> {
    let plan = &request.plan;
    let mut out = BTreeMap::new();
    for (name, value) in &plan.build_args {
        // What asks for the document is no part of what it describes, and proxies are the caller's alone.
        if !name.starts_with("BUILDKIT_ATTEST_") && !planner::is_proxy(name) {
            out.insert(format!("build-arg:{name}"), told(name, value));
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
