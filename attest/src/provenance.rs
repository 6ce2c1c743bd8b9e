//! SLSA provenance: how an image was built (ATT-09 to ATT-16), in the members that BuildKit has defined for builds of
//! Dockerfiles, so that what reads theirs reads ours.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Platform};
use serde_json::{Map, Value, json};

use crate::mask::{scrub, scrubbed};

/// Version of the predicate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlsaVersion {
    /// `v1`.
    #[default]
    V1,
    /// `v0.2`.
    V02,
}

impl SlsaVersion {
    /// The predicate's type.
    pub fn predicate_type(self) -> &'static str {
        match self {
            SlsaVersion::V1 => "https://slsa.dev/provenance/v1",
            SlsaVersion::V02 => "https://slsa.dev/provenance/v0.2",
        }
    }
}

/// How much is told (ATT-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing that a caller may want to keep: no build arguments, labels, secrets' names, steps or sources.
    Min,
    /// Everything but values of secrets.
    Max,
}

/// The facts. Users and passwords of URLs are masked in all of their texts (ATT-13).
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Form of the document.
    pub version: SlsaVersion,
    /// How much is told.
    pub mode: Mode,
    /// Who built, a URI; empty when nobody said.
    pub builder_id: String,
    /// The program with its version.
    pub builder_version: (String, String),
    /// The machine's platform.
    pub builder_platform: Platform,
    /// The caller says that the build is reproducible.
    pub reproducible: bool,
    /// Names this build.
    pub invocation_id: String,
    /// RFC 3339.
    pub started_on: String,
    /// RFC 3339.
    pub finished_on: String,
    /// What the context is, when it is no local directory: URI, and digest by algorithm.
    pub config_uri: Option<(String, Option<(String, String)>)>,
    /// The Dockerfile's name.
    pub config_path: String,
    /// What the caller asked for: `build-arg:NAME`, `label:NAME`, `target` and so on.
    pub args: BTreeMap<String, String>,
    /// Values that are masked wherever they stand: the caller told them, and may not want them told.
    pub withheld: Vec<String>,
    /// Secrets that steps mount, by id (ATT-13).
    pub secrets: Vec<Given>,
    /// Agents that steps mount, by id.
    pub ssh: Vec<Given>,
    /// Names of local directories that were read.
    pub locals: Vec<String>,
    /// What was taken from elsewhere (ATT-12), each once.
    pub dependencies: Vec<Dependency>,
    /// No step had a network.
    pub hermetic: bool,
    /// The steps, inputs first (max).
    pub steps: Vec<Step>,
    /// The Dockerfile (max).
    pub source: Option<SourceText>,
}

/// A secret or an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Given {
    /// Its id.
    pub id: String,
    /// No step fails without it.
    pub optional: bool,
}

/// Something that was taken from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// Package URL of an image, URL of anything else.
    pub uri: String,
    /// Algorithm and digits.
    pub digest: Option<(String, String)>,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Indices of the steps that it reads.
    pub inputs: Vec<usize>,
    /// What it does.
    pub op: Value,
    /// First and last line in the Dockerfile, counted from 1 (ATT-14).
    pub lines: Option<(u32, u32)>,
    /// The layers that make its result, as they are in the image (ATT-21).
    pub layers: Vec<Descriptor>,
}

/// The Dockerfile.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

const BUILD_TYPE_V1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";
const FRONTEND: &str = "dockerfile.v0";

/// The predicate.
pub fn predicate(facts: &Provenance) -> Value {
    let mut value = match facts.version {
        SlsaVersion::V1 => v1(facts),
        SlsaVersion::V02 => v02(facts),
    };
    scrub(&mut value, &facts.withheld);
    value
}

/// What --metadata-file has of it: version 0.2; without metadata when it is the least (OUT-41).
pub fn predicate_for_metadata(facts: &Provenance) -> Value {
    let mut value = v02(facts);
    scrub(&mut value, &facts.withheld);
    if facts.mode == Mode::Min
        && let Some(members) = value.as_object_mut()
    {
        members.shift_remove("metadata");
        members.shift_remove("buildConfig");
    }
    value
}

