//! FROM (FROM-01, FROM-02).

use super::flags::Takes;
use super::{Fault, Line, shown};
use crate::ast::{From, Kind, Word};
use crate::quote::go_quote;

/// `FROM [--platform=P] image [AS name]`.
pub(super) fn from(line: &Line<'_>) -> Result<Kind, Fault> {
    let words = line.blank_words();
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, keyword, name] if line.text(keyword).eq_ignore_ascii_case("as") => {
            (image, Some((line.word(keyword.clone()), stage_name(line, name)?)))
        }
        _ => {
            let message = "FROM requires either one or three arguments".to_owned();
            let fault = line.wrong_arguments(message);
            return Err(fault.help("write FROM image or FROM image AS name"));
        }
    };
    let flags = line.flags(&[("platform", Takes::Value)])?;
    let (as_keyword, name) = name.unzip();
    Ok(Kind::From(From {
        platform: flags.value("platform"),
        image: line.word(image.clone()),
        as_keyword,
        name,
    }))
}

fn stage_name(line: &Line<'_>, range: &std::ops::Range<usize>) -> Result<Word, Fault> {
    let word = line.word(range.clone());
    let mut chars = word.text.chars().map(|c| c.to_ascii_lowercase());
    let is_valid = chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if is_valid {
        return Ok(word);
    }
    let message = format!(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        go_quote(&shown(&word.text))
    );
    let fault = Fault::new("stage-name", message).at(range.clone(), "");
    Err(fault.help("a name is a letter, then letters, digits, -, _ and ."))
}
