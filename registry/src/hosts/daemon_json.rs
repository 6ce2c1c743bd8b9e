//! What dockerd's `daemon.json` says of registries: mirrors of Docker Hub, and who may be insecure.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Said, Wrong};
use crate::address::{in_network, literal};
use crate::url::{Url, split_port};

/// One file.
#[derive(Debug)]
pub(super) struct DaemonJson {
    /// Mirrors of docker.io, with their URLs.
    pub(super) mirrors: Vec<(Url, Said)>,
    insecure: Vec<(String, Said)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Members {
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
}

impl DaemonJson {
    pub(super) fn parse(path: &Path, text: &str) -> Result<DaemonJson, Wrong> {
        if text.trim().is_empty() {
            return Ok(DaemonJson { mirrors: Vec::new(), insecure: Vec::new() });
        }
        let members: Members =
            serde_json::from_str(text).map_err(|e| Wrong::line(path, e.line(), format!("{e}")))?;
        let said = |key: &str, value: &str| Said {
            file: PathBuf::from(path),
            line: line_of(text, key, value),
        };
        let mut mirrors = Vec::new();
        for mirror in members.registry_mirrors {
            let said = said("registry-mirrors", &mirror);
            let wrong = |reason: &str| {
                let reason = format!("registry-mirrors: `{mirror}`: {reason}");
                Wrong { place: said.to_string(), reason }
            };
            let url = Url::parse(&mirror).map_err(wrong)?;
            if url.path != "/" {
                return Err(wrong("a mirror's URL ends with its host"));
            }
            mirrors.push((url, said));
        }
        let insecure = members.insecure_registries.into_iter().map(|name| {
            let said = said("insecure-registries", &name);
            let bare = name.strip_prefix("http://").or_else(|| name.strip_prefix("https://"));
            (bare.unwrap_or(&name).trim_end_matches('/').to_ascii_lowercase(), said)
        });
        let insecure = insecure.collect();
        Ok(DaemonJson { mirrors, insecure })
    }

    /// The statement that lets a host (`name` or `name:port`) be insecure: its name, or a network that its address is
    /// in. Names are not looked up: whoever answers for them would decide.
    pub(super) fn insecure(&self, host: &str) -> Option<Said> {
        let host = host.to_ascii_lowercase();
        let address = split_port(&host).and_then(|(name, _)| literal(name));
        let fits = |rule: &str| match rule.split_once('/') {
            None => rule == host,
            Some((network, bits)) => match (address, network.parse(), bits.parse()) {
                (Some(address), Ok(network), Ok(bits)) => in_network(address, network, bits),
                _ => false,
            },
        };
        self.insecure.iter().find(|(rule, _)| fits(rule)).map(|(_, said)| said.clone())
    }
}

/// The line in which a value stands behind its key. JSON's reader keeps no places; a value that is written with escapes
/// is not found, and then only the file is named.
fn line_of(text: &str, key: &str, value: &str) -> Option<usize> {
    let from = text.find(&format!("\"{key}\""))?;
    let at = from + text[from..].find(&format!("\"{value}\""))?;
    Some(super::line_at(text, at))
}
