//! The flags of `shale build` as they are typed: all that docker build and docker buildx build take (spec 10.2).

use std::path::PathBuf;

use clap::{ArgAction, Args};
use engine::PullPolicy;

use super::values::{go_bool, pull_policy};

/// Flags and context of `shale build`.
///
/// A switch may be given alone or with `=true` and `=false`, as docker's may (CLI-02).
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// Build context: a directory, a git reference, an http(s) URL, or - for standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,

    /// Dockerfile (default: Dockerfile in the context; - is standard input)
    #[arg(
        long,
        short = 'f',
        value_name = "PATH",
        allow_hyphen_values = true,
        help_heading = "Dockerfile and result"
    )]
    pub(crate) file: Option<String>,

    /// Name for the image, name[:tag]; may be repeated
    #[arg(long, short = 't', value_name = "NAME", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Dockerfile and result")]
    pub(crate) tag: Vec<String>,

    /// Stage to build (default: the last one)
    #[arg(
        long,
        value_name = "STAGE",
        allow_hyphen_values = true,
        help_heading = "Dockerfile and result"
    )]
    pub(crate) target: Option<String>,

    /// Set an ARG; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Dockerfile and result")]
    pub(crate) build_arg: Vec<String>,

    /// Named context: a directory, docker-image://, oci-layout://, target:, a git or http(s) URL
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Dockerfile and result")]
    pub(crate) build_context: Vec<String>,

    /// Label for the image
    #[arg(long, value_name = "NAME[=VALUE]", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Dockerfile and result")]
    pub(crate) label: Vec<String>,

    /// Platform to build for, such as linux/arm64
    #[arg(long, value_name = "PLATFORM", allow_hyphen_values = true, value_delimiter = ',', action = ArgAction::Append, help_heading = "Dockerfile and result")]
    pub(crate) platform: Vec<String>,

    /// Where the result goes: type=oci|docker|tar|local|image|registry,dest=PATH, or a directory
    #[arg(long, short = 'o', value_name = "OUTPUT", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Outputs")]
    pub(crate) output: Vec<String>,

    /// Annotation of the manifest, or of the index and descriptors: [TYPE[PLATFORM]:]KEY=VALUE
    #[arg(long, value_name = "ANNOTATION", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Outputs")]
    pub(crate) annotation: Vec<String>,

    /// Push the result to its registry, as --output type=registry
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "Outputs")]
    pub(crate) push: bool,

    /// Load the result into a running Docker or Podman, as --output type=docker
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "Outputs")]
    pub(crate) load: bool,

    /// Write the image id to a file
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, help_heading = "Outputs")]
    pub(crate) iidfile: Option<PathBuf>,

    /// Write digests and names of the result to a file, as JSON
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, help_heading = "Outputs")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// No progress; print the image id on success
    #[arg(long, short = 'q', num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "Outputs")]
    pub(crate) quiet: bool,

    /// Progress: auto, plain, tty, quiet, none, rawjson (default: auto, or BUILDKIT_PROGRESS)
    #[arg(long, value_name = "KIND", allow_hyphen_values = true, help_heading = "Outputs")]
    pub(crate) progress: Option<String>,

    /// Run every RUN, COPY and ADD again
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "Cache")]
    pub(crate) no_cache: bool,

    /// Run the steps of these stages again
    #[arg(long, value_name = "STAGE", allow_hyphen_values = true, value_delimiter = ',', action = ArgAction::Append, help_heading = "Cache")]
    pub(crate) no_cache_filter: Vec<String>,

    /// Run this step again and those after it in its stage: STAGE:N, N, Dockerfile:LINE
    #[arg(long, value_name = "STEP", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Cache")]
    pub(crate) no_cache_from: Vec<String>,

    /// Run steps again whose result is older, such as 24h, 7d, 90m; of one stage or step with :STEP behind it
    #[arg(long, value_name = "AGE[:STEP]", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Cache")]
    pub(crate) max_age: Vec<String>,

    /// Fail before this step runs (exit code 7): STAGE:N, N, STAGE, Dockerfile:LINE, or all
    #[arg(long, value_name = "STEP", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Cache")]
    pub(crate) expect_cached: Vec<String>,

    /// When to ask registries for base images: always (--pull alone), missing, newer, never (default: missing)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "always", default_value = "missing", hide_default_value = true, value_name = "POLICY", value_parser = pull_policy, action = ArgAction::Set, help_heading = "Cache")]
    pub(crate) pull: PullPolicy,

    /// Look for results there too: IMAGE, or type=registry|local|s3|gha|azblob,KEY=VALUE
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Cache")]
    pub(crate) cache_from: Vec<String>,

    /// Put results there: type=registry|local|inline|s3|gha|azblob,mode=min|max,KEY=VALUE
    #[arg(long, value_name = "DEST", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Cache")]
    pub(crate) cache_to: Vec<String>,

    /// What the store may take of the disk, such as 20G, or unlimited (default: SHALE_CACHE_MAX, else config.toml, else
    /// a fifth, at most 64G)
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = "Cache")]
    pub(crate) cache_max: Option<String>,

    /// Secret for RUN --mount=type=secret: id=ID[,src=FILE | ,env=NAME]
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) secret: Vec<String>,

    /// Ssh agent for RUN --mount=type=ssh: default or ID[=SOCKET], or ID=KEYFILE[,KEYFILE]
    #[arg(long, value_name = "SSH", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) ssh: Vec<String>,

    /// Directory with descriptions of devices for RUN --device, CDI files (default: /etc/cdi and /var/run/cdi)
    #[arg(long, value_name = "DIR", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) cdi_spec_dir: Vec<String>,

    /// Network of RUN: default, none, host, sandbox (default: default)
    #[arg(long, value_name = "MODE", allow_hyphen_values = true, help_heading = "What steps get")]
    pub(crate) network: Option<String>,

    /// Line for /etc/hosts
    #[arg(long, value_name = "HOST:IP", allow_hyphen_values = true, value_delimiter = ',', action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) add_host: Vec<String>,

    /// Size of /dev/shm, such as 128m
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, help_heading = "What steps get")]
    pub(crate) shm_size: Option<String>,

    /// Resource limit of RUN, such as nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) ulimit: Vec<String>,

    /// Limit of RUN: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) resource: Vec<String>,

    /// Parent cgroup of RUN
    #[arg(
        long,
        value_name = "CGROUP",
        allow_hyphen_values = true,
        help_heading = "What steps get"
    )]
    pub(crate) cgroup_parent: Option<String>,

    /// Allow network.host, security.insecure or device[=NAME]
    #[arg(long, value_name = "RIGHT", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "What steps get")]
    pub(crate) allow: Vec<String>,

    /// Steps that run at the same time (default: number of processors, at least 4)
    #[arg(long, value_name = "N", help_heading = "What steps get")]
    pub(crate) jobs: Option<usize>,

    /// Fail rather than run a step with less isolation than designed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "What steps get")]
    pub(crate) require_isolation: bool,

    /// Check the Dockerfile and build nothing, as --call=check
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "Checks")]
    pub(crate) check: bool,

    /// What to do: build, check, outline, targets (default: build); check,format=json answers in JSON
    #[arg(long, value_name = "METHOD", allow_hyphen_values = true, help_heading = "Checks")]
    pub(crate) call: Option<String>,

    /// What is said of the result beside it: type=provenance|sbom,KEY=VALUE (docs/attestations.md)
    #[arg(long, value_name = "ATTESTATION", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Attestations")]
    pub(crate) attest: Vec<String>,

    /// How it was built: true, false, or attributes such as mode=min (default: false)
    #[arg(long, value_name = "VALUE", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Attestations")]
    pub(crate) provenance: Option<String>,

    /// What is in it: true, false, or attributes such as generator=IMAGE (default: false)
    #[arg(long, value_name = "VALUE", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Attestations")]
    pub(crate) sbom: Option<String>,

    /// Source policy (refused: not supported yet)
    #[arg(long, value_name = "POLICY", allow_hyphen_values = true, action = ArgAction::Append, help_heading = "Accepted for docker build's sake")]
    pub(crate) policy: Vec<String>,

    /// No effect: there is no daemon to choose
    #[arg(
        long,
        value_name = "NAME",
        allow_hyphen_values = true,
        help_heading = "Accepted for docker build's sake"
    )]
    pub(crate) builder: Option<String>,

    /// No effect
    #[arg(long, short = 'D', num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, help_heading = "Accepted for docker build's sake")]
    pub(crate) debug: bool,

    /// No effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) compress: bool,

    /// No effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) force_rm: bool,

    /// No effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) rm: bool,

    /// Windows only; ignored with a warning
    #[arg(long, value_name = "KIND", allow_hyphen_values = true, hide = true)]
    pub(crate) isolation: Option<String>,

    /// Ignored with a warning
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, value_delimiter = ',', action = ArgAction::Append, hide = true)]
    pub(crate) security_opt: Vec<String>,

    /// Ignored with a warning
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) squash: bool,

    /// buildah's: layers are always kept
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) layers: bool,

    /// buildah's: stages that nothing needs are never built
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) skip_unused_stages: bool,

    /// No effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set, hide = true)]
    pub(crate) disable_content_trust: bool,

    /// Old spelling of --call
    #[arg(long, value_name = "METHOD", allow_hyphen_values = true, hide = true)]
    pub(crate) print: Option<String>,

    /// As --resource memory=BYTES
    #[arg(long, short = 'm', value_name = "BYTES", allow_hyphen_values = true, hide = true)]
    pub(crate) memory: Option<String>,

    /// As --resource memory-swap=BYTES
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, hide = true)]
    pub(crate) memory_swap: Option<String>,

    /// As --resource cpu-shares=N
    #[arg(long, short = 'c', value_name = "N", allow_hyphen_values = true, hide = true)]
    pub(crate) cpu_shares: Option<String>,

    /// As --resource cpu-period=MICROSECONDS
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, hide = true)]
    pub(crate) cpu_period: Option<String>,

    /// As --resource cpu-quota=MICROSECONDS
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, hide = true)]
    pub(crate) cpu_quota: Option<String>,

    /// As --resource cpuset-cpus=LIST
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, hide = true)]
    pub(crate) cpuset_cpus: Option<String>,

    /// As --resource cpuset-mems=LIST
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, hide = true)]
    pub(crate) cpuset_mems: Option<String>,
}
