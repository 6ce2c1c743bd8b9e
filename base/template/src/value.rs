//! What templates are filled in with: Go's values as far as formats see them.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// What a map does not have; prints as `<no value>`.
    Missing,
    /// JSON's null.
    Null,
    /// A pointer of this Go type that leads nowhere.
    NilPointer(&'static str),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A number as a JSON document writes it.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A list that is not there: empty, null in JSON.
    NilList,
    /// Keys with values of any type.
    Map(BTreeMap<String, Value>),
    /// Keys with texts: a key that is not there has the empty one.
    Texts(BTreeMap<String, String>),
    /// A map of texts that is not there: empty, null in JSON.
    NilMap,
    /// Named fields.
    Struct(Struct),
}

/// Named fields in an order, of a Go type.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    /// The type's name in errors: `*formatter.imageContext`.
    pub type_name: &'static str,
    /// The fields in their order.
    pub fields: Vec<Field>,
    /// Whether JSON has `<`, `>` and `&` as `\u003c` and so on.
    pub escapes_html: bool,
}

/// A field of a [`Struct`].
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in templates.
    pub name: &'static str,
    /// Its name in JSON.
    pub json: &'static str,
    /// Whether JSON leaves it out when it is empty.
    pub omit_empty: bool,
    /// What it holds.
    pub value: Value,
}

impl Field {
    /// A field that JSON always has, by the same name.
    pub fn new(name: &'static str, value: impl Into<Value>) -> Field {
        Field { name, json: name, omit_empty: false, value: value.into() }
    }

    /// The same field, left out of JSON when it is empty.
    pub fn or_none(self) -> Field {
        Field { omit_empty: true, ..self }
    }

    /// The same field by another name in JSON.
    pub fn in_json(self, json: &'static str) -> Field {
        Field { json, ..self }
    }
}

impl Value {
    /// A JSON document as a template sees it that knows nothing of its type.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(is) => Value::Bool(*is),
            serde_json::Value::Number(number) => Value::Number(number.to_string()),
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(Value::from_json).collect())
            }
            serde_json::Value::Object(members) => Value::Map(
                members.iter().map(|(key, value)| (key.clone(), Value::from_json(value))).collect(),
            ),
        }
    }

    /// As a JSON document, members of structs in their order.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Missing
            | Value::Null
            | Value::NilPointer(_)
            | Value::NilList
            | Value::NilMap => Json::Null,
            Value::Bool(is) => Json::Bool(*is),
            Value::Int(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Number(text) => serde_json::from_str(text).unwrap_or(Json::Null),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            Value::Map(entries) => Json::Object(
                entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
            ),
            Value::Texts(entries) => Json::Object(
                entries.iter().map(|(key, text)| (key.clone(), text.as_str().into())).collect(),
            ),
            Value::Struct(fields) => Json::Object(
                fields
                    .shown()
                    .map(|field| (field.json.to_owned(), field.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Go's truth: everything but zero, nothing and the empty.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Missing
            | Value::Null
            | Value::NilPointer(_)
            | Value::NilList
            | Value::NilMap => false,
            Value::Bool(is) => *is,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Number(text) | Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => !entries.is_empty(),
            Value::Texts(entries) => !entries.is_empty(),
            Value::Struct(_) => true,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            Value::NilList => Some(&[]),
            _ => None,
        }
    }

    /// The entries of a map, by key.
    pub(crate) fn entries(&self) -> Option<Vec<(String, Value)>> {
        match self {
            Value::Map(entries) => {
                Some(entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            Value::Texts(entries) => {
                let entry = |(key, text): (&String, &String)| (key.clone(), text.as_str().into());
                Some(entries.iter().map(entry).collect())
            }
            Value::NilMap => Some(Vec::new()),
            _ => None,
        }
    }

    /// The name of the Go type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Missing | Value::Null => "nil",
            Value::NilPointer(name) => name,
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Number(_) => "json.Number",
            Value::Text(_) => "string",
            Value::NilList => "[]string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
            Value::Texts(_) | Value::NilMap => "map[string]string",
            Value::Struct(fields) => fields.type_name,
        }
    }
}

impl Struct {
    /// Those fields that JSON has.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| {
            let is_struct = matches!(field.value, Value::Struct(_));
            !field.omit_empty || is_struct || field.value.is_true()
        })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Value {
        Value::Bool(is)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Value {
        Value::List(texts.into_iter().map(Value::Text).collect())
    }
}

impl From<Struct> for Value {
    fn from(fields: Struct) -> Value {
        Value::Struct(fields)
    }
}
