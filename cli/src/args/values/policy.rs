//! `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`: a file with rules for sources, as buildx reads it (NCTX-15).

use std::path::Path;

use planner::{PolicyAction, PolicyRule, SourcePolicy};
use serde::Deserialize;

use crate::args::UsageError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    action: Choice,
    selector: Selector,
    updates: Option<Updates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    identifier: String,
    #[serde(default)]
    match_type: Choice,
    #[serde(default)]
    constraints: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: std::collections::BTreeMap<String, String>,
}

/// A word or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Choice {
    Number(usize),
    Word(String),
}

impl Default for Choice {
    fn default() -> Choice {
        Choice::Number(0)
    }
}

impl Choice {
    fn of<'w>(&'w self, words: &[&'w str]) -> &'w str {
        match self {
            Choice::Number(number) => words.get(*number).copied().unwrap_or("unknown"),
            Choice::Word(word) => word,
        }
    }
}

/// Reads the file of a policy.
pub(crate) fn read_policy(path: &Path) -> Result<SourcePolicy, UsageError> {
    let failed = |why: String| {
        UsageError::new(format!("source policy {}: {why}", path.display()))
            .with_hint("it is named by EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")
    };
    let text = registry::read_local_file(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &[u8]) -> Result<SourcePolicy, String> {
    let file: File = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if file.version > 1 {
        return Err(format!("version {} is not known", file.version));
    }
    let rules = file.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    Ok(SourcePolicy { rules })
}

fn rule(rule: Rule) -> Result<PolicyRule, String> {
    let selector = rule.selector.identifier;
    if !rule.selector.constraints.is_empty() {
        return Err(format!("constraints of {selector:?} are not supported"));
    }
    let wildcards = match rule.selector.match_type.of(&["WILDCARD", "EXACT", "REGEX"]) {
        "WILDCARD" if selector.contains("**") => {
            return Err(format!("invalid wildcard in {selector:?}: \"**\""));
        }
        "WILDCARD" => true,
        "EXACT" => false,
        other => return Err(format!("match type {other} of {selector:?} is not supported")),
    };
    let action = match (rule.action.of(&["ALLOW", "DENY", "CONVERT"]), rule.updates) {
        ("ALLOW", _) => PolicyAction::Allow,
        ("DENY", _) => PolicyAction::Deny,
        ("CONVERT", Some(mut updates)) => {
            let checksum = updates.attrs.remove("http.checksum");
            if let Some((name, _)) = updates.attrs.first_key_value() {
                return Err(format!("attribute {name:?} for {selector:?} is not supported"));
            }
            let identifier = Some(updates.identifier).filter(|identifier| !identifier.is_empty());
            PolicyAction::Convert { identifier, checksum }
        }
        ("CONVERT", None) => {
            return Err(format!("missing destination for convert rule of {selector:?}"));
        }
        (other, _) => return Err(format!("action {other} for {selector:?} is not known")),
    };
    Ok(PolicyRule { action, selector, wildcards })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_or_refused() {
        let text = br#"{"version":1,"rules":[
            {"action":"DENY","selector":{"identifier":"*"}},
            {"action":0,"selector":{"identifier":"a*","match_type":"EXACT"}},
            {"action":"CONVERT","selector":{"identifier":"https://h/x"},
             "updates":{"attrs":{"http.checksum":"sha256:1"}}}]}"#;
        let policy = parse(text).expect("a policy");
        let new = |action, selector: &str, wildcards| PolicyRule {
            action,
            selector: selector.to_owned(),
            wildcards,
        };
        let checksum = Some("sha256:1".to_owned());
        let convert = PolicyAction::Convert { identifier: None, checksum };
        assert_eq!(
            policy.rules,
            [
                new(PolicyAction::Deny, "*", true),
                new(PolicyAction::Allow, "a*", false),
                new(convert, "https://h/x", true),
            ]
        );
        let bad = |rule: &str, want: &str| {
            let text = format!(r#"{{"rules":[{rule}]}}"#);
            let error = parse(text.as_bytes()).expect_err(rule);
            assert!(error.contains(want), "{error}");
        };
        bad(r#"{"selector":{"identifier":"x","match_type":"REGEX"}}"#, "REGEX");
        bad(r#"{"selector":{"identifier":"x","constraints":[{}]}}"#, "constraints");
        bad(r#"{"selector":{"identifier":"x**"}}"#, "invalid wildcard");
        bad(r#"{"action":"CONVERT","selector":{"identifier":"x"}}"#, "missing destination");
        bad(r#"{"action":"DELETE","selector":{"identifier":"x"}}"#, "DELETE");
        bad(r#"{"actoin":"DENY","selector":{"identifier":"x"}}"#, "actoin");
        bad(
            r#"{"action":"CONVERT","selector":{"identifier":"x"},"updates":{"attrs":{"git.x":""}}}"#,
            "git.x",
        );
    }
}
