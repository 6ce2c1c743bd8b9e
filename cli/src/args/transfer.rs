//! Arguments of `shale pull` and `shale push`: docker's.

use clap::Args;

/// `shale pull`.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Fetch all images of the repository
    #[arg(long, short = 'a')]
    pub(crate) all_tags: bool,
    /// Platform, such as linux/arm64 (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Print only the image's full name
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// No effect: there is no content trust
    #[arg(
        long,
        value_name = "BOOL",
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) disable_content_trust: bool,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: String,
}

/// `shale push`.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Push all names that the store has in the repository
    #[arg(long, short = 'a')]
    pub(crate) all_tags: bool,
    /// Of an image for several platforms push only the one for this platform (default: all, as they are)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Print only the image's full name
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// No effect: there is no content trust
    #[arg(
        long,
        value_name = "BOOL",
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) disable_content_trust: bool,
    /// Send layers too that their media type says may not be given on
    #[arg(long)]
    pub(crate) allow_nondistributable_artifacts: bool,
    /// Name of the image, registry included
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
}
