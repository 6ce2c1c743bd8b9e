//! JSON that has one meaning for every reader (security.md C4).
//!
//! Parsers disagree on a member that is given twice: the first, the last, or none. Some also take `Layers` for
//! `layers`. The same digest would be another image for another tool, so both are refused. Knows nothing of what
//! members mean.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a document; no object in it may have two members of one name.
///
/// # Errors
/// As serde_json, whose limit of depth holds too.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Strict(value)| value)
}

/// A member whose name is one of `known` in another case.
pub(crate) fn other_case<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Option<&'a str> {
    let is_twin = |name: &&String| {
        !known.contains(&name.as_str())
            && known.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    object.keys().find(is_twin).map(String::as_str)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Strict, D::Error> {
        de.deserialize_any(Values).map(Strict)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("member {name:?} is given twice")));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads_but_for_members_given_twice() {
        for text in ["null", "[1,-2,3.5,true,\"a\\u0000\"]", r#"{"a":{"b":[]},"b":{"a":1}}"#] {
            let usual: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(parse(text.as_bytes()).expect("JSON"), usual);
        }
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"\u0061":2}}]"#] {
            assert!(serde_json::from_str::<Value>(text).is_ok(), "others take it");
            let error = parse(text.as_bytes()).expect_err("twice").to_string();
            assert!(error.contains("\"a\" is given twice"), "{error}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
