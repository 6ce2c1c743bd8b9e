//! The flags of `shale why` as they are typed.

use clap::Args;

/// `shale why`.
#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    /// Step: STAGE:N as in the progress, N in a file of one stage, STAGE, Dockerfile:LINE or all (default: the first
    /// that ran)
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Every file that differs, however many
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// One JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
