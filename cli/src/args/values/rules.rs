//! Values that say which earlier results may be used: policies, ages, steps.

use engine::{Address, MaxAge, PullPolicy};

use super::small::go_bool;
use crate::args::UsageError;

/// `--pull`: docker's switch, or a policy in podman's words (CLI-35).
pub(crate) fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" | "ifmissing" => Ok(PullPolicy::Missing),
        "newer" | "ifnewer" => Ok(PullPolicy::Newer),
        "never" => Ok(PullPolicy::Never),
        other => match go_bool(other) {
            Ok(true) => Ok(PullPolicy::Always),
            Ok(false) => Ok(PullPolicy::Missing),
            Err(_) => Err("want always, missing, newer or never".to_owned()),
        },
    }
}

/// A length of time in milliseconds: a number with a unit (`90m`, `1.5h`, `7d`), or several in a row (`1h30m`). The
/// units are Go's, days and weeks.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit_ms = match unit {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            "w" => 604_800_000.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * unit_ms;
        rest = tail;
    }
    (!text.is_empty() && sum < u64::MAX as f64).then_some(sum as u64)
}

/// `--max-age`: an age, and for which steps.
pub(crate) fn max_ages(texts: &[String]) -> Result<Vec<MaxAge>, UsageError> {
    let one = |text: &String| {
        let (shown, steps) = match text.split_once(':') {
            Some((age, steps)) => (age, Some(steps)),
            None => (text.as_str(), None),
        };
        let age_ms = duration_ms(shown).ok_or_else(|| {
            UsageError::new(format!("{shown:?} is no age")).of_flag("--max-age", text).with_hint(
                "write a number and a unit, such as 90m, 24h or 7d, and :STAGE for one stage",
            )
        })?;
        let steps = steps.map(|steps| step("--max-age", text, steps)).transpose()?;
        Ok(MaxAge { age_ms, shown: shown.to_owned(), steps })
    };
    texts.iter().map(one).collect()
}

/// Steps as `--expect-cached` and `--no-cache-from` name them.
pub(crate) fn steps(flag: &str, texts: &[String]) -> Result<Vec<Address>, UsageError> {
    texts.iter().map(|text| step(flag, text, text)).collect()
}

fn step(flag: &str, given: &str, text: &str) -> Result<Address, UsageError> {
    text.parse().map_err(|error: engine::AddressError| {
        let failed = UsageError::new(error.to_string()).of_flag(flag, given);
        match error.hint() {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_is_a_switch_or_a_policy() {
        let check = |texts: &[&str], want: PullPolicy| {
            for text in texts {
                assert_eq!(pull_policy(text), Ok(want), "{text}");
            }
        };
        check(&["always", "true", "1", "T"], PullPolicy::Always);
        check(&["missing", "ifmissing", "false", "0"], PullPolicy::Missing);
        check(&["newer", "ifnewer"], PullPolicy::Newer);
        check(&["never"], PullPolicy::Never);
        for text in ["", "yes", "Always", "if-newer"] {
            assert!(pull_policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_have_units() {
        let good =
            [("90m", 5_400_000), ("24h", 86_400_000), ("7d", 604_800_000), ("2w", 1_209_600_000)];
        for (text, want) in
            good.into_iter().chain([("1h30m", 5_400_000), ("1.5s", 1500), ("0s", 0), ("5ms", 5)])
        {
            assert_eq!(duration_ms(text), Some(want), "{text}");
        }
        for text in [
            "",
            "24",
            "h",
            "24x",
            "-1h",
            "1h30",
            "1..5h",
            " 1h",
            "1 h",
            "1h-2m",
            "9999999999999999999d",
        ] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn an_age_may_be_for_some_steps() {
        let ages =
            max_ages(&["7d".to_owned(), "1h:build:3".to_owned(), "2h:Dockerfile:9".to_owned()]);
        let ages = ages.expect("good");
        let said = |age: &MaxAge| (age.age_ms, age.steps.as_ref().map(ToString::to_string));
        assert_eq!(said(&ages[0]), (604_800_000, None));
        assert_eq!(said(&ages[1]), (3_600_000, Some("build:3".to_owned())));
        assert_eq!(said(&ages[2]), (7_200_000, Some("Dockerfile:9".to_owned())));
        for text in ["build", ":build", "1h:", "1h:build:x", "1h::"] {
            assert!(max_ages(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
