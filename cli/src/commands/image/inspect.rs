//! `shale inspect`: a list of documents with docker's members, or what a template makes of each.

use std::collections::BTreeMap;

use oci::{ContainerConfig, Digest, Healthcheck, ImageConfig, Reference};
use serde::Serialize as _;
use store::{StoredImage, Tagged};
use template::{Field, Rules, Struct, Template, TemplateError, Value};

use super::sizes::{self, Sizes};
use super::{Shelf, bad_format, config};
use crate::args::{InspectArgs, platforms};
use crate::commands::{Done, Failure, Process, print};
use crate::exit::Exit;
use crate::render::plain_values;

/// `shale inspect`: of images that are not there it says so in the end.
pub(crate) fn inspect(process: &mut Process, typed: &InspectArgs) -> Done {
    let template = match typed.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text).map_err(bad_format)?),
    };
    let platforms = platforms(typed.platform.as_slice())?;
    let shelf = Shelf::open(process)?;
    let (tags, known) = (shelf.tags()?, shelf.repo_digests()?);
    let sizes = Sizes::new(&shelf.lease);
    let shows_sizes =
        typed.format.as_deref().is_none_or(|own| own.contains("Size") || own.contains("json"));
    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    for asked in &typed.images {
        let found = shelf.find(asked, platforms.first());
        if let (Ok(image), true) = (&found, shows_sizes) {
            sizes::count(process, &shelf, &[image])?;
        }
        let document = found.and_then(|image| match typed.raw {
            true => Ok(Value::Text(String::from_utf8_lossy(&image.config).into_owned())),
            false => {
                let id = match platforms.is_empty() {
                    true => engine::find_tagged(&shelf.lease, asked)?.object(),
                    false => image.id.0,
                };
                document((id, &image), &config(&image)?, &tags, &known, sizes.image(&image)?)
            }
        });
        match document {
            Ok(document) => documents.push(document),
            Err(failure) => failures.push(failure),
        }
    }
    if process.around.stdout_terminal && !typed.raw {
        documents.iter_mut().for_each(plain_values);
    }
    let text = match (&template, typed.format.as_deref()) {
        _ if typed.raw => documents.iter().map(raw).collect(),
        (Some(template), _) => filled_in(template, &documents, &mut failures),
        (None, Some("json")) => all(documents).to_json().to_string() + "\n",
        (None, _) => pretty(&all(documents).to_json()),
    };
    print(&text)?;
    let exits: Vec<Exit> = failures.iter().map(|failure| process.report(failure)).collect();
    Ok(exits.first().map_or(Exit::Ok, |first| *first).into())
}

fn raw(document: &Value) -> String {
    match document {
        Value::Text(text) => format!("{text}\n"),
        _ => String::new(),
    }
}

fn all(documents: Vec<Value>) -> Value {
    Value::List(documents)
}

/// JSON with docker's four blanks.
fn pretty(document: &serde_json::Value) -> String {
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = document.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, form));
    written.expect("a JSON value can be written to memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is text")
}

/// What a template makes of each document, one a line.
fn filled_in(template: &Template, documents: &[Value], failures: &mut Vec<Failure>) -> String {
    let mut text = String::new();
    for document in documents {
        match fill_in(template, document) {
            Ok(filled) => text.push_str(&(filled + "\n")),
            Err(error) => failures.push(bad_format(error)),
        }
    }
    if text.is_empty() { "\n".to_owned() } else { text }
}

/// As docker: by the names that its program has; where they do not fit, by those of the JSON document.
fn fill_in(template: &Template, document: &Value) -> Result<String, TemplateError> {
    template.render(document, Rules::default()).or_else(|_| {
        let plain = Value::from_json(&document.to_json());
        template.render(&plain, Rules { missing_is_error: true, ..Rules::default() })
    })
}

