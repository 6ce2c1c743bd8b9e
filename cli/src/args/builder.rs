//! docker's `builder` and `buildx` as they are typed: other names for what shale has itself, and `version`.

use clap::{Args, Subcommand};

use super::cache::PruneArgs;
use super::{BuildArgs, CacheArgs, CacheCommand, Command, DuArgs};

/// `shale builder` and `shale buildx`.
#[derive(Args, Debug)]
pub(crate) struct BuilderArgs {
    #[command(subcommand)]
    pub(crate) command: BuilderCommand,
}

/// What a builder does.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b", override_usage = "shale buildx build [OPTIONS] <CONTEXT>")]
    Build(Box<BuildArgs>),
    /// Remove results that nothing needs, as `shale cache prune`
    Prune(PruneArgs),
    /// Show what takes how much of the disk, as `shale cache du`
    Du(DuArgs),
    /// Show the version
    Version,
}

/// `shale version`.
#[derive(Args, Debug, Default)]
pub(crate) struct VersionArgs {
    /// json, or a Go template over docker's fields: {{.Client.Version}}, {{.Server.Os}}
    #[arg(long, short = 'f', value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

impl BuilderArgs {
    /// The command that it is another name for.
    pub(crate) fn in_short(self) -> Command {
        let cache = |command| Command::Cache(CacheArgs { command });
        match self.command {
            BuilderCommand::Build(typed) => Command::Build(typed),
            BuilderCommand::Prune(typed) => cache(CacheCommand::Prune(typed)),
            BuilderCommand::Du(typed) => cache(CacheCommand::Du(typed)),
            BuilderCommand::Version => Command::Version(VersionArgs::default()),
        }
    }
}
