//! What servers of Amazon's kind say: errors in XML, dates of headers.

use jiff::Timestamp;

use crate::xml;

/// The code of an error document; empty when it is none.
pub(super) fn error_code(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let error = xml::texts(&text, "Error").next().unwrap_or_default();
    xml::text(error, "Code").unwrap_or_default()
}

/// Code and message of an error document. Its other members are not shown: they quote what was signed.
pub(super) fn error_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let error = xml::texts(&text, "Error").next()?;
    let member = |name| xml::text(error, name).unwrap_or_default();
    Some(format!("{}: {}", member("Code"), member("Message")))
}

/// A date of a header.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}
