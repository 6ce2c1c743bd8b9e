//! In-toto statements: a predicate, and the things that it is about (ATT-05, ATT-08).

use oci::Digest;
use serde_json::{Map, Value, json};

/// Media type of a statement.
pub const STATEMENT_MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// Predicate type of an SBOM in SPDX.
pub const SPDX_TYPE: &str = "https://spdx.dev/Document";

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Name: a package URL, or a path.
    pub name: String,
    /// Digest of it.
    pub digest: Digest,
}

/// A statement.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Kind of the predicate.
    pub predicate_type: &'a str,
    /// The predicate.
    pub predicate: &'a Value,
    /// What it is about.
    pub subjects: &'a [Subject],
}

impl Statement<'_> {
    /// The document, as it is pushed.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.value()).expect("values can be written")
    }

    /// The document as a file for people.
    pub fn to_json_pretty(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.value()).expect("values can be written")
    }

    fn value(&self) -> Value {
        let subject = |subject: &Subject| json!({ "name": subject.name, "digest": digest_members(&subject.digest) });
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": self.predicate_type,
            "subject": self.subjects.iter().map(subject).collect::<Vec<_>>(),
            "predicate": self.predicate,
        })
    }
}

/// `{"sha256": "…"}`.
pub fn digest_members(digest: &Digest) -> Value {
    let members = Map::from_iter([("sha256".to_owned(), Value::String(digest.hex()))]);
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_type_subjects_and_predicate() {
        let digest = Digest::of(b"x");
        let subjects = [Subject { name: "pkg:docker/a@latest".to_owned(), digest }];
        let predicate = json!({"a": 1});
        let statement =
            Statement { predicate_type: SPDX_TYPE, predicate: &predicate, subjects: &subjects };
        let want = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"{SPDX_TYPE}","subject":[{{"name":"pkg:docker/a@latest","digest":{{"sha256":"{}"}}}}],"predicate":{{"a":1}}}}"#,
            digest.hex()
        );
        assert_eq!(String::from_utf8_lossy(&statement.to_json()), want); // ATT-05
    }
}
