//! Attributes as typed: each is taken once, and what nobody took is an error that names it.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::args::UsageError;
use crate::args::values::go_bool;

/// The attributes of one value.
pub(super) struct Attributes {
    flag: &'static str,
    kind: String,
    values: BTreeMap<String, String>,
    /// Those that were asked for, whether they were there or not.
    known: Vec<&'static str>,
}

impl Attributes {
    /// Splits fields at their first `=`. Names are read in any case, as the reference reads them.
    pub(super) fn read(flag: &'static str, fields: &[String]) -> Result<Attributes, UsageError> {
        let mut values = BTreeMap::new();
        for field in fields {
            let Some((name, value)) = field.split_once('=') else {
                let hint = match values.is_empty() && field.parse::<oci::Reference>().is_ok() {
                    true => format!("with attributes, write type=registry,ref={field},KEY=VALUE"),
                    false => "write attributes as key=value, with commas between them".to_owned(),
                };
                let message = format!("invalid value {field} of {flag}");
                return Err(UsageError::new(message).with_hint(hint));
            };
            values.insert(name.trim().to_ascii_lowercase(), value.to_owned());
        }
        match values.remove("type").filter(|kind| !kind.is_empty()) {
            Some(kind) => Ok(Attributes { flag, kind, values, known: vec!["type"] }),
            None => {
                let names: Vec<&str> = values.keys().map(String::as_str).collect();
                let message = format!("type required for {flag} with {}", names.join(", "));
                Err(UsageError::new(message).with_hint("begin with type=registry or type=local"))
            }
        }
    }

    /// The flag, for messages.
    pub(super) fn flag(&self) -> &'static str {
        self.flag
    }

    /// The type.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.values.remove(name)
    }

    /// Takes a text that must be there and not empty.
    pub(super) fn required(
        &mut self,
        name: &'static str,
        message: &str,
    ) -> Result<String, UsageError> {
        let text = self.text(name).filter(|text| !text.is_empty());
        text.ok_or_else(|| {
            let what = match name {
                "ref" => "NAME:TAG",
                "src" | "dest" => "DIR",
                _ => "VALUE",
            };
            let (flag, kind) = (self.flag, &self.kind);
            UsageError::new(message).with_hint(format!("write {flag} type={kind},{name}={what}"))
        })
    }

    /// Takes a switch.
    pub(super) fn switch(&mut self, name: &'static str, default: bool) -> Result<bool, UsageError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        go_bool(&text).map_err(|_| {
            UsageError::new(format!("failed to parse {name} of {}: want true or false", self.flag))
        })
    }

    /// Takes a number.
    pub(super) fn number<T: FromStr>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, UsageError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            UsageError::new(format!("non-integer value {text:?} specified for {name}"))
        })
    }

    /// Takes away all of `names` that are there, and says which those were.
    pub(super) fn take_all(&mut self, names: &[&'static str]) -> Vec<&'static str> {
        names.iter().copied().filter(|name| self.values.remove(*name).is_some()).collect()
    }

    /// Everything must have been taken.
    pub(super) fn finish(self) -> Result<(), UsageError> {
        let Some(name) = self.values.keys().next() else { return Ok(()) };
        let meant = parser::did_you_mean(name, self.known.iter().copied());
        let (flag, kind) = (self.flag, &self.kind);
        let message = format!("unknown attribute {name:?} of {flag} type={kind}{meant}");
        Err(UsageError::new(message).with_hint(format!("known are {}", self.known.join(", "))))
    }
}
