//! `shale history`: the latest first, as docker lists it.

use template::Value;

use super::sizes::{self, Sizes};
use super::{Shelf, bad_format, config, shown_id};
use crate::args::{HistoryArgs, platforms};
use crate::commands::{Done, Process, print};
use crate::render::{
    Format, date_secs, human_duration, human_size, now_secs, plain_values, row, shortened,
};

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_FOR_PROGRAMS: &str =
    "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const HEADINGS: [(&str, &str); 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
/// Characters of an instruction that the list shows.
const SHORT_INSTRUCTION: usize = 45;
/// What is older has no date that anybody could have meant.
const OLDEST_SECS: i64 = 946_684_800;

/// `shale history`.
pub(crate) fn history(process: &mut Process, typed: &HistoryArgs) -> Done {
    let table = match (typed.quiet, typed.human) {
        (true, _) => "{{.ID}}",
        (false, true) => TABLE,
        (false, false) => TABLE_FOR_PROGRAMS,
    };
    let format = Format::new(typed.format.as_deref(), table, "raw").map_err(bad_format)?;
    let platforms = platforms(typed.platform.as_slice())?;
    let shelf = Shelf::open(process)?;
    let image = shelf.find(&typed.image, platforms.first())?;
    let config = config(&image)?;
    if !typed.quiet {
        sizes::count(process, &shelf, &[&image])?;
    }
    let mut sizes = Sizes::new(&shelf.lease).layers(&image)?.into_iter();
    let mut rows: Vec<Value> = Vec::new();
    for (at, entry) in config.history.iter().enumerate() {
        let bytes = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
        let id = match at + 1 == config.history.len() {
            true => shown_id(&image.id.to_string(), typed.no_trunc),
            false => "<missing>".to_owned(),
        };
        rows.push(fields(entry, id, bytes, typed));
    }
    rows.reverse();
    if process.around.stdout_terminal {
        rows.iter_mut().for_each(plain_values);
    }
    print(&format.write(&HEADINGS, &rows).map_err(bad_format)?)
}

fn fields(entry: &oci::History, id: String, bytes: u64, typed: &HistoryArgs) -> Value {
    let secs = entry.created.as_deref().and_then(date_secs);
    let at = match secs {
        Some(secs) => crate::render::moment(secs),
        None => "0001-01-01T00:00:00Z".to_owned(),
    };
    let since = match secs {
        _ if !typed.human => at.clone(),
        Some(secs) if secs > OLDEST_SECS => human_duration(now_secs() - secs) + " ago",
        _ => "N/A".to_owned(),
    };
    let by = entry.created_by.as_deref().unwrap_or_default().replace('\t', " ");
    let by = if typed.no_trunc { by } else { shortened(&by, SHORT_INSTRUCTION) };
    let size = if typed.human { human_size(bytes, 3) } else { bytes.to_string() };
    row(
        "*image.historyContext",
        [
            ("ID", id.into()),
            ("CreatedAt", at.into()),
            ("CreatedSince", since.into()),
            ("CreatedBy", by.into()),
            ("Size", size.into()),
            ("Comment", entry.comment.clone().unwrap_or_default().into()),
        ],
    )
}
