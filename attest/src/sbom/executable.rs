//! Programs: lists of what they are made of that compilers leave in them.

use tree::TreeError;

use super::elf::Elf;
use super::look::Look;
use super::read::{self, Regular};
use super::{go, rust};

pub(super) fn scan(look: &Look<'_>, file: &Regular) -> Result<(), TreeError> {
    let Some(region) = read::region(look, file)? else { return Ok(()) };
    let Some(elf) = Elf::open(&region) else { return Ok(()) };
    if let Some(info) = go::build_info(&elf) {
        go::list(look, &info, &file.path);
    }
    rust::scan(look, &elf, &file.path);
    Ok(())
}
