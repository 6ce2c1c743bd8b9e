//! What the command line says about a build, as far as it changes the graph.

use graph::{Limits, Network, Ulimit};
use oci::Platform;

use crate::git::parse_bool;
use crate::{NamedContext, SourcePolicy};

/// Everything besides the Dockerfile that decides the graph. Free of environment and paths of this machine.
#[derive(Clone, Debug)]
pub struct LowerRequest {
    /// `--target`; `None` for the last stage.
    pub target: Option<String>,
    /// Look at stages that the target does not need, too; with no target only (LINT-08).
    pub all_stages: bool,
    /// `--build-arg` pairs in order; the last of a name wins (ARG-09).
    pub build_args: Vec<(String, String)>,
    /// `--platform`; empty when none was asked for (PLAT-06 makes a difference of it).
    pub platforms: Vec<Platform>,
    /// The platform of this machine, BUILDPLATFORM.
    pub build_platform: Platform,
    /// `--label` pairs (LABEL-03).
    pub labels: Vec<(String, String)>,
    /// `--no-cache` (CACHE-40).
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages (CACHE-41).
    pub no_cache_filter: Vec<String>,
    /// `--build-context` (NCTX-01).
    pub contexts: Vec<NamedContext>,
    /// `--network`, the default of RUN (RUN-22).
    pub network: Network,
    /// `--add-host` pairs of name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--shm-size` in bytes.
    pub shm_size_bytes: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--resource`.
    pub limits: Limits,
    /// `--allow`.
    pub allow: Vec<Entitlement>,
    /// Host name of RUN steps; the build argument BUILDKIT_SANDBOX_HOSTNAME counts when it is `None` (XENV-04).
    pub hostname: Option<String>,
    /// The output's `source-date-epoch` in seconds since 1970 (EPO-01).
    pub epoch: Option<i64>,
    /// What `SOURCE_DATE_EPOCH=context` means: the commit's or the download's time; `None` for a directory (EPO-04).
    pub context_epoch: Option<i64>,
    /// Which sources may be used (NCTX-15).
    pub policy: SourcePolicy,
}

impl Default for LowerRequest {
    fn default() -> LowerRequest {
        LowerRequest {
            target: None,
            all_stages: false,
            build_args: Vec::new(),
            platforms: Vec::new(),
            build_platform: Platform::host(),
            labels: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            contexts: Vec::new(),
            network: Network::Default,
            add_hosts: Vec::new(),
            shm_size_bytes: None,
            ulimits: Vec::new(),
            cgroup_parent: None,
            limits: Limits::default(),
            allow: Vec::new(),
            hostname: None,
            epoch: None,
            context_epoch: None,
            policy: SourcePolicy::default(),
        }
    }
}

/// A right that a build needs for an unusual step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entitlement {
    /// `network.host`: RUN --network=host (RUN-21).
    NetworkHost,
    /// `security.insecure`: RUN --security=insecure (RUN-24).
    SecurityInsecure,
    /// `device` for all devices, or `device=name` for one (RUN-28).
    Device(Option<String>),
}

impl LowerRequest {
    /// Value of a build argument, the last one of its name.
    pub(crate) fn build_arg(&self, name: &str) -> Option<&str> {
        self.build_args.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The stage asked for; an empty name asks for none.
    pub(crate) fn wanted_target(&self) -> Option<&str> {
        self.target.as_deref().filter(|target| !target.is_empty())
    }

    /// The platforms to build for, each once (PLAT-09).
    pub(crate) fn targets(&self) -> Vec<Platform> {
        let mut targets: Vec<Platform> = Vec::new();
        for platform in &self.platforms {
            if !targets.contains(platform) {
                targets.push(platform.clone());
            }
        }
        if targets.is_empty() {
            targets.push(self.build_platform.clone());
        }
        targets
    }

    /// Whether the result is an index, which one platform gets when it is asked for (PLAT-08).
    ///
    /// # Errors
    /// Several platforms without an index, or a word that is neither yes nor no.
    pub fn is_index(&self) -> Result<bool, String> {
        let several = self.targets().len() > 1;
        match self.build_arg("BUILDKIT_MULTI_PLATFORM") {
            None | Some("") => Ok(several),
            Some(text) => match parse_bool(text) {
                Some(false) if several => {
                    let conflict = "returning multiple target platforms is not allowed";
                    Err(format!("conflicting config: {conflict}"))
                }
                Some(forced) => Ok(forced),
                None => Err(format!("invalid boolean value for multi-platform: {text}")),
            },
        }
    }

    /// Whether a right was given.
    pub(crate) fn allows(&self, wanted: &Entitlement) -> bool {
        match wanted {
            // Who asks for the host's network for all steps has allowed it, as with docker's command line.
            Entitlement::NetworkHost if self.network == Network::Host => true,
            _ => self.allow.contains(wanted),
        }
    }
}
