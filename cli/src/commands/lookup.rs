//! Commands that only look at, name and unname images of the store. None of them needs a namespace.

use engine::{BuildError, BuildErrorKind, Environment};
use oci::{ImageConfig, ImageId, Reference};
use serde_json::{Value, json};
use store::{Lease, StoreError, StoredImage, Tagged};

use super::transfer::NO_STEPS;
use super::{Done, Failure, Process, print};
use crate::args::{DockerConfig, HistoryArgs, ImagesArgs, InspectArgs, RmiArgs, TagArgs, tag_name};
use crate::exit::Exit;
use crate::render::{Table, plain_text, size};

/// Characters of an id that lists show.
const SHORT_ID: usize = 12;

/// Characters of an instruction that a list shows.
const SHORT_INSTRUCTION: usize = 60;

fn store_error(what: &'static str) -> impl Fn(StoreError) -> Failure {
    move |error| Failure::Engine(BuildError::store(what, error))
}

/// The store, with a lease that keeps what is looked at.
struct Shelf {
    environment: Environment,
    lease: Lease,
}

impl Shelf {
    fn open(process: &mut Process) -> Result<Shelf, Failure> {
        let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
        let lease = environment.store.lease();
        let lease = lease.map_err(store_error("cannot open a lease on the store"))?;
        Ok(Shelf { environment, lease })
    }

    fn find(&self, text: &str) -> Result<StoredImage, Failure> {
        Ok(engine::find_image(text, &self.environment)?)
    }
}

fn config(image: &StoredImage) -> Result<ImageConfig, Failure> {
    ImageConfig::from_json(&image.config).map_err(|error| {
        let what = format!("the config of image {} cannot be read", image.id);
        BuildError::new(BuildErrorKind::Files, what).because(error).into()
    })
}

fn shown_id(id: &str, whole: bool) -> String {
    if whole {
        return id.to_owned();
    }
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(SHORT_ID).collect()
}

/// `2026-11-21 15:04:05` of a date as configs have it.
fn shown_date(date: Option<&str>) -> String {
    let seconds: String = date.unwrap_or("-").chars().take(19).collect();
    plain_text(&seconds.replace('T', " ")).into_owned()
}

/// Bytes in an image's files, as far as its layers are unpacked; else in its blobs.
fn size_bytes(lease: &Lease, image: &StoredImage) -> Result<u64, Failure> {
    let failed = store_error("cannot look at a layer");
    let mut total = 0;
    for (at, diff_id) in image.diff_ids.iter().enumerate() {
        let info = match image.stack.layers.get(at) {
            Some(layer) => lease.layer(*layer).map_err(&failed)?,
            None => None,
        };
        total += match info.and_then(|info| info.size_bytes) {
            Some(bytes) => bytes,
            None => {
                let blobs = lease.layer_blobs(*diff_id).map_err(&failed)?;
                blobs.first().map_or(0, |blob| blob.size_bytes)
            }
        };
    }
    Ok(total)
}

/// `shale images`.
pub(crate) fn images(process: &mut Process, typed: &ImagesArgs) -> Done {
    let Shelf { lease, .. } = Shelf::open(process)?;
    let failed = store_error("cannot list the images");
    let tags = lease.store().tags().map_err(&failed)?;
    let images = lease.images().map_err(&failed)?;
    let mut entries = Vec::new();
    for image in &images {
        let names = single_names(&tags, &image.id);
        let shown: Vec<&Reference> =
            names.iter().copied().filter(|name| is_asked(typed, name)).collect();
        // An image that only an index names is shown by that.
        let listed = tags.iter().any(|(_, tagged)| tagged.images().contains(&image.id));
        if shown.is_empty() && (typed.name.is_some() || listed) {
            continue;
        }
        let id = shown_id(&image.id.to_string(), typed.no_trunc);
        entries.push(ListEntry::new(&lease, id, shown, &[image])?);
    }
    for (name, tagged) in tags.iter().filter(|(name, _)| is_asked(typed, name)) {
        if let Tagged::Index(index) = tagged {
            let own = tagged.images();
            let own: Vec<_> = images.iter().filter(|image| own.contains(&image.id)).collect();
            let id = shown_id(&index.index.digest.to_string(), typed.no_trunc);
            entries.push(ListEntry::new(&lease, id, vec![name], &own)?);
        }
    }
    // The latest first, as people look for what they have just built.
    entries.sort_by(|a, b| b.built_at.cmp(&a.built_at).then(a.id.cmp(&b.id)));
    if typed.quiet {
        return print(&entries.iter().map(|entry| format!("{}\n", entry.id)).collect::<String>());
    }
    let mut table = Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    entries.iter().for_each(|entry| entry.rows(&mut table));
    print(&table.to_string())
}

