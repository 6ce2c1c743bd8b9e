//! The document of --metadata-file (OUT-41).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::BuildResult;
use parser::{Diagnostic, SourceText};
use planner::Rule;
use serde_json::{Value, json};

/// The document, its members sorted; with what checks have found where that is asked for.
pub(crate) fn metadata(result: &BuildResult, with_warnings: bool) -> String {
    let mut members: BTreeMap<String, Value> = result.metadata.clone().into_iter().collect();
    if let [image] = &result.images[..] {
        let id = image.id.to_string();
        members.entry("containerimage.config.digest".to_owned()).or_insert_with(|| id.into());
    }
    if !result.names.is_empty() {
        let names: Vec<String> = result.names.iter().map(ToString::to_string).collect();
        members.entry("image.name".to_owned()).or_insert_with(|| names.join(",").into());
    }
    if with_warnings && !result.warnings.is_empty() {
        let warnings = result.warnings.iter().map(|found| warning(found, &result.source));
        members.insert("buildx.build.warnings".to_owned(), warnings.collect());
    }
    serde_json::to_string_pretty(&members).expect("strings and numbers can be written") + "\n"
}

/// A finding as BuildKit's clients write one: texts in base64, lines counted from 1.
fn warning(found: &Diagnostic, dockerfile: &SourceText) -> Value {
    let rule = Rule::named(found.code);
    let source = found.source.as_ref().unwrap_or(dockerfile);
    let range = found.labels.first().map(|label| {
        let line = |offset| json!({ "line": source.position(offset).0 });
        let last = label.span.end.saturating_sub(1).max(label.span.start);
        json!({ "start": line(label.span.start), "end": line(last) })
    });
    let short = match rule {
        Some(_) => format!("{}: {}", found.code, found.message),
        None => found.message.clone(),
    };
    let mut out = json!({
        "level": 1,
        "short": STANDARD.encode(short),
        "detail": found.help.iter().map(|help| STANDARD.encode(help)).collect::<Vec<_>>(),
        "sourceInfo": {
            "filename": &*source.name,
            "language": "Dockerfile",
            "data": STANDARD.encode(&*source.text),
        },
        "range": range.into_iter().collect::<Vec<_>>(),
    });
    if let Some(url) = rule.and_then(Rule::url) {
        out["url"] = url.into();
    }
    out
}
