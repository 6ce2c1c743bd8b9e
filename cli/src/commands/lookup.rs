//! Commands that only look at, name and unname images of the store. None of them needs a namespace.

use engine::{BuildError, BuildErrorKind, Environment};
use oci::{ImageConfig, ImageId, Reference};
use serde_json::{Value, json};
use store::{Lease, StoreError, StoredImage};

use super::transfer::NO_STEPS;
use super::{Done, Failure, Process, print};
use crate::args::{DockerConfig, HistoryArgs, ImagesArgs, InspectArgs, RmiArgs, TagArgs, tag_name};
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

fn shown_id(id: &ImageId, whole: bool) -> String {
    let id = id.to_string();
    if whole {
        return id;
    }
    id.strip_prefix("sha256:").unwrap_or(&id).chars().take(SHORT_ID).collect()
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
    let tags = lease.tags().map_err(&failed)?;
    let mut images = lease.images().map_err(&failed)?;
    // The latest first, as people look for what they have just built.
    images.sort_by(|a, b| b.built_at.cmp(&a.built_at).then(a.id.cmp(&b.id)));
    let mut table = Table::new(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    let mut ids: Vec<String> = Vec::new();
    for image in &images {
        let names = names_of(&tags, &image.id);
        let names: Vec<_> = names.into_iter().filter(|name| is_asked(typed, name)).collect();
        if names.is_empty() && typed.name.is_some() {
            continue;
        }
        let id = shown_id(&image.id, typed.no_trunc);
        ids.push(id.clone());
        let created = shown_date(config(image)?.created.as_deref());
        let bytes = size(size_bytes(&lease, image)?);
        let mut row = |name: &str, tag: &str| {
            table.row(&[name, tag, &id, &created, &bytes]);
        };
        names.iter().for_each(|name| row(&name.familiar_name(), name.tag().unwrap_or("<none>")));
        if names.is_empty() {
            row("<none>", "<none>");
        }
    }
    if typed.quiet {
        return print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    print(&table.to_string())
}

fn names_of<'t>(tags: &'t [(Reference, ImageId)], id: &ImageId) -> Vec<&'t Reference> {
    tags.iter().filter(|(_, tagged)| tagged == id).map(|(name, _)| name).collect()
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
    let image = shelf.find(&typed.image)?;
    lease.set_tags(&[(name, image.id)]).map_err(store_error("cannot name the image"))?;
    print("")
}

/// `shale rmi`.
pub(crate) fn rmi(process: &mut Process, typed: &RmiArgs) -> Done {
    let shelf = Shelf::open(process)?;
    let mut text = String::new();
    for asked in &typed.images {
        text.push_str(&remove(&shelf, asked, typed.force)?);
    }
    print(&text)
}

/// Takes a name away, and the image with its last name.
fn remove(shelf: &Shelf, asked: &str, force: bool) -> Result<String, Failure> {
    let failed = store_error("cannot remove the image");
    let lease = &shelf.lease;
    let image = shelf.find(asked)?;
    let tags = lease.tags().map_err(&failed)?;
    let names: Vec<Reference> = names_of(&tags, &image.id).into_iter().cloned().collect();
    let by_name = names.iter().find(|name| {
        asked.parse::<Reference>().is_ok_and(|asked| asked.to_string() == name.to_string())
    });
    let (removed, left) = match by_name {
        Some(name) => (vec![name.clone()], names.len() - 1),
        None if names.len() > 1 && !force => {
            let text = format!("image {} has several names", shown_id(&image.id, false));
            let all = names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", ");
            return Err(BuildError::new(BuildErrorKind::Dockerfile, text)
                .with_hint(format!("name one of {all}, or remove all with --force"))
                .into());
        }
        None => (names, 0),
    };
    let mut text = String::new();
    for name in removed {
        lease.remove_tag(&name).map_err(&failed)?;
        text.push_str(&format!("Untagged: {}\n", name.familiar()));
    }
    if left == 0 {
        lease.store().remove_image(&image.id).map_err(&failed)?;
        text.push_str(&format!("Deleted: {}\n", image.id));
    }
    Ok(text)
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
    let tags = lease.tags().map_err(store_error("cannot list the names"))?;
    let mut documents = Vec::new();
    for asked in &typed.images {
        let image = shelf.find(asked)?;
        let names = names_of(&tags, &image.id);
        let bytes = size_bytes(lease, &image)?;
        documents.push(document(&image, &config(&image)?, &names, bytes));
    }
    let text = serde_json::to_string_pretty(&documents);
    print(&(text.expect("a JSON value can be written") + "\n"))
}

fn document(image: &StoredImage, config: &ImageConfig, names: &[&Reference], bytes: u64) -> Value {
    let tags: Vec<String> = names.iter().map(|name| name.familiar()).collect();
    let digests: Vec<String> = match &image.manifest {
        Some(manifest) => {
            let with = |name: &&Reference| name.with_digest(manifest.digest).familiar();
            names.iter().map(with).collect()
        }
        None => Vec::new(),
    };
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
