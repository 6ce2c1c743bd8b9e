//! `shale manifest`, `shale join` and `shale search` as they are typed, and the two questions about what a registry
//! has.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `shale manifest`.
#[derive(Args, Debug)]
pub(crate) struct ManifestArgs {
    #[command(subcommand)]
    pub(crate) command: ManifestCommand,
}

/// What is to be done with lists of manifests.
#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Put a list together of images of the store and of registries
    Create(ManifestCreateArgs),
    /// Say what an image of a list is for
    Annotate(ManifestAnnotateArgs),
    /// Show a list that was put together here, or what a registry has
    Inspect(ManifestInspectArgs),
    /// Push a list as an index, with what its repository does not have yet
    Push(ManifestPushArgs),
    /// Forget lists that were put together here
    Rm(ManifestRmArgs),
    /// Show which lists were put together here
    Ls,
}

/// `shale manifest create`.
#[derive(Args, Debug)]
pub(crate) struct ManifestCreateArgs {
    /// Add to a list that is there already
    #[arg(long, short = 'a')]
    pub(crate) amend: bool,
    /// Take plain http and any certificate from the registries of the images
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Name of the list
    #[arg(value_name = "MANIFEST_LIST")]
    pub(crate) list: String,
    /// Images: the store's if it has the name, else the registry's; docker://NAME for the registry's in any case
    #[arg(value_name = "MANIFEST", required = true)]
    pub(crate) images: Vec<String>,
}

/// `shale manifest annotate`.
#[derive(Args, Debug)]
pub(crate) struct ManifestAnnotateArgs {
    /// Set architecture
    #[arg(long, value_name = "ARCH", default_value = "", hide_default_value = true)]
    pub(crate) arch: String,
    /// Set operating system
    #[arg(long, value_name = "OS", default_value = "", hide_default_value = true)]
    pub(crate) os: String,
    /// Add features of the operating system
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(crate) os_features: Vec<String>,
    /// Set version of the operating system
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub(crate) os_version: String,
    /// Set variant of the architecture
    #[arg(long, value_name = "VARIANT", default_value = "", hide_default_value = true)]
    pub(crate) variant: String,
    /// Name of the list
    #[arg(value_name = "MANIFEST_LIST")]
    pub(crate) list: String,
    /// Image in the list: as it was named, or by its digest
    #[arg(value_name = "MANIFEST")]
    pub(crate) image: String,
}

/// `shale manifest inspect`.
#[derive(Args, Debug)]
pub(crate) struct ManifestInspectArgs {
    /// Take plain http and any certificate from the registry
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Show platforms and the listed manifests too
    #[arg(long, short = 'v')]
    pub(crate) verbose: bool,
    /// Name of the list, if the manifest is one of a list that was put together here; and the name of the manifest
    #[arg(value_name = "[MANIFEST_LIST] MANIFEST", required = true, num_args = 1..=2)]
    pub(crate) names: Vec<String>,
}

/// `shale manifest push`.
#[derive(Args, Debug)]
pub(crate) struct ManifestPushArgs {
    /// Take plain http and any certificate from the registry
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Forget the list afterwards
    #[arg(long, short = 'p')]
    pub(crate) purge: bool,
    /// Name of the list
    #[arg(value_name = "MANIFEST_LIST")]
    pub(crate) list: String,
}

/// `shale manifest rm`.
#[derive(Args, Debug)]
pub(crate) struct ManifestRmArgs {
    /// Names of lists
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    pub(crate) lists: Vec<String>,
}

/// `shale join`.
#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// Another name for the result; may be repeated
    #[arg(long, short = 't', value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<String>,
    /// Directory with what --metadata-file or --iidfile has written on each machine; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Vec<PathBuf>,
    /// Take whatever has a tag like this in the repository, such as 'run-7-*'; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) from_tags: Vec<String>,
    /// Platforms that there must be, no more and no less
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) expect: Vec<String>,
    /// Annotation of the index, KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Write what came of it to this file, as `shale build` does
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Print the index and push nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print only the digest
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Name of the result
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
    /// Parts: names at registries, or digests in the repository of the result
    #[arg(value_name = "REF")]
    pub(crate) parts: Vec<String>,
}

/// `shale search`.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Show only these: is-official=true, is-automated=true, stars=NUMBER
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Write each with this Go template; table TEMPLATE for columns, json for JSON
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) limit: u32,
    /// Whole descriptions
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// What to look for; HOST/TERM asks another registry than docker.io
    #[arg(value_name = "TERM")]
    pub(crate) term: String,
}

/// `shale registry tags`.
#[derive(Args, Debug)]
pub(crate) struct RegistryTagsArgs {
    /// Name of the repository, with its registry
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `shale registry rm`.
#[derive(Args, Debug)]
pub(crate) struct RegistryRmArgs {
    /// Images, by tag or by digest; all tags of the same image go with it
    #[arg(value_name = "REF", required = true)]
    pub(crate) references: Vec<String>,
}
