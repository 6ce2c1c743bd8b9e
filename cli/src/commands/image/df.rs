//! `shale system df`: what the store takes, in real blocks.

use std::collections::HashMap;

use oci::ChainId;
use store::{Holder, Item, ItemKind, Usage};
use template::{Field, Struct, Value};

use super::filter::{Listed, listed};
use super::list::{self, places, row_of};
use super::remove::chains;
use super::sizes::{self, Sizes};
use super::{Shelf, bad_format, store_error};
use crate::args::DfArgs;
use crate::commands::{Done, Failure, Process, cache, print};
use crate::render::{Format, date_secs, human_duration, human_size, now_secs, plain_values, row};

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const RAW: &str = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n\
    reclaimable: {{.Reclaimable}}\n";
const HEADINGS: [(&str, &str); 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t\
    {{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CACHE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t\
    {{.LastUsedSince}}\t{{.Shared}}\t{{.Description}}";
const CACHE_HEADINGS: [(&str, &str); 7] = [
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("Shared", "SHARED"),
    ("Description", "DESCRIPTION"),
];

/// `shale system df`.
pub(super) fn df(process: &mut Process, typed: &DfArgs) -> Done {
    let format = Format::new(typed.format.as_deref(), TABLE, RAW).map_err(bad_format)?;
    // Only there can files of other ids be measured.
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let shelf = Shelf::open(process)?;
    let usage = shelf.environment.store.usage();
    let usage = usage.map_err(store_error("cannot count what is in the store"))?;
    let images = listed(&shelf, false)?;
    if typed.verbose {
        let own: Vec<_> = images.iter().flat_map(|one| &one.images).collect();
        sizes::count(process, &shelf, &own)?;
        // As docker: a template of one's own gets whole ids, the tables short ones.
        let is_table = matches!(typed.format.as_deref(), None | Some("" | "table"));
        let mut everything = Everything::new(&shelf, &images, &usage, !is_table)?;
        if process.around.stdout_terminal {
            everything.rows().into_iter().flatten().for_each(plain_values);
        }
        let sums = sums(&images, &usage);
        return print(&match typed.format.as_deref() {
            None | Some("" | "table") => everything.tables(&sums)?,
            Some(own) => everything.filled_in(own)?,
        });
    }
    let rows: Vec<Value> = sums(&images, &usage).iter().map(Sum::row).collect();
    print(&format.write(&HEADINGS, &rows).map_err(bad_format)?)
}

/// What is of one kind.
struct Sum {
    name: &'static str,
    number: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

impl Sum {
    fn row(&self) -> Value {
        let share = (self.reclaimable * 100).checked_div(self.bytes);
        let share = share.map_or(String::new(), |share| format!(" ({share}%)"));
        row(
            "*formatter.diskUsageImagesContext",
            [
                ("Type", self.name.into()),
                ("TotalCount", self.number.to_string().into()),
                ("Active", self.active.to_string().into()),
                ("Size", human_size(self.bytes, 4).into()),
                ("Reclaimable", format!("{}{share}", human_size(self.reclaimable, 4)).into()),
            ],
        )
    }
}

/// Images with what they need; what no image needs; directories of cache mounts. Active is what has a name, or a
/// build uses. What can be had back is what neither does.
fn sums(images: &[Listed], usage: &Usage) -> [Sum; 3] {
    let mut all = [("Images", 0), ("Build Cache", 0), ("Cache Mounts", 0)]
        .map(|(name, number)| Sum { name, number, active: 0, bytes: 0, reclaimable: 0 });
    let [of_images, of_cache, of_mounts] = &mut all;
    of_images.number = images.len();
    of_images.active = images.iter().filter(|one| !one.names.is_empty()).count();
    for item in &usage.items {
        let sum = match (item.kind, item.holder) {
            (ItemKind::Mount, _) => &mut *of_mounts,
            (_, Holder::Image | Holder::Tag) => {
                of_images.bytes += item.bytes;
                of_images.reclaimable += if item.holder == Holder::Image { item.bytes } else { 0 };
                continue;
            }
            _ => &mut *of_cache,
        };
        sum.number += 1;
        sum.active += usize::from(item.holder == Holder::Process);
        sum.bytes += item.bytes;
        sum.reclaimable += if item.holder == Holder::Nobody { item.bytes } else { 0 };
    }
    all
}

/// A row for every single thing.
struct Everything {
    images: Vec<Value>,
    cache: Vec<Value>,
    mounts: Vec<Value>,
}

impl Everything {
    fn new(
        shelf: &Shelf,
        images: &[Listed],
        usage: &Usage,
        whole: bool,
    ) -> Result<Everything, Failure> {
        let is_mount = |item: &Item| item.kind == ItemKind::Mount;
        let is_cache =
            |item: &Item| !is_mount(item) && !matches!(item.holder, Holder::Image | Holder::Tag);
        let rows = |is: &dyn Fn(&Item) -> bool| {
            let mut items: Vec<&Item> = usage.items.iter().filter(|item| is(item)).collect();
            items.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.id.cmp(&b.id)));
            items.into_iter().map(cache_row).collect::<Vec<_>>()
        };
        Ok(Everything {
            images: image_rows(shelf, images, whole)?,
            cache: rows(&is_cache),
            mounts: rows(&is_mount),
        })
    }

    fn rows(&mut self) -> [&mut [Value]; 3] {
        [&mut self.images, &mut self.cache, &mut self.mounts]
    }

    fn tables(&self, sums: &[Sum; 3]) -> Result<String, Failure> {
        let write = |format: &str, headings: &[(&'static str, &str)], rows: &[Value]| {
            let format = Format::new(None, format, "").map_err(bad_format)?;
            format.write(headings, rows).map_err(bad_format)
        };
        let [_, cache, mounts] = sums;
        Ok(format!(
            "Images space usage:\n\n{}\nBuild cache usage: {}\n\n{}\nCache mounts usage: {}\n\n{}",
            write(IMAGES, &list::HEADINGS, &self.images)?,
            human_size(cache.bytes, 4),
            write(CACHE, &CACHE_HEADINGS, &self.cache)?,
            human_size(mounts.bytes, 4),
            write(CACHE, &CACHE_HEADINGS, &self.mounts)?,
        ))
    }

    /// One template over all of it, with docker's names.
    fn filled_in(self, format: &str) -> Result<String, Failure> {
        let fields = vec![
            Field::new("Images", Value::List(self.images)),
            Field::new("BuildCache", Value::List(self.cache)),
            Field::new("CacheMounts", Value::List(self.mounts)),
        ];
        let type_name = "*formatter.diskUsageContext";
        let all = Value::Struct(Struct { type_name, fields, escapes_html: true });
        Format::new(Some(format), "", "").and_then(|f| f.write(&[], &[all])).map_err(bad_format)
    }
}

/// A row for each image, with its first name, and the bytes that other images have as well.
fn image_rows(shelf: &Shelf, images: &[Listed], whole: bool) -> Result<Vec<Value>, Failure> {
    let sizes = Sizes::new(&shelf.lease);
    let mut users: HashMap<ChainId, usize> = HashMap::new();
    for chain in images.iter().flat_map(|one| one.images.iter().flat_map(chains)) {
        *users.entry(chain).or_default() += 1;
    }
    let mut rows = Vec::new();
    for one in images {
        let (mut bytes, mut shared) = (0_u64, 0_u64);
        for image in &one.images {
            for (chain, size) in chains(image).iter().zip(sizes.layers(image)?) {
                bytes = bytes.saturating_add(size);
                if users.get(chain).is_some_and(|users| *users > 1) {
                    shared = shared.saturating_add(size);
                }
            }
        }
        let places = places(one, false);
        rows.push(row_of(one, &places[0], bytes, whole, Some(shared)));
    }
    Ok(rows)
}

fn cache_row(item: &Item) -> Value {
    let ago = |secs: Option<i64>| {
        secs.map_or(String::new(), |secs| human_duration(now_secs() - secs) + " ago")
    };
    row(
        "*formatter.buildCacheContext",
        [
            ("ID", cache::shown_id(item, false).into()),
            ("CacheType", cache::kind(item.kind).into()),
            ("Size", human_size(item.bytes, 4).into()),
            ("CreatedSince", ago(date_secs(&item.created)).into()),
            ("LastUsedSince", ago(Some(item.used_secs)).into()),
            ("Shared", (item.holder != Holder::Nobody).into()),
            ("Description", cache::shown_text(item, false).into()),
        ],
    )
}
