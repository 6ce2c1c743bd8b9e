//! The files' form, CDI 0.3 to 1.x.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::yaml;

/// Larger files are no descriptions; those of many devices have some 100 KiB.
const FILE_MAX_BYTES: u64 = 16 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: Annotations,
    pub(super) devices: Vec<SpecDevice>,
    /// For each device of the file.
    #[serde(default)]
    pub(super) container_edits: Edits,
    #[serde(rename = "cdiVersion")]
    _version: Value,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpecDevice {
    #[serde(deserialize_with = "word")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: Annotations,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// Words by key; what YAML takes for a number or a truth value is a word here.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Annotations, D::Error> {
        let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Ok(Annotations(values.into_iter().map(|(key, value)| (key, text(value))).collect()))
    }
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(text(Value::deserialize(deserializer)?))
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What a step gets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<Node>,
    pub(super) mounts: Vec<HostMount>,
    pub(super) additional_gids: Vec<u32>,
    /// Programs that a container runtime would run.
    pub(super) hooks: Vec<Value>,
    pub(super) net_devices: Vec<Value>,
    pub(super) intel_rdt: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) path: String,
    #[serde(default)]
    host_path: String,
    /// `c`, `b`, `u` or `p`; empty for that of the machine's.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) major: u32,
    #[serde(default)]
    pub(super) minor: u32,
    file_mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Node {
    /// Where it is on this machine.
    pub(super) fn host(&self) -> &str {
        if self.host_path.is_empty() { &self.path } else { &self.host_path }
    }

    pub(super) fn mode(&self) -> Option<u32> {
        self.file_mode.map(|mode| mode & 0o777)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HostMount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

impl Edits {
    /// What of it is not done here.
    pub(super) fn left_out(&self) -> Vec<&'static str> {
        let all = [
            (!self.hooks.is_empty(), "hooks"),
            (!self.net_devices.is_empty(), "network devices"),
            (self.intel_rdt.is_some(), "resource director settings"),
        ];
        all.into_iter().filter_map(|(is_there, what)| is_there.then_some(what)).collect()
    }
}

/// Reads a description.
pub(super) fn read(path: &Path) -> Result<Spec, String> {
    let bytes = sys::read_small_of_machine(path, FILE_MAX_BYTES);
    let text = String::from_utf8(bytes.map_err(|error| error.to_string())?);
    let text = text.map_err(|error| error.to_string())?;
    let value = match path.extension().is_some_and(|extension| extension == "json") {
        true => serde_json::from_str(&text).map_err(|error| error.to_string())?,
        false => yaml::parse(&text)?,
    };
    let spec: Spec = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let is_name = |part: &str| !part.is_empty() && !part.contains(['=', '/', ',', ' ']);
    match spec.kind.split_once('/') {
        Some((vendor, class)) if is_name(vendor) && is_name(class) => Ok(spec),
        _ => Err(format!("kind {:?} is not of the form vendor/class", spec.kind)),
    }
}
