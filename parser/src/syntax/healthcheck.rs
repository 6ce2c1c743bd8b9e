//! HEALTHCHECK (HEAL-01 to HEAL-05) and Go's durations.

use super::flags::{Flags, Takes};
use super::{Fault, Line, json_form, shown};
use crate::ast::{Command, Healthcheck, Kind};
use crate::quote::go_quote;

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

/// The shortest time that may be given.
const TIME_MIN_NS: i64 = 1_000_000;

/// `HEALTHCHECK NONE` or `HEALTHCHECK [options] CMD command`.
pub(super) fn healthcheck(line: &Line<'_>) -> Result<Kind, Fault> {
    if line.args.is_empty() {
        let message = "HEALTHCHECK requires at least one argument".to_owned();
        return Err(line.wrong_arguments(message));
    }
    let args = line.args();
    let (word_end, command_start) = word_and_command(line);
    let command = &args[command_start..];
    let word = args[..word_end].to_uppercase();
    if word == "NONE" {
        if !command.is_empty() {
            let message = "HEALTHCHECK NONE takes no arguments";
            let range = line.in_args(&(command_start..args.len()));
            return Err(Fault::new("healthcheck", message).at(range, ""));
        }
        return Ok(Kind::Healthcheck(Healthcheck::None)); // Flags are never looked at (LEX-66).
    }
    let command = command_of(line, command_start)?;
    let flags = line.flags(&FLAGS)?;
    if word != "CMD" {
        let word = go_quote(&shown(&word));
        let message = format!("Unknown type {word} in HEALTHCHECK (try CMD)");
        return Err(Fault::new("healthcheck", message).at(line.in_args(&(0..word_end)), ""));
    }
    if matches!(&command, Command::Shell(text) if text.is_empty())
        || command == Command::Exec(Vec::new())
    {
        return Err(line.wrong_arguments("Missing command after HEALTHCHECK CMD".to_owned()));
    }
    Ok(Kind::Healthcheck(Healthcheck::Cmd {
        command,
        interval_ns: time(&flags, "interval")?,
        timeout_ns: time(&flags, "timeout")?,
        start_period_ns: time(&flags, "start-period")?,
        start_interval_ns: time(&flags, "start-interval")?,
        retries: retries(&flags)?,
    }))
}

/// Whether a command in JSON form has strings only.
pub(super) fn check_form(line: &Line<'_>) -> Result<(), Fault> {
    command_of(line, word_and_command(line).1).map(|_| ())
}

/// Where the first word of the arguments ends and where the command begins.
fn word_and_command(line: &Line<'_>) -> (usize, usize) {
    let args = line.args();
    let word_end = args.find(char::is_whitespace).unwrap_or(args.len());
    (word_end, args.len() - args[word_end..].trim_start().len())
}

fn command_of(line: &Line<'_>, start: usize) -> Result<Command, Fault> {
    let text = &line.args()[start..];
    let Some(members) = json_form::array(text) else { return Ok(Command::Shell(text.to_owned())) };
    let offset = line.args.start + start;
    json_form::strings(members, offset)
        .map(|strings| Command::Exec(strings.into_iter().map(|(text, _)| text).collect()))
}

/// The value of a time flag in nanoseconds, 0 when absent or empty (HEAL-02, HEAL-03).
fn time(flags: &Flags, name: &str) -> Result<i64, Fault> {
    let Some(value) = flags.value(name) else { return Ok(0) };
    let message = match duration_ns(&value.text) {
        Ok(ns) if ns == 0 || ns >= TIME_MIN_NS => return Ok(ns),
        Ok(_) => format!("Interval \"{name}\" cannot be less than 1ms"),
        Err(message) => message,
    };
    Err(Fault::new("healthcheck", message).at(value.span, ""))
}

fn retries(flags: &Flags) -> Result<i64, Fault> {
    let Some(value) = flags.value("retries") else { return Ok(0) };
    let message = match value.text.parse::<i32>() {
        Ok(count) if count >= 0 => return Ok(count.into()),
        Ok(count) => format!("--retries cannot be negative ({count})"),
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let is_range = matches!(error.kind(), PosOverflow | NegOverflow);
            let reason = if is_range { "value out of range" } else { "invalid syntax" };
            format!("strconv.ParseInt: parsing {}: {reason}", go_quote(&shown(&value.text)))
        }
    };
    Err(Fault::new("healthcheck", message).at(value.span, ""))
}

/// A duration as Go reads it: `1m30s`, `1.5h`, `-3ms`, `0`. In nanoseconds, or Go's message.
fn duration_ns(text: &str) -> Result<i64, String> {
    let quoted = || go_quote(&shown(text));
    let invalid = || format!("time: invalid duration {}", quoted());
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_end =
            rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quoted()));
        }
        let Some(unit_ns) = unit_ns(unit) else {
            let unit = go_quote(&shown(unit));
            return Err(format!("time: unknown unit {unit} in duration {}", quoted()));
        };
        let part = scaled(whole, fraction, unit_ns).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    let ns = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if is_negative { -ns } else { ns })
}

fn unit_ns(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A decimal number of units; `None` when it does not fit. Digits too small to matter are cut.
fn scaled(whole: &str, fraction: &str, unit_ns: u128) -> Option<u128> {
    const FRACTION_DIGITS_MAX: usize = 18;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let parts: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let parts_of_unit = u128::from(parts) * unit_ns / 10u128.pow(fraction.len() as u32);
    Some(u128::from(whole) * unit_ns + parts_of_unit)
}

#[cfg(test)]
mod tests {
    use super::duration_ns;

    #[test]
    fn durations_as_go_reads_them() {
        let cases = [
            ("0", Ok(0)),
            ("1m30s", Ok(90_000_000_000)),
            ("1.5h", Ok(5_400_000_000_000)),
            (".5s", Ok(500_000_000)),
            ("2.s", Ok(2_000_000_000)),
            ("-3ms", Ok(-3_000_000)),
            ("+1us", Ok(1_000)),
            ("7ns", Ok(7)),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("", Err("time: invalid duration \"\"")),
            ("abc", Err("time: invalid duration \"abc\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("5x", Err("time: unknown unit \"x\" in duration \"5x\"")),
            ("3000000h", Err("time: invalid duration \"3000000h\"")),
        ];
        for (text, expect) in cases {
            assert_eq!(duration_ns(text), expect.map_err(str::to_owned), "{text}");
        }
    }
}
