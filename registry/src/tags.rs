//! The list of a repository's tags, page by page.

use oci::Reference;

use crate::auth::Scopes;
use crate::client::get;
use crate::error::{Action, Cause};
use crate::hosts::Asked;
use crate::places::Place;
use crate::transport::Answer;
use crate::url::Url;
use crate::{RegistryClient, RegistryError};

/// One page may be this long (spec/security.md C7).
pub(crate) const PAGE_MAX_BYTES: u64 = 4 << 20;
/// A list that goes on for longer than this leads nowhere.
pub(crate) const PAGES_MAX: usize = 1000;

impl RegistryClient {
    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// The registry does not know the repository, refuses, or cannot be reached.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        self.try_tags(reference)
            .map_err(|cause| RegistryError::new(Action::ListTags(reference.name()), cause))
    }

    fn try_tags(&self, reference: &Reference) -> Result<Vec<String>, Cause> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let Place { session, reference } = self.origin(reference, Asked::Manifest)?;
        let reference = &reference;
        let scopes = Scopes::pull(reference.repository());
        let mut next = Some(session.repository_url(reference, "tags/list"));
        let mut tags: Vec<String> = Vec::new();
        for _ in 0..PAGES_MAX {
            let Some(url) = next.take() else { return Ok(tags) };
            let whole = ("the list of tags", PAGE_MAX_BYTES);
            let answer =
                self.request_whole(&session, reference.repository(), &scopes, &get(url), whole)?;
            if answer.status != 200 {
                return Err(answer.into_cause());
            }
            let place = answer.url.redacted();
            next = next_page(&answer)?;
            let bytes = answer.read("the list of tags", PAGE_MAX_BYTES)?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
                Cause::Malformed(place, format!("the list of tags is not JSON: {error}"))
            })?;
            tags.extend(page.tags.unwrap_or_default());
        }
        let text = "the list of tags has no end".to_owned();
        Err(Cause::Malformed(session.home.to_string(), text))
    }
}

/// Where a list goes on: what `Link` calls next, on the same origin.
pub(crate) fn next_page(answer: &Answer) -> Result<Option<Url>, Cause> {
    let Some(link) = answer.header("link") else { return Ok(None) };
    let malformed = |why: &str| Cause::Malformed(answer.url.redacted(), why.to_owned());
    let next = link.split(',').find(|one| {
        one.split(';').skip(1).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
        })
    });
    let Some(next) = next else { return Ok(None) };
    let target = next.split(';').next().unwrap_or_default().trim();
    let target = target.strip_prefix('<').and_then(|target| target.strip_suffix('>'));
    let target = target.ok_or_else(|| malformed("its Link cannot be read"))?;
    let url = answer.url.join(target).map_err(malformed)?;
    match url.origin() == answer.url.origin() {
        true => Ok(Some(url)),
        false => Err(malformed("its list goes on at another host")),
    }
}
