//! `shale version`. A template has docker's fields as far as they mean something here; client and server are one
//! program, and so have the same.

use template::Value;

use super::image::bad_format;
use super::{Done, print};
use crate::args::VersionArgs;
use crate::render::{Format, row};

/// What docker's fields call this machine's kind of processor.
const ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// `shale version`.
pub(super) fn version(typed: &VersionArgs) -> Done {
    let Some(format) = typed.format.as_deref().filter(|format| !format.is_empty()) else {
        return print(&format!("shale {}\n", env!("CARGO_PKG_VERSION")));
    };
    let side = || {
        let fields =
            [("Version", env!("CARGO_PKG_VERSION")), ("Os", std::env::consts::OS), ("Arch", ARCH)];
        let name = row("string", [("Name", "shale".into())]);
        let fields = fields.map(|(name, value)| (name, value.into()));
        row("types.Version", fields.into_iter().chain([("Platform", name)]))
    };
    let both: Value = row("system.versionInfo", [("Client", side()), ("Server", side())]);
    let written = Format::new(Some(format), "", "").and_then(|f| f.write(&[], &[both]));
    print(&written.map_err(bad_format)?)
}
