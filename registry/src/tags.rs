//! The list of a repository's tags, page by page.

use std::collections::HashSet;

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
/// All pages of a list together may be this long: lists are held in memory.
const LIST_MAX_BYTES: u64 = 16 << 20;
/// A list that goes on for longer than this leads nowhere.
const PAGES_MAX: usize = 1000;

/// A list that comes page by page. Owns that it has an end.
pub(crate) struct Pages {
    /// What errors call it: "the list of tags".
    what: &'static str,
    next: Option<Url>,
    asked: HashSet<String>,
    left_bytes: u64,
}

impl Pages {
    pub(crate) fn new(what: &'static str, first: Url) -> Pages {
        Pages { what, next: Some(first), asked: HashSet::new(), left_bytes: LIST_MAX_BYTES }
    }

    /// Where the next page is; `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Url>, Cause> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if self.asked.len() == PAGES_MAX || !self.asked.insert(url.to_string()) {
            let text = format!("{} has no end", self.what);
            return Err(Cause::Malformed(url.origin().to_string(), text));
        }
        Ok(Some(url))
    }

    /// The content of a page that was asked for; what it says of the next one is remembered.
    pub(crate) fn read(&mut self, answer: Answer) -> Result<Vec<u8>, Cause> {
        self.next = next_page(&answer)?;
        let bytes = answer.read(self.what, PAGE_MAX_BYTES)?;
        let (what, limit_bytes) = (self.what, LIST_MAX_BYTES);
        let left = self.left_bytes.checked_sub(bytes.len() as u64);
        self.left_bytes = left.ok_or(Cause::TooLarge { what, limit_bytes })?;
        Ok(bytes)
    }
}

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
        let whole = ("the list of tags", PAGE_MAX_BYTES);
        let mut pages = Pages::new(whole.0, session.repository_url(reference, "tags/list"));
        let mut tags: Vec<String> = Vec::new();
        while let Some(url) = pages.next()? {
            let answer =
                self.request_whole(&session, reference.repository(), &scopes, &get(url), whole)?;
            if answer.status != 200 {
                return Err(answer.into_cause());
            }
            let place = answer.url.redacted();
            let bytes = pages.read(answer)?;
            let page: Page = serde_json::from_slice(&bytes).map_err(|error| {
                Cause::Malformed(place, format!("the list of tags is not JSON: {error}"))
            })?;
            tags.extend(page.tags.unwrap_or_default());
        }
        Ok(tags)
    }
}

/// Where a list goes on: what `Link` calls next, on the same origin.
fn next_page(answer: &Answer) -> Result<Option<Url>, Cause> {
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
