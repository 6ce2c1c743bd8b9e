//! What a registry has: the list of its repositories, page by page, and the search of registries that are like Docker
//! Hub.

use oci::Reference;
use serde::Deserialize;

use crate::auth::Scopes;
use crate::client::get;
use crate::error::{Action, Cause, printable};
use crate::tags::{PAGE_MAX_BYTES, Pages};
use crate::{RegistryClient, RegistryError};

/// A repository that a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Its name, without the registry's.
    #[serde(default)]
    pub name: String,
    /// What its owner says of it.
    #[serde(default, deserialize_with = "null_default")]
    pub description: String,
    /// How many people like it.
    #[serde(default, rename = "star_count")]
    pub stars: i64,
    /// It is one of those that the registry's owner looks after.
    #[serde(default)]
    pub is_official: bool,
    /// It was built by the registry.
    #[serde(default)]
    pub is_automated: bool,
}

impl RegistryClient {
    /// All repositories of a registry, in its order.
    ///
    /// # Errors
    /// The registry has no such list, refuses, or cannot be reached.
    pub fn catalog(&self, registry: &str) -> Result<Vec<String>, RegistryError> {
        self.try_catalog(registry).map_err(|cause| {
            RegistryError::new(Action::ListRepositories(registry.to_owned()), cause)
        })
    }

    /// What a registry like Docker Hub finds for a term, the best first. `None` from a registry that has no search.
    ///
    /// # Errors
    /// The registry refuses or cannot be reached.
    pub fn search(
        &self,
        registry: &str,
        term: &str,
        limit: u32,
    ) -> Result<Option<Vec<Found>>, RegistryError> {
        self.try_search(registry, term, limit)
            .map_err(|cause| RegistryError::new(Action::Search(registry.to_owned()), cause))
    }

    fn try_catalog(&self, registry: &str) -> Result<Vec<String>, Cause> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default, deserialize_with = "null_default")]
            repositories: Vec<String>,
        }
        let session = self.session(registry)?;
        let whole = ("the list of repositories", PAGE_MAX_BYTES);
        let mut pages = Pages::new(whole.0, session.url("/v2/_catalog"));
        let mut all: Vec<String> = Vec::new();
        while let Some(url) = pages.next()? {
            let answer = self.request_whole(&session, "", &Scopes::catalog(), &get(url), whole)?;
            if answer.status != 200 {
                return Err(answer.into_cause());
            }
            let place = answer.url.redacted();
            let bytes = pages.read(answer)?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
                Cause::Malformed(place, format!("the list of repositories is not JSON: {error}"))
            })?;
            // Such names cannot be asked for, and are shown to people.
            all.extend(page.repositories.into_iter().filter(|name| is_repository(name)));
        }
        Ok(all)
    }

    fn try_search(
        &self,
        registry: &str,
        term: &str,
        limit: u32,
    ) -> Result<Option<Vec<Found>>, Cause> {
        #[derive(Deserialize)]
        struct Results {
            #[serde(default, deserialize_with = "null_default")]
            results: Vec<Found>,
        }
        let session = self.index_session(registry)?;
        let url = session
            .outside_url("/v1/search")
            .with_query("q", term)
            .with_query("n", &limit.to_string());
        let answer = self.request(&session, "", &Scopes::none(), &get(url))?;
        let is_json = answer.header("content-type").is_none_or(|said| said.contains("json"));
        match answer.status {
            200 if is_json => {}
            // Pages for people, and the many ways to say that there is no such thing.
            200 | 400 | 404 | 405 | 410 | 501 => return Ok(None),
            _ => return Err(answer.into_cause()),
        }
        let place = answer.url.redacted();
        let bytes = answer.read("what was found", PAGE_MAX_BYTES)?;
        let found: Results = serde_json::from_slice(&bytes).map_err(|error| {
            Cause::Malformed(place, format!("what was found is not JSON: {error}"))
        })?;
        let shown = |one: Found| Found {
            name: printable(&one.name),
            description: printable(&one.description),
            ..one
        };
        Ok(Some(found.results.into_iter().map(shown).take(limit as usize).collect()))
    }
}

fn is_repository(name: &str) -> bool {
    format!("registry.invalid/{name}").parse::<Reference>().is_ok_and(|r| r.repository() == name)
}

fn null_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    de: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_asked_for_are_left_out() {
        for good in ["a", "team/app", "a/b/c_d"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "A", "a:b", "a b", "a/../b", "\u{1b}[31m", "a@sha256:1"] {
            assert!(!is_repository(bad), "{bad}");
        }
    }
}
