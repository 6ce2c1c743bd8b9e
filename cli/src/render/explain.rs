//! `shale registry explain` as text and as JSON. Secrets never get here.

use oci::Reference;
use registry::{Endpoint, Kept, KeptAs, Said, Scheme};
use serde::Serialize;

use super::plain_text;

/// What is known of a reference.
pub(crate) struct Explained {
    /// In its normal form.
    pub(crate) reference: Reference,
    /// It is about the registry alone: the reference stands for any of its images.
    pub(crate) is_registry: bool,
    /// It is about a push.
    pub(crate) is_push: bool,
    /// What forbids it.
    pub(crate) blocked: Option<Said>,
    /// Where it is asked for, in this order.
    pub(crate) places: Vec<ExplainedPlace>,
    /// What does not count.
    pub(crate) notes: Vec<String>,
}

/// One place.
pub(crate) struct ExplainedPlace {
    pub(crate) endpoint: Endpoint,
    /// Where its credential is kept.
    pub(crate) credentials: Vec<Kept>,
    /// Without user and password.
    pub(crate) proxy: Option<String>,
    /// What came of asking it, if it was asked.
    pub(crate) answer: Option<Result<(), String>>,
}

impl Explained {
    /// Whether one of the places that were asked answered well.
    pub(crate) fn is_answered(&self) -> bool {
        self.places.iter().any(|place| matches!(place.answer, Some(Ok(()))))
    }
}

