//! `shale search`, and what a registry has: `shale registry tags` and `shale registry rm`.

use ::registry::{Found, RegistryClient, RegistryError};
use engine::{BuildError, BuildErrorKind};
use oci::Reference;
use template::{TemplateError, Value};

use super::transfer::configuration;
use super::{Done, Failure, Process, print};
use crate::args::{RegistryRmArgs, RegistryTagsArgs, SearchArgs, UsageError, image_name};
use crate::render::{Format, plain_text, row, shortened};

/// Longest description in a list.
const DESCRIPTION_MAX: usize = 45;
const COLUMNS: &str =
    "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}\t{{.IsAutomated}}";
const HEADINGS: [(&str, &str); 5] = [
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

/// Searches a registry: by its search, or in the list of its repositories where it has none.
pub(crate) fn search(process: &mut Process, typed: &SearchArgs) -> Done {
    let filter = Filter::new(&typed.filter)?;
    let bad = |error: TemplateError| {
        let text = format!("template parsing error: {error}");
        BuildError::new(BuildErrorKind::Files, text)
    };
    let format = Format::new(typed.format.as_deref(), COLUMNS, COLUMNS).map_err(bad)?;
    let (registry, term) = split(&typed.term);
    let client = client(process)?;
    let found = found(&client, registry, term, typed.limit)?;
    let is_json =
        typed.format.as_deref().is_some_and(|text| text == "json" || text.contains("json ."));
    let rows: Vec<Value> = found
        .iter()
        .filter(|one| filter.takes(one))
        .map(|one| shown(one, typed.no_trunc, is_json))
        .collect();
    let text = format.write(&HEADINGS, &rows).map_err(bad)?;
    print(&text)
}

fn found(
    client: &RegistryClient,
    registry: &str,
    term: &str,
    limit: u32,
) -> Result<Vec<Found>, Failure> {
    let failed = |error: RegistryError| {
        let text = format!("cannot search {registry}");
        BuildError::new(BuildErrorKind::Registry, text).because(error)
    };
    if !term.is_empty()
        && let Some(found) = client.search(registry, term, limit).map_err(failed)?
    {
        return Ok(found);
    }
    let names = client.catalog(registry).map_err(|error| {
        let is_not_found = error.is_not_found();
        match is_not_found {
            true => {
                failed(error).with_hint("it has neither a search nor a list of its repositories")
            }
            false => failed(error),
        }
    })?;
    let wanted = term.to_lowercase();
    let fits = names.into_iter().filter(|name| name.contains(&wanted));
    let named = fits.map(|name| Found { name: format!("{registry}/{name}"), ..Found::default() });
    Ok(named.take(limit as usize).collect())
}

/// The registry, and what is looked for there. A host has a dot or a port, or is this machine.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "index.docker.io" => ("docker.io", rest),
            host => (host, rest),
        },
        // Nothing else that is looked for has a port: all that the registry has.
        None if term.contains(':') => (term, ""),
        _ => ("docker.io", term),
    }
}

/// In JSON answers are words, in lists marks; as docker has it.
fn shown(found: &Found, whole: bool, is_json: bool) -> Value {
    let mark = |is: bool| match (is, is_json) {
        (true, true) => "true",
        (false, true) => "false",
        (true, false) => "[OK]",
        (false, false) => "",
    };
    let description = found.description.replace(['\n', '\r'], " ");
    let description = match whole {
        true => description,
        false => shortened(&description, DESCRIPTION_MAX),
    };
    let fields: [(&'static str, Value); 5] = [
        ("Name", Value::Text(plain_text(&found.name).into_owned())),
        ("Description", Value::Text(plain_text(&description).into_owned())),
        ("StarCount", found.stars.to_string().as_str().into()),
        ("IsOfficial", mark(found.is_official).into()),
        ("IsAutomated", mark(found.is_automated).into()),
    ];
    row("*registry.searchContext", fields)
}

/// What of the results is wanted.
#[derive(Debug, Default, PartialEq)]
struct Filter {
    stars: i64,
    is_official: Option<bool>,
    is_automated: Option<bool>,
}

impl Filter {
    fn new(texts: &[String]) -> Result<Filter, UsageError> {
        let mut filter = Filter::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                UsageError::new("invalid argument format of filter (expected name=value)")
            })?;
            let invalid = || UsageError::new(format!("invalid filter '{name}={value}'"));
            let truth = || value.parse::<bool>().map_err(|_| invalid());
            match name.trim().to_lowercase().as_str() {
                "stars" => filter.stars = value.trim().parse().map_err(|_| invalid())?,
                "is-official" => filter.is_official = Some(truth()?),
                "is-automated" => filter.is_automated = Some(truth()?),
                other => {
                    return Err(UsageError::new(format!("invalid filter '{other}'"))
                        .with_hint("known are stars, is-official and is-automated"));
                }
            }
        }
        Ok(filter)
    }

    fn takes(&self, found: &Found) -> bool {
        found.stars >= self.stars
            && self.is_official.is_none_or(|is| is == found.is_official)
            && self.is_automated.is_none_or(|is| is == found.is_automated)
    }
}

