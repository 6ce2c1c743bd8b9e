//! When a request is tried again and how long to wait. The only place that waits; all times are settings.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime};

use crate::error::Cause;

/// How often and how fast requests are repeated after a failure that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// Wait before the second try; each further one is three times as long. Half of it is random.
    pub first_delay: Duration,
    /// Longest wait that this client chooses.
    pub max_delay: Duration,
    /// Longest wait that a registry's `Retry-After` may ask for; more than this ends the tries.
    pub max_retry_after: Duration,
}

/// Who said nothing for the whole of a timeout is asked once more: the connection may have been lost. Twice is enough
/// to know, and each further try would be as long.
const SILENCES_MAX: u32 = 2;

impl RetryPolicy {
    /// For real networks: four tries within some seconds.
    pub fn standard() -> RetryPolicy {
        RetryPolicy {
            tries: 4,
            first_delay: Duration::from_millis(300),
            max_delay: Duration::from_secs(10),
            max_retry_after: Duration::from_secs(120),
        }
    }

    /// Time to wait before try number `next` (from 2), or `None` when it is time to give up.
    pub(crate) fn delay(&self, next: u32, cause: &Cause) -> Option<Duration> {
        let tries = if cause.is_silence() { self.tries.min(SILENCES_MAX) } else { self.tries };
        if next > tries || !cause.is_temporary() {
            return None;
        }
        let factor = 3u32.saturating_pow(next.saturating_sub(2));
        let full = self.first_delay.saturating_mul(factor).min(self.max_delay);
        let own = full / 2 + (full / 2).mul_f64(random_fraction());
        match cause.retry_after() {
            Some(asked) if asked > self.max_retry_after => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

/// Reads `Retry-After`: seconds or an HTTP date.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(secs) = value.parse::<u64>() {
        return Some(Duration::from_secs(secs));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let then = SystemTime::from(date);
    Some(then.duration_since(now).unwrap_or_default())
}

/// The time, for dates in `Retry-After` and for signatures alone.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// A number from 0 to 1. Only spreads waits, so the hash seed's randomness is enough.
fn random_fraction() -> f64 {
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    f64::from((bits >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse_retry_after(text, now), expect.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10));
        check("Sun, 06 Nov 1994 08:49:27 GMT", Some(0));
        check("soon", None);
    }

    #[test]
    fn waits_grow_and_end() {
        let policy = RetryPolicy { tries: 3, ..RetryPolicy::standard() };
        let cause = Cause::status(503, None, String::new());
        let second = policy.delay(2, &cause).expect("a second try");
        let third = policy.delay(3, &cause).expect("a third try");
        assert!(second >= Duration::from_millis(150) && second <= Duration::from_millis(300));
        assert!(third >= Duration::from_millis(450) && third <= Duration::from_millis(900));
        assert_eq!(policy.delay(4, &cause), None);
        let asked = |secs| Cause::status(429, Some(Duration::from_secs(secs)), String::new());
        assert_eq!(policy.delay(2, &asked(5)), Some(Duration::from_secs(5)));
        assert_eq!(policy.delay(2, &asked(500)), None);
        assert_eq!(policy.delay(2, &Cause::status(404, None, String::new())), None);
        let cut = |source| Cause::Cut { what: "the blob", done_bytes: 1, size_bytes: 2, source };
        let silence = || cut(Some(std::io::ErrorKind::TimedOut.into()));
        assert!(policy.delay(2, &silence()).is_some());
        assert_eq!(policy.delay(3, &silence()), None);
        assert!(policy.delay(3, &cut(None)).is_some());
    }
}
