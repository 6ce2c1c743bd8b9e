//! What a person has settled once for all commands: configuration files and variables (docs/configuration.md).
//!
//! Owns where they are, what may stand in them and which of them wins. A file that says something unknown is an error:
//! a limit with a slip in its name would be no limit.

use std::path::{Path, PathBuf};

use engine::CacheMax;
use serde::Deserialize;

use super::values::size_bytes;
use super::{Surroundings, UsageError};

const SYSTEM_FILE: &str = "/etc/shale/config.toml";
const CACHE_MAX: &str = "SHALE_CACHE_MAX";

/// A configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    cache: Cache,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    max: Option<Size>,
}

/// `"20G"`, or a number of bytes.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "want a size like \"20G\"")]
enum Size {
    Bytes(u64),
    Text(String),
}

/// How much the store may take: `flag`, else the variable, else the user's file, else the machine's.
pub(crate) fn cache_max(flag: Option<&str>, around: &Surroundings) -> Result<CacheMax, UsageError> {
    if let Some(text) = flag {
        return parse_max(text).map_err(|e| e.of_flag("--cache-max", text));
    }
    if let Some(text) = around.text(CACHE_MAX) {
        return parse_max(text).map_err(|e| e.of_flag(CACHE_MAX, text));
    }
    for path in user_file(around).into_iter().chain([PathBuf::from(SYSTEM_FILE)]) {
        if let Some(max) = read(&path)?.cache.max {
            let max = match max {
                Size::Bytes(bytes) => Ok(max_of(bytes)),
                Size::Text(text) => parse_max(&text),
            };
            return max.map_err(|e| e.of_flag("cache.max of", &path.display().to_string()));
        }
    }
    Ok(CacheMax::Default)
}

fn parse_max(text: &str) -> Result<CacheMax, UsageError> {
    match text {
        "unlimited" | "none" => Ok(CacheMax::Unlimited),
        "default" => Ok(CacheMax::Default),
        _ => size_bytes(text).map(max_of),
    }
}

fn max_of(bytes: u64) -> CacheMax {
    match bytes {
        0 => CacheMax::Unlimited,
        bytes => CacheMax::Bytes(bytes),
    }
}

/// `None` for a user without a home.
fn user_file(around: &Surroundings) -> Option<PathBuf> {
    Some(around.config_home()?.join("shale/config.toml"))
}

/// What a file says; one that is not there says nothing.
fn read(path: &Path) -> Result<File, UsageError> {
    use std::io::ErrorKind;
    let failed = |why: String| {
        UsageError::new(format!("cannot use the configuration: {}{why}", path.display())).with_hint(
            "what may stand there is `max = \"20G\"` below `[cache]`: docs/configuration.md",
        )
    };
    let text = match registry::read_local_text(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(File::default());
        }
        // Another user's, read in a namespace in which everybody looks like root.
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Ok(File::default()),
        Err(e) => return Err(failed(format!(": {e}"))),
    };
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        failed(format!(":{line}: {}", error.message().replace('\n', "; ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `files`: what the user's file says; `vars` and `flag` as they are given.
    fn check(
        flag: Option<&str>,
        var: Option<&str>,
        file: Option<&str>,
        want: Result<CacheMax, &str>,
    ) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("shale");
        std::fs::create_dir(&home).expect("a new directory");
        if let Some(text) = file {
            std::fs::write(home.join("config.toml"), text).expect("write");
        }
        let mut around = Surroundings::default();
        around.vars.insert("XDG_CONFIG_HOME".into(), dir.path().into());
        around.vars.extend(var.map(|var| (CACHE_MAX.into(), var.into())));
        let found = cache_max(flag, &around).map_err(|e| e.message);
        match (&found, want) {
            (Ok(found), Ok(want)) => assert_eq!(*found, want),
            (Err(found), Err(want)) => assert!(found.contains(want), "{found}"),
            _ => panic!("{found:?} for {want:?}"),
        }
    }

    #[test]
    fn the_nearest_word_counts() {
        const GIB: u64 = 1 << 30;
        let file = "[cache]\nmax = \"20G\"\n";
        check(None, None, Some(file), Ok(CacheMax::Bytes(20 * GIB)));
        check(None, Some("2G"), Some(file), Ok(CacheMax::Bytes(2 * GIB)));
        check(Some("1G"), Some("2G"), Some(file), Ok(CacheMax::Bytes(GIB)));
        check(Some("unlimited"), None, Some(file), Ok(CacheMax::Unlimited));
        check(Some("default"), None, Some(file), Ok(CacheMax::Default));
        check(None, None, Some("[cache]\nmax = 0"), Ok(CacheMax::Unlimited));
        check(None, None, Some("[cache]\nmax = 4096"), Ok(CacheMax::Bytes(4096)));
    }

    #[test]
    fn slips_are_named_with_their_place() {
        check(None, None, Some("[cache]\nmaximum = 1"), Err("config.toml:2: unknown field"));
        check(None, None, Some("[cache]\n\nmax = \"much\""), Err("invalid size: \"much\""));
        check(None, None, Some("[cache]\nmax = true"), Err("config.toml:2: want a size"));
        check(None, None, Some("[cach"), Err("config.toml:1: "));
        check(None, Some("lots"), None, Err("SHALE_CACHE_MAX lots"));
        check(Some("-1"), None, None, Err("--cache-max -1"));
    }
}
