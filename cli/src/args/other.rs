//! The flags of the smaller commands as they are typed.

use std::path::PathBuf;

use clap::Args;

/// `shale images`.
#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Only image ids
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only images of this name
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `shale run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Environment variable, NAME=VALUE or NAME
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub(crate) env: Vec<String>,
    /// User to run as
    #[arg(long, short = 'u', value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(long, short = 'w', value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Program to run instead of the image's entry point; empty for none
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    pub(crate) entrypoint: Option<String>,
    /// Network: default, none or host
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: String,
    /// Host name
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Line for /etc/hosts
    #[arg(long, value_name = "HOST:IP", value_delimiter = ',')]
    pub(crate) add_host: Vec<String>,
    /// No effect: nothing is kept of a run
    #[arg(long)]
    pub(crate) rm: bool,
    /// No effect: standard input is always passed on
    #[arg(long, short = 'i')]
    pub(crate) interactive: bool,
    /// No effect: the command has the terminal that shale has
    #[arg(long, short = 't')]
    pub(crate) tty: bool,
    /// Image: a name, an id or the beginning of one
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Command and arguments (default: the image's)
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `shale pull`.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Platform, such as linux/arm64 (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Print only the image's id
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Name of the image
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `shale push`.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Print only the digest
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Name of the image, registry included
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `shale save`.
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// File to write (default: standard output)
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Form: oci, or docker for archives that also `docker load` of old versions reads
    #[arg(long, value_name = "FORM", default_value = "docker")]
    pub(crate) format: String,
    /// Images: names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `shale load`.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// File to read (default: standard input)
    #[arg(long, short = 'i', value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print only image ids
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
}

/// `shale import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Dockerfile instruction for the image's config, such as 'CMD ["sh"]'; may be repeated
    #[arg(long, short = 'c', value_name = "INSTRUCTION", allow_hyphen_values = true)]
    pub(crate) change: Vec<String>,
    /// Comment for the history
    #[arg(long, short = 'm', value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) message: Option<String>,
    /// Platform of the programs inside (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Tar archive, plain or compressed, of a root file system; - for standard input
    #[arg(value_name = "TAR")]
    pub(crate) tar: PathBuf,
    /// Name for the image
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
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
    /// Remove all names of an image that is given by its id
    #[arg(long, short = 'f')]
    pub(crate) force: bool,
    /// Images: names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `shale history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Whole instructions and ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Image: a name or an id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `shale inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Images: names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}