/// An image of a list, or an index with its images.
struct ListEntry<'a> {
    id: String,
    names: Vec<&'a Reference>,
    built_at: String,
    created: String,
    bytes: String,
}

impl<'a> ListEntry<'a> {
    fn new(
        lease: &Lease,
        id: String,
        names: Vec<&'a Reference>,
        images: &[&StoredImage],
    ) -> Result<ListEntry<'a>, Failure> {
        let built_at = images.iter().map(|image| image.built_at.clone()).max().unwrap_or_default();
        let (mut created, mut bytes) = (None, 0);
        for image in images {
            created = created.max(config(image)?.created);
            bytes += size_bytes(lease, image)?;
        }
        let created = shown_date(created.as_deref());
        Ok(ListEntry { id, names, built_at, created, bytes: size(bytes) })
    }

    fn rows(&self, table: &mut Table) {
        let mut row = |name: &str, tag: &str| {
            table.row(&[name, tag, &self.id, &self.created, &self.bytes]);
        };
        let names = self.names.iter();
        names.for_each(|name| row(&name.familiar_name(), name.tag().unwrap_or("<none>")));
        if self.names.is_empty() {
            row("<none>", "<none>");
        }
    }
}

/// Names that mean this image alone.
fn single_names<'t>(tags: &'t [(Reference, Tagged)], id: &ImageId) -> Vec<&'t Reference> {
    let own = Tagged::Image(*id);
    tags.iter().filter(|(_, tagged)| *tagged == own).map(|(name, _)| name).collect()
}

/// Whether a name is what `shale images NAME` asks for: with a tag that tag, without one all tags.
fn is_asked(typed: &ImagesArgs, name: &Reference) -> bool {
    typed.name.as_ref().is_none_or(|asked| {
        *asked == name.familiar() || *asked == name.familiar_name() || *asked == name.name()
    })
}

/// `shale tag`.
pub(crate) fn tag(process: &mut Process, typed: &TagArgs) -> Done {
    let name = tag_name(&typed.name)?;
    let shelf = Shelf::open(process)?;
    let lease = &shelf.lease;
    let tagged = engine::find_tagged(lease, &typed.image)?;
    lease.set_tags(&[(name, tagged)]).map_err(store_error("cannot name the image"))?;
    print("")
}

/// `shale rmi`: all that can be removed, with a line for what cannot.
pub(crate) fn rmi(process: &mut Process, typed: &RmiArgs) -> Done {
    let shelf = Shelf::open(process)?;
    let (mut failures, mut is_any_done) = (Vec::new(), false);
    for asked in &typed.images {
        let mut text = String::new();
        let removed = remove(&shelf, asked, typed.force, &mut text);
        is_any_done |= !text.is_empty() || removed.is_ok();
        print(&text)?;
        failures.extend(removed.err().map(|failure| process.report(&failure)));
    }
    Ok(rmi_exit(&failures, is_any_done).into())
}

/// A failure's own code when nothing else came of the command.
fn rmi_exit(failures: &[Exit], is_any_done: bool) -> Exit {
    match failures {
        [] => Exit::Ok,
        [first, others @ ..] if !is_any_done && others.iter().all(|other| other == first) => *first,
        _ => Exit::Failed,
    }
}

/// Takes a name away, and with the last name what it meant: an image, or an index with those images that have no
/// other name. What was done is told in `text`, also when the rest of it fails.
fn remove(shelf: &Shelf, asked: &str, force: bool, text: &mut String) -> Result<(), Failure> {
    let failed = store_error("cannot remove the image");
    let lease = &shelf.lease;
    let tagged = engine::find_tagged(lease, asked)?;
    let tags = lease.store().tags().map_err(&failed)?;
    let names: Vec<Reference> =
        tags.iter().filter(|(_, other)| *other == tagged).map(|(name, _)| name.clone()).collect();
    let by_name = names.iter().find(|name| {
        asked.parse::<Reference>().is_ok_and(|asked| asked.to_string() == name.to_string())
    });
    let (removed, left) = match by_name {
        Some(name) => (vec![name.clone()], names.len() - 1),
        None if names.len() > 1 && !force => {
            let id = match &tagged {
                Tagged::Image(id) => id.to_string(),
                Tagged::Index(index) => index.index.digest.to_string(),
            };
            let text = format!("image {} has several names", shown_id(&id, false));
            let all = names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", ");
            return Err(BuildError::new(BuildErrorKind::Dockerfile, text)
                .with_hint(format!("name one of {all}, or remove all with --force"))
                .into());
        }
        None => (names, 0),
    };
    let others = || tags.iter().filter(|(name, _)| !removed.contains(name));
    if let (Tagged::Image(id), []) = (&tagged, &removed[..])
        && let Some((name, _)) = others().find(|(_, other)| other.images().contains(id))
    {
        let text =
            format!("image {} is one of several platforms", shown_id(&id.to_string(), false));
        return Err(BuildError::new(BuildErrorKind::Dockerfile, text)
            .with_hint(format!("remove all of them by their name {}", name.familiar()))
            .into());
    }
    for name in &removed {
        lease.remove_tag(name).map_err(&failed)?;
        text.push_str(&format!("Untagged: {}\n", name.familiar()));
    }
    let kept: Vec<ImageId> = others().flat_map(|(_, tagged)| tagged.images()).collect();
    for id in tagged.images().iter().filter(|id| left == 0 && !kept.contains(id)) {
        lease.store().remove_image(id).map_err(&failed)?;
        text.push_str(&format!("Deleted: {id}\n"));
    }
    Ok(())
}

