//! What builds have written down of themselves, for whoever asks why a step ran: one sealed file a build.
//!
//! Owns the names, which tell the newest and those of one project without opening a file, and how many are kept.
//! Refuses to know what is in them. They are promised to nobody: after a power cut some may be gone.

use std::collections::HashSet;

use oci::Digest;

use crate::error::{StoreError, at};
use crate::layout::Store;
use crate::lease::Lease;
use crate::seal;

/// Where they lie.
pub(crate) const AREA: &str = "logs/builds";
const KIND: &str = "build";
/// The newest that are kept.
const KEPT: usize = 64;
/// Of these the newest of each project is kept.
const KEPT_OF_PROJECTS: usize = 256;

/// What was built: a Dockerfile in a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Project {
    context: u64,
    dockerfile: u64,
}

impl Project {
    /// A project by what names its context and its Dockerfile.
    pub fn new(context: &[u8], dockerfile: &[u8]) -> Project {
        Project { context: short(context), dockerfile: short(dockerfile) }
    }

    /// Whether it is one of this context.
    pub fn is_of_context(&self, context: &[u8]) -> bool {
        self.context == short(context)
    }
}

/// A few bits of a digest: two projects that share them get answers that are less exact, nothing else.
fn short(name: &[u8]) -> u64 {
    let digest = Digest::of(name);
    let first = digest.as_bytes().first_chunk().expect("a digest is longer");
    u64::from_be_bytes(*first)
}

/// Names what one build has written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildLogName {
    /// When it began, in microseconds since 1970; later than the newest that is there when it is written.
    pub started_us: u64,
    /// What was built.
    pub project: Project,
}

impl BuildLogName {
    fn path(&self) -> String {
        let BuildLogName { started_us, project: Project { context, dockerfile } } = self;
        format!("{AREA}/{started_us:016x}{context:016x}{dockerfile:016x}")
    }

    fn parse(name: &str) -> Option<BuildLogName> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if name.len() != 48 || !name.bytes().all(is_hex) {
            return None;
        }
        let number = |at: usize| u64::from_str_radix(&name[at..at + 16], 16).ok();
        let project = Project { context: number(16)?, dockerfile: number(32)? };
        Some(BuildLogName { started_us: number(0)?, project })
    }
}

impl Store {
    /// What there is, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn build_logs(&self) -> Result<Vec<BuildLogName>, StoreError> {
        let names = self.disk().list(AREA).map_err(at("list", AREA))?;
        let names = names.iter().rev().filter_map(|name| BuildLogName::parse(name));
        Ok(names.collect())
    }

    /// What a build has written down; `None` when it is gone or not whole.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn build_log(&self, name: &BuildLogName) -> Result<Option<Vec<u8>>, StoreError> {
        let path = name.path();
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| seal::unseal(KIND, &path, &bytes).map(<[u8]>::to_vec)))
    }
}

impl Lease {
    /// Writes down what a build has to say, and removes what is too old. It is the newest then, also when the clock was
    /// set back since another was written.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_build_log(&self, name: &BuildLogName, body: &[u8]) -> Result<(), StoreError> {
        let mut names = self.store().build_logs()?;
        let newest = names.first().map_or(0, |newest| newest.started_us);
        let started_us = name.started_us.max(newest.saturating_add(1));
        let name = BuildLogName { started_us, ..*name };
        let path = name.path();
        // A store that an earlier version made has no such directory.
        self.disk().make_dir(AREA).map_err(at("make", AREA))?;
        self.publish(&path, &seal::seal(KIND, &path, body), false)?;
        names.insert(0, name);
        for old in too_old(&names) {
            let path = old.path();
            self.disk().unlink(&path).map_err(at("remove", path.as_str()))?;
        }
        Ok(())
    }
}

/// Of names, the newest first, those that are not kept.
fn too_old(names: &[BuildLogName]) -> Vec<BuildLogName> {
    let mut projects = HashSet::new();
    let mut old = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let is_newest = projects.insert(name.project);
        if at >= KEPT && !(is_newest && at < KEPT_OF_PROJECTS) {
            old.push(*name);
        }
    }
    old
}
