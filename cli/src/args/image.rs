//! The flags of commands on the images of the store as they are typed: `shale images`, `shale image ls` and so on.

use clap::{Args, Subcommand};

use super::{BuildArgs, Command, ImportArgs, LoadArgs, PullArgs, PushArgs, SaveArgs};

/// `shale images`.
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Also the images of single platforms of which only an index has a name
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only what matches: dangling=true, label=KEY[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE, until=TIME
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// table, json, 'table TEMPLATE' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only image ids
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Only images of this name; may have wildcards
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) name: Option<String>,
}

/// `shale history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// table, json, 'table TEMPLATE' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Sizes and dates for people; --human=false for programs
    #[arg(
        long,
        short = 'H',
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(crate) human: bool,
    /// Whole instructions and ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Platform, such as linux/arm64, of an image of several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Only image ids
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Image: a name or an id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `shale inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// json or a Go template
    #[arg(long, short = 'f', value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Platform, such as linux/arm64, of an image of several
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image's config, byte for byte
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,
    /// No effect: there are only images
    #[arg(long, value_name = "TYPE", value_parser = ["image"])]
    pub(crate) r#type: Option<String>,
    /// No effect: sizes of images are always shown
    #[arg(long, short = 's')]
    pub(crate) size: bool,
    /// Images: names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `shale tag`.
#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    /// Image: a name or an id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// New name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `shale rmi`.
#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// Remove all names of an image that is given by its id; no error for images that are not there
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
    /// No effect: no image has parents
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Images: names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `shale image prune`.
#[derive(Args, Debug)]
pub(crate) struct ImagePruneArgs {
    /// Also images with a name
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Only what matches: until=24h (made before), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// No effect: nobody is asked
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
}

/// `shale system df`.
#[derive(Args, Debug)]
pub(crate) struct DfArgs {
    /// table, json, 'table TEMPLATE' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Each image, result and cache mount
    #[arg(long, short = 'v')]
    pub(crate) verbose: bool,
}

/// `shale system prune`.
#[derive(Args, Debug)]
pub(crate) struct SystemPruneArgs {
    /// Also images with a name
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Only what matches: until=24h (made before, not used since), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// No effect: nobody is asked
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
    /// No effect: there are no volumes, and cache mounts are part of the cache
    #[arg(long)]
    pub(crate) volumes: bool,
}

/// `shale image`.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

/// docker's long forms.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    #[command(override_usage = "shale image build [OPTIONS] <CONTEXT>")]
    Build(Box<BuildArgs>),
    /// Show how an image came about
    History(HistoryArgs),
    /// Make an image from a tar of a file system
    Import(ImportArgs),
    /// Show what is known of images
    Inspect(InspectArgs),
    /// Read images from an archive
    Load(LoadArgs),
    /// List images in the store
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Remove images without a name
    Prune(ImagePruneArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// Remove names of images, and images without a name
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Give an image another name
    Tag(TagArgs),
}

/// `shale system`.
#[derive(Args, Debug)]
pub(crate) struct SystemArgs {
    #[command(subcommand)]
    pub(crate) command: SystemCommand,
}

/// What concerns the whole store.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show what takes how much of the disk
    Df(DfArgs),
    /// Remove images without a name, and results that nothing needs
    Prune(SystemPruneArgs),
}

impl Command {
    /// The short form of a long one.
    pub(crate) fn in_short(self) -> Command {
        let command = match self {
            Command::Image(ImageArgs { command }) => command,
            Command::Builder(typed) => return typed.in_short(),
            other => return other,
        };
        match command {
            ImageCommand::Build(typed) => Command::Build(typed),
            ImageCommand::History(typed) => Command::History(typed),
            ImageCommand::Import(typed) => Command::Import(typed),
            ImageCommand::Inspect(typed) => Command::Inspect(typed),
            ImageCommand::Load(typed) => Command::Load(typed),
            ImageCommand::Ls(typed) => Command::Images(typed),
            ImageCommand::Pull(typed) => Command::Pull(typed),
            ImageCommand::Push(typed) => Command::Push(typed),
            ImageCommand::Rm(typed) => Command::Rmi(typed),
            ImageCommand::Save(typed) => Command::Save(typed),
            ImageCommand::Tag(typed) => Command::Tag(typed),
            command @ ImageCommand::Prune(_) => Command::Image(ImageArgs { command }),
        }
    }
}
