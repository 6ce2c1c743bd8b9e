//! `shale manifest` and `shale join`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use engine::{
    BuildError, BuildErrorKind, Environment, JoinRequest, Joined, ListEntry, Part, PlatformChange,
    ShownManifest, Wanted,
};
use oci::{Digest, Reference, media};
use serde_json::{Map, Value};

use super::transfer::{NO_STEPS, configuration, shown};
use super::{Done, Failure, Process, print, say};
use crate::args::{
    JoinArgs, ManifestAnnotateArgs, ManifestArgs, ManifestCommand, ManifestCreateArgs,
    ManifestInspectArgs, ManifestPushArgs, ManifestRmArgs, UsageError, image_name, pair, platforms,
    tag_name,
};
use crate::exit::Exit;
use crate::render::{Table, plain_text};

/// Does what is to be done with lists.
pub(crate) fn manifest(process: &mut Process, typed: &ManifestArgs) -> Done {
    match &typed.command {
        ManifestCommand::Create(typed) => create(process, typed),
        ManifestCommand::Annotate(typed) => annotate(process, typed),
        ManifestCommand::Inspect(typed) => inspect(process, typed),
        ManifestCommand::Push(typed) => push(process, typed),
        ManifestCommand::Rm(typed) => rm(process, typed),
        ManifestCommand::Ls => ls(process),
    }
}

/// Images of the store may have to be encoded first, in an engine.
fn create(process: &mut Process, typed: &ManifestCreateArgs) -> Done {
    let name = tag_name(&typed.list)?;
    let wanted = typed.images.iter().map(|text| wanted(text)).collect::<Result<Vec<_>, _>>()?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let insecure = wanted.iter().map(|one| &one.name).filter(|_| typed.insecure);
    let environment = environment(process, insecure)?;
    shown(process, false, |process, events| {
        let with = (events, &process.cancel);
        engine::create_list(&name, &wanted, typed.amend, &environment, with)
    })?;
    print(&format!("Created manifest list {name}\n"))
}

fn wanted(text: &str) -> Result<Wanted, UsageError> {
    let at_registry = text.strip_prefix("docker://");
    let name = image_name(at_registry.unwrap_or(text))?;
    Ok(Wanted { name, at_registry: at_registry.is_some() })
}

fn annotate(process: &mut Process, typed: &ManifestAnnotateArgs) -> Done {
    let (list, image) = (image_name(&typed.list)?, image_name(&typed.image)?);
    let environment = environment(process, [])?;
    let change = PlatformChange {
        architecture: typed.arch.clone(),
        os: typed.os.clone(),
        os_version: typed.os_version.clone(),
        os_features: typed.os_features.clone(),
        variant: typed.variant.clone(),
    };
    shown(process, true, |process, events| {
        let with = (events, &process.cancel);
        engine::annotate_list(&list, &image, &change, &environment, with)
    })?;
    Ok(Exit::Ok.into())
}

fn inspect(process: &mut Process, typed: &ManifestInspectArgs) -> Done {
    let names = typed.names.iter().map(|text| image_name(text)).collect::<Result<Vec<_>, _>>()?;
    let (list, name) = match names.as_slice() {
        [list, name] => (Some(list), name),
        [name] => (None, name),
        _ => return Err(UsageError::new("one name is needed, or two").into()),
    };
    let environment = environment(process, [name].into_iter().filter(|_| typed.insecure))?;
    let found = engine::inspect_manifest(list, name, typed.verbose, &environment)?;
    print(&inspected(&found, typed.verbose)?)
}

