//! `shale tag`.

use super::{Shelf, store_error};
use crate::args::{TagArgs, tag_name};
use crate::commands::{Done, Process, print};

/// `shale tag`.
pub(crate) fn tag(process: &mut Process, typed: &TagArgs) -> Done {
    let name = tag_name(&typed.name)?;
    let shelf = Shelf::open(process)?;
    let lease = &shelf.lease;
    let tagged = engine::find_tagged(lease, &typed.image)?;
    lease.set_tags(&[(name, tagged)]).map_err(store_error("cannot name the image"))?;
    print("")
}
