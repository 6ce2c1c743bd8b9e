//! The terminal progress: what has ended scrolls up, what runs is a redrawn tail of a line a step and its last output.

use std::time::Duration;

use progress::{Event, EventKind, Outcome};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::escape::plain_text;
use super::steps::Steps;
use super::transfers::Transfers;

/// What the terminal progress remembers.
#[derive(Default)]
pub(crate) struct Tty {
    steps: Steps,
    /// Steps that run, in the order of their start.
    running: Vec<Running>,
    ended: usize,
    over: bool,
}

/// A step that runs.
struct Running {
    vertex: u32,
    because: Option<String>,
    transfers: Transfers,
}

/// The size of the terminal in characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Characters in a line.
    pub(crate) width: usize,
    /// Lines.
    pub(crate) height: usize,
}

impl Tty {
    /// The lines that an event adds above the tail, for good.
    pub(crate) fn lines(&mut self, event: &Event) -> Vec<String> {
        self.steps.take(event);
        match &event.kind {
            EventKind::Planned { .. } | EventKind::Output { .. } => Vec::new(),
            EventKind::Started { vertex, .. } => {
                let because = self.steps.get(*vertex).and_then(|step| step.because());
                let transfers = Transfers::default();
                self.running.push(Running { vertex: *vertex, because, transfers });
                Vec::new()
            }
            EventKind::Cached { vertex, .. } => {
                self.ended += 1;
                vec![format!(" cached        {}", self.name(*vertex))]
            }
            EventKind::Transfer { item, total_bytes: Some(0), .. } => {
                vec![format!("               {}", plain_text(item))]
            }
            EventKind::Transfer { vertex, item, done_bytes, total_bytes } => {
                let mut running = self.running.iter_mut();
                if let Some(step) = running.find(|running| running.vertex == *vertex) {
                    step.transfers.take(item, *done_bytes, *total_bytes, event.at);
                }
                Vec::new()
            }
            EventKind::Finished { vertex, outcome } => {
                vec![self.finished(*vertex, outcome, event.at)]
            }
            EventKind::Warning { message, .. } => {
                vec![format!(" warning: {}", plain_text(message))]
            }
            EventKind::BuildFinished { ok } => {
                self.over = true;
                self.running.clear();
                match ok {
                    true => self.steps.cache_line().map(|l| format!(" {l}")).into_iter().collect(),
                    false => self.steps.failure_tails(),
                }
            }
        }
    }

    /// The tail as it looks now: never wider or higher than the window.
    pub(crate) fn tail(&self, now: Duration, window: Window) -> Vec<String> {
        if self.over || self.steps.count() == 0 {
            return Vec::new();
        }
        let width = window.width.max(20);
        let mut lines = vec![fit(
            &format!(
                " building {:.1}s, {} of {} steps done",
                now.as_secs_f64(),
                self.ended,
                self.steps.count()
            ),
            width,
        )];
        let room = window.height.saturating_sub(2).max(2);
        for (shown, running) in self.running.iter().enumerate() {
            let hidden = self.running.len() - shown;
            if lines.len() + 2 >= room && hidden > 1 {
                lines.push(format!(" … and {hidden} more"));
                break;
            }
            let left = room.saturating_sub(lines.len() + usize::from(hidden > 1));
            let mut step = self.running_step(running, now, width);
            step.truncate(left.max(2));
            lines.extend(step);
        }
        lines
    }

    fn running_step(&self, running: &Running, now: Duration, width: usize) -> Vec<String> {
        let Some(step) = self.steps.get(running.vertex) else { return Vec::new() };
        let head = format!(" {:>6.1}s       {}", step.age(now).as_secs_f64(), step.name());
        let moving = running.transfers.lines();
        let below = match step.last_line() {
            Some(last) => vec![last.to_owned()],
            None if !moving.is_empty() => moving,
            None => running.because.iter().cloned().collect(),
        };
        let below = below.iter().map(|line| format!("   > {line}"));
        std::iter::once(head).chain(below).map(|line| fit(&line, width)).collect()
    }

    fn finished(&mut self, vertex: u32, outcome: &Outcome, now: Duration) -> String {
        self.running.retain(|running| running.vertex != vertex);
        self.ended += 1;
        let age = self.steps.get(vertex).map_or(Duration::ZERO, |step| step.age(now));
        let name = self.name(vertex);
        let because = self.steps.get(vertex).and_then(|step| step.because());
        let because = because.map(|because| format!("  {because}")).unwrap_or_default();
        match outcome {
            Outcome::Done => format!(" done {:>6.1}s  {name}{because}", age.as_secs_f64()),
            Outcome::Failed(message) => {
                format!(" failed {:>4.1}s  {name}: {}", age.as_secs_f64(), plain_text(message))
            }
            Outcome::Canceled => format!(" cancelled     {name}"),
        }
    }

