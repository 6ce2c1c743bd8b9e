//! The JSON form of arguments (LEX-81 to LEX-86).

use std::ops::Range;

use super::{Fault, Line};
use crate::json;

impl Line<'_> {
    /// The strings of arguments in JSON form with their places in the line; `None` when they have
    /// another form, which includes JSON with a mistake (LEX-82).
    ///
    /// # Errors
    /// A well-formed array with something in it that is no string (LEX-83).
    pub(super) fn json_form(&self) -> Result<Option<Strings>, Fault> {
        array(self.args()).map(|members| strings(members, self.args.start)).transpose()
    }
}

/// Strings with their places in the line.
pub(super) type Strings = Vec<(String, Range<usize>)>;

/// The members of a text that is one JSON array.
pub(super) fn array(text: &str) -> Option<Vec<json::Member>> {
    if text.starts_with('[') { json::members(text) } else { None }
}

/// The strings of an array that stands at an offset of the line.
pub(super) fn strings(members: Vec<json::Member>, offset: usize) -> Result<Strings, Fault> {
    let mut strings = Vec::with_capacity(members.len());
    for member in members {
        let range = offset + member.range.start..offset + member.range.end;
        let Some(text) = member.text else {
            let message = "when using JSON array syntax, arrays must be comprised of strings only";
            return Err(Fault::plain("json-form", message).at(range, "no string"));
        };
        strings.push((text, range));
    }
    Ok(strings)
}
