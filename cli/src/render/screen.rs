//! Writes what the renderers make. Each screen has its own thread and queue, so that a terminal that stands still
//! (Ctrl-S, a full pipe) holds up neither a step nor a cancel.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use progress::{Event, EventKind, Sink};
use sys::Cancel;
use unicode_width::UnicodeWidthStr;

use super::mask::masked_event;
use super::plain::Plain;
use super::rawjson::RawJson;
use super::steps::{Steps, size};
use super::tty::{Tty, Window};

/// Output that waits to be shown, at most; more is left out and said so.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Reports on transfers that wait to be shown, at most; older ones say less than the next.
const WAITING_EVENTS_MAX: usize = 4096;

/// How often the terminal is drawn anew.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// How long what is to be shown may take when the user no longer waits for it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// SIGTERM.
const TERMINATE: i32 = rustix::process::Signal::TERM.as_raw();

/// Which progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Display {
    /// Line by line.
    Plain,
    /// A redrawn tail.
    Tty,
    /// JSON lines.
    RawJson,
    /// Only warnings, and the output of what failed.
    Quiet,
}

/// A place that shows a build.
pub(crate) struct Screen {
    queue: Arc<Queue>,
}

impl Screen {
    /// Starts the thread that writes to `out`.
    pub(crate) fn start(display: Display, out: Box<dyn Write + Send>) -> Screen {
        let queue = Arc::new(Queue::default());
        let painter = Painter { out, drawn: Vec::new() };
        let theirs = queue.clone();
        std::thread::spawn(move || {
            paint(&theirs, painter, View::new(display));
            theirs.lock().over = true;
            theirs.changed.notify_all();
        });
        Screen { queue }
    }

    /// The end of the queue that a build speaks into.
    pub(crate) fn sink(&self) -> Box<dyn Sink> {
        Box::new(Tail(self.queue.clone()))
    }