/// `shale history`: the latest first, as docker lists it.
pub(crate) fn history(process: &mut Process, typed: &HistoryArgs) -> Done {
    let shelf = Shelf::open(process)?;
    let lease = &shelf.lease;
    let image = shelf.find(&typed.image)?;
    let config = config(&image)?;
    let mut layers = image.diff_ids.iter().enumerate();
    let mut rows = Vec::new();
    for entry in &config.history {
        let mut bytes = "0B".to_owned();
        if let Some((at, diff_id)) = layers.next_if_layer(entry.empty_layer) {
            let layers = image.stack.layers.get(at).copied().into_iter().collect();
            let stack = graph::Stack { layers, base: None };
            let alone = StoredImage { diff_ids: vec![*diff_id], stack, ..image.clone() };
            bytes = size(size_bytes(lease, &alone)?);
        }
        let by = plain_text(entry.created_by.as_deref().unwrap_or_default()).into_owned();
        let by = if typed.no_trunc { by } else { shortened(&by) };
        let comment = entry.comment.clone().unwrap_or_default();
        rows.push([shown_date(entry.created.as_deref()), by, bytes, comment]);
    }
    let mut table = Table::new(&["CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for row in rows.iter().rev() {
        table.row(&row.each_ref().map(String::as_str));
    }
    print(&table.to_string())
}

/// Takes the next layer for an entry that made one.
trait NextIfLayer: Iterator + Sized {
    fn next_if_layer(&mut self, empty: bool) -> Option<Self::Item> {
        if empty { None } else { self.next() }
    }
}

impl<I: Iterator> NextIfLayer for I {}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHORT_INSTRUCTION).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// `shale inspect`: a list of documents with docker's members.
pub(crate) fn inspect(process: &mut Process, typed: &InspectArgs) -> Done {
    let shelf = Shelf::open(process)?;
    let lease = &shelf.lease;
    let tags = lease.store().tags().map_err(store_error("cannot list the names"))?;
    let mut documents = Vec::new();
    for asked in &typed.images {
        let image = shelf.find(asked)?;
        let names: Vec<_> =
            tags.iter().filter(|(_, tagged)| tagged.images().contains(&image.id)).collect();
        let bytes = size_bytes(lease, &image)?;
        documents.push(document(&image, &config(&image)?, &names, bytes));
    }
    let text = serde_json::to_string_pretty(&documents);
    print(&(text.expect("a JSON value can be written") + "\n"))
}

fn document(
    image: &StoredImage,
    config: &ImageConfig,
    names: &[&(Reference, Tagged)],
    bytes: u64,
) -> Value {
    let tags: Vec<String> = names.iter().map(|(name, _)| name.familiar()).collect();
    let digest = |(name, tagged): &&(Reference, Tagged)| {
        let digest = match tagged {
            Tagged::Index(index) => Some(index.index.digest),
            Tagged::Image(_) => image.manifest.as_ref().map(|manifest| manifest.digest),
        };
        digest.map(|digest| name.with_digest(digest).familiar())
    };
    let digests: Vec<String> = names.iter().filter_map(digest).collect();
    let layers: Vec<String> = image.diff_ids.iter().map(ToString::to_string).collect();
    let mut document = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": bytes,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": layers },
    });
    if let Some(variant) = &config.variant {
        document["Variant"] = json!(variant);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_several_removals_is_docker_s() {
        assert_eq!(rmi_exit(&[], true), Exit::Ok);
        assert_eq!(rmi_exit(&[Exit::Usage], true), Exit::Failed);
        assert_eq!(rmi_exit(&[Exit::Usage, Exit::Usage], false), Exit::Usage);
        assert_eq!(rmi_exit(&[Exit::Usage, Exit::DiskFull], false), Exit::Failed);
        assert_eq!(rmi_exit(&[Exit::Environment], false), Exit::Environment);
    }
}
