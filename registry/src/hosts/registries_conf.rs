//! `registries.conf` of podman, skopeo and buildah, versions 2 and 1.
//!
//! Search registries and aliases of short names are not read: a short name means docker.io (docs/registries.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci::Reference;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::{Said, Wrong, line_at};

/// All tables of all files.
#[derive(Debug, Default)]
pub(super) struct RegistriesConf {
    tables: Vec<Registry>,
    /// What stands in tables and is no word of theirs: podman passes it over too, but it may be a slip.
    unknown: Vec<String>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    /// What names begin with, or `*.domain`.
    pub(super) prefix: String,
    /// What stands for the prefix at the registry.
    pub(super) location: String,
    pub(super) insecure: Option<Said>,
    pub(super) blocked: Option<Said>,
    pub(super) mirrors: Vec<Mirror>,
    /// Where the table begins.
    pub(super) said: Said,
}

/// One `[[registry.mirror]]`.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: Option<Said>,
    pub(super) pulls: Pulls,
    pub(super) said: Said,
}

/// For which references a mirror is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulls {
    All,
    ByDigest,
    ByTag,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: Vec<Spanned<Table>>,
    registries: Option<Version1>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    insecure: Option<Spanned<bool>>,
    blocked: Option<Spanned<bool>>,
    #[serde(default)]
    mirror: Vec<Spanned<MirrorTable>>,
    #[serde(default)]
    mirror_by_digest_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    #[serde(default)]
    location: String,
    insecure: Option<Spanned<bool>>,
    pull_from_mirror: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct Version1 {
    insecure: Option<List>,
    block: Option<List>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    registries: Vec<Spanned<String>>,
}

impl RegistriesConf {
    /// Reads a file; what it says of a prefix replaces what earlier files said of it.
    pub(super) fn add(&mut self, path: &Path, text: &str) -> Result<(), Wrong> {
        let file: File = toml::from_str(text).map_err(|e| Wrong::toml(path, text, &e))?;
        let reader = Reader { path, text };
        let mut tables = Vec::new();
        for table in file.registry {
            tables.push(reader.registry(table)?);
        }
        if let Some(old) = file.registries {
            tables.extend(reader.version_1(old));
        }
        self.unknown.extend(unknown_words(path, text));
        self.tables.retain(|known| tables.iter().all(|new| new.prefix != known.prefix));
        self.tables.extend(tables);
        Ok(())
    }

    /// A sentence for each word that is not known.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The table with the longest prefix of a reference.
    pub(super) fn table(&self, reference: &Reference) -> Option<&Registry> {
        let fitting = self.tables.iter().filter_map(|t| Some((t.covers(reference)?, t)));
        fitting.max_by_key(|(length, _)| *length).map(|(_, table)| table)
    }

    /// Why a place may not be asked: the table with the longest prefix of `host/repository` blocks it.
    pub(super) fn blocked(&self, place: &str) -> Option<&Said> {
        let fitting = self.tables.iter().filter_map(|t| Some((t.covers_name(place)?, t)));
        fitting.max_by_key(|(length, _)| *length)?.1.blocked.as_ref()
    }
}

impl Registry {
    /// Length of the prefix if it covers a reference: a whole component of its name, or the reference itself.
    fn covers(&self, reference: &Reference) -> Option<usize> {
        let whole = reference.to_string();
        let tagged = whole.split('@').next().unwrap_or_default();
        let pinned = reference.digest().map(|digest| format!("{}@{digest}", reference.name()));
        let is_it = [whole.as_str(), tagged].contains(&&*self.prefix)
            || pinned.as_ref() == Some(&self.prefix);
        if is_it { Some(self.prefix.len()) } else { self.covers_name(&reference.name()) }
    }

    fn covers_name(&self, name: &str) -> Option<usize> {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let host = name.split('/').next().unwrap_or_default();
            let host = crate::url::split_port(host).map_or(host, |(host, _)| host);
            return host.ends_with(domain).then_some(self.prefix.len());
        }
        let rest = name.strip_prefix(&self.prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.prefix.len())
    }

    /// The name `host/repository` at a location that stands for the prefix.
    pub(super) fn located(&self, name: &str, location: &str) -> String {
        match name.strip_prefix(&self.prefix) {
            Some(rest) => format!("{location}{rest}"),
            // A wildcard: the location is the whole place, or nothing.
            None if location.is_empty() => name.to_owned(),
            None => {
                let rest = name.split_once('/').map_or("", |(_, rest)| rest);
                format!("{location}/{rest}")
            }
        }
    }
}

