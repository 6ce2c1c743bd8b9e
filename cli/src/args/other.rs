//! The flags of the smaller commands as they are typed.

use std::path::PathBuf;

use clap::Args;

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

/// `shale save`.
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// File to write (default: standard output)
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Form: oci, oci-dir for a layout's directory, or docker for what every version of `docker load` reads
    #[arg(long, value_name = "FORM", default_value = "docker")]
    pub(crate) format: String,
    /// Of images of several platforms only this one, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Images: names or ids. A name without a tag means all tags of the repository
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `shale load`.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// File, or directory with an OCI layout, to read (default: standard input)
    #[arg(long, short = 'i', value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Only the image for this platform, such as linux/arm64 (default: all that an index lists, where it is all there)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// No progress; what was loaded is printed all the same
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// Load images of the store into an engine: docker, podman or containerd[=SOCKET][/NAMESPACE]
    #[arg(long, value_name = "ENGINE", requires = "images", conflicts_with_all = ["input", "platform"])]
    pub(crate) to: Option<String>,
    /// Images for --to: names or ids
    #[arg(value_name = "IMAGE", requires = "to")]
    pub(crate) images: Vec<String>,
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
    /// Tar archive, plain or compressed, of a root file system: a file, an http or https URL, or - for standard input
    #[arg(value_name = "TAR|URL|-")]
    pub(crate) tar: PathBuf,
    /// Name for the image
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `shale export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// File to write, or a directory: one that is there, or a name that ends with / (default: a tar to standard output)
    #[arg(long, short = 'o', value_name = "FILE|DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Of an image of several platforms this one, such as linux/arm64 (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Image: a name or an id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}
