//! What is said of a result beside it: how it was built and what is in it (spec 8.6).
//!
//! Owns the facts and when they are known. What documents look like is `attest`'s business, where they go is the
//! exporter's.

mod files;
mod request;
mod scan;
mod sources;
mod steps;

use std::sync::{Arc, Mutex};

use ::attest::{Mode, Provenance};
use exporter::Attestation;
use graph::{Graph, Target};
use oci::Descriptor;
use parser::SourceText;
use serde_json::Value as Json;

use crate::error::BuildError;
use crate::plan::Plan;
use crate::request::{Attestations, ProvenanceRequest};
use crate::session::{Session, short_id};
use crate::stop::{Stop, lock};
use crate::value::Value;

pub(crate) use files::with_files;
pub(crate) use scan::extend_plan;

/// The program's name in documents.
const TOOL: &str = concat!("shale-", env!("CARGO_PKG_VERSION"));

/// A build of which something is to be said.
pub(crate) struct Attesting<'a> {
    session: &'a Arc<Session>,
    plan: &'a Plan,
    values: &'a [Value],
    /// What was found in the file systems, by target: each is looked through once.
    found: Mutex<Vec<Option<Arc<scan::Found>>>>,
    finished_on: String,
}

/// Which attestations an output takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// All of them.
    All,
    /// Those that are not for images alone (OUT-24).
    NotInlineOnly,
}

impl<'a> Attesting<'a> {
    pub(crate) fn new(session: &'a Arc<Session>, plan: &'a Plan, values: &'a [Value]) -> Self {
        let found = Mutex::new(vec![None; plan.graph.targets.len()]);
        let finished_on = match session.epoch().and_then(crate::assemble::epoch_text) {
            Some(epoch) => epoch,
            None => crate::request::now(),
        };
        Attesting { session, plan, values, found, finished_on }
    }

    /// What is said of the image of a target, whose layers have these descriptors.
    pub(crate) fn of(
        &self,
        at: usize,
        layers: &[Descriptor],
        takes: Takes,
    ) -> Result<Vec<Attestation>, Stop> {
        let wanted = &self.session.request.attest;
        let mut list = Vec::new();
        if let Some(sbom) = &wanted.sbom {
            let found = self.found(at, sbom)?;
            list.extend(scan::documents(self, &found, layers)?);
        }
        if let Some(provenance) = &wanted.provenance
            && (takes == Takes::All || !provenance.inline_only)
        {
            let facts = self.facts(at, layers, provenance);
            list.push(Attestation {
                predicate_type: provenance.version.predicate_type().to_owned(),
                predicate: ::attest::predicate(&facts),
                file_name: provenance.file_name.clone(),
            });
        }
        Ok(list)
    }

    /// What --metadata-file says of the build of each target (OUT-41).
    pub(crate) fn metadata(&self, mode: Mode) -> Vec<(String, Json)> {
        let targets = &self.plan.graph.targets;
        let request = ProvenanceRequest { mode, ..ProvenanceRequest::default() };
        let one = |(at, target): (usize, &Target)| {
            let key = match targets.len() {
                1 => "buildx.build.provenance".to_owned(),
                _ => format!("buildx.build.provenance/{}", target.platform),
            };
            (key, ::attest::predicate_for_metadata(&self.facts(at, &[], &request)))
        };
        targets.iter().enumerate().map(one).collect()
    }

    fn found(
        &self,
        at: usize,
        request: &crate::request::SbomRequest,
    ) -> Result<Arc<scan::Found>, Stop> {
        let mut all = lock(&self.found);
        if let Some(found) = &all[at] {
            return Ok(found.clone());
        }
        let found = Arc::new(scan::look(self, at, request)?);
        all[at] = Some(found.clone());
        Ok(found)
    }

    fn facts(&self, at: usize, layers: &[Descriptor], request: &ProvenanceRequest) -> Provenance {
        let target = &self.plan.graph.targets[at];
        let mounted = sources::mounted(self.graph(), target);
        let (config_uri, from_context) = sources::context(self.session);
        let mut dependencies = sources::dependencies(self.graph(), target, self.values);
        dependencies.extend(from_context);
        dependencies.sort();
        dependencies.dedup();
        let epoch = self.session.epoch().is_some();
        let started_on =
            if epoch { self.finished_on.clone() } else { self.session.started_on.clone() };
        let mut facts = Provenance {
            version: request.version,
            mode: request.mode,
            builder_id: request.builder_id.clone(),
            builder_version: ("shale".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            builder_platform: oci::Platform::host(),
            reproducible: request.reproducible,
            invocation_id: String::new(),
            started_on,
            finished_on: self.finished_on.clone(),
            config_uri,
            config_path: request::dockerfile_name(&self.session.request),
            args: request::arguments(&self.session.request),
            withheld: request::withheld(&self.session.request),
            secrets: mounted.secrets,
            ssh: mounted.ssh,
            locals: sources::locals(self.session, self.graph(), target),
            dependencies,
            hermetic: sources::is_hermetic(self.graph(), target),
            steps: Vec::new(),
            source: None,
        };
        if request.mode == Mode::Max {
            facts.steps = steps::steps(self.graph(), target, &self.plan.source, layers);
            facts.source = Some(source(&self.plan.source));
        }
        facts.invocation_id = match epoch {
            // Nothing that differs between two builds of the same.
            true => short_id(::attest::predicate(&facts).to_string().as_bytes()),
            false => self.session.invocation_id.clone(),
        };
        facts
    }

    /// The time of files that attestations are.
    pub(crate) fn mtime(&self) -> layer::Mtime {
        let time: Option<jiff::Timestamp> = self.finished_on.parse().ok();
        layer::Mtime { secs: time.map_or(0, jiff::Timestamp::as_second), nanos: 0 }
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.plan.graph
    }
}

/// Whether anything is to be said in an output.
pub(crate) fn is_wanted(wanted: &Attestations, takes: Takes) -> bool {
    let provenance = wanted.provenance.as_ref();
    wanted.sbom.is_some() || provenance.is_some_and(|p| takes == Takes::All || !p.inline_only)
}

fn source(text: &SourceText) -> ::attest::SourceText {
    ::attest::SourceText { name: text.name.to_string(), text: text.text.to_string() }
}

/// An error of making a document.
fn failed(error: impl std::error::Error + Send + Sync + 'static) -> BuildError {
    BuildError::new(crate::BuildErrorKind::Files, "cannot make an attestation").because(error)
}
