//! SOURCE_DATE_EPOCH: which one holds, and what it means (EPO-01 to EPO-06).

use oci::Platform;
use parser::ast::Dockerfile;

use crate::scope::Variables;
use crate::{ContextValue, LowerRequest, context_value};

pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// The epoch of a build in seconds since 1970. `globals` are the file's global arguments, build arguments put in.
///
/// # Errors
/// The message to show when the value is none (EPO-03).
pub(crate) fn resolve(
    request: &LowerRequest,
    globals: &Variables,
    file: &Dockerfile,
    platform: &Platform,
) -> Result<Option<i64>, String> {
    if request.epoch.is_some() {
        return Ok(request.epoch);
    }
    let value = request.build_arg(NAME).or_else(|| globals.get(NAME)).unwrap_or("");
    if value.is_empty() {
        return Ok(None); // EPO-02
    }
    if let Ok(seconds) = value.parse::<i64>() {
        return Ok(Some(seconds));
    }
    if value == "context" {
        return Ok(request.context_epoch); // EPO-04
    }
    if let Some(context) = context_value::find(&request.contexts, value, platform) {
        return match context.value {
            ContextValue::Local(_) | ContextValue::Scratch => Ok(None),
            _ => Err(format!("invalid {NAME}: {value}: the time of this context is not known yet")),
        };
    }
    let is_stage = |name: &str| name.eq_ignore_ascii_case(value);
    let mut names = file.stages.iter().filter_map(crate::outline::stage_name);
    if names.any(|name| is_stage(&name)) {
        return Err(format!("invalid {NAME}: {value}: the time of a stage is not supported"));
    }
    Err(format!("invalid {NAME}: {value}"))
}
