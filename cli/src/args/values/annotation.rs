//! Annotations (IMG-46): of `--annotation` and of the attributes of `--output`.

use engine::Annotations;
use oci::Platform;

use crate::args::UsageError;

/// Adds one `--annotation [type[platform],…:]key=value`.
pub(crate) fn add_annotation(text: &str, into: &mut Annotations) -> Result<(), UsageError> {
    let invalid = || {
        UsageError::new(format!("invalid annotation {text:?}, expected key=value"))
            .with_hint("write [TYPE[PLATFORM]:]KEY=VALUE")
    };
    let (key, value) = text.split_once('=').ok_or_else(invalid)?;
    let (places, key) = match key.split_once(':') {
        Some((places, key)) => (places, key),
        None => ("manifest", key),
    };
    if key.is_empty() {
        return Err(invalid());
    }
    places.split(',').try_for_each(|place| add(place, key, value, into))
}

/// Adds an output attribute `annotation[-type][[platform]].key`. The answer is false for one of another name.
pub(crate) fn add_annotation_attribute(
    attribute: &str,
    value: &str,
    into: &mut Annotations,
) -> Result<bool, UsageError> {
    let Some(rest) = attribute.strip_prefix("annotation") else { return Ok(false) };
    // A platform may have dots of its own; the key begins at the first one behind it.
    let place_end = rest.find(']').map_or(0, |at| at + 1);
    let Some(dot) = rest[place_end..].find('.') else { return Ok(false) };
    let (place, key) = (&rest[..place_end + dot], &rest[place_end + dot + 1..]);
    let place = match place.strip_prefix('-') {
        Some(place) => place.to_owned(),
        None if place.is_empty() || place.starts_with('[') => format!("manifest{place}"),
        None => return Ok(false),
    };
    if key.is_empty() {
        return Err(UsageError::new(format!("output attribute {attribute:?} names no annotation")));
    }
    add(&place, key, value, into)?;
    Ok(true)
}

/// `place` is `type` or `type[platform]`.
fn add(place: &str, key: &str, value: &str, into: &mut Annotations) -> Result<(), UsageError> {
    let (kind, platform) = match place.split_once('[') {
        None => (place, None),
        Some((kind, platform)) => {
            let platform = platform.strip_suffix(']').ok_or_else(|| invalid_place(place))?;
            (kind, Some(platform))
        }
    };
    let platform: Option<Platform> =
        platform.map(str::parse).transpose().map_err(|error: oci::ParsePlatformError| {
            UsageError::new(format!("invalid annotation: {error}"))
        })?;
    let (key, value) = (key.to_owned(), value.to_owned());
    match (kind, platform) {
        ("manifest", platform) => put(&mut into.manifest, platform, key, value),
        ("manifest-descriptor", platform) => {
            put(&mut into.manifest_descriptor, platform, key, value);
        }
        ("index", None) => drop(into.index.insert(key, value)),
        ("index-descriptor", None) => drop(into.index_descriptor.insert(key, value)),
        ("index" | "index-descriptor", Some(_)) => {
            let message = format!("invalid annotation type {place:?}: an index has no platform");
            return Err(UsageError::new(message));
        }
        _ => return Err(invalid_place(place)),
    }
    Ok(())
}

/// The last one of a key wins.
fn put(
    list: &mut Vec<(Option<Platform>, String, String)>,
    platform: Option<Platform>,
    key: String,
    value: String,
) {
    list.retain(|(other, name, _)| (other, name) != (&platform, &key));
    list.push((platform, key, value));
}

fn invalid_place(place: &str) -> UsageError {
    UsageError::new(format!(
        "invalid annotation type {place:?}, expected type and optional platform in square brackets"
    ))
    .with_hint("types are manifest, index, manifest-descriptor and index-descriptor")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads flags; the result in one line, each place with its entries.
    fn check(flags: &[&str], want: &str) {
        let mut all = Annotations::default();
        let read = flags.iter().try_for_each(|flag| add_annotation(flag, &mut all));
        assert_eq!(read.map_or_else(|error| error.message, |()| shown(&all)), want, "{flags:?}");
    }

    fn check_attribute(attribute: &str, want: &str) {
        let mut all = Annotations::default();
        let got = match add_annotation_attribute(attribute, "v", &mut all) {
            Ok(true) => shown(&all),
            Ok(false) => "another".to_owned(),
            Err(error) => error.message,
        };
        assert_eq!(got, want, "{attribute}");
    }

    fn shown(all: &Annotations) -> String {
        let mut parts = Vec::new();
        for (name, list) in [("m", &all.manifest), ("md", &all.manifest_descriptor)] {
            for (platform, key, value) in list {
                let platform = platform.as_ref().map_or(String::new(), |p| format!("[{p}]"));
                parts.push(format!("{name}{platform}:{key}={value}"));
            }
        }
        for (name, map) in [("i", &all.index), ("id", &all.index_descriptor)] {
            parts.extend(map.iter().map(|(key, value)| format!("{name}:{key}={value}")));
        }
        parts.join(" ")
    }

    #[test]
    fn flags_name_their_places() {
        check(&["a.b=c=d", "a.b=e", "x="], "m:a.b=e m:x="); // IMG-46
        check(&["index,manifest:k=v"], "m:k=v i:k=v");
        check(&["manifest[linux/amd64]:k=v", "k=w"], "m[linux/amd64]:k=v m:k=w");
        check(
            &["manifest-descriptor[linux/arm/v7],index-descriptor:k=v:1"],
            "md[linux/arm/v7]:k=v:1 id:k=v:1",
        );
        check(&["k"], "invalid annotation \"k\", expected key=value");
        check(&["manifest:=v"], "invalid annotation \"manifest:=v\", expected key=value");
        let wrong = "expected type and optional platform in square brackets";
        check(&["layer:k=v"], &format!("invalid annotation type \"layer\", {wrong}"));
        check(&["manifest[a:k=v"], &format!("invalid annotation type \"manifest[a\", {wrong}"));
        check(
            &["index[linux/amd64]:k=v"],
            "invalid annotation type \"index[linux/amd64]\": an index has no platform",
        );
    }

    #[test]
    fn attributes_name_their_places() {
        check_attribute("annotation.org.k", "m:org.k=v"); // IMG-46
        check_attribute("annotation[linux/arm64].k", "m[linux/arm64]:k=v");
        check_attribute("annotation-index.k", "i:k=v");
        check_attribute("annotation-manifest-descriptor[linux/amd64].k", "md[linux/amd64]:k=v");
        check_attribute("annotation-index-descriptor.a.b", "id:a.b=v");
        check_attribute("annotation", "another");
        check_attribute("annotations.k", "another");
        check_attribute("attestation-inline", "another");
        check_attribute("annotation.", "output attribute \"annotation.\" names no annotation");
    }
}
