//! What a person sees of a build: pure functions from the event stream to lines, and the screens that write them.
//!
//! Owns wording and layout of progress and errors. Refuses to know the engine: it reads events and diagnostics.

mod advice;
mod cache_use;
mod call;
mod check;
mod error;
mod escape;
mod explain;
mod format;
mod human;
mod mask;
mod plain;
mod rawjson;
mod screen;
mod steps;
mod table;
mod time;
mod transfers;
mod tty;

pub(crate) use call::{
    check_json, describe_json, describe_text, outline_json, outline_text, targets_json,
    targets_text,
};
pub(crate) use check::check_report;
pub(crate) use error::{Report, Style, causes, render_report};
pub(crate) use escape::plain_text;
pub(crate) use explain::{Explained, ExplainedPlace, explain_json, explain_text};
pub(crate) use format::{Format, plain_values, row};
pub(crate) use human::{human_duration, human_size};
pub(crate) use mask::masked;
pub(crate) use rawjson::finding_status;
pub(crate) use screen::{Display, LAST_WORDS, Screen};
pub(crate) use steps::size;
pub(crate) use table::{Table, shortened};
pub(crate) use time::{
    date_secs, moment, now_secs, shown_date, shown_moment, shown_seconds, shown_time,
};
