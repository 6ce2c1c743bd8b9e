//! The command line, in stages with a type each: what was typed ([`Cli`], [`BuildArgs`]) and what is needed
//! ([`BuildCommand`]). [`build_command`] is the only way from one to the other.
//!
//! Owns names, forms and defaults of flags. Refuses to build anything.

mod build;
mod builder;
mod cache;
mod call;
mod docker_config;
mod engines;
mod habits;
mod image;
mod image_filter;
mod lists;
mod mounts;
mod other;
mod registries;
mod request;
mod settings;
mod surroundings;
mod transfer;
mod values;
mod why;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use build::BuildArgs;
pub(crate) use builder::{BuilderArgs, VersionArgs};
pub(crate) use cache::{
    CacheArgs, CacheCommand, DuArgs, LsArgs, PruneAllArgs, VerifyArgs, gc_filter, prune_all_policy,
    prune_policy,
};
pub(crate) use call::Method;
pub(crate) use docker_config::DockerConfig;
pub(crate) use engines::engine_places;
pub(crate) use habits::transport_hint;
pub(crate) use image::{
    DfArgs, HistoryArgs, ImageArgs, ImageCommand, ImagePruneArgs, ImagesArgs, InspectArgs, RmiArgs,
    SystemArgs, SystemCommand, SystemPruneArgs, TagArgs,
};
pub(crate) use image_filter::{ImageFilter, LabelFilter, NamePattern, image_filter, prune_filter};
pub(crate) use lists::{
    JoinArgs, ManifestAnnotateArgs, ManifestArgs, ManifestCommand, ManifestCreateArgs,
    ManifestInspectArgs, ManifestPushArgs, ManifestRmArgs, RegistryRmArgs, RegistryTagsArgs,
    SearchArgs,
};
pub(crate) use mounts::{
    MountsArgs, MountsClearArgs, MountsCommand, MountsExportArgs, MountsImportArgs, MountsLsArgs,
};
pub(crate) use other::{ExportArgs, ImportArgs, LoadArgs, RunArgs, SaveArgs};
pub(crate) use registries::{
    ExplainArgs, LoginArgs, LogoutArgs, RegistryArgs, RegistryCommand, hosts_source,
};
pub(crate) use request::{BuildCommand, build_command};
pub(crate) use settings::cache_max;
pub(crate) use surroundings::Surroundings;
pub(crate) use transfer::{PullArgs, PushArgs};
pub(crate) use values::{add_host, image_name, network, pair, platforms, size_bytes, tag_name};
pub(crate) use why::WhyArgs;

