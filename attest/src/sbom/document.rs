//! The SPDX 2.3 document of an inventory, in JSON; and what is added to one that a scanner made.

use std::collections::HashMap;

use oci::Digest;
use serde_json::{Value, json};

use super::{Inventory, Package};

/// What the document says of itself.
#[derive(Clone, Copy)]
pub struct SpdxDocument<'a> {
    /// Its name: what was scanned.
    pub name: &'a str,
    /// When it was made, RFC 3339; cut to seconds.
    pub created: &'a str,
    /// The program with its version: `shale-0.1.0`.
    pub tool: &'a str,
    /// The layer that has a file.
    pub layer_of: &'a dyn Fn(&str) -> Option<Digest>,
}

const NO_ASSERTION: &str = "NOASSERTION";
const ROOT: &str = "SPDXRef-Image";

/// The document: the file system itself and the packages that it contains.
pub fn spdx(inventory: &Inventory, about: &SpdxDocument) -> Value {
    let mut packages = vec![json!({
        "name": if about.name.is_empty() { "image" } else { about.name },
        "SPDXID": ROOT,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    // A database has many packages, and every layer may have to be asked for it.
    let mut layers = HashMap::new();
    for listed in &inventory.packages {
        let id = package_id(listed);
        relationships.push(relationship(ROOT, "CONTAINS", &id));
        let layer = *layers
            .entry(listed.found_in.as_str())
            .or_insert_with(|| (about.layer_of)(&listed.found_in));
        packages.push(package(listed, &id, layer));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": if about.name.is_empty() { "image" } else { about.name },
        "documentNamespace": "",
        "creationInfo": {
            "created": seconds(about.created),
            "creators": [format!("Tool: {}", about.tool)],
        },
        "packages": packages,
        "relationships": relationships,
    });
    if !inventory.unlisted.is_empty() {
        document["comment"] = format!("not listed: {}", inventory.unlisted.join("; ")).into();
    }
    document["documentNamespace"] = namespace(&document).into();
    document
}

fn package(listed: &Package, id: &str, layer: Option<Digest>) -> Value {
    let mut out = json!({
        "name": listed.name,
        "SPDXID": id,
        "versionInfo": listed.version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "sourceInfo": source(listed),
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": listed.purl,
        }],
    });
    if let Some(license) = &listed.license {
        // Only a list of all known names could say whether this is an expression.
        out["licenseComments"] = format!("stated by the package: {license}").into();
    }
    if let Some(layer) = layer {
        out["comment"] = format!("layerID: {layer}").into();
    }
    out
}

fn source(listed: &Package) -> String {
    match listed.inside.as_str() {
        "" => format!("listed in /{}", listed.found_in),
        inside => format!("listed in {inside} of /{}", listed.found_in),
    }
}