fn v1(facts: &Provenance) -> Value {
    let mut internal = json!({ "builderPlatform": facts.builder_platform.to_string() });
    if facts.mode == Mode::Max {
        internal["buildConfig"] = build_config(facts);
    }
    let mut metadata = json!({
        "invocationId": facts.invocation_id,
        "startedOn": facts.started_on,
        "finishedOn": facts.finished_on,
        "buildkit_metadata": metadata(facts),
    });
    if facts.hermetic && has_all_dependencies(facts) {
        metadata["buildkit_hermetic"] = true.into();
    }
    metadata["buildkit_completeness"] = json!({
        "request": is_whole_request(facts),
        "resolvedDependencies": has_all_dependencies(facts),
    });
    if facts.reproducible {
        metadata["buildkit_reproducible"] = true.into();
    }
    let (name, version) = &facts.builder_version;
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE_V1,
            "externalParameters": {
                "configSource": config_source(facts, "path"),
                "request": request(facts),
            },
            "internalParameters": internal,
            "resolvedDependencies": dependencies(facts),
        },
        "runDetails": {
            "builder": { "id": facts.builder_id, "version": { name.as_str(): version } },
            "metadata": metadata,
        },
    })
}

fn v02(facts: &Provenance) -> Value {
    let mut out = json!({
        "builder": { "id": facts.builder_id },
        "buildType": BUILD_TYPE_V02,
        "materials": dependencies(facts),
        "invocation": {
            "configSource": config_source(facts, "entryPoint"),
            "parameters": request(facts),
            "environment": { "platform": facts.builder_platform.to_string() },
        },
    });
    if facts.mode == Mode::Max {
        out["buildConfig"] = build_config(facts);
    }
    let mut members = json!({
        "buildInvocationID": facts.invocation_id,
        "buildStartedOn": facts.started_on,
        "buildFinishedOn": facts.finished_on,
        "completeness": {
            "parameters": is_whole_request(facts),
            "environment": true,
            "materials": has_all_dependencies(facts),
        },
        "reproducible": facts.reproducible,
        "https://mobyproject.org/buildkit@v1#metadata": metadata(facts),
    });
    if facts.hermetic && has_all_dependencies(facts) {
        members["https://mobyproject.org/buildkit@v1#hermetic"] = true.into();
    }
    out["metadata"] = members;
    out
}

/// What nobody can name by a digest, such as files of a directory, makes the list of dependencies less than whole.
fn has_all_dependencies(facts: &Provenance) -> bool {
    facts.locals.is_empty() && facts.dependencies.iter().all(|one| one.digest.is_some())
}

/// Arguments that the least document leaves out (ATT-11).
fn is_told_in_min(name: &str) -> bool {
    !name.starts_with("build-arg:") && !name.starts_with("label:")
}

fn is_whole_request(facts: &Provenance) -> bool {
    let is_told = facts.mode == Mode::Max || facts.args.keys().all(|name| is_told_in_min(name));
    is_told && facts.withheld.is_empty()
}

fn config_source(facts: &Provenance, path: &str) -> Value {
    let mut out = Map::new();
    if let Some((uri, digest)) = &facts.config_uri {
        out.insert("uri".to_owned(), uri.as_str().into());
        out.extend(digest.as_ref().map(|digest| ("digest".to_owned(), digest_of(digest))));
    }
    out.insert(path.to_owned(), facts.config_path.as_str().into());
    Value::Object(out)
}

fn request(facts: &Provenance) -> Value {
    let all = facts.mode == Mode::Max;
    let args = facts.args.iter().filter(|(name, _)| all || is_told_in_min(name));
    let args: Map<String, Value> =
        args.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let mut out = Map::new();
    out.insert("frontend".to_owned(), FRONTEND.into());
    if !args.is_empty() {
        out.insert("args".to_owned(), Value::Object(args));
    }
    for (name, list) in [("secrets", &facts.secrets), ("ssh", &facts.ssh)] {
        if all && !list.is_empty() {
            out.insert(name.to_owned(), list.iter().map(given).collect());
        }
    }
    let local = |name: &String| json!({ "name": name });
    if !facts.locals.is_empty() {
        out.insert("locals".to_owned(), facts.locals.iter().map(local).collect());
    }
    Value::Object(out)
}

