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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    fn short(line: &str) -> Option<Command> {
        let words = std::iter::once("shale").chain(line.split(' '));
        Cli::try_parse_from(words).ok().map(|cli| cli.command.in_short())
    }

    #[test]
    fn docker_s_words_mean_our_commands() {
        for line in ["buildx build -t app .", "builder build .", "buildx b .", "image build ."] {
            assert!(matches!(short(line), Some(Command::Build(_))), "{line}");
        }
        for line in ["builder prune -af", "buildx prune --filter until=24h --keep-storage 1g"] {
            let Some(Command::Cache(CacheArgs { command: CacheCommand::Prune(typed) })) =
                short(line)
            else {
                panic!("{line}")
            };
            assert_eq!(typed.all, line.ends_with("-af"));
        }
        assert!(matches!(
            short("buildx du"),
            Some(Command::Cache(CacheArgs { command: CacheCommand::Du(_) }))
        ));
        assert!(matches!(short("buildx version"), Some(Command::Version(_))));
        assert!(short("buildx create").is_none() && short("buildx bake").is_none());
    }
}
