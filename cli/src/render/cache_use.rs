//! What the cache was good for in a build: the line at its end.

use std::sync::Arc;

use progress::VertexInfo;

use super::escape::plain_text;
use super::time::shown_seconds;

/// Counts steps of stages. Images do not count, nor what is done for a step behind the scenes.
#[derive(Default)]
pub(crate) struct CacheUse {
    reused: usize,
    saved_ms: u64,
    ran: usize,
    /// The first instruction of the file that ran.
    first: Option<(Arc<str>, u32)>,
}

impl CacheUse {
    /// A step was taken from the cache that took so long when it ran.
    pub(crate) fn reused(&mut self, step: Option<&VertexInfo>, saved_ms: u64) {
        self.saved_ms = self.saved_ms.saturating_add(saved_ms);
        self.reused += usize::from(step.is_some_and(is_step));
    }

    /// A step began to run.
    pub(crate) fn ran(&mut self, step: Option<&VertexInfo>) {
        let Some(step) = step.filter(|step| is_step(step)) else { return };
        self.ran += 1;
        let Some(line) = step.line else { return };
        if self.first.as_ref().is_none_or(|(_, first)| line < *first) {
            self.first = Some((step.file.clone(), line));
        }
    }

    /// `cache: 5 reused (saved 61s), 2 ran`, and where the first change is if some were reused and some ran.
    pub(crate) fn line(&self) -> Option<String> {
        if self.reused + self.ran == 0 {
            return None;
        }
        let saved = match self.saved_ms {
            0..100 => String::new(),
            saved_ms => format!(" (saved {})", time(saved_ms)),
        };
        let counts = format!("cache: {} reused{saved}, {} ran", self.reused, self.ran);
        Some(match &self.first {
            Some((file, line)) if self.reused > 0 => {
                format!("{counts}. First change: {}:{line}", plain_text(file))
            }
            _ => counts,
        })
    }
}

fn is_step(info: &VertexInfo) -> bool {
    !info.stage.is_empty()
}

/// A time for people: `0.4s`, `61s`, `12m5s`, `3h2m`.
fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => shown_seconds(ms),
        10..120 => format!("{seconds}s"),
        120..7200 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_was_saved_and_where_the_change_is() {
        let of_stage = |stage: &str, line| VertexInfo {
            name: String::new(),
            stage: stage.to_owned(),
            file: "app.Dockerfile".into(),
            line,
            inputs: Vec::new(),
        };
        let step = |line| of_stage("build", line);
        let mut used = CacheUse::default();
        assert_eq!(used.line(), None);
        used.ran(Some(&step(Some(9))));
        assert_eq!(used.line().as_deref(), Some("cache: 0 reused, 1 ran"));
        used.reused(Some(&step(Some(1))), 60_500);
        used.reused(Some(&step(Some(2))), 500);
        used.reused(Some(&of_stage("", Some(2))), 100);
        used.ran(Some(&step(Some(7))));
        used.ran(Some(&step(Some(8))));
        used.ran(Some(&step(None)));
        used.ran(Some(&of_stage("", Some(1))));
        used.ran(None);
        let want = "cache: 2 reused (saved 61s), 4 ran. First change: app.Dockerfile:7";
        assert_eq!(used.line().as_deref(), Some(want));
        let mut all = CacheUse::default();
        all.reused(Some(&step(Some(1))), 99);
        assert_eq!(all.line().as_deref(), Some("cache: 1 reused, 0 ran"));
    }

    #[test]
    fn times_are_short() {
        let all = [100, 1250, 9999, 10_000, 119_999, 725_000, 10_920_000].map(time);
        assert_eq!(all, ["0.1s", "1.2s", "9.9s", "10s", "119s", "12m5s", "3h2m"]);
    }
}