/// Builds container images from Dockerfiles. No daemon, no root, nothing to configure.
#[derive(Debug, Parser)]
#[command(name = "shale", version, args_override_self = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Directory of the store (default: SHALE_ROOT, else /var/lib/shale as root and ~/.local/share/shale)
    // The variable is read elsewhere: clap would count it as typed and show the flag in the usage of every error.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Directory with docker's config.json (default: DOCKER_CONFIG, else ~/.docker)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(override_usage = "shale build [OPTIONS] <CONTEXT>")]
    Build(Box<BuildArgs>),
    /// List images in the store
    Images(ImagesArgs),
    /// Run a command in an image, in the foreground
    Run(RunArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Read images from an archive
    Load(LoadArgs),
    /// Make an image from a tar of a file system
    Import(ImportArgs),
    /// Write the files of an image to a tar or a directory
    Export(ExportArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove names of images, and images without a name
    Rmi(RmiArgs),
    /// Show how an image came about
    History(HistoryArgs),
    /// Show what is known of images
    Inspect(InspectArgs),
    /// Show why a step of the last build was not cached
    Why(WhyArgs),
    /// Remove images without a name, and results that nothing needs
    Prune(PruneAllArgs),
    /// Look at the build cache, and remove what is not needed
    Cache(CacheArgs),
    /// The same commands as docker's `image` has them
    Image(ImageArgs),
    /// What the store takes, and how to make it less
    System(SystemArgs),
    /// Put lists of manifests together, for images of several platforms
    Manifest(ManifestArgs),
    /// Join what several machines have pushed into one image of several platforms
    Join(JoinArgs),
    /// Search a registry for images
    Search(SearchArgs),
    /// Keep the password for a registry
    Login(LoginArgs),
    /// Forget the password for a registry
    Logout(LogoutArgs),
    /// Look at how registries are asked
    Registry(RegistryArgs),
    /// docker's `builder` and `buildx`: other names for build, cache prune and cache du
    #[command(alias = "buildx", hide = true)]
    Builder(BuilderArgs),
    /// Show the version
    Version(VersionArgs),
}

impl Command {
    /// Whether it puts something into the store, and so may be the first to use one.
    pub(crate) fn may_make_store(&self) -> bool {
        match self {
            Command::Build(_)
            | Command::Run(_)
            | Command::Pull(_)
            | Command::Load(_)
            | Command::Import(_)
            | Command::Login(_)
            | Command::Logout(_)
            | Command::Registry(_)
            | Command::Manifest(_)
            | Command::Join(_)
            | Command::Search(_)
            | Command::Builder(_)
            | Command::Version(_) => true,
            Command::Cache(CacheArgs { command: CacheCommand::Mounts(mounts) }) => {
                matches!(mounts.command, MountsCommand::Import(_))
            }
            Command::Images(_)
            | Command::Push(_)
            | Command::Save(_)
            | Command::Export(_)
            | Command::Tag(_)
            | Command::Rmi(_)
            | Command::History(_)
            | Command::Inspect(_)
            | Command::Why(_)
            | Command::Prune(_)
            | Command::Cache(_)
            | Command::Image(_)
            | Command::System(_) => false,
        }
    }
}

/// What to do about a command line that the parser refused, where it has no word of its own.
pub(crate) fn hint_for(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => {
            value_apart(arguments).or_else(|| habits::flag_hint(flag))
        }
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => missing
            .iter()
            .any(|argument| argument == "<CONTEXT>")
            .then(|| "for this directory: shale build .".to_owned()), // CLI-01
        (ErrorKind::InvalidSubcommand, _) => {
            let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
                return None;
            };
            let at = arguments.iter().position(|argument| argument.to_str() == Some(name))?;
            let parent = at.checked_sub(1).and_then(|at| arguments[at].to_str());
            habits::command_hint(name, parent.filter(|word| !word.starts_with('-')))
        }
        _ => None,
    }
}

/// Flags that may have a value have it behind `=`, as docker build's: what follows them is the context.
fn value_apart(arguments: &[OsString]) -> Option<String> {
    const FLAGS: [&str; 6] = ["--pull", "--no-cache", "--push", "--load", "--quiet", "--check"];
    const VALUES: [&str; 6] = ["always", "missing", "newer", "never", "true", "false"];
    let text = |argument: &OsString| argument.to_str().unwrap_or_default().to_owned();
    let pairs = arguments.windows(2).map(|pair| (text(&pair[0]), text(&pair[1])));
    let mut apart = pairs
        .filter(|(flag, value)| FLAGS.contains(&flag.as_str()) && VALUES.contains(&value.as_str()));
    apart.next().map(|(flag, value)| format!("join them by `=`: {flag}={value}"))
}

/// The command line says something that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    /// What is wrong, one sentence.
    pub(crate) message: String,
    /// What to do instead.
    pub(crate) hint: Option<String>,
}

impl UsageError {
    /// An error with its sentence.
    pub(crate) fn new(message: impl Into<String>) -> UsageError {
        UsageError { message: message.into(), hint: None }
    }

    /// The same error with the flag that it is about, behind the sentence: tools look for its beginning.
    pub(crate) fn of_flag(mut self, flag: &str, text: &str) -> UsageError {
        self.message.push_str(&format!(" (in {flag} {text})"));
        self
    }

    /// The same error with what to do instead.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> UsageError {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UsageError {}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_missing_context_is_answered() {
        let hint = |arguments: &[&str]| {
            let error = Cli::try_parse_from(arguments).expect_err("not enough");
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            (hint_for(&error, &arguments), error.to_string())
        };
        let (said, text) = hint(&["shale", "build", "-t", "app"]);
        assert_eq!(said.as_deref(), Some("for this directory: shale build ."));
        let said = hint(&["shale", "build", "--pull", "never", "-t", "app", "."]).0;
        assert_eq!(said.as_deref(), Some("join them by `=`: --pull=never"));
        assert!(text.contains("Usage: shale build [OPTIONS] <CONTEXT>\n"), "{text}");
        assert_eq!(hint(&["shale", "build", "--no-such-flag", "."]).0, None);
        assert_eq!(hint(&["shale", "run"]).0, None);
    }
}
