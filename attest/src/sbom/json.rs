//! Lists of packages in JSON: of each object its name, version and licence, whatever else it holds and however deep.
//!
//! Nothing but these texts is ever in memory. A member of another type than text is taken as missing.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Of a list of texts no more is kept.
const LIST_MAX_BYTES: usize = 500;

/// What an object says of a package.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    /// `kind`: of Rust's lists, what the package was needed for.
    pub(super) purpose: String,
}

/// The package of a document that is one object.
pub(super) fn package(bytes: &[u8]) -> Option<Package> {
    serde_json::from_slice(bytes).ok()
}

/// The packages of a document that is a list of them, or an object with a list `packages`.
pub(super) fn packages(bytes: &[u8]) -> Vec<Package> {
    serde_json::from_slice::<Packages>(bytes).unwrap_or_default().0
}

#[derive(Default)]
struct Packages(Vec<Package>);

impl<'de> Deserialize<'de> for Packages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packages, D::Error> {
        deserializer.deserialize_any(PackagesVisitor)
    }
}

struct PackagesVisitor;

impl<'de> Visitor<'de> for PackagesVisitor {
    type Value = Packages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Packages, A::Error> {
        let mut packages = Vec::new();
        while let Some(package) = list.next_element::<Package>()? {
            // Things without a name would fill the memory for nothing.
            if !package.name.is_empty() {
                packages.push(package);
            }
        }
        Ok(Packages(packages))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Packages, A::Error> {
        let mut packages = Packages::default();
        while let Some(Key(name)) = map.next_key()? {
            match name.as_str() {
                "packages" => packages = map.next_value()?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(packages)
    }
}

impl<'de> Deserialize<'de> for Package {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Package, D::Error> {
        deserializer.deserialize_map(PackageVisitor)
    }
}

struct PackageVisitor;

impl<'de> Visitor<'de> for PackageVisitor {
    type Value = Package;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a package")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Package, A::Error> {
        let mut package = Package::default();
        while let Some(Key(name)) = map.next_key()? {
            let text = |value: Text| value.0.unwrap_or_default();
            match name.as_str() {
                "name" => package.name = text(map.next_value()?),
                "version" => package.version = text(map.next_value()?),
                "kind" => package.purpose = text(map.next_value()?),
                "license" => package.license = map.next_value::<Text>()?.0,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(package)
    }
}

/// A member's name.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key(String);

/// A text; of a list of texts all of them. Anything else is nothing.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
        let mut all = String::new();
        while let Some(Text(one)) = list.next_element()? {
            let one = one.unwrap_or_default();
            if all.len() + one.len() <= LIST_MAX_BYTES {
                all.push_str(if all.is_empty() || one.is_empty() { "" } else { " or " });
                all.push_str(&one);
            }
        }
        Ok(Text(Some(all).filter(|all| !all.is_empty())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_known_names_are_kept() {
        let got = package(
            br#"{"a":[{"b":[1.5,null,true]}],"name":"n","version":1,"license":{"type":"MIT"}}"#,
        );
        assert_eq!(got, Some(Package { name: "n".to_owned(), ..Package::default() }));
        let got =
            package(br#"{"name":"a","name":"b","license":["MIT","ISC",3]}"#).expect("last wins");
        assert_eq!((got.name.as_str(), got.license.as_deref()), ("b", Some("MIT or ISC")));
        assert_eq!(package(b"[]"), None);
        assert_eq!(package(b"{\"name\":\"x\""), None);
    }

    #[test]
    fn lists_have_two_forms() {
        let names = |text: &str| -> Vec<String> {
            packages(text.as_bytes()).into_iter().map(|package| package.name).collect()
        };
        assert_eq!(names(r#"[{"name":"a"},{},{"name":"b"}]"#), ["a", "b"]);
        assert_eq!(names(r#"{"dev":true,"packages":[{"name":"a"}],"z":{}}"#), ["a"]);
        assert_eq!(names("3"), Vec::<String>::new());
        assert_eq!(names(&"[".repeat(100_000)), Vec::<String>::new());
        assert_eq!(names(&r#"{"packages":"#.repeat(100_000)), Vec::<String>::new());
    }

    #[test]
    fn long_lists_of_texts_are_cut() {
        let many = vec!["\"MIT\""; 100_000].join(",");
        let got = package(format!("{{\"license\":[{many}]}}").as_bytes()).expect("an object");
        assert!(got.license.expect("some").len() < 1000);
    }
}