    fn name(&self, vertex: u32) -> String {
        self.steps.get(vertex).map(|step| step.name()).unwrap_or_default()
    }
}

/// Cuts a line so that it stays within `width` columns, an ellipsis at its end if something is missing.
fn fit(line: &str, width: usize) -> String {
    let line = line.replace('\t', " ");
    if line.width() < width {
        return line;
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in line.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns + 2 > width {
            break;
        }
        used += columns;
        kept.push(c);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::super::steps::testing;
    use super::*;

    fn at(ms: u64, tty: &Tty, width: usize, height: usize) -> String {
        tty.tail(Duration::from_millis(ms), Window { width, height }).join("\n")
    }

    #[test]
    fn running_steps_have_a_line_and_their_last_output() {
        let mut tty = Tty::default();
        let build = testing::failing_build();
        let mut scrolled: Vec<String> =
            build[..9].iter().flat_map(|event| tty.lines(event)).collect();
        insta::assert_snapshot!(at(1250, &tty, 44, 24), @r"
         building 1.2s, 1 of 3 steps done
            1.2s       [build 2/3] RUN make
           > error: no
            1.2s       [stage-1 2/2] RUN echo \x1b…
           > hi
        ");
        scrolled.extend(build[9..].iter().flat_map(|event| tty.lines(event)));
        insta::assert_snapshot!(scrolled.join("\n"), @r#"
         cached        [build 1/3] FROM docker.io/library/debian:12
         done    1.2s  [stage-1 2/2] RUN echo \x1b[31mhi\x1b[2J  because first build
         failed  1.3s  [build 2/3] RUN make: process "/bin/sh -c make" did not complete
         warning: host network is used
        ------
         > [build 2/3] RUN make:
        1.000 cc api.c
        1.198 cc main.c
        1.198 error: no
        ------
        "#);
        assert_eq!(at(1400, &tty, 44, 24), "");
    }

    #[test]
    fn what_was_made_and_saved_is_said_at_the_end() {
        let mut tty = Tty::default();
        let naming = EventKind::Transfer {
            vertex: 1,
            item: "naming to app".into(),
            done_bytes: 0,
            total_bytes: Some(0),
        };
        let build = testing::events(vec![
            (0, testing::planned(0, "[1/1] RUN make")),
            (1, testing::cached(0, Some(2300))),
            (2, testing::planned(1, "exporting to image")),
            (2, naming),
            (9, EventKind::BuildFinished { ok: true }),
        ]);
        let lines: Vec<String> = build.iter().flat_map(|event| tty.lines(event)).collect();
        let want = [
            " cached        [1/1] RUN make",
            "               naming to app",
            " cache: 1 reused (saved 2.3s), 0 ran",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn the_tail_never_grows_over_the_window() {
        let mut tty = Tty::default();
        let mut kinds = Vec::new();
        for vertex in 0..50 {
            kinds.push((0, testing::planned(vertex, &"字".repeat(100))));
            kinds.push((1, testing::started(vertex, "first build")));
        }
        testing::events(kinds).iter().for_each(|event| drop(tty.lines(event)));
        for (width, height) in [(80, 24), (20, 5), (0, 0), (200, 400)] {
            let tail = tty.tail(Duration::from_secs(1), Window { width, height });
            assert!(tail.len() < height.max(6), "{width}x{height}: {} lines", tail.len());
            let widest = tail.iter().map(|line| line.width()).max();
            assert!(widest < Some(width.max(21)), "{width}x{height}: {widest:?}");
        }
    }

    #[test]
    fn waiting_steps_show_why_they_run_and_what_they_move() {
        let mut tty = Tty::default();
        let transfer = EventKind::Transfer {
            vertex: 1,
            item: "layer 12ab".into(),
            done_bytes: 1_000_000,
            total_bytes: None,
        };
        let events = testing::events(vec![
            (0, testing::planned(1, "pull debian:12")),
            (0, testing::planned(2, "RUN x")),
            (0, testing::started(1, "not here yet")),
            (0, testing::started(2, "a.c changed")),
            (9, transfer),
        ]);
        events.iter().for_each(|event| drop(tty.lines(event)));
        insta::assert_snapshot!(at(100, &tty, 60, 24), @r"
         building 0.1s, 0 of 2 steps done
            0.1s       pull debian:12
           > layer 12ab 1.0MB
            0.1s       RUN x
           > because a.c changed
        ");
    }
}
