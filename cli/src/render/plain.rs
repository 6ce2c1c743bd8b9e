//! The plain progress: one line after the other, in the form that tools parse (spec CLI-06).

use std::collections::HashMap;
use std::time::Duration;

use progress::{Event, EventKind, Outcome};

use super::escape::plain_text;
use super::steps::{Steps, size};

/// A transfer that goes on is shown this often at most.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);

/// What the plain progress remembers.
#[derive(Default)]
pub(crate) struct Plain {
    steps: Steps,
    /// Numbers of steps, in the order in which they were first shown.
    numbers: HashMap<u32, usize>,
    /// The step that the last line was about.
    current: Option<u32>,
    /// When a transfer of a step was last shown.
    transfers: HashMap<(u32, String), Duration>,
}

impl Plain {
    /// The lines that an event adds.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<String> {
        let output = self.steps.take(event);
        match &event.kind {
            EventKind::Planned { .. } => Vec::new(),
            EventKind::Started { vertex, .. } => {
                let because = self.steps.get(*vertex).and_then(|step| step.because());
                self.say(*vertex, because.into_iter().collect())
            }
            EventKind::Cached { vertex, .. } => self.say(*vertex, vec!["CACHED".to_owned()]),
            EventKind::Output { vertex, .. } => self.output(*vertex, output, event.at),
            EventKind::Transfer { vertex, item, done_bytes, total_bytes } => {
                self.transfer(*vertex, item, *done_bytes, *total_bytes, event.at)
            }
            EventKind::Finished { vertex, outcome } => {
                self.finished(*vertex, outcome, output, event.at)
            }
            EventKind::Warning { vertex: Some(vertex), message } => {
                self.say(*vertex, vec![format!("WARN: {}", plain_text(message))])
            }
            EventKind::Warning { vertex: None, message } => {
                vec![format!("warning: {}", plain_text(message))]
            }
            EventKind::BuildFinished { ok: true } => self.steps.cache_line().into_iter().collect(),
            EventKind::BuildFinished { ok: false } => self.steps.failure_tails(),
        }
    }

    fn output(&mut self, vertex: u32, lines: Vec<String>, now: Duration) -> Vec<String> {
        if lines.is_empty() {
            return lines;
        }
        let since = self.age(vertex, now).as_secs_f64();
        self.say(vertex, lines.into_iter().map(|line| format!("{since:.3} {line}")).collect())
    }

    fn finished(
        &mut self,
        vertex: u32,
        outcome: &Outcome,
        output: Vec<String>,
        now: Duration,
    ) -> Vec<String> {
        let mut lines = self.output(vertex, output, now);
        let end = match outcome {
            Outcome::Done => format!("DONE {:.1}s", self.age(vertex, now).as_secs_f64()),
            Outcome::Failed(message) => format!("ERROR: {}", plain_text(message)),
            Outcome::Canceled => "CANCELED".to_owned(),
        };
        lines.extend(self.say(vertex, vec![end]));
        // Whatever comes next is set off by an empty line and a heading.
        self.current = None;
        lines.push(String::new());
        lines
    }

    fn transfer(
        &mut self,
        vertex: u32,
        item: &str,
        done_bytes: u64,
        total_bytes: Option<u64>,
        now: Duration,
    ) -> Vec<String> {
        if total_bytes == Some(0) {
            return self.say(vertex, vec![format!("{} done", plain_text(item))]);
        }
        let complete = total_bytes == Some(done_bytes);
        let last = self.transfers.get(&(vertex, item.to_owned()));
        if !complete && last.is_some_and(|last| now.saturating_sub(*last) < TRANSFER_EVERY) {
            return Vec::new();
        }
        self.transfers.insert((vertex, item.to_owned()), now);
        let item = plain_text(item);
        let line = match total_bytes {
            _ if complete => format!("{item} {} done", size(done_bytes)),
            Some(total) => format!("{item} {} / {}", size(done_bytes), size(total)),
            None => format!("{item} {}", size(done_bytes)),
        };
        self.say(vertex, vec![line])
    }

    fn age(&self, vertex: u32, now: Duration) -> Duration {
        self.steps.get(vertex).map_or(Duration::ZERO, |step| step.age(now))
    }

    /// Puts the step's number before the lines, and its heading when another step spoke last.
    fn say(&mut self, vertex: u32, lines: Vec<String>) -> Vec<String> {
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry(vertex).or_insert(next);
        let mut said = Vec::new();
        if self.current != Some(vertex) {
            if let Some(left) = self.current {
                said.push(format!("#{} ...", self.numbers[&left]));
                said.push(String::new());
            }
            let name = self.steps.get(vertex).map(|step| step.name()).unwrap_or_default();
            said.push(format!("#{number} {name}"));
            self.current = Some(vertex);
        }
        let cached = lines.iter().any(|line| line == "CACHED");
        said.extend(lines.into_iter().map(|line| format!("#{number} {line}")));
        if cached {
            self.current = None;
            said.push(String::new());
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::testing;
    use super::*;

    #[test]
    fn lines_have_the_form_that_tools_parse() {
        let mut plain = Plain::default();
        let lines: Vec<String> =
            testing::failing_build().iter().flat_map(|event| plain.lines(event)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        #1 [build 1/3] FROM docker.io/library/debian:12
        #1 CACHED

        #2 [build 2/3] RUN make
        #2 because src/api.c changed
        #2 ...

        #3 [stage-1 2/2] RUN echo \x1b[31mhi\x1b[2J
        #3 because first build
        #3 ...

        #2 [build 2/3] RUN make
        #2 1.000 cc api.c
        #2 ...

        #3 [stage-1 2/2] RUN echo \x1b[31mhi\x1b[2J
        #3 1.097 hi
        #3 ...

        #2 [build 2/3] RUN make
        #2 1.198 cc main.c
        #2 1.198 error: no
        #2 ...

        #3 [stage-1 2/2] RUN echo \x1b[31mhi\x1b[2J
        #3 DONE 1.2s

        #2 [build 2/3] RUN make
        #2 ERROR: process "/bin/sh -c make" did not complete

        warning: host network is used
        ------
         > [build 2/3] RUN make:
        1.000 cc api.c
        1.198 cc main.c
        1.198 error: no
        ------
        "#);
    }

    #[test]
    fn what_was_made_and_saved_is_said_at_the_end() {
        let mut plain = Plain::default();
        let writing = EventKind::Transfer {
            vertex: 7,
            item: "writing image sha256:ab".into(),
            done_bytes: 0,
            total_bytes: Some(0),
        };
        let build = testing::events(vec![
            (0, testing::planned(0, "[1/2] RUN a")),
            (0, testing::planned(3, "[2/2] RUN b")),
            (1, testing::cached(0, Some(2300))),
            (2, testing::started(3, "src changed")),
            (3, testing::finished(3, Outcome::Done)),
            (3, testing::planned(7, "exporting to image")),
            (3, writing),
            (4, testing::finished(7, Outcome::Done)),
            (9, EventKind::BuildFinished { ok: true }),
        ]);
        let lines: Vec<String> = build.iter().flat_map(|event| plain.lines(event)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        #1 [1/2] RUN a
        #1 CACHED

        #2 [2/2] RUN b
        #2 because src changed
        #2 DONE 0.0s

        #3 exporting to image
        #3 writing image sha256:ab done
        #3 DONE 0.0s

        cache: 1 reused (saved 2.3s), 1 ran. First change: Dockerfile:4
        ");
    }

    #[test]
    fn transfers_are_shown_now_and_then_and_at_their_end() {
        let transfer = |done_bytes| EventKind::Transfer {
            vertex: 1,
            item: "layer abc".into(),
            done_bytes,
            total_bytes: Some(3_000_000),
        };
        let mut plain = Plain::default();
        let events = testing::events(vec![
            (0, testing::planned(1, "pull")),
            (10, transfer(10)),
            (20, transfer(2000)),
            (5011, transfer(2_500_000)),
            (5012, transfer(3_000_000)),
        ]);
        let lines: Vec<String> = events.iter().flat_map(|event| plain.lines(event)).collect();
        assert_eq!(
            lines,
            [
                "#1 pull",
                "#1 layer abc 10B / 3.0MB",
                "#1 layer abc 2.5MB / 3.0MB",
                "#1 layer abc 3.0MB done"
            ]
        );
    }
}