/// Letters, digits, dots and dashes, and different for different packages.
fn package_id(listed: &Package) -> String {
    let inside = match listed.inside.as_str() {
        "" => String::new(),
        inside => format!("\n{inside}"),
    };
    let digest =
        Digest::of(format!("{}\n{}{}", listed.purl, listed.found_in, inside).as_bytes()).hex();
    let readable = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = listed.name.chars().take(60).map(readable).collect();
    format!("SPDXRef-Package-{name}-{}", &digest[..16])
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// A URI that only this content has.
fn namespace(document: &Value) -> String {
    let hex = Digest::of(document.to_string().as_bytes()).hex();
    // Version 8 of RFC 9562: all other bits are one's own.
    let uuid = format!(
        "{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..15],
        &hex[15..18],
        &hex[18..30]
    );
    format!("https://spdx.org/spdxdocs/image-{uuid}")
}

/// `2024-01-01T00:00:00Z`, whatever stands behind the seconds.
fn seconds(time: &str) -> String {
    let whole = time.get(..19).unwrap_or(time);
    format!("{}Z", whole.trim_end_matches('Z'))
}

/// Whether a document is one of SPDX in JSON.
pub fn is_spdx(document: &Value) -> bool {
    document.get("spdxVersion").is_some_and(Value::is_string) && document.get("SPDXID").is_some()
}

/// Adds to a scanner's document which layer each file came with, where nothing is said of it yet, and who added it
/// (ATT-21).
pub fn supplement(document: &mut Value, tool: &str, layer_of: &dyn Fn(&str) -> Option<Digest>) {
    if let Some(files) = document.get_mut("files").and_then(Value::as_array_mut) {
        for file in files {
            let is_said =
                file.get("comment").and_then(Value::as_str).is_some_and(|c| !c.is_empty());
            let name = file.get("fileName").and_then(Value::as_str);
            let layer = name.and_then(|name| layer_of(name.trim_start_matches(['.', '/'])));
            if let (false, Some(layer), Some(members)) = (is_said, layer, file.as_object_mut()) {
                members.insert("comment".to_owned(), format!("layerID: {layer}").into());
            }
        }
    }
    let creators = document.pointer_mut("/creationInfo/creators").and_then(Value::as_array_mut);
    if let Some(creators) = creators {
        creators.push(format!("Tool: {tool}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn inventory() -> Inventory {
        let package = |name: &str, version: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            purl: crate::purl("npm", "", name, version, &[]),
            license: Some("MIT".to_owned()),
            found_in: format!("n/{name}/package.json"),
            inside: if version == "2" { "x.jar".to_owned() } else { String::new() },
        };
        let packages = [package("a", "1"), package("a", "2"), package("ü/ x", "3")];
        Inventory {
            packages: packages.into(),
            unlisted: vec!["x".to_owned()],
            ..Inventory::default()
        }
    }

    fn text(value: &Value, member: &str) -> String {
        let text = value[member].as_str();
        text.unwrap_or_else(|| panic!("{member} in {value}")).to_owned()
    }

    fn only(value: &Value, known: &[&str]) {
        for member in value.as_object().expect("an object").keys() {
            assert!(known.contains(&member.as_str()), "{member}");
        }
    }

    /// The ids of the packages and of the document, each once.
    fn check_packages(document: &Value) -> HashSet<String> {
        let mut ids = HashSet::from(["SPDXRef-DOCUMENT".to_owned()]);
        for package in document["packages"].as_array().expect("packages") {
            only(
                package,
                &[
                    "name",
                    "SPDXID",
                    "versionInfo",
                    "downloadLocation",
                    "filesAnalyzed",
                    "sourceInfo",
                    "licenseConcluded",
                    "licenseDeclared",
                    "licenseComments",
                    "copyrightText",
                    "externalRefs",
                    "comment",
                    "primaryPackagePurpose",
                ],
            );
            let id = text(package, "SPDXID");
            let rest = id.strip_prefix("SPDXRef-").expect("the prefix");
            assert!(
                rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'),
                "{id}"
            );
            assert!(ids.insert(id.clone()), "{id} twice");
            assert!(!text(package, "name").is_empty());
            assert!(!text(package, "downloadLocation").is_empty());
            assert_eq!(package["filesAnalyzed"], false);
            for reference in package["externalRefs"].as_array().into_iter().flatten() {
                assert_eq!(text(reference, "referenceCategory"), "PACKAGE-MANAGER");
                assert_eq!(text(reference, "referenceType"), "purl");
                let locator = text(reference, "referenceLocator");
                assert!(locator.starts_with("pkg:") && !locator.contains(char::is_whitespace));
            }
        }
        ids
    }

    /// The rules of the SPDX 2.3 schema for the members that we write: which must be there, which forms they have,
    /// and that no other one is there.
    fn check_schema(document: &Value) {
        let top = [
            "spdxVersion",
            "dataLicense",
            "SPDXID",
            "name",
            "documentNamespace",
            "creationInfo",
            "packages",
            "relationships",
            "comment",
        ];
        only(document, &top);
        assert_eq!(text(document, "spdxVersion"), "SPDX-2.3");
        assert_eq!(text(document, "dataLicense"), "CC0-1.0");
        assert_eq!(text(document, "SPDXID"), "SPDXRef-DOCUMENT");
        let namespace = text(document, "documentNamespace");
        assert!(namespace.starts_with("https://") && !namespace.contains(['#', ' ']));
        let created = text(&document["creationInfo"], "created");
        assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
        for creator in document["creationInfo"]["creators"].as_array().expect("creators") {
            let creator = creator.as_str().expect("a text");
            assert!(
                ["Tool: ", "Person: ", "Organization: "].iter().any(|p| creator.starts_with(p))
            );
        }
        let ids = check_packages(document);
        for relationship in document["relationships"].as_array().expect("relationships") {
            assert!(ids.contains(&text(relationship, "spdxElementId")));
            assert!(ids.contains(&text(relationship, "relatedSpdxElement")));
            let kind = text(relationship, "relationshipType");
            assert!(["DESCRIBES", "CONTAINS"].contains(&kind.as_str()));
        }
    }

    #[test]
    fn the_document_keeps_to_the_schema() {
        let layer = Digest::of(b"l");
        let layer_of = |path: &str| path.contains("/a/").then_some(layer);
        let about =
            |created| SpdxDocument { name: "app", created, tool: "shale-1", layer_of: &layer_of };
        let document = spdx(&inventory(), &about("2024-01-01T00:00:00.123456789Z"));
        check_schema(&document);
        assert_eq!(document["packages"].as_array().map(Vec::len), Some(4));
        assert_eq!(document["packages"][1]["comment"], format!("layerID: {layer}")); // ATT-21
        assert_eq!(document["comment"], "not listed: x");
        assert_eq!(document["creationInfo"]["created"], "2024-01-01T00:00:00Z");
        let again = spdx(&inventory(), &about("2024-01-01T00:00:00Z"));
        assert_eq!(document, again);
        check_schema(&spdx(&Inventory::default(), &about("2024-01-01T00:00:00Z")));
    }

    #[test]
    fn a_scanners_document_learns_the_layers() {
        let layer = Digest::of(b"l");
        let mut document = json!({
            "spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT",
            "creationInfo": { "creators": ["Tool: x"] },
            "files": [
                { "fileName": "/bin/a" }, { "fileName": "./bin/b", "comment": "mine" }, { "fileName": "bin/c" },
            ],
        });
        assert!(is_spdx(&document));
        supplement(&mut document, "shale-1", &|path| (path != "bin/c").then_some(layer));
        assert_eq!(document["files"][0]["comment"], format!("layerID: {layer}"));
        assert_eq!(document["files"][1]["comment"], "mine");
        assert_eq!(document["files"][2].get("comment"), None);
        assert_eq!(document["creationInfo"]["creators"], json!(["Tool: x", "Tool: shale-1"]));
        assert!(!is_spdx(&json!({"bomFormat": "CycloneDX"})));
    }
}