fn given(given: &Given) -> Value {
    match given.optional {
        true => json!({ "id": given.id, "optional": true }),
        false => json!({ "id": given.id }),
    }
}

fn dependencies(facts: &Provenance) -> Value {
    let one = |dependency: &Dependency| match &dependency.digest {
        Some(digest) => json!({ "uri": dependency.uri, "digest": digest_of(digest) }),
        None => json!({ "uri": dependency.uri }),
    };
    facts.dependencies.iter().map(one).collect()
}

fn digest_of((algorithm, digits): &(String, String)) -> Value {
    json!({ algorithm.as_str(): digits })
}

fn id(at: usize) -> String {
    format!("step{at}")
}

fn build_config(facts: &Provenance) -> Value {
    let step = |(at, step): (usize, &Step)| {
        let inputs: Vec<String> = step.inputs.iter().map(|at| format!("{}:0", id(*at))).collect();
        json!({ "id": id(at), "op": step.op, "inputs": inputs })
    };
    let steps: Vec<Value> = facts.steps.iter().enumerate().map(step).collect();
    json!({ "llbDefinition": steps })
}

/// Source, lines of the steps, and layers (max).
fn metadata(facts: &Provenance) -> Value {
    let mut out = Map::new();
    if facts.mode == Mode::Min {
        return Value::Object(out);
    }
    if let Some(source) = &facts.source {
        out.insert("source".to_owned(), source_members(facts, source));
    }
    let layered = facts.steps.iter().enumerate().filter(|(_, step)| !step.layers.is_empty());
    let layers: Map<String, Value> =
        layered.map(|(at, step)| (format!("{}:0", id(at)), json!([step.layers]))).collect();
    if !layers.is_empty() {
        out.insert("layers".to_owned(), Value::Object(layers));
    }
    Value::Object(out)
}