/// The keys of `[[registry]]` and `[[registry.mirror]]` that mean nothing.
fn unknown_words(path: &Path, text: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Words {
        #[serde(default)]
        registry: Vec<BTreeMap<Spanned<String>, IgnoredAny>>,
    }
    #[derive(Deserialize)]
    struct Mirrors {
        #[serde(default)]
        registry: Vec<OfMirrors>,
    }
    #[derive(Deserialize)]
    struct OfMirrors {
        #[serde(default)]
        mirror: Vec<BTreeMap<Spanned<String>, IgnoredAny>>,
    }
    const OF_REGISTRIES: [&str; 6] =
        ["prefix", "location", "insecure", "blocked", "mirror", "mirror-by-digest-only"];
    const OF_MIRRORS: [&str; 3] = ["location", "insecure", "pull-from-mirror"];
    let (Ok(tables), Ok(mirrors)) =
        (toml::from_str::<Words>(text), toml::from_str::<Mirrors>(text))
    else {
        return Vec::new();
    };
    let mut words: Vec<&Spanned<String>> = Vec::new();
    words.extend(
        tables
            .registry
            .iter()
            .flat_map(BTreeMap::keys)
            .filter(|word| !OF_REGISTRIES.contains(&word.get_ref().as_str())),
    );
    let keys = mirrors.registry.iter().flat_map(|table| &table.mirror).flat_map(BTreeMap::keys);
    words.extend(keys.filter(|word| !OF_MIRRORS.contains(&word.get_ref().as_str())));
    words.sort_by_key(|word| word.span().start);
    let told = |word: &Spanned<String>| {
        let (line, word) = (line_at(text, word.span().start), word.get_ref());
        format!("{}:{line}: {word} is no word of this file and says nothing", path.display())
    };
    words.into_iter().map(told).collect()
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn said<T>(&self, value: &Spanned<T>) -> Said {
        Said { file: PathBuf::from(self.path), line: Some(self.line(value)) }
    }

    fn line<T>(&self, value: &Spanned<T>) -> usize {
        line_at(self.text, value.span().start)
    }

    /// The place of a switch that is on.
    fn switch(&self, value: Option<&Spanned<bool>>) -> Option<Said> {
        value.filter(|value| *value.get_ref()).map(|value| self.said(value))
    }

    fn registry(&self, table: Spanned<Table>) -> Result<Registry, Wrong> {
        let said = self.said(&table);
        let wrong = |reason: String| Wrong::line(self.path, said.line.unwrap_or(1), reason);
        let table = table.into_inner();
        let location = table.location.trim_end_matches('/').to_owned();
        let mut prefix = table.prefix.trim_end_matches('/').to_owned();
        if prefix.is_empty() {
            prefix.clone_from(&location);
        }
        if prefix.is_empty() {
            let text = "a [[registry]] needs a location: add `location = \"registry.example\"`";
            return Err(wrong(text.to_owned()));
        }
        check_location(&prefix, true).map_err(&wrong)?;
        let is_wildcard = prefix.starts_with('*');
        if location.is_empty() && !is_wildcard {
            return Err(wrong(format!(
                "the [[registry]] of prefix {prefix} has no location: add `location = \"{prefix}\"`, or \
                 the place that stands for it"
            )));
        }
        if !location.is_empty() {
            check_location(&location, false).map_err(&wrong)?;
        }
        let mut mirrors = Vec::new();
        for mirror in table.mirror {
            mirrors.push(self.mirror(mirror, table.mirror_by_digest_only)?);
        }
        let insecure = self.switch(table.insecure.as_ref());
        let blocked = self.switch(table.blocked.as_ref());
        Ok(Registry { prefix, location, insecure, blocked, mirrors, said })
    }

    fn mirror(&self, table: Spanned<MirrorTable>, digest_only: bool) -> Result<Mirror, Wrong> {
        let said = self.said(&table);
        let wrong = |reason: String| Wrong::line(self.path, said.line.unwrap_or(1), reason);
        let table = table.into_inner();
        let location = table.location.trim_end_matches('/').to_owned();
        if location.is_empty() {
            let text = "a mirror needs a location: add `location = \"mirror.example\"`";
            return Err(wrong(text.to_owned()));
        }
        check_location(&location, false).map_err(&wrong)?;
        let pulls = match table.pull_from_mirror.as_ref().map(|p| p.get_ref().as_str()) {
            None | Some("") if digest_only => Pulls::ByDigest,
            None | Some("" | "all") => Pulls::All,
            Some("digest-only") => Pulls::ByDigest,
            Some("tag-only") => Pulls::ByTag,
            Some(other) => {
                return Err(wrong(format!(
                    "pull-from-mirror is `{other}`: all, digest-only and tag-only are known"
                )));
            }
        };
        if digest_only && table.pull_from_mirror.is_some() {
            let text = "pull-from-mirror and mirror-by-digest-only exclude each other";
            return Err(wrong(text.to_owned()));
        }
        let insecure = self.switch(table.insecure.as_ref());
        Ok(Mirror { location, insecure, pulls, said })
    }

    /// The lists of the old form, each name as a table of its own.
    fn version_1(&self, old: Version1) -> Vec<Registry> {
        let mut tables: Vec<Registry> = Vec::new();
        for (list, is_block) in [(old.insecure, false), (old.block, true)] {
            for name in list.map(|list| list.registries).unwrap_or_default() {
                let said = self.said(&name);
                let (prefix, on) = (name.into_inner(), Some(said.clone()));
                let known = tables.iter_mut().find(|table| table.prefix == prefix);
                match (known, is_block) {
                    (Some(table), true) => table.blocked = on,
                    (Some(_), false) => {}
                    (None, _) => tables.push(Registry {
                        location: prefix.clone(),
                        prefix,
                        insecure: on.clone().filter(|_| !is_block),
                        blocked: on.filter(|_| is_block),
                        mirrors: Vec::new(),
                        said,
                    }),
                }
            }
        }
        tables
    }
}

/// `host[:port][/path]`; a prefix may also be `*.domain`.
fn check_location(text: &str, is_prefix: bool) -> Result<(), String> {
    if text.contains("://") {
        return Err(format!("`{text}` must be written without a scheme"));
    }
    if text.contains('*') {
        let domain = text.strip_prefix("*.").unwrap_or_default();
        let is_host = !domain.is_empty() && !domain.contains(['*', '/', ':', '@']);
        return match (is_prefix, is_host) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("`{text}`: a wildcard must have the form *.domain")),
            (false, _) => Err(format!("`{text}`: only a prefix may have a wildcard")),
        };
    }
    let host = text.split('/').next().unwrap_or_default();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    match !host.is_empty() && host.bytes().all(valid) && crate::url::split_port(host).is_some() {
        true => Ok(()),
        false => Err(format!("`{text}` does not begin with the name of a registry")),
    }
}
