//! `shale images`.

use std::collections::BTreeMap;

use oci::Reference;
use template::Value;

use super::filter::{Listed, listed, retain};
use super::sizes::{self, Sizes};
use super::{Shelf, bad_format, shown_id};
use crate::args::{ImagesArgs, NamePattern, image_filter};
use crate::commands::{Done, Failure, Process, print};
use crate::render::{
    Format, human_duration, human_size, now_secs, plain_values, row, shown_moment,
};

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t\
    {{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const TABLE_WITH_DIGESTS: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t\
    {{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\n\
    created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
const RAW_WITH_DIGESTS: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\n\
    image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
pub(super) const HEADINGS: [(&str, &str); 11] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];
const NONE: &str = "<none>";

/// `shale images`.
pub(crate) fn images(process: &mut Process, typed: &ImagesArgs) -> Done {
    let mut filter = image_filter(&typed.filter, now_secs())?;
    if let Some(name) = &typed.name {
        filter.references.push(NamePattern::new(name)?);
    }
    let format = format(typed)?;
    let has_digests =
        typed.digests || typed.format.as_deref().is_some_and(|f| f.contains(".Digest"));
    let shelf = Shelf::open(process)?;
    let mut listed = listed(&shelf, typed.all)?;
    retain(&shelf, &mut listed, &filter)?;
    if shows_sizes(typed) {
        let images: Vec<_> = listed.iter().flat_map(|one| &one.images).collect();
        sizes::count(process, &shelf, &images)?;
    }
    let sizes = Sizes::new(&shelf.lease);
    let mut rows = Vec::new();
    for one in &listed {
        let mut bytes = 0_u64;
        for image in &one.images {
            bytes = bytes.saturating_add(sizes.image(image)?);
        }
        for place in places(one, has_digests) {
            rows.push(fields(one, &place, bytes, typed.no_trunc));
        }
    }
    if process.around.stdout_terminal {
        rows.iter_mut().for_each(plain_values);
    }
    print(&format.write(&HEADINGS, &rows).map_err(bad_format)?)
}

/// Whether anybody will see how large images are.
fn shows_sizes(typed: &ImagesArgs) -> bool {
    let forms = ["table", "raw", "json"];
    match typed.format.as_deref() {
        Some(own) if !forms.contains(&own) => own.contains("Size") || own.contains("json ."),
        Some("json") => true,
        _ => !typed.quiet,
    }
}

fn format(typed: &ImagesArgs) -> Result<Format, Failure> {
    let (table, raw) = match (typed.quiet, typed.digests) {
        (true, _) => ("{{.ID}}", "image_id: {{.ID}}"),
        (false, true) => (TABLE_WITH_DIGESTS, RAW_WITH_DIGESTS),
        (false, false) => (TABLE, RAW),
    };
    let mut own = typed.format.clone();
    if let Some(own) = own.as_mut().filter(|own| own.starts_with("table ") && typed.digests)
        && !own.contains("{{.Digest}}")
    {
        own.push_str("\t{{.Digest}}");
    }
    Format::new(own.as_deref(), table, raw).map_err(bad_format)
}

/// Where a row says that an image is.
pub(super) struct Place {
    pub(super) repository: String,
    pub(super) tag: String,
    digest: String,
}

/// The rows of an image: one for each name; a name by digest only where its repository has no tag.
pub(super) fn places(one: &Listed, has_digests: bool) -> Vec<Place> {
    let mut repositories: BTreeMap<String, (Vec<&str>, Vec<String>)> = BTreeMap::new();
    let by_digest = |name: &Reference| name.digest().map(|digest| digest.to_string());
    let known = |repository: &str| {
        let own = one.digests.iter().filter(|name| name.familiar_name() == repository);
        own.filter_map(by_digest).collect::<Vec<String>>()
    };
    // One whose tag went to another image is still known by where it came from, or was sent to.
    for name in one.digests.iter().filter(|_| one.names.is_empty()) {
        repositories.entry(name.familiar_name()).or_default();
    }
    for name in &one.names {
        let (tags, digests) = repositories.entry(name.familiar_name()).or_default();
        match by_digest(name) {
            Some(digest) => digests.push(digest),
            None => tags.extend(name.tag()),
        }
    }
    let mut places = Vec::new();
    for (repository, (tags, mut digests)) in repositories {
        digests.extend(known(&repository));
        digests.sort();
        digests.dedup();
        if !has_digests || digests.is_empty() {
            digests = vec![NONE.to_owned()];
        }
        let tags = if tags.is_empty() { vec![NONE] } else { tags };
        for tag in tags {
            places.extend(digests.iter().map(|digest| Place {
                repository: repository.clone(),
                tag: tag.to_owned(),
                digest: digest.clone(),
            }));
        }
    }
    if places.is_empty() {
        let none = || NONE.to_owned();
        places.push(Place { repository: none(), tag: none(), digest: none() });
    }
    places
}

fn fields(one: &Listed, place: &Place, bytes: u64, whole: bool) -> Value {
    row_of(one, place, bytes, whole, None)
}

/// A row; with `shared` also which of the bytes other images have.
pub(super) fn row_of(
    one: &Listed,
    place: &Place,
    bytes: u64,
    whole: bool,
    shared: Option<u64>,
) -> Value {
    let since = one.created_secs.map(|secs| human_duration(now_secs() - secs) + " ago");
    let known = |bytes: Option<u64>| bytes.map_or("N/A".to_owned(), |bytes| human_size(bytes, 4));
    row(
        "*formatter.imageContext",
        [
            ("ID", shown_id(&one.id, whole).into()),
            ("Repository", place.repository.clone().into()),
            ("Tag", place.tag.clone().into()),
            ("Digest", place.digest.clone().into()),
            ("CreatedSince", since.unwrap_or_default().into()),
            ("CreatedAt", shown_moment(one.created_secs).into()),
            ("Size", human_size(bytes, 3).into()),
            ("Containers", if shared.is_some() { "0" } else { "N/A" }.into()),
            ("VirtualSize", human_size(bytes, 4).into()),
            ("SharedSize", known(shared).into()),
            ("UniqueSize", known(shared.map(|shared| bytes.saturating_sub(shared))).into()),
        ],
    )
}
