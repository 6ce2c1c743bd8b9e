//! Times as people read them in lists.

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

#[cfg(test)]
mod tests {
    #[test]
    fn dates_lose_what_nobody_reads() {
        assert_eq!(super::shown_date("2026-11-21T10:00:00.5Z"), "2026-11-21 10:00:00");
        assert_eq!(super::shown_time(0), "1970-01-01 00:00:00");
    }
}
