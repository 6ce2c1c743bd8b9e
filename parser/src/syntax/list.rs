//! VOLUME and EXPOSE: lists of words (VOL-01, LEX-80, LEX-93).

use super::{Fault, Line};
use crate::ast::{Kind, Word};

/// `VOLUME`, as words or in JSON form.
pub(super) fn volume(line: &Line<'_>) -> Result<Kind, Fault> {
    let volumes = json_or_words(line)?;
    if volumes.is_empty() {
        return Err(line.wrong_arguments("VOLUME requires at least one argument".to_owned()));
    }
    line.no_flags()?;
    let mut trimmed = Vec::with_capacity(volumes.len());
    for volume in volumes {
        let text = volume.text.trim();
        if text.is_empty() {
            let message = "VOLUME specified can not be an empty string".to_owned();
            return Err(line.wrong_arguments(message));
        }
        trimmed.push(Word { text: text.to_owned(), span: volume.span });
    }
    Ok(Kind::Volume(trimmed))
}

/// `EXPOSE`, as words only.
pub(super) fn expose(line: &Line<'_>) -> Result<Kind, Fault> {
    let ports = line.blank_words();
    if ports.is_empty() {
        return Err(line.wrong_arguments("EXPOSE requires at least one argument".to_owned()));
    }
    line.no_flags()?;
    Ok(Kind::Expose(ports.into_iter().map(|range| line.word(range)).collect()))
}

/// The strings of the JSON form, or else the words between blanks.
pub(super) fn json_or_words(line: &Line<'_>) -> Result<Vec<Word>, Fault> {
    Ok(match line.json_form()? {
        Some(strings) => strings
            .into_iter()
            .map(|(text, range)| Word { text, span: line.place(&range) })
            .collect(),
        None => line.blank_words().into_iter().map(|range| line.word(range)).collect(),
    })
}
