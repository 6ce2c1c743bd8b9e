//! Times as people read them in lists, and as programs do.

use super::plain_text;

/// Seconds since 1970 as `2026-11-21 15:04:05`, UTC.
pub(crate) fn shown_time(secs: i64) -> String {
    shown_date(&moment(secs))
}

/// An RFC 3339 time, without its fraction.
pub(crate) fn shown_date(date: &str) -> String {
    let seconds: String = date.chars().take(19).collect();
    plain_text(&seconds.replace('T', " ")).into_owned()
}

/// Seconds since 1970 as RFC 3339, for programs.
pub(crate) fn moment(secs: i64) -> String {
    jiff::Timestamp::from_second(secs).map_or(String::new(), |time| time.to_string())
}

/// Seconds since 1970 of an RFC 3339 time; `None` for one that cannot be read.
pub(crate) fn date_secs(date: &str) -> Option<i64> {
    date.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// A time as Go prints it, UTC; the year 1 for none.
pub(crate) fn shown_moment(secs: Option<i64>) -> String {
    let text = secs.map_or("0001-01-01 00:00:00".to_owned(), shown_time);
    format!("{text} +0000 UTC")
}

/// The present time, in seconds since 1970.
pub(crate) fn now_secs() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Milliseconds as seconds: `61.2s`.
pub(crate) fn shown_seconds(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_lose_what_nobody_reads() {
        assert_eq!(super::shown_date("2026-11-21T10:00:00.5Z"), "2026-11-21 10:00:00");
        assert_eq!(super::shown_time(0), "1970-01-01 00:00:00");
        assert_eq!(super::shown_moment(Some(0)), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(super::date_secs("1970-01-01T01:00:01.5+01:00"), Some(1));
        assert_eq!(super::date_secs("yesterday"), None);
        assert_eq!(super::shown_seconds(61_250), "61.2s");
    }
}
