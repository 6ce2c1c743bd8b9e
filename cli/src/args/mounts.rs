//! The flags of `shale cache mounts` as they are typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `shale cache mounts`.
#[derive(Args, Debug)]
pub(crate) struct MountsArgs {
    #[command(subcommand)]
    pub(crate) command: MountsCommand,
}

/// What is to be done with cache mounts.
#[derive(Debug, Subcommand)]
pub(crate) enum MountsCommand {
    /// List cache mounts
    Ls(MountsLsArgs),
    /// Empty cache mounts; those that a build uses stay
    Clear(MountsClearArgs),
    /// Write a cache mount's content to a tar
    Export(MountsExportArgs),
    /// Replace a cache mount's content by that of a tar
    Import(MountsImportArgs),
}

/// `shale cache mounts ls`.
#[derive(Args, Debug)]
pub(crate) struct MountsLsArgs {
    /// Only keys
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Whole keys
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Form: table or json
    #[arg(long, value_name = "FORM", default_value = "table", value_parser = ["table", "json"])]
    pub(crate) format: String,
}

/// `shale cache mounts clear`.
#[derive(Args, Debug)]
pub(crate) struct MountsClearArgs {
    /// All cache mounts
    #[arg(long, short = 'a', conflicts_with = "mounts")]
    pub(crate) all: bool,
    /// Only of this BUILDKIT_CACHE_MOUNT_NS
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Cache mounts: ids as in Dockerfiles, or keys
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) mounts: Vec<String>,
}

/// `shale cache mounts export`.
#[derive(Args, Debug)]
pub(crate) struct MountsExportArgs {
    /// File to write, - for standard output (default); .tar is not compressed, .tar.gz with gzip, all others with zstd
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Of this BUILDKIT_CACHE_MOUNT_NS
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Cache mount: its id as in the Dockerfile, or its key
    #[arg(value_name = "ID")]
    pub(crate) mount: String,
}

/// `shale cache mounts import`.
#[derive(Args, Debug)]
pub(crate) struct MountsImportArgs {
    /// File to read, compressed or not, - for standard input (default)
    #[arg(long, short = 'i', value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Of this BUILDKIT_CACHE_MOUNT_NS
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Owner, where the Dockerfile's mount gives one
    #[arg(long, value_name = "ID")]
    pub(crate) uid: Option<u32>,
    /// Group, where the Dockerfile's mount gives one
    #[arg(long, value_name = "ID")]
    pub(crate) gid: Option<u32>,
    /// Mode, where the Dockerfile's mount gives one
    #[arg(long, value_name = "OCTAL")]
    pub(crate) mode: Option<String>,
    /// Refuse a tar with more than this in its files
    #[arg(long, value_name = "SIZE", default_value = "64g")]
    pub(crate) max_size: String,
    /// Cache mount: its id as in the Dockerfile, or the key of one that is there
    #[arg(value_name = "ID")]
    pub(crate) mount: String,
}