/// As docker shows it: lists and manifests have another indent.
fn inspected(found: &ShownManifest, verbose: bool) -> Result<String, Failure> {
    if !verbose {
        let indent = if found.is_list { "   " } else { "\t" };
        return indented(&json(&found.bytes)?, indent);
    }
    // An image is shown under the name that it was given, what came with others of an index by its digest.
    let is_alone = |entry: &ListEntry| {
        found.entries.iter().filter(|other| other.named == entry.named).count() == 1
    };
    let one = |entry: &ListEntry| match is_alone(entry) {
        true => verbosely(entry, entry.named.to_string()),
        false => verbosely(entry, format!("{}@{}", entry.named, entry.descriptor.digest)),
    };
    let mut entries = found.entries.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    match (found.is_list, entries.pop()) {
        (false, Some(only)) => indented(&only, "\t"),
        (_, last) => {
            entries.extend(last);
            indented(&Value::Array(entries), "\t")
        }
    }
}

fn verbosely(entry: &ListEntry, name: String) -> Result<Value, Failure> {
    let mut shown = Map::new();
    shown.insert("Ref".to_owned(), name.into());
    shown.insert("Descriptor".to_owned(), entry.listed());
    let raw = base64::engine::general_purpose::STANDARD.encode(&entry.manifest);
    shown.insert("Raw".to_owned(), raw.into());
    let kind = match &*entry.descriptor.media_type {
        media::DOCKER_MANIFEST => "SchemaV2Manifest",
        _ => "OCIManifest",
    };
    shown.insert(kind.to_owned(), json(&entry.manifest)?);
    Ok(shown.into())
}

fn json(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = "the manifest cannot be shown";
        BuildError::new(BuildErrorKind::Registry, text).because(error).into()
    })
}

fn indented(value: &Value, indent: &str) -> Result<String, Failure> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut writer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut writer)
        .expect("texts and numbers can be written to memory");
    out.push(b'\n');
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Images of the store are pushed in an engine.
fn push(process: &mut Process, typed: &ManifestPushArgs) -> Done {
    let name = image_name(&typed.list)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = environment(process, [&name].into_iter().filter(|_| typed.insecure))?;
    let pushed = shown(process, false, |process, events| {
        let with = (events, &process.cancel);
        engine::push_list(&name, typed.purge, &environment, with)
    })?;
    let mut text = String::new();
    for copied in &pushed.copied {
        let digest = copied.digest().map_or_else(String::new, |digest| digest.to_string());
        text.push_str(&format!("Pushed ref {copied} with digest: {digest}\n"));
    }
    print(&format!("{text}{}\n", pushed.digest))
}

/// All that can be removed are, whatever becomes of the others.
fn rm(process: &mut Process, typed: &ManifestRmArgs) -> Done {
    let names = typed.lists.iter().map(|text| image_name(text)).collect::<Result<Vec<_>, _>>()?;
    let environment = environment(process, [])?;
    let mut failed = None;
    for name in &names {
        let Err(error) = engine::remove_list(name, &environment) else { continue };
        // The last one is told as the command's own.
        if let Some(earlier) = failed.replace(error) {
            say(&format!("error: {}\n", plain_text(&BuildError::to_string(&earlier))));
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Exit::Ok.into()),
    }
}

fn ls(process: &mut Process) -> Done {
    let environment = environment(process, [])?;
    let mut table = Table::new(&["MANIFEST LIST", "PLATFORM", "MANIFEST"]);
    for (name, entries) in engine::lists(&environment)? {
        let mut name = name.familiar();
        for entry in entries {
            let platform = entry.platform.normal().to_string();
            table.row(&[&name, &plain_text(&platform), &entry.reference().familiar()]);
            // Lines below the first are of the same list.
            name.clear();
        }
    }
    print(&table.to_string())
}

