//! What every renderer must remember of a build: names, starts, unfinished lines and last output of its steps.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use progress::{Event, EventKind, Outcome, Stream, VertexInfo};

use super::cache_use::CacheUse;
use super::escape::{output_line, plain_text};

/// Lines of output kept for the report on a failed step.
const TAIL_LINES_MAX: usize = 20;

/// Bytes of an unfinished line after which it is shown in parts.
const PARTIAL_BYTES_MAX: usize = 16 * 1024;

/// The steps that were heard of.
#[derive(Default)]
pub(crate) struct Steps {
    steps: HashMap<u32, Step>,
    /// Failed steps in the order of their failure.
    failed: Vec<u32>,
    cache: CacheUse,
}

/// One step.
#[derive(Default)]
pub(crate) struct Step {
    info: Option<Arc<VertexInfo>>,
    /// When it started; `None` before.
    pub(crate) started: Option<Duration>,
    because: Option<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: VecDeque<(Duration, String)>,
}

impl Step {
    /// Its name, safe to print, on one line.
    pub(crate) fn name(&self) -> String {
        let name = self.info.as_ref().map_or("", |info| info.name.as_str());
        plain_text(name.lines().next().unwrap_or_default()).into_owned()
    }

    /// Why it was not taken from the cache, safe to print; `None` for what is no step.
    pub(crate) fn because(&self) -> Option<String> {
        let because = self.because.as_ref()?;
        Some(format!("because {}", plain_text(because)))
    }

    /// Its latest line of output.
    pub(crate) fn last_line(&self) -> Option<&str> {
        self.tail.back().map(|(_, line)| line.as_str())
    }

    /// Time since its start.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started.unwrap_or(now))
    }

    fn remember(&mut self, since: Duration, line: &str) {
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back((since, line.to_owned()));
    }

    /// Adds bytes of output; returns the lines that are complete now.
    fn push(&mut self, stream: Stream, bytes: &[u8], now: Duration) -> Vec<String> {
        let partial = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        partial.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let complete = partial.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        for line in partial[..complete].split_inclusive(|b| *b == b'\n') {
            lines.push(output_line(&line[..line.len() - 1]));
        }
        partial.drain(..complete);
        if partial.len() > PARTIAL_BYTES_MAX {
            lines.push(output_line(&std::mem::take(partial)));
        }
        let since = self.age(now);
        lines.iter().for_each(|line| self.remember(since, line));
        lines
    }

    /// Ends unfinished lines.
    fn flush(&mut self, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        for partial in [std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr)] {
            if !partial.is_empty() {
                lines.push(output_line(&partial));
            }
        }
        let since = self.age(now);
        lines.iter().for_each(|line| self.remember(since, line));
        lines
    }
}

impl Steps {
    /// Takes an event in. Returns the lines of output that became complete by it.
    pub(crate) fn take(&mut self, event: &Event) -> Vec<String> {
        match &event.kind {
            EventKind::Planned { vertex, info } => {
                self.steps.entry(*vertex).or_default().info = Some(info.clone());
                Vec::new()
            }
            EventKind::Started { vertex, because } => {
                let step = self.steps.entry(*vertex).or_default();
                step.started = Some(event.at);
                step.because = because.clone();
                if because.is_some() {
                    self.cache.ran(step.info.as_deref());
                }
                Vec::new()
            }
            EventKind::Cached { vertex, saved_ms: Some(saved_ms) } => {
                let info = self.steps.get(vertex).and_then(|step| step.info.as_deref());
                self.cache.reused(info, *saved_ms);
                Vec::new()
            }
            EventKind::Output { vertex, stream, bytes } => {
                self.steps.entry(*vertex).or_default().push(*stream, bytes, event.at)
            }
            EventKind::Finished { vertex, outcome } => {
                if matches!(outcome, Outcome::Failed(_)) {
                    self.failed.push(*vertex);
                }
                self.steps.entry(*vertex).or_default().flush(event.at)
            }
            EventKind::Cached { .. }
            | EventKind::Transfer { .. }
            | EventKind::Warning { .. }
            | EventKind::BuildFinished { .. } => Vec::new(),
        }
    }

    /// What the cache was good for, in a line; `None` for a build without steps.
    pub(crate) fn cache_line(&self) -> Option<String> {
        self.cache.line()
    }

    /// A step that was planned, started, or wrote something.
    pub(crate) fn get(&self, vertex: u32) -> Option<&Step> {
        self.steps.get(&vertex)
    }

