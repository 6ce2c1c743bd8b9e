//! Sizes and lengths of time in docker's words.

/// A size with so many digits that count, in units of 1000.
pub(crate) fn human_size(bytes: u64, digits: u32) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    loop {
        // What would be rounded to 1000 is one of the next unit.
        let limit = 1000.0 - 0.5 * 10f64.powi(3 - digits as i32);
        if value < limit || unit + 1 == UNITS.len() {
            break;
        }
        value /= 1000.0;
        unit += 1;
    }
    let before = if value >= 100.0 { 3 } else { 1 + u32::from(value >= 10.0) };
    let decimals = digits.saturating_sub(before) as usize;
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", UNITS[unit])
}

/// A length of time in its largest unit.
pub(crate) fn human_duration(secs: i64) -> String {
    let (minutes, hours) = (secs / 60, (secs + 1800) / 3600);
    match secs {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{secs} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", secs / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_docker_s() {
        let three = [0, 10, 999, 1000, 3345, 3355, 1_237_912, 999_600, 123_456_789_000];
        let three = three.map(|bytes| human_size(bytes, 3));
        assert_eq!(
            three,
            ["0B", "10B", "999B", "1kB", "3.35kB", "3.35kB", "1.24MB", "1MB", "123GB"]
        );
        let four = [3355, 1_237_912, 1_234_567, 999_960].map(|bytes| human_size(bytes, 4));
        assert_eq!(four, ["3.355kB", "1.238MB", "1.235MB", "1MB"]);
    }

    #[test]
    fn lengths_of_time_are_docker_s() {
        let hour = 3600;
        let all = [0, 1, 59, 60, 119, 120, 3599, 3600, 5400, 47 * hour, 48 * hour, 13 * 24 * hour];
        let texts = all.map(human_duration);
        let want = [
            "Less than a second",
            "1 second",
            "59 seconds",
            "About a minute",
            "About a minute",
            "2 minutes",
            "59 minutes",
            "About an hour",
            "2 hours",
            "47 hours",
            "2 days",
            "13 days",
        ];
        assert_eq!(texts, want);
        let day = 24 * hour;
        let texts = [14 * day, 60 * day, 400 * day, 731 * day].map(human_duration);
        assert_eq!(texts, ["2 weeks", "2 months", "13 months", "2 years"]);
    }
}
