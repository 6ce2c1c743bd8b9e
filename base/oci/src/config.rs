//! The image config document (OCI image spec, config.md; Docker's extensions kept; spec section 6.1).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, ImageId, Platform};

/// An image config. Fields of other schemas are kept in `extra` and written back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Architecture by Go's names.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// MAINTAINER's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What a container started from the image gets.
    #[serde(default, deserialize_with = "null_default")]
    pub config: ContainerConfig,
    /// When the image was made, RFC 3339; written as null when not known (IMG-10).
    #[serde(default)]
    pub created: Option<String>,
    /// One entry for each instruction, oldest first.
    #[serde(default, deserialize_with = "null_default")]
    pub history: Vec<History>,
    /// Operating system.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// Features of the operating system.
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The layers by their diff ids, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Everything else that was in the document.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `config` member: defaults of a container. Member order is BuildKit's (IMG-02).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// USER's text.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_default")]
    pub user: String,
    /// `80/tcp` and so on.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value` in order of first definition.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub env: Vec<String>,
    /// Program and first arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the program when there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that become volumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub volumes: BTreeSet<String>,
    /// Directory that the program starts in.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_default")]
    pub working_dir: String,
    /// LABEL's pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Set by CMD and ENTRYPOINT (IMG-08).
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_default")]
    pub args_escaped: bool,
    /// HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Triggers for a build that starts from this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub on_build: Vec<String>,
    /// SHELL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Everything else that was in the document.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// HEALTHCHECK's settings; times in nanoseconds, 0 means the runtime's default (HEAL-04).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time that one check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time after the start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks in the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// One entry of an image's history; member order is Go's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When the layer was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text; `buildkit.dockerfile.v0` for instructions (INS-01).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Set when the instruction made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// Digests of the uncompressed tars, lowest first.
    #[serde(default, with = "diff_ids")]
    pub diff_ids: Vec<crate::DiffId>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: layers(), diff_ids: Vec::new() }
    }
}

impl ImageConfig {
    /// Reads a config document.
    pub fn from_json(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
        serde_json::from_value(crate::strict::parse(bytes)?)
    }

    /// Writes the document without indentation. The digest of these bytes is the image id.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .expect("a config holds only strings, numbers and maps with string keys")
    }

    /// Digest of [`ImageConfig::to_json`].
    pub fn id(&self) -> ImageId {
        ImageId(Digest::of(&self.to_json()))
    }

    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        let mut platform = Platform::new(
            &self.os,
            &self.architecture,
            self.variant.as_deref().unwrap_or_default(),
        );
        platform.os_version = self.os_version.clone().unwrap_or_default();
        platform
    }
}

fn layers() -> String {
    "layers".to_owned()
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Reads JSON null as the default: Go writes null for empty lists and maps.
fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    de: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

/// Go's `map[string]struct{}`.
mod set {
    use super::*;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        ser: S,
    ) -> Result<S::Ok, S::Error> {
        ser.collect_map(set.iter().map(|key| (key, Map::new())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        de: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map: Option<BTreeMap<String, Value>> = Option::deserialize(de)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

mod diff_ids {
    use super::*;
    use crate::DiffId;
    use serde::Serializer;
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(ids: &[DiffId], ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_seq(ids.iter().map(DiffId::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Vec<DiffId>, D::Error> {
        let texts: Option<Vec<String>> = Option::deserialize(de)?;
        texts
            .unwrap_or_default()
            .iter()
            .map(|text| text.parse().map_err(D::Error::custom))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_fields_and_unknown_fields_survive() {
        let text = concat!(
            r#"{"architecture":"amd64","config":{"User":"web","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"#,
            r#""Cmd":["sh"],"Healthcheck":{"Test":["NONE"]},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"],"#,
            r#""StopTimeout":7},"created":null,"history":[{"created_by":"RUN x","empty_layer":true}],"#,
            r#""os":"linux","rootfs":{"type":"layers","diff_ids":[]},"variant":"v2","x.unknown":[1]}"#
        );
        let config = ImageConfig::from_json(text.as_bytes()).expect("valid");
        assert_eq!(String::from_utf8(config.to_json()).expect("text"), text);
    }

    #[test]
    fn null_lists_are_empty_lists() {
        let text = r#"{"os":"linux","config":{"Env":null,"Labels":null,"ExposedPorts":null},"history":null,
            "rootfs":{"type":"layers","diff_ids":null}}"#; // IMG-22
        let config = ImageConfig::from_json(text.as_bytes()).expect("valid");
        assert!(config.history.is_empty() && config.rootfs.diff_ids.is_empty());
    }
}