    /// Number of steps that were planned.
    pub(crate) fn count(&self) -> usize {
        self.steps.len()
    }

    /// The last output of the steps that failed, as BuildKit lays it out (CLI-06).
    pub(crate) fn failure_tails(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for step in self.failed.iter().filter_map(|vertex| self.steps.get(vertex)) {
            if step.tail.is_empty() {
                continue;
            }
            lines.push("------".to_owned());
            lines.push(format!(" > {}:", step.name()));
            for (since, line) in &step.tail {
                lines.push(format!("{:.3} {line}", since.as_secs_f64()));
            }
            lines.push("------".to_owned());
        }
        lines
    }
}

/// Bytes for people: `1.2MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.1}{}", UNITS[unit]) }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A build to render.

    use super::*;

    /// Numbers events and sets their time.
    pub(crate) fn events(kinds: Vec<(u64, EventKind)>) -> Vec<Event> {
        let event = |(seq, (at_ms, kind)): (usize, (u64, EventKind))| Event {
            at: Duration::from_millis(at_ms),
            seq: seq as u64,
            kind,
        };
        kinds.into_iter().enumerate().map(event).collect()
    }

    pub(crate) fn planned(vertex: u32, name: &str) -> EventKind {
        let stage = if name.starts_with('[') { "build" } else { "" };
        let info = VertexInfo {
            name: name.to_owned(),
            stage: stage.to_owned(),
            file: "Dockerfile".into(),
            line: Some(vertex + 1),
            inputs: (0..vertex).collect(),
        };
        EventKind::Planned { vertex, info: Arc::new(info) }
    }

    pub(crate) fn cached(vertex: u32, saved_ms: Option<u64>) -> EventKind {
        EventKind::Cached { vertex, saved_ms }
    }

    pub(crate) fn started(vertex: u32, because: &str) -> EventKind {
        EventKind::Started { vertex, because: Some(because.to_owned()) }
    }

    pub(crate) fn output(vertex: u32, text: &str) -> EventKind {
        EventKind::Output { vertex, stream: Stream::Stdout, bytes: text.as_bytes().into() }
    }

    pub(crate) fn finished(vertex: u32, outcome: Outcome) -> EventKind {
        EventKind::Finished { vertex, outcome }
    }

    /// Two steps side by side, one cached, one fails.
    pub(crate) fn failing_build() -> Vec<Event> {
        events(vec![
            (0, planned(0, "[build 1/3] FROM docker.io/library/debian:12")),
            (0, planned(1, "[build 2/3] RUN make")),
            (0, planned(2, "[stage-1 2/2] RUN echo \x1b[31mhi\x1b[2J")),
            (1, cached(0, None)),
            (2, started(1, "src/api.c changed")),
            (3, started(2, "first build")),
            (1002, output(1, "cc api.c\ncc ma")),
            (1100, output(2, "hi\n")),
            (1200, output(1, "in.c\nerror: no\n")),
            (1203, finished(2, Outcome::Done)),
            (
                1302,
                finished(1, Outcome::Failed("process \"/bin/sh -c make\" did not complete".into())),
            ),
            (1310, EventKind::Warning { vertex: None, message: "host network is used".into() }),
            (1311, EventKind::BuildFinished { ok: false }),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        let all = [0, 999, 1000, 1_234_567, 5_000_000_000].map(size);
        assert_eq!(all, ["0B", "999B", "1.0kB", "1.2MB", "5.0GB"]);
    }

    #[test]
    fn a_line_without_end_is_shown_in_parts() {
        let mut steps = Steps::default();
        let long = "x".repeat(PARTIAL_BYTES_MAX + 1);
        let events = testing::events(vec![(0, testing::output(1, &long))]);
        assert_eq!(steps.take(&events[0]), [long]);
    }

    #[test]
    fn the_report_on_a_failure_keeps_the_last_lines() {
        let mut steps = Steps::default();
        let many: String = (0..30).map(|n| format!("line {n}\n")).collect();
        let failed = testing::finished(1, Outcome::Failed("no".into()));
        let kinds =
            vec![(0, testing::planned(1, "RUN x")), (5, testing::output(1, &many)), (9, failed)];
        testing::events(kinds).iter().for_each(|event| drop(steps.take(event)));
        let tails = steps.failure_tails();
        assert_eq!(tails.len(), TAIL_LINES_MAX + 3);
        assert_eq!((&*tails[1], &*tails[2]), (" > RUN x:", "0.000 line 10"));
    }
}
