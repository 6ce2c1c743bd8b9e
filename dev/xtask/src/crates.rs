//! Which crate may use which: the one-way street of ARCHITECTURE.md, checked against cargo's own answer.

use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Finding;

/// Each crate of the workspace with the crates of the workspace that it may use. `*` stands for all.
const MAY_USE: [(&str, &[&str]); 22] = [
    ("shale-oci", &[]),
    ("shale-parser", &[]),
    ("shale-pattern", &[]),
    ("shale-progress", &[]),
    ("shale-sys", &[]),
    ("shale-template", &[]),
    ("shale-graph", &["shale-oci"]),
    ("shale-layer", &["shale-oci", "shale-graph", "shale-sys"]),
    ("shale-tree", &["shale-oci", "shale-graph", "shale-pattern", "shale-layer", "shale-sys"]),
    ("shale-planner", &["shale-parser", "shale-graph", "shale-oci"]),
    ("shale-store", &["shale-oci", "shale-graph", "shale-layer", "shale-sys"]),
    ("shale-registry", &["shale-oci", "shale-progress"]),
    ("shale-remotecache", &["shale-oci", "shale-graph", "shale-layer", "shale-registry"]),
    (
        "shale-context",
        &["shale-oci", "shale-graph", "shale-pattern", "shale-layer", "shale-tree", "shale-sys"],
    ),
    (
        "shale-executor",
        &[
            "shale-oci",
            "shale-graph",
            "shale-pattern",
            "shale-layer",
            "shale-tree",
            "shale-sys",
            "shale-progress",
        ],
    ),
    ("shale-attest", &["shale-oci", "shale-layer", "shale-tree"]),
    (
        "shale-exporter",
        &[
            "shale-attest",
            "shale-oci",
            "shale-graph",
            "shale-layer",
            "shale-tree",
            "shale-store",
            "shale-registry",
            "shale-progress",
            "shale-sys",
        ],
    ),
    ("shale-engine", &["*"]),
    ("shale", &["*"]),
    ("shale-testkit", &["shale-oci"]),
    ("shale-tests", &["shale-testkit", "xtask"]),
    ("xtask", &[]),
];

/// Nobody may use these: they stand at the end of the street.
const LAST: [&str; 2] = ["shale", "shale-tests"];

/// The file that gives a reason for each dependency from elsewhere.
const REASONS: &str = "docs/dependencies.md";

/// Asks cargo and compares.
pub(crate) fn check(top: &Path) -> io::Result<Vec<Finding>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let answer = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(top)
        .output()?;
    if !answer.status.success() {
        let message = String::from_utf8_lossy(&answer.stderr).into_owned();
        return Err(io::Error::other(format!("cargo metadata failed: {message}")));
    }
    let metadata: Value = serde_json::from_slice(&answer.stdout)?;
    let reasons = std::fs::read_to_string(top.join(REASONS)).unwrap_or_default();
    Ok(findings(&metadata, &reasons))
}

fn findings(metadata: &Value, reasons: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, may_use)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            findings.push(finding(format!("crate {name} is not in the list of crates")));
            continue;
        };
        let used = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        for dependency in used {
            findings.extend(one(name, may_use, dependency, reasons));
        }
    }
    findings
}

fn one(name: &str, may_use: &[&str], dependency: &Value, reasons: &str) -> Option<Finding> {
    let used = dependency["name"].as_str().unwrap_or_default();
    let ours = dependency["path"].is_string();
    if !ours {
        return (!reasons.contains(&format!("| {used} |")))
            .then(|| finding(format!("{name} uses {used}, which {REASONS} gives no reason for")));
    }
    // Tests may use the test kit; it uses no product code itself, so no circle comes of it.
    let test_kit = dependency["kind"] == "dev" && used == "shale-testkit";
    let allowed = may_use.contains(&"*") || may_use.contains(&used) || test_kit;
    (!allowed || LAST.contains(&used)).then(|| finding(format!("{name} must not use {used}")))
}

fn finding(message: String) -> Finding {
    Finding { path: "Cargo.toml".to_owned(), line: 0, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(name: &str, dependencies: Value) -> Vec<String> {
        let metadata = json!({ "packages": [{ "name": name, "dependencies": dependencies }] });
        findings(&metadata, "| nom | parsers |").into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn the_street_is_one_way() {
        let path = |name: &str, kind: Value| json!({ "name": name, "path": "/x", "kind": kind });
        let parser = path("shale-parser", Value::Null);
        assert!(check("shale-planner", json!([parser])).is_empty());
        assert_eq!(check("shale-parser", json!([path("shale-oci", Value::Null)])).len(), 1);
        assert_eq!(check("shale-engine", json!([path("shale", Value::Null)])).len(), 1);
        assert!(check("shale-oci", json!([path("shale-testkit", json!("dev"))])).is_empty());
        assert_eq!(check("shale-oci", json!([path("shale-testkit", Value::Null)])).len(), 1);
        assert_eq!(check("shale-new", json!([])).len(), 1);
    }

    #[test]
    fn what_comes_from_elsewhere_has_a_reason() {
        assert!(check("shale-parser", json!([{ "name": "nom" }])).is_empty());
        assert_eq!(check("shale-parser", json!([{ "name": "left-pad" }])).len(), 1);
    }
}
