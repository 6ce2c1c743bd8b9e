//! Variables: an ordered list, the names that are there without ARG, and words expanded with it (EXP-70 to EXP-102).

use std::cell::Cell;

use oci::{ImageConfig, Platform};
use parser::ast::Word;
use parser::{Expanded, Expander, Span};

use crate::LowerRequest;
use crate::site::{Fail, Site};

/// PATH when the base has none (FROM-18).
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of text that the expansions of a file may put together, copies of it in histories and environments among
/// them: a variable that names itself twice doubles with every line.
const TEXT_BYTES_MAX: usize = 128 << 20;

/// What is left of the room for texts.
#[derive(Debug)]
pub(crate) struct TextRoom(Cell<usize>);

impl TextRoom {
    pub(crate) fn new() -> TextRoom {
        TextRoom(Cell::new(TEXT_BYTES_MAX))
    }

    /// Takes room for a text that was made.
    pub(crate) fn take(&self, bytes: usize, site: &Site) -> Result<(), Fail> {
        let Some(left) = self.0.get().checked_sub(bytes) else {
            let mib = TEXT_BYTES_MAX >> 20;
            let message = format!("the values of variables fill more than {mib} MiB");
            let mut fail = site.error("too-large", message);
            fail.help =
                Some("a variable that is set to itself twice doubles with every line".to_owned());
            return Err(fail);
        };
        self.0.set(left);
        Ok(())
    }
}

/// Variables in the order in which they got their values (EXP-70): one that is set again stands behind all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Bytes of all names and values.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The variables of an image's config.
    pub(crate) fn of_config(config: &ImageConfig) -> Variables {
        let mut variables = Variables::default();
        variables.set_all(config);
        variables
    }

    /// Sets what an image's config has: a stage that begins with another one sees its ENV again where that one's ARG
    /// had hidden it (EXP-71, EXP-82).
    pub(crate) fn set_all(&mut self, config: &ImageConfig) {
        for entry in &config.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.set(name, value);
        }
    }

    /// Expands a word of an instruction (EXP-07).
    pub(crate) fn word(&self, word: &Word, site: &Site) -> Result<String, Fail> {
        self.text(&word.text, word.span, site).map(|expanded| expanded.text)
    }

    /// Expands a text that stands at a place of the file; tells which names it has, too.
    pub(crate) fn text(&self, text: &str, span: Span, site: &Site) -> Result<Expanded, Fail> {
        Expander::new(site.escape)
            .word(text, &|name| self.get(name).map(str::to_owned))
            .map_err(|error| site.error_in("expansion", error.to_string(), span))
    }

    /// Expands a word and splits it at blanks (EXP-45).
    pub(crate) fn words(&self, word: &Word, site: &Site) -> Result<Vec<String>, Fail> {
        Expander::new(site.escape)
            .words(&word.text, &|name| self.get(name).map(str::to_owned))
            .map(|expanded| expanded.words)
            .map_err(|error| site.error_in("expansion", error.to_string(), word.span))
    }
}

/// What FROM lines see before any ARG: platform arguments and TARGETSTAGE, build arguments put over them (EXP-90).
pub(crate) fn predefined(request: &LowerRequest, target: &Platform, stage: &str) -> Variables {
    let mut variables = Variables::default();
    for (prefix, platform) in [("BUILD", &request.build_platform), ("TARGET", target)] {
        let parts = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", platform.os_version.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
        ];
        for (part, value) in parts {
            variables.set(&format!("{prefix}{part}"), &value);
        }
    }
    variables.set("TARGETSTAGE", stage);
    let names: Vec<String> = variables.names().map(str::to_owned).collect();
    for name in names {
        if let Some(value) = request.build_arg(&name) {
            variables.set(&name, value); // EXP-93
        }
    }
    variables
}

const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Whether a variable says what the network of the caller is like, and often with which password (EXP-96).
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// Proxy variables of RUN: both spellings of each name, the lower-case argument decides (EXP-96).
pub(crate) fn proxies(request: &LowerRequest) -> Vec<(String, String)> {
    let mut proxies = Vec::new();
    for name in PROXIES {
        let upper = name.to_ascii_uppercase();
        if let Some(value) = request.build_arg(name).or_else(|| request.build_arg(&upper)) {
            proxies.push((upper, value.to_owned()));
            proxies.push((name.to_owned(), value.to_owned()));
        }
    }
    proxies
}

/// Arguments that may be declared but are no variables of RUN (EXP-100).
pub(crate) fn is_scan_argument(name: &str) -> bool {
    matches!(name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE")
}
