//! Python distributions: the headers of METADATA and PKG-INFO.

use tree::TreeError;

use super::is_short;
use super::look::{Found, Left, Look, Url};
use super::read::{self, Regular};

/// Headers come first; the text behind them is not read. Of so many, this is no distribution.
const HEADERS_MAX: usize = 2000;

pub(super) fn scan(look: &Look<'_>, file: &Regular) -> Result<(), TreeError> {
    let Some(mut lines) = read::lines(look, file)? else { return Ok(()) };
    let (mut name, mut version, mut license) = (String::new(), String::new(), None);
    for count in 0.. {
        if count == HEADERS_MAX {
            look.leave_out(Left::Large, &file.path);
            return Ok(());
        }
        let Some(line) = lines.next_line()? else { break };
        if line.is_empty() {
            break;
        }
        let Some((member, value)) = line.split_once(": ") else { continue };
        let value = value.trim();
        match member {
            "Name" if name.is_empty() => name = value.to_owned(),
            "Version" if version.is_empty() => version = value.to_owned(),
            "License-Expression" => license = Some(value.to_owned()),
            "License" if license.is_none() && is_short(value) => license = Some(value.to_owned()),
            _ => {}
        }
    }
    if version.is_empty() {
        return Ok(());
    }
    // The index takes `_` and `.` for `-`.
    let normal = name.to_lowercase().replace(['_', '.'], "-");
    look.add(&Found {
        name: &name,
        version: &version,
        url: Url { kind: "pypi", namespace: "", name: &normal, version: &version, qualifiers: &[] },
        license: license.as_deref(),
        found_in: &file.path,
        inside: "",
    });
    Ok(())
}
