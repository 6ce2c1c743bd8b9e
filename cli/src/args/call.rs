//! `--call` and what is short for it: what to do with the Dockerfile instead of a build (CALL-01).

use super::values::{csv_fields, go_bool};
use super::{BuildArgs, UsageError};

/// What is asked of a Dockerfile, and how the answer shall look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What is asked.
    pub(crate) method: Method,
    /// The answer is JSON.
    pub(crate) is_json: bool,
    /// Findings of checks do not change the exit code.
    pub(crate) ignores_status: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A build.
    Build,
    /// What checks find.
    Check,
    /// What the target can be given.
    Outline,
    /// Which stages there are.
    Targets,
    /// Which of these methods there are.
    Describe,
}

/// Reads `--call`, `--print` and `--check`.
pub(super) fn call(typed: &BuildArgs) -> Result<Call, UsageError> {
    let text = typed.call.as_deref().or(typed.print.as_deref()).unwrap_or_default();
    let mut call = parse(text)?;
    if typed.check && call.method == Method::Build {
        call.method = Method::Check;
    }
    Ok(call)
}

/// `METHOD[,format=json][,ignorestatus=BOOL]`.
fn parse(text: &str) -> Result<Call, UsageError> {
    let mut call = Call { method: Method::Build, is_json: false, ignores_status: false };
    let mut named = false;
    for field in csv_fields(text)? {
        match field.split_once('=') {
            Some(("format", format)) => call.is_json = is_json(format)?,
            Some(("ignorestatus", value)) => {
                call.ignores_status = go_bool(value).map_err(|_| {
                    UsageError::new(format!("invalid ignorestatus value of --call: {value}"))
                })?;
            }
            Some(_) => return Err(UsageError::new(format!("invalid field of --call: {field}"))),
            None if named => {
                return Err(UsageError::new(format!("invalid value of --call: {text}")));
            }
            None => {
                named = true;
                call.method = method(&field)?;
            }
        }
    }
    Ok(call)
}

fn is_json(format: &str) -> Result<bool, UsageError> {
    match format {
        "json" => Ok(true),
        "" | "text" => Ok(false),
        _ => Err(UsageError::new(format!("invalid format of --call: {format}"))
            .with_hint("the formats are text and json")),
    }
}

fn method(name: &str) -> Result<Method, UsageError> {
    match name {
        "" | "build" => Ok(Method::Build),
        "check" | "lint" => Ok(Method::Check),
        "outline" => Ok(Method::Outline),
        "targets" => Ok(Method::Targets),
        "subrequests.describe" => Ok(Method::Describe),
        other => Err(UsageError::new(format!("unsupported method of --call: {other}"))
            .with_hint("the methods are build, check, outline, targets and subrequests.describe")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_their_options() {
        let good = |text: &str| {
            let call = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            (call.method, call.is_json, call.ignores_status)
        };
        assert_eq!(good(""), (Method::Build, false, false));
        assert_eq!(good("build,format=json"), (Method::Build, true, false));
        assert_eq!(good("lint"), (Method::Check, false, false));
        assert_eq!(good("check,format=json,ignorestatus=1"), (Method::Check, true, true));
        assert_eq!(good("format=json,outline"), (Method::Outline, true, false));
        assert_eq!(good("targets,format=text"), (Method::Targets, false, false));
        assert_eq!(good("subrequests.describe"), (Method::Describe, false, false));
        for text in ["convertllb", "check,check", "check,x=y", "check,ignorestatus=maybe"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("check,format=yaml").is_err());
    }
}
