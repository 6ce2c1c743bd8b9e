//! The progress as BuildKit's `rawjson`: one JSON object a line, in the members of its SolveStatus (first form).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use parser::Diagnostic;
use planner::Rule;
use progress::{Event, EventKind, Outcome, Stream};
use serde_json::{Value, json};

use super::mask::masked_in_place;
use super::steps::Steps;

/// What the JSON progress remembers.
pub(crate) struct RawJson {
    began: Timestamp,
    steps: Steps,
    /// Facts of the steps as last said.
    vertexes: std::collections::HashMap<u32, Value>,
}

impl RawJson {
    /// Starts with the time of the stream's first moment.
    pub(crate) fn new(began: Timestamp) -> RawJson {
        RawJson { began, steps: Steps::default(), vertexes: Default::default() }
    }

    /// The lines that an event adds: none or one.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<String> {
        self.steps.take(event);
        let at = self.time(event.at);
        let status = match &event.kind {
            EventKind::Planned { vertex, info } => {
                let inputs: Vec<String> = info.inputs.iter().map(|input| digest(*input)).collect();
                let facts =
                    json!({ "digest": digest(*vertex), "inputs": inputs, "name": info.name });
                self.vertexes.insert(*vertex, facts);
                self.vertex(*vertex, json!({}))
            }
            EventKind::Started { vertex, .. } => self.vertex(*vertex, json!({ "started": at })),
            EventKind::Cached { vertex, .. } => self
                .vertex(*vertex, json!({ "started": at, "completed": at.clone(), "cached": true })),
            EventKind::Finished { vertex, outcome } => self.finished(*vertex, outcome, &at),
            EventKind::Output { vertex, stream, bytes } => {
                let stream = if *stream == Stream::Stdout { 1 } else { 2 };
                let data = STANDARD.encode(bytes);
                json!({ "logs": [{
                    "vertex": digest(*vertex), "stream": stream, "data": data, "timestamp": at,
                }] })
            }
            EventKind::Transfer { vertex, item, done_bytes, total_bytes } => {
                let mut status = json!({
                    "id": item, "vertex": digest(*vertex), "current": done_bytes, "timestamp": at,
                });
                if *total_bytes == Some(0) {
                    status["started"] = json!(at.clone());
                    status["completed"] = json!(at);
                } else if let Some(total) = total_bytes {
                    status["total"] = json!(total);
                }
                json!({ "statuses": [status] })
            }
            EventKind::Warning { vertex, message } => json!({ "warnings": [{
                "vertex": vertex.map(digest), "level": 1, "short": STANDARD.encode(message),
            }] }),
            EventKind::BuildFinished { .. } => return Vec::new(),
        };
        vec![status.to_string()]
    }

    fn finished(&mut self, vertex: u32, outcome: &Outcome, at: &str) -> Value {
        let error = match outcome {
            Outcome::Done => None,
            Outcome::Failed(message) => Some(message.clone()),
            Outcome::Canceled => Some("context canceled".to_owned()),
        };
        let mut more = json!({ "completed": at });
        if let Some(error) = error {
            more["error"] = json!(error);
        }
        self.vertex(vertex, more)
    }

    /// All facts on a vertex, with the new ones, as one status.
    fn vertex(&mut self, vertex: u32, more: Value) -> Value {
        let facts =
            self.vertexes.entry(vertex).or_insert_with(|| json!({ "digest": digest(vertex) }));
        if let (Value::Object(facts), Value::Object(more)) = (&mut *facts, more) {
            facts.extend(more);
        }
        json!({ "vertexes": [facts] })
    }

    fn time(&self, at: Duration) -> String {
        self.began.saturating_add(at).map_or_else(|_| self.began.to_string(), |t| t.to_string())
    }
}

/// What a check found as a status: the short text, what the rule is about, its page, and the lines (LINT-02).
pub(crate) fn finding_status(finding: &Diagnostic, short: &str) -> String {
    let rule = Rule::named(finding.code);
    let about = rule.map_or("", Rule::description);
    let mut warning = json!({
        "level": 1, "short": STANDARD.encode(short), "detail": [STANDARD.encode(about)],
    });
    if let Some(url) = rule.and_then(Rule::url) {
        warning["url"] = json!(url);
    }
    if let (Some(source), Some(label)) = (&finding.source, finding.labels.first()) {
        warning["sourceInfo"] = json!({
            "filename": &*source.name, "data": STANDARD.encode(&*masked_in_place(&source.text)),
            "language": "Dockerfile",
        });
        let lines = source.lines(label.span);
        let range = |line| json!({ "start": { "line": line }, "end": { "line": line } });
        warning["range"] = (lines.first..=lines.last).map(range).collect();
    }
    json!({ "warnings": [warning] }).to_string()
}

/// Readers want a digest as a vertex's name; the number alone says as much.
fn digest(vertex: u32) -> String {
    oci::Digest::of(format!("vertex {vertex}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::steps::testing;
    use super::*;

    #[test]
    fn every_line_is_a_status() {
        let mut raw = RawJson::new(Timestamp::UNIX_EPOCH);
        let build = testing::failing_build();
        let lines: Vec<Value> = build
            .iter()
            .flat_map(|event| raw.lines(event))
            .map(|line| serde_json::from_str(&line).expect("a JSON object"))
            .collect();
        assert_eq!(lines.len(), build.len() - 1);
        assert_eq!(lines[3]["vertexes"][0]["cached"], true);
        assert_eq!(lines[6]["logs"][0]["data"], STANDARD.encode("cc api.c\ncc ma"));
        assert_eq!(lines[6]["logs"][0]["timestamp"], "1970-01-01T00:00:01.002Z");
        let failed = &lines[10]["vertexes"][0];
        assert_eq!(failed["name"], "[build 2/3] RUN make");
        assert_eq!(failed["started"], "1970-01-01T00:00:00.002Z");
        assert_eq!(failed["error"], "process \"/bin/sh -c make\" did not complete");
    }

    #[test]
    fn what_moves_no_bytes_is_complete_at_once() {
        let mut raw = RawJson::new(Timestamp::UNIX_EPOCH);
        let naming = EventKind::Transfer {
            vertex: 1,
            item: "naming to app".into(),
            done_bytes: 0,
            total_bytes: Some(0),
        };
        let lines = raw.lines(&testing::events(vec![(5, naming)])[0]);
        let status: Value = serde_json::from_str(&lines[0]).expect("a JSON object");
        let status = &status["statuses"][0];
        assert_eq!(status["id"], "naming to app");
        assert_eq!(status["completed"], "1970-01-01T00:00:00.005Z");
        assert_eq!(status["total"], Value::Null);
    }
}