/// Prints the tags that a repository has.
pub(crate) fn tags(process: &mut Process, typed: &RegistryTagsArgs) -> Done {
    let name = image_name(&typed.name)?;
    let client = client(process)?;
    let mut tags = client.tags(&name).map_err(|error| {
        let text = format!("cannot list the tags of {}", name.familiar_name());
        BuildError::new(BuildErrorKind::Registry, text).because(error)
    })?;
    // Registries list them in orders of their own.
    tags.sort_unstable();
    print(&tags.iter().map(|tag| format!("{}\n", plain_text(tag))).collect::<String>())
}

/// Removes images from their registries and prints what went.
pub(crate) fn rm(process: &mut Process, typed: &RegistryRmArgs) -> Done {
    let names =
        typed.references.iter().map(|text| image_name(text)).collect::<Result<Vec<_>, _>>()?;
    let client = client(process)?;
    let mut text = String::new();
    let mut done = Ok(());
    for name in &names {
        match remove(&client, name) {
            Ok(removed) => text.push_str(&format!("Deleted: {removed}\n")),
            Err(error) => {
                done = Err(error);
                break;
            }
        }
    }
    print(&text)?;
    done?;
    Ok(crate::exit::Exit::Ok.into())
}

fn remove(client: &RegistryClient, name: &Reference) -> Result<Reference, BuildError> {
    let failed = |error: RegistryError| {
        let is_unsupported = error.kind() == registry::RegistryErrorKind::Refused;
        let text = format!("cannot remove {} from its registry", name.familiar());
        let failed = BuildError::new(BuildErrorKind::Registry, text).because(error);
        match is_unsupported {
            true => failed
                .with_hint("many registries allow this only where their owner has switched it on"),
            false => failed,
        }
    };
    let digest = match name.digest() {
        Some(digest) => digest,
        None => client.resolve(name).map_err(failed)?.digest,
    };
    client.delete_manifest(name, &digest).map_err(failed)?;
    Ok(name.with_digest(digest))
}

/// These commands need no store.
fn client(process: &mut Process) -> Result<RegistryClient, Failure> {
    let config = configuration(process);
    let options = config
        .registry_options(&process.around)
        .map_err(|error| BuildError::of(BuildErrorKind::Dockerfile, error))?;
    Ok(process.client(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_name_its_registry() {
        for (term, want) in [
            ("debian", ("docker.io", "debian")),
            ("bitnami/redis", ("docker.io", "bitnami/redis")),
            ("r.test/redis", ("r.test", "redis")),
            ("localhost:5000/", ("localhost:5000", "")),
            ("localhost:5000", ("localhost:5000", "")),
            ("index.docker.io/a/b", ("docker.io", "a/b")),
        ] {
            assert_eq!(split(term), want, "{term}");
        }
    }

    #[test]
    fn filters_are_docker_s() {
        let filter = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Filter::new(&texts).map_err(|error| error.message)
        };
        let filter_of = filter(&["stars=3", "is-official=true"]).expect("good filters");
        let official = |stars| Found { stars, is_official: true, ..Found::default() };
        assert!(filter_of.takes(&official(3)) && !filter_of.takes(&official(2)));
        assert!(!filter_of.takes(&Found { stars: 9, ..Found::default() }));
        assert_eq!(filter(&["stars=x"]), Err("invalid filter 'stars=x'".to_owned()));
        assert_eq!(filter(&["label=x"]), Err("invalid filter 'label'".to_owned()));
        assert!(filter(&["stars"]).is_err() && filter(&["is-official=7"]).is_err());
    }
}
