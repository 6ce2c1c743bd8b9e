//! What a step moves at the moment: an item a line, with its bytes and their rate.
//!
//! A pure function of the events: times are theirs.

use std::time::Duration;

use super::escape::plain_text;
use super::steps::size;

/// Items that a step shows at once.
const SHOWN_MAX: usize = 4;
/// A rate is shown of what took at least this long.
const RATE_AFTER: Duration = Duration::from_millis(500);

/// The transfers of one step that have not ended.
#[derive(Default)]
pub(crate) struct Transfers(Vec<Transfer>);

struct Transfer {
    item: String,
    done_bytes: u64,
    total_bytes: Option<u64>,
    /// The first that was heard of it.
    first: (Duration, u64),
    last: Duration,
}

impl Transfers {
    /// An item has come so far.
    pub(crate) fn take(
        &mut self,
        item: &str,
        done_bytes: u64,
        total_bytes: Option<u64>,
        at: Duration,
    ) {
        if total_bytes == Some(done_bytes) {
            self.0.retain(|transfer| transfer.item != item);
            return;
        }
        match self.0.iter_mut().find(|transfer| transfer.item == item) {
            Some(transfer) => {
                // One that begins anew has another rate.
                if done_bytes < transfer.done_bytes {
                    transfer.first = (at, done_bytes);
                }
                (transfer.done_bytes, transfer.last) = (done_bytes, at);
            }
            None => self.0.push(Transfer {
                item: item.to_owned(),
                done_bytes,
                total_bytes,
                first: (at, done_bytes),
                last: at,
            }),
        }
    }

    /// A line for each, safe to print.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.0.iter().take(SHOWN_MAX).map(Transfer::line).collect();
        if let Some(hidden) = self.0.len().checked_sub(SHOWN_MAX).filter(|hidden| *hidden > 0) {
            lines.push(format!("and {hidden} more"));
        }
        lines
    }
}

impl Transfer {
    fn line(&self) -> String {
        let item = plain_text(&self.item);
        let done = size(self.done_bytes);
        let rate = self.rate().map(|rate| format!("  {}/s", size(rate))).unwrap_or_default();
        match self.total_bytes {
            Some(total) => format!("{item} {done} / {}{rate}", size(total)),
            None => format!("{item} {done}{rate}"),
        }
    }

    /// Bytes a second since it was first heard of.
    fn rate(&self) -> Option<u64> {
        let (since, from_bytes) = self.first;
        let took = self.last.saturating_sub(since);
        let came = self.done_bytes.saturating_sub(from_bytes);
        (took >= RATE_AFTER && came > 0).then(|| (came as f64 / took.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_item_has_its_bytes_and_rate_until_it_is_there() {
        let mut transfers = Transfers::default();
        transfers.take("aa", 1_000_000, Some(9_000_000), ms(0));
        transfers.take("b\x1b", 500, None, ms(10));
        assert_eq!(transfers.lines(), ["aa 1.0MB / 9.0MB", "b\\x1b 500B"]);
        transfers.take("aa", 5_000_000, Some(9_000_000), ms(2000));
        assert_eq!(transfers.lines()[0], "aa 5.0MB / 9.0MB  2.0MB/s");
        // It was cut and begins anew.
        transfers.take("aa", 1_000_000, Some(9_000_000), ms(3000));
        assert_eq!(transfers.lines()[0], "aa 1.0MB / 9.0MB");
        transfers.take("aa", 9_000_000, Some(9_000_000), ms(4000));
        assert_eq!(transfers.lines(), ["b\\x1b 500B"]);
    }

    #[test]
    fn many_items_are_counted() {
        let mut transfers = Transfers::default();
        (0..7).for_each(|n| transfers.take(&format!("layer {n}"), 1, Some(2), ms(n)));
        assert_eq!(transfers.lines().len(), 5);
        assert_eq!(transfers.lines()[4], "and 3 more");
    }
}