/// Joins what several machines have pushed.
pub(crate) fn join(process: &mut Process, typed: &JoinArgs) -> Done {
    let request = join_request(process, typed)?;
    let environment = environment(process, [])?;
    let joined = shown(process, typed.quiet, |process, events| {
        engine::join(&request, &environment, (events, &process.cancel))
    })?;
    if let Some(path) = &typed.metadata_file {
        write_metadata(&process.around.absolute(path), &joined, &request.names)?;
    }
    if !typed.quiet {
        for entry in &joined.entries {
            let from = entry.reference().familiar();
            // What an image says that it is for is its maker's word.
            let platform = entry.platform.normal().to_string();
            say(&format!("{} is {from}\n", plain_text(&platform)));
        }
    }
    match typed.dry_run {
        true => print(&format!("{}\n", String::from_utf8_lossy(&joined.bytes))),
        false => print(&format!("{}\n", joined.digest)),
    }
}

fn join_request(process: &Process, typed: &JoinArgs) -> Result<JoinRequest, Failure> {
    let names = std::iter::once(&typed.name).chain(&typed.tag).map(|text| tag_name(text));
    let mut parts = Vec::new();
    for text in &typed.parts {
        parts.push(match text.parse::<Digest>() {
            Ok(digest) => Part::Digest(digest),
            Err(_) => Part::Named(image_name(text)?),
        });
    }
    parts.extend(typed.from_tags.iter().cloned().map(Part::Tags));
    for dir in &typed.from {
        parts.extend(engine::parts_in(&process.around.absolute(dir))?);
    }
    if parts.is_empty() {
        return Err(UsageError::new("nothing to join was named")
            .with_hint("name the parts, or a directory with --from, or their tags with --from-tags")
            .into());
    }
    let annotations = typed.annotation.iter().map(|text| match pair(text) {
        (key, Some(value)) if !key.is_empty() => Ok((key, value)),
        _ => Err(UsageError::new(format!("invalid annotation {text:?}, expected key=value"))),
    });
    Ok(JoinRequest {
        names: names.collect::<Result<_, _>>()?,
        parts,
        expect: platforms(&typed.expect)?,
        annotations: annotations.collect::<Result<BTreeMap<_, _>, _>>()?,
        dry_run: typed.dry_run,
    })
}

fn write_metadata(path: &Path, joined: &Joined, names: &[Reference]) -> Result<(), Failure> {
    let names: Vec<String> = names.iter().map(Reference::to_string).collect();
    let descriptor =
        oci::Descriptor::new(joined.media_type, joined.digest, joined.bytes.len() as u64);
    let descriptor = serde_json::to_value(&descriptor).expect("texts and numbers can be written");
    let mut metadata = Map::new();
    metadata.insert("containerimage.descriptor".to_owned(), descriptor);
    metadata.insert("containerimage.digest".to_owned(), joined.digest.to_string().into());
    metadata.insert("image.name".to_owned(), names.join(",").into());
    let text = indented(&metadata.into(), "  ")?;
    engine::write_file(path, text.trim_end().as_bytes())?;
    Ok(())
}

/// The environment, whose client takes anything from the registries of these names.
fn environment<'a>(
    process: &mut Process,
    insecure: impl IntoIterator<Item = &'a Reference>,
) -> Result<Environment, Failure> {
    let config = configuration(process);
    let mut environment = process.environment(&config, NO_STEPS)?;
    for name in insecure {
        environment.registry = environment.registry.trusting(name.registry()).into();
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_shown_as_docker_shows_them() {
        let show = |is_list| {
            let bytes = br#"{"b":[1],"a":"x"}"#.to_vec();
            inspected(&ShownManifest { bytes, is_list, entries: Vec::new() }, false)
        };
        let text = show(false).expect("JSON");
        assert_eq!(text, "{\n\t\"b\": [\n\t\t1\n\t],\n\t\"a\": \"x\"\n}\n");
        assert!(show(true).expect("JSON").starts_with("{\n   \"b\": [\n      1\n"));
    }

    #[test]
    fn the_registry_s_image_can_be_meant() {
        let image = wanted("docker://r.test/a:1").expect("a name");
        assert!(image.at_registry && image.name.to_string() == "r.test/a:1");
        assert!(!wanted("a").expect("a name").at_registry && wanted("docker://").is_err());
    }
}