fn source_members(facts: &Provenance, source: &SourceText) -> Value {
    let locations = facts.steps.iter().enumerate().filter_map(|(at, step)| {
        let (first, last) = step.lines?;
        let ranges = json!([{ "start": { "line": first }, "end": { "line": last } }]);
        Some((id(at), json!({ "locations": [{ "ranges": ranges }] })))
    });
    let locations: Map<String, Value> = locations.collect();
    let info = json!({
        "filename": source.name,
        "language": "Dockerfile",
        "data": STANDARD.encode(scrubbed(&source.text, &facts.withheld)),
    });
    json!({ "locations": locations, "infos": [info] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::{Digest, media};

    fn facts(version: SlsaVersion, mode: Mode) -> Provenance {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let layer = Descriptor::new(media::OCI_LAYER_GZIP, Digest::of(b"l"), 1);
        Provenance {
            version,
            mode,
            builder_id: "https://ci/1".to_owned(),
            builder_version: pair("shale", "1"),
            builder_platform: "linux/amd64".parse().expect("valid"),
            reproducible: true,
            invocation_id: "abc".to_owned(),
            started_on: "2024-01-01T00:00:00Z".to_owned(),
            finished_on: "2024-01-01T00:00:01Z".to_owned(),
            config_uri: None,
            config_path: "Dockerfile".to_owned(),
            args: [pair("build-arg:A", "1"), pair("label:l", "2"), pair("target", "t")].into(),
            withheld: vec![],
            secrets: vec![Given { id: "s".to_owned(), optional: true }],
            ssh: vec![Given { id: "default".to_owned(), optional: false }],
            locals: vec!["context".to_owned()],
            dependencies: vec![Dependency {
                uri: "pkg:docker/a@latest".to_owned(),
                digest: Some(pair("sha256", "00")),
            }],
            hermetic: true,
            steps: vec![
                Step { inputs: vec![], op: json!({}), lines: Some((1, 1)), layers: vec![] },
                Step { inputs: vec![0], op: json!({"x": 1}), lines: None, layers: vec![layer] },
            ],
            source: Some(SourceText { name: "Dockerfile".to_owned(), text: "FROM a".to_owned() }),
        }
    }

    #[test]
    fn the_least_leaves_out_what_a_caller_may_want_to_keep() {
        for version in [SlsaVersion::V1, SlsaVersion::V02] {
            let value = predicate(&facts(version, Mode::Min));
            let text = value.to_string();
            for word in [
                "build-arg:A",
                "label:l",
                "secrets",
                "\"ssh\"",
                "llbDefinition",
                "layers",
                "source\":{",
            ] {
                assert!(!text.contains(word), "{word}: {text}"); // ATT-11
            }
            assert!(text.contains("\"target\":\"t\""));
        }
    }

    #[test]
    fn what_is_withheld_is_nowhere() {
        for version in [SlsaVersion::V1, SlsaVersion::V02] {
            let mut facts = facts(version, Mode::Max);
            facts.withheld = vec!["hunter2".to_owned()];
            facts.args.insert("build-arg:B".to_owned(), "x hunter2 https://u:word@h".to_owned());
            facts.steps[0].op = json!({ "cwd": "/hunter2", "args": ["get 'https://u:word@h/'"] });
            facts.dependencies[0].uri = "https://h/?t=hunter2".to_owned();
            let text = "FROM a\nRUN get https://u:word@h/hunter2".to_owned();
            facts.source = Some(SourceText { name: "Dockerfile".to_owned(), text });
            let metadata = predicate_for_metadata(&facts).to_string();
            let text = predicate(&facts).to_string();
            assert!(!(text.clone() + &metadata).contains("hunter2"), "{text}"); // ATT-13
            assert!(!(text.clone() + &metadata).contains("word"), "{text}");
            let source = STANDARD.encode("FROM a\nRUN get https://xxxxx:xxxxx@h/xxxxx");
            assert!(text.contains(&source), "{text}");
            let whole = ["\"request\":true", "\"parameters\":true"];
            assert!(!whole.iter().any(|said| text.contains(said)), "{text}");
        }
    }

    #[test]
    fn v1_has_its_members() {
        let value = predicate(&facts(SlsaVersion::V1, Mode::Max));
        let check = |pointer: &str, want: Value| {
            assert_eq!(value.pointer(pointer), Some(&want), "{pointer}: {value:#}");
        };
        let request = "/buildDefinition/externalParameters/request";
        check(&format!("{request}/args/build-arg:A"), json!("1")); // ATT-10
        check(&format!("{request}/secrets/0"), json!({"id": "s", "optional": true})); // ATT-13
        check(&format!("{request}/ssh/0"), json!({"id": "default"}));
        check("/buildDefinition/internalParameters/builderPlatform", json!("linux/amd64"));
        let steps = "/buildDefinition/internalParameters/buildConfig/llbDefinition";
        check(&format!("{steps}/1/inputs"), json!(["step0:0"]));
        check("/buildDefinition/resolvedDependencies/0/digest/sha256", json!("00"));
        check("/runDetails/builder/id", json!("https://ci/1"));
        let metadata = "/runDetails/metadata";
        check(&format!("{metadata}/buildkit_reproducible"), json!(true));
        check(&format!("{metadata}/buildkit_completeness/request"), json!(true));
        check(&format!("{metadata}/buildkit_completeness/resolvedDependencies"), json!(false));
        check(&format!("{metadata}/buildkit_metadata/source/infos/0/data"), json!("RlJPTSBh"));
        let layers = format!("{metadata}/buildkit_metadata/layers/step1:0/0/0/size");
        check(&layers, json!(1)); // ATT-21
        // A local directory has no digest.
        assert_eq!(value.pointer(&format!("{metadata}/buildkit_hermetic")), None);
    }

    #[test]
    fn the_metadata_file_has_the_older_form() {
        let value = predicate_for_metadata(&facts(SlsaVersion::V1, Mode::Min));
        assert_eq!(value["buildType"], BUILD_TYPE_V02);
        assert_eq!(value.get("metadata"), None);
        let value = predicate_for_metadata(&facts(SlsaVersion::V1, Mode::Max));
        assert_eq!(value["metadata"]["buildInvocationID"], "abc");
    }
}