/// For people.
pub(crate) fn explain_text(explained: &Explained) -> String {
    let mut lines = Vec::new();
    if !explained.is_registry {
        lines.push(line("reference", &explained.reference.to_string()));
    }
    lines.push(line("registry", explained.reference.registry()));
    if let Some(said) = &explained.blocked {
        lines.push(line("blocked", &format!("by {said}: it is not asked for anywhere")));
    }
    for (at, place) in explained.places.iter().enumerate() {
        lines.push(String::new());
        let endpoint = &place.endpoint;
        let role = if endpoint.is_origin { "registry" } else { "mirror" };
        let mut url = endpoint.link.url();
        if !explained.is_registry {
            url = format!("{url}/{}", endpoint.repository);
        }
        lines.push(format!("{}. {role} {}", at + 1, plain_text(&url)));
        if let Some(why) = &endpoint.unused {
            lines.push(line("   not asked", why));
        }
        for (word, said) in &endpoint.said {
            lines.push(line("   said by", &format!("{said} ({word})")));
        }
        lines.extend(tls(endpoint));
        for (name, _) in &endpoint.link.headers {
            lines.push(line("   header", name));
        }
        if let Some(namespace) = &endpoint.link.namespace {
            lines.push(line("   told", &format!("ns={namespace}")));
        }
        lines.push(line("   proxy", place.proxy.as_deref().unwrap_or("none")));
        lines.extend(credentials(place));
        match &place.answer {
            Some(Ok(())) => lines.push(line("   answers", "yes")),
            Some(Err(why)) => lines.push(line("   answers", &format!("no: {why}"))),
            None => {}
        }
    }
    if !explained.notes.is_empty() {
        lines.push(String::new());
        lines.extend(explained.notes.iter().map(|note| line("note", note)));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// A word and what is to be said of it.
fn line(word: &str, text: &str) -> String {
    format!("{word:<16}{}", plain_text(text))
}

fn tls(endpoint: &Endpoint) -> Vec<String> {
    let link = &endpoint.link;
    if link.scheme == Scheme::Http {
        return vec![line("   transport", "plain http")];
    }
    let mut lines = Vec::new();
    if link.scheme == Scheme::Either {
        lines.push(line("   transport", "plain http, or https where the server speaks that"));
    }
    let checked = match (link.skip_verify, link.files.ca.is_empty()) {
        (true, _) => "not checked",
        (false, true) => "checked with the roots of the system",
        (false, false) => "checked with the roots of the system and these:",
    };
    lines.push(line("   certificate", checked));
    let files = link.files.ca.iter().filter(|_| !link.skip_verify);
    lines.extend(files.map(|file| line("   ca", &file.display().to_string())));
    // Servers are shown the first.
    if let Some((cert, key)) = link.files.client.first() {
        let text = format!("{}, key {}", cert.display(), key.display());
        lines.push(line("   client", &text));
    }
    lines
}

fn credentials(place: &ExplainedPlace) -> Vec<String> {
    if place.credentials.is_empty() {
        return vec![line("   credentials", "none: asked anonymously")];
    }
    let one = |kept: &Kept| {
        let file = with_line(&kept.file, kept.line);
        let text = match &kept.how {
            KeptAs::Helper { program, word } => format!("{program} ({word} in {file})"),
            KeptAs::Entry { key, kind } => format!("{kind}, entry {key} in {file}"),
        };
        line("   credentials", &text)
    };
    let mut lines: Vec<String> = place.credentials.iter().map(one).collect();
    if lines.len() > 1 {
        lines.push(line("", "(each is asked if the one before it has none)"));
    }
    lines
}

fn with_line(file: &str, line: Option<usize>) -> String {
    line.map_or(file.to_owned(), |line| format!("{file}:{line}"))
}

/// For programs; docs/registries.md has the members.
pub(crate) fn explain_json(explained: &Explained) -> String {
    let reference = &explained.reference;
    let is_image = !explained.is_registry;
    let document = Document {
        reference: is_image.then(|| reference.to_string()),
        registry: reference.registry(),
        repository: is_image.then(|| reference.repository()),
        tag: reference.tag().filter(|_| is_image),
        digest: reference.digest().map(|digest| digest.to_string()),
        purpose: if explained.is_push { "push" } else { "pull" },
        blocked_by: explained.blocked.as_ref().map(Place::of),
        endpoints: explained.places.iter().map(|place| EndpointOut::of(place, is_image)).collect(),
        notes: &explained.notes,
    };
    let text = serde_json::to_string_pretty(&document);
    format!("{}\n", text.expect("strings, numbers and lists of them always have a JSON form"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    reference: Option<String>,
    registry: &'a str,
    repository: Option<&'a str>,
    tag: Option<&'a str>,
    digest: Option<String>,
    purpose: &'static str,
    blocked_by: Option<Place>,
    endpoints: Vec<EndpointOut<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Place {
    file: String,
    line: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointOut<'a> {
    role: &'static str,
    url: String,
    host: &'a str,
    repository: Option<&'a str>,
    used: bool,
    unused_because: Option<&'a str>,
    transport: &'static str,
    verifies: bool,
    ca: Vec<String>,
    client_certificate: Option<String>,
    client_key: Option<String>,
    headers: Vec<&'a str>,
    namespace: Option<&'a str>,
    proxy: Option<&'a str>,
    said: Vec<SaidOut>,
    credentials: Vec<KeptOut<'a>>,
    answers: Option<bool>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct SaidOut {
    what: &'static str,
    #[serde(flatten)]
    place: Place,
}

#[derive(Serialize)]
struct KeptOut<'a> {
    file: &'a str,
    line: Option<usize>,
    helper: Option<&'a str>,
    entry: Option<&'a str>,
    kind: Option<&'a str>,
}

impl Place {
    fn of(said: &Said) -> Place {
        Place { file: said.file.display().to_string(), line: said.line }
    }
}

impl EndpointOut<'_> {
    fn of(place: &ExplainedPlace, is_image: bool) -> EndpointOut<'_> {
        let Endpoint { link, repository, is_origin, unused, said } = &place.endpoint;
        let text = |path: &std::path::PathBuf| path.display().to_string();
        let client = link.files.client.first();
        EndpointOut {
            role: if *is_origin { "registry" } else { "mirror" },
            // What is tried first.
            url: link.url().replacen("http(s)://", "http://", 1),
            host: &link.host,
            repository: is_image.then_some(repository),
            used: unused.is_none(),
            unused_because: unused.as_deref(),
            transport: match link.scheme {
                Scheme::Https => "https",
                Scheme::Http => "http",
                Scheme::Either => "either",
            },
            verifies: link.scheme != Scheme::Http && !link.skip_verify,
            ca: link.files.ca.iter().map(text).collect(),
            client_certificate: client.map(|(cert, _)| text(cert)),
            client_key: client.map(|(_, key)| text(key)),
            headers: link.headers.iter().map(|(name, _)| name.as_str()).collect(),
            namespace: link.namespace.as_deref(),
            proxy: place.proxy.as_deref(),
            said: said
                .iter()
                .map(|(what, said)| SaidOut { what, place: Place::of(said) })
                .collect(),
            credentials: place.credentials.iter().map(KeptOut::of).collect(),
            answers: place.answer.as_ref().map(Result::is_ok),
            error: place.answer.as_ref().and_then(|a| a.as_ref().err()).map(String::as_str),
        }
    }
}

impl KeptOut<'_> {
    fn of(kept: &Kept) -> KeptOut<'_> {
        let (helper, entry, kind) = match &kept.how {
            KeptAs::Helper { program, .. } => (Some(program.as_str()), None, None),
            KeptAs::Entry { key, kind } => (None, Some(key.as_str()), Some(kind.as_str())),
        };
        KeptOut { file: &kept.file, line: kept.line, helper, entry, kind }
    }
}