    /// Waits until all is shown; from the moment when a signal asks for the end only [`LAST_WORDS`] longer.
    pub(crate) fn finish(self, cancel: &Cancel) {
        let mut state = self.close();
        let mut deadline = None;
        while !state.over {
            if deadline.is_none() && cancel.signal().is_some() {
                deadline = Some(Instant::now() + LAST_WORDS);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
            state = self.queue.wait(state, Some(REDRAW_EVERY));
        }
    }

    /// Waits until all is shown, at most [`LAST_WORDS`].
    pub(crate) fn finish_soon(self) {
        let cancel = Cancel::new();
        cancel.on_signal(TERMINATE);
        self.finish(&cancel);
    }

    fn close(&self) -> MutexGuard<'_, Waiting> {
        let mut state = self.queue.lock();
        state.closed = true;
        self.queue.changed.notify_all();
        state
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    output_bytes: usize,
    skipped_bytes: u64,
    /// Nothing comes any more.
    closed: bool,
    /// The thread has ended.
    over: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, Waiting>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Waiting> {
        match limit {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// What came since, waiting for it at most as long as a terminal may stay as it is. `None` at the end.
    fn next(&self, patient: bool) -> Option<(Vec<Event>, u64)> {
        let mut state = self.lock();
        let deadline = Instant::now() + REDRAW_EVERY;
        while state.events.is_empty() && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if !patient && left.is_zero() {
                break;
            }
            state = self.wait(state, (!patient).then_some(left));
        }
        if state.events.is_empty() && state.closed {
            return None;
        }
        state.output_bytes = 0;
        let skipped = std::mem::take(&mut state.skipped_bytes);
        Some((state.events.drain(..).collect(), skipped))
    }
}

struct Tail(Arc<Queue>);

impl Sink for Tail {
    fn take(&mut self, event: &Event) {
        let mut state = self.0.lock();
        match &event.kind {
            EventKind::Output { bytes, .. } => {
                if state.output_bytes + bytes.len() > WAITING_BYTES_MAX {
                    state.skipped_bytes += bytes.len() as u64;
                    return;
                }
                state.output_bytes += bytes.len();
            }
            EventKind::Transfer { .. } if state.events.len() >= WAITING_EVENTS_MAX => return,
            _ => {}
        }
        state.events.push_back(masked_event(event).into_owned());
        drop(state);
        self.0.changed.notify_all();
    }
}

/// A renderer with its memory.
enum View {
    Plain(Plain),
    Tty(Tty),
    RawJson(RawJson),
    Quiet(Steps),
}

impl View {
    fn new(display: Display) -> View {
        match display {
            Display::Plain => View::Plain(Plain::default()),
            Display::Tty => View::Tty(Tty::default()),
            Display::RawJson => View::RawJson(RawJson::new(jiff::Timestamp::now())),
            Display::Quiet => View::Quiet(Steps::default()),
        }
    }

    fn lines(&mut self, event: &Event) -> Vec<String> {
        match self {
            View::Plain(plain) => plain.lines(event),
            View::Tty(tty) => tty.lines(event),
            View::RawJson(raw) => raw.lines(event),
            View::Quiet(steps) => quiet_lines(steps, event),
        }
    }
}

fn quiet_lines(steps: &mut Steps, event: &Event) -> Vec<String> {
    steps.take(event);
    match &event.kind {
        EventKind::Warning { message, .. } => {
            vec![format!("warning: {}", super::plain_text(message))]
        }
        EventKind::BuildFinished { ok: false } => steps.failure_tails(),
        _ => Vec::new(),
    }
}

fn paint(queue: &Queue, mut painter: Painter, mut view: View) {
    let redraws = matches!(view, View::Tty(_));
    let mut latest = (Duration::ZERO, Instant::now());
    while let Some((events, skipped)) = queue.next(!redraws) {
        let mut lines: Vec<String> = Vec::new();
        for event in &events {
            latest = (event.at, Instant::now());
            lines.extend(view.lines(event));
        }
        if skipped > 0 && !matches!(view, View::RawJson(_)) {
            let skipped = size(skipped);
            lines.push(format!("warning: {skipped} of output left out, nobody read it in time"));
        }
        let tail = match &view {
            View::Tty(tty) => tty.tail(latest.0 + latest.1.elapsed(), window()),
            _ => Vec::new(),
        };
        painter.draw(&lines, tail);
    }
    painter.draw(&[], Vec::new());
}

struct Painter {
    out: Box<dyn Write + Send>,
    /// Widths of the tail's lines that stand on the terminal.
    drawn: Vec<usize>,
}

impl Painter {
    /// Writes lines for good and a new tail in place of the old one. A reader that went away is no reason to fail.
    fn draw(&mut self, lines: &[String], tail: Vec<String>) {
        let mut text = String::new();
        if !self.drawn.is_empty() {
            // A narrower window has wrapped what was drawn.
            let width = window().width.max(1);
            let rows: usize = self.drawn.iter().map(|w| w.saturating_sub(1) / width + 1).sum();
            text.push_str(&format!("\r\x1b[{rows}A\x1b[J"));
        }
        for line in lines.iter().chain(&tail) {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = tail.iter().map(|line| line.width()).collect();
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// The size of the terminal behind standard error.
fn window() -> Window {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Window { width: size.ws_col.into(), height: size.ws_row.into() }
        }
        _ => Window { width: 80, height: 24 },
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::testing;
    use super::*;
    use progress::Emitter;
    use std::sync::mpsc;

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(display: Display) -> String {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let screen = Screen::start(display, Box::new(Shared(bytes.clone())));
        let emitter = Emitter::new(screen.sink());
        testing::failing_build().into_iter().for_each(|event| emitter.emit(event.kind));
        screen.finish(&Cancel::new());
        let bytes = bytes.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn everything_is_written_before_the_end() {
        assert!(shown(Display::Plain).ends_with("error: no\n------\n"));
        assert!(shown(Display::Tty).ends_with("error: no\n------\n"));
        assert!(shown(Display::Quiet).starts_with("warning: host network is used\n------\n"));
        assert_eq!(shown(Display::RawJson).lines().count(), 12);
    }

    #[test]
    fn a_terminal_that_stands_still_holds_nothing_up() {
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, gate) = mpsc::channel();
        let screen = Screen::start(Display::Plain, Box::new(Stuck(gate)));
        let emitter = Emitter::new(screen.sink());
        emitter.emit(testing::planned(1, "RUN yes"));
        let block = "y\n".repeat(32 * 1024);
        for _ in 0..400 {
            emitter.emit(testing::output(1, &block));
        }
        let queue = screen.queue.clone();
        assert!(queue.lock().output_bytes <= WAITING_BYTES_MAX);
        assert!(queue.lock().skipped_bytes > 0);
        // The wish to stop comes when everything but the terminal is done.
        let cancel = Cancel::new();
        let theirs = cancel.clone();
        let wish = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            theirs.on_signal(TERMINATE);
        });
        let begun = Instant::now();
        screen.finish(&cancel);
        let waited = begun.elapsed();
        assert!(waited > Duration::from_millis(300), "it waited for the terminal: {waited:?}");
        wish.join().expect("it cannot panic");
        assert!(!queue.lock().over, "the thread waits for the terminal");
        drop(release);
    }
}