/// What is said of an image that was asked for by its own id or name, or by that of the index `id` that lists it.
fn document(
    (id, image): (Digest, &StoredImage),
    config: &ImageConfig,
    tags: &[(Reference, Tagged)],
    known: &[(Digest, Reference)],
    bytes: u64,
) -> Result<Value, Failure> {
    let (mut names, mut objects) = (Vec::new(), vec![image.id.0]);
    for (name, tagged) in tags.iter().filter(|(_, tagged)| tagged.images().contains(&image.id)) {
        objects.push(tagged.object());
        if name.digest().is_none() {
            names.push(name.familiar());
        }
    }
    let digests = known.iter().filter(|(object, _)| objects.contains(object));
    let mut digests: Vec<String> = digests.map(|(_, name)| name.familiar()).collect();
    digests.sort();
    digests.dedup();
    let layers: Vec<String> = image.diff_ids.iter().map(ToString::to_string).collect();
    let comment = config.history.last().and_then(|entry| entry.comment.clone());
    let size = i64::try_from(bytes).unwrap_or(i64::MAX);
    let text = |text: &Option<String>| Value::Text(text.clone().unwrap_or_default());
    let created = config.created.clone().unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned());
    Ok(of_type(
        "*image.InspectResponse",
        vec![
            Field::new("ID", id.to_string()).in_json("Id"),
            Field::new("RepoTags", names),
            Field::new("RepoDigests", digests),
            Field::new("Parent", ""),
            Field::new("Comment", comment.unwrap_or_default()),
            Field::new("Created", created),
            Field::new("DockerVersion", extra(config, "docker_version")),
            Field::new("Author", text(&config.author)),
            Field::new("Config", container(&config.config)),
            Field::new("Architecture", config.architecture.as_str()),
            Field::new("Variant", text(&config.variant)).or_none(),
            Field::new("Os", config.os.as_str()),
            Field::new("OsVersion", text(&config.os_version)).or_none(),
            Field::new("Size", size),
            Field::new("VirtualSize", size),
            Field::new("RootFS", root_fs(layers)),
            Field::new("Metadata", metadata()),
        ],
    ))
}

fn of_type(type_name: &'static str, fields: Vec<Field>) -> Value {
    Value::Struct(Struct { type_name, fields, escapes_html: false })
}

/// A text of the document that its type does not name.
fn extra(config: &ImageConfig, name: &str) -> Value {
    config.extra.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().into()
}

fn root_fs(layers: Vec<String>) -> Value {
    let layers = Field::new("Layers", layers).or_none();
    of_type("image.RootFS", vec![Field::new("Type", "layers"), layers])
}

/// When an image got a name is not kept.
fn metadata() -> Value {
    of_type("image.Metadata", vec![Field::new("LastTagTime", "0001-01-01T00:00:00Z")])
}

/// What the image says of its containers; in JSON only what it does say.
fn container(config: &ContainerConfig) -> Value {
    let list = |texts: &[String]| match texts.is_empty() {
        true => Value::NilList,
        false => texts.to_vec().into(),
    };
    let set = |keys: &std::collections::BTreeSet<String>| match keys.is_empty() {
        true => Value::NilMap,
        false => {
            let empty = || of_type("struct {}", Vec::new());
            Value::Map(keys.iter().map(|key| (key.clone(), empty())).collect())
        }
    };
    let labels = match config.labels.is_empty() {
        true => Value::NilMap,
        false => Value::Texts(BTreeMap::clone(&config.labels)),
    };
    let words = |words: &Option<Vec<String>>| list(words.as_deref().unwrap_or_default());
    let health = match &config.healthcheck {
        Some(health) => healthcheck(health),
        None => Value::NilPointer("*v1.HealthcheckConfig"),
    };
    let mut fields = vec![
        Field::new("User", config.user.as_str()),
        Field::new("ExposedPorts", set(&config.exposed_ports)),
        Field::new("Env", list(&config.env)),
        Field::new("Entrypoint", words(&config.entrypoint)),
        Field::new("Cmd", words(&config.cmd)),
        Field::new("Volumes", set(&config.volumes)),
        Field::new("WorkingDir", config.working_dir.as_str()),
        Field::new("Labels", labels),
        Field::new("StopSignal", config.stop_signal.clone().unwrap_or_default()),
        Field::new("ArgsEscaped", config.args_escaped),
        Field::new("Healthcheck", health),
        Field::new("OnBuild", list(&config.on_build)),
        Field::new("Shell", words(&config.shell)),
    ];
    fields = fields.into_iter().map(Field::or_none).collect();
    of_type("*v1.DockerOCIImageConfig", fields)
}

fn healthcheck(health: &Healthcheck) -> Value {
    let fields = vec![
        Field::new("Test", health.test.clone()),
        Field::new("Interval", health.interval),
        Field::new("Timeout", health.timeout),
        Field::new("StartPeriod", health.start_period),
        Field::new("StartInterval", health.start_interval),
        Field::new("Retries", health.retries),
    ];
    of_type("*v1.HealthcheckConfig", fields.into_iter().map(Field::or_none).collect())
}
