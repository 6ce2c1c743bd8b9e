//! Images to the container engines of this machine, and from them.
//!
//! Owns which engine is meant, what it has already, and the form that each takes. What an engine has is not sent again
//! where its way of loading allows that; an image that it has only gets its names. Refuses to know registries, and to
//! read the environment: where engines may be is said by the caller.

mod containerd;
mod docker;
mod engine_image;
mod podman;
mod program;
mod tars;

use std::io::Read;
use std::path::PathBuf;

use oci::{DiffId, ImageId, Reference};
use sys::Cancel;

use crate::ExportError;
use crate::error::{ExportErrorKind, Failure, show};
use crate::http::{self, EngineAddress};
use crate::image::BuiltImage;
use crate::job::Job;
use crate::prepare::Prepared;
use containerd::Containerd;
use docker::Docker;
use podman::Podman;

pub use engine_image::EngineImage;

/// The engine that is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// The first Docker or Podman that answers.
    #[default]
    Any,
    /// Docker, or what answers as Docker does at its socket.
    Docker,
    /// Podman: its socket, else its program.
    Podman,
    /// containerd, through its program `ctr`.
    Containerd {
        /// Its socket; containerd's own default without one.
        address: Option<PathBuf>,
        /// The namespace that gets the image; `default` without one.
        namespace: Option<String>,
    },
}

/// Where engines may be, each list in order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnginePlaces {
    /// Addresses of either, for [`EngineKind::Any`].
    pub any: Vec<EngineAddress>,
    /// Addresses of Docker.
    pub docker: Vec<EngineAddress>,
    /// Addresses of Podman.
    pub podman: Vec<EngineAddress>,
    /// Whether the program `podman` may stand in for a socket: not when the user has named one.
    pub podman_program: bool,
    /// Directories in which the programs `podman` and `ctr` are looked for.
    pub program_dirs: Vec<PathBuf>,
    /// What the user names that is no address for us, and why.
    pub elsewhere: Option<String>,
}

/// A container engine that is there.
pub struct Engine(Kind);

enum Kind {
    Docker(Docker),
    Podman(Podman),
    Containerd(Containerd),
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOff {
    /// Layers that were sent.
    pub layers_sent: usize,
    /// Layers of the image.
    pub layers: usize,
}

/// Makes all documents and blobs of the images, where an engine wants them.
pub type Prepare<'a> = &'a dyn Fn() -> Result<Prepared, ExportError>;

impl Engine {
    /// Looks for an engine.
    ///
    /// # Errors
    /// None is there; the error names what was tried.
    pub fn find(
        kind: &EngineKind,
        places: &EnginePlaces,
        cancel: &Cancel,
    ) -> Result<Engine, ExportError> {
        let none = |what: &'static str, tried: Vec<String>| {
            let elsewhere = places.elsewhere.clone();
            ExportError::from(Failure::NoEngine { what, tried, elsewhere })
        };
        match kind {
            EngineKind::Any => {
                first(&places.any, cancel).map_err(|tried| none("container engine", tried))
            }
            EngineKind::Docker => {
                first(&places.docker, cancel).map_err(|tried| none("Docker engine", tried))
            }
            EngineKind::Podman => {
                let mut tried = match first(&places.podman, cancel) {
                    Ok(engine) => return Ok(engine),
                    Err(tried) => tried,
                };
                if !places.podman_program {
                    return Err(none("Podman", tried));
                }
                tried.push("the program podman".to_owned());
                let program = Podman::program(&places.program_dirs);
                program
                    .map(|podman| Engine(Kind::Podman(podman)))
                    .ok_or_else(|| none("Podman", tried))
            }
            EngineKind::Containerd { address, namespace } => {
                Containerd::find(address, namespace, &places.program_dirs)
                    .map(|found| Engine(Kind::Containerd(found)))
                    .map_err(|tried| none("containerd", vec![tried]))
            }
        }
    }

    /// Gives an image its names if the engine has it; false when it has not, or cannot say so of an id.
    ///
    /// # Errors
    /// The engine does not answer, or refuses a name.
    pub fn tag_if_there(
        &self,
        id: &ImageId,
        names: &[Reference],
        cancel: &Cancel,
    ) -> Result<bool, ExportError> {
        match &self.0 {
            Kind::Docker(docker) => docker.tag_if_there(id, names, cancel),
            Kind::Podman(podman) => podman.tag_if_there(id, names, cancel),
            Kind::Containerd(_) => Ok(false),
        }
    }

    /// Hands an image over, under its names. `prepare` is only called for engines that keep manifests.
    ///
    /// # Errors
    /// The engine refuses or goes away, or the image's bytes cannot be had.
    pub fn take(
        &self,
        image: &BuiltImage,
        names: &[Reference],
        prepare: Prepare<'_>,
        job: Job,
    ) -> Result<HandedOff, ExportError> {
        let layers = image.layers.len();
        if self.tag_if_there(&image.id, names, job.cancel)? {
            return Ok(HandedOff { layers_sent: 0, layers });
        }
        let taken = match &self.0 {
            Kind::Docker(docker) => docker.take(image, names, prepare, job),
            Kind::Podman(podman) => podman.take(image, names, job),
            Kind::Containerd(containerd) => containerd.take(&prepare()?, names, job),
        };
        // What was stopped has failed for that reason, whatever the engine said of it.
        job.check()?;
        Ok(HandedOff { layers_sent: taken?, layers })
    }

    /// The image that the engine means by a name or an id; `None` when it has none.
    ///
    /// # Errors
    /// The engine does not answer, or is none that can be asked.
    pub fn image(&self, name: &str, cancel: &Cancel) -> Result<Option<EngineImage>, ExportError> {
        match &self.0 {
            Kind::Docker(docker) => docker.inspect(name, cancel),
            Kind::Podman(podman) => podman.inspect(name, cancel),
            Kind::Containerd(_) => {
                Err(Failure::Unsupported("containerd is not asked for images").into())
            }
        }
    }

    /// An archive of an image of the engine.
    ///
    /// # Errors
    /// The engine does not give it.
    pub fn archive<'a>(
        &self,
        image: &EngineImage,
        cancel: &'a Cancel,
    ) -> Result<Box<dyn Read + Send + 'a>, ExportError> {
        match &self.0 {
            Kind::Docker(docker) => docker.archive(image, cancel),
            Kind::Podman(podman) => podman.archive(image, cancel),
            Kind::Containerd(_) => {
                Err(Failure::Unsupported("containerd is not asked for images").into())
            }
        }
    }

    /// Whether it is worked with through a program, which has to be run where the user is.
    pub fn is_program(&self) -> bool {
        match &self.0 {
            Kind::Docker(_) => false,
            Kind::Podman(podman) => matches!(podman, Podman::Program(_)),
            Kind::Containerd(_) => true,
        }
    }

    /// What the engine is called in a sentence, with its place.
    pub fn shown(&self) -> String {
        match &self.0 {
            Kind::Docker(docker) => docker.shown(),
            Kind::Podman(podman) => podman.shown(),
            Kind::Containerd(containerd) => containerd.shown(),
        }
    }
}

/// The first of some addresses at which an engine answers; else what was tried.
fn first(addresses: &[EngineAddress], cancel: &Cancel) -> Result<Engine, Vec<String>> {
    let mut tried = Vec::new();
    for address in addresses {
        match (http::ping(address, "/_ping", cancel), address) {
            (Ok(answer), _) if answer.status == 200 => {
                let kind = match answer.header("libpod-api-version") {
                    Some(version) => Kind::Podman(Podman::socket(address, version)),
                    None => Kind::Docker(Docker::new(address)),
                };
                return Ok(Engine(kind));
            }
            // That nobody listens at a socket needs no words; that one may not ask does.
            (Err(error), EngineAddress::Unix(_)) if is_nobody(&error) => {
                tried.push(address.to_string());
            }
            (Err(error), _) => tried.push(format!("{address} ({error})")),
            (Ok(answer), _) => tried.push(format!("{address} (status {})", answer.status)),
        }
    }
    Err(tried)
}

fn is_nobody(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// Those of some names that an image does not have in an engine yet, each as the engine writes its repository, with
/// its tag. An engine keeps no name without one.
fn names_missing(
    image: &EngineImage,
    names: &[Reference],
    repository: fn(&Reference) -> String,
) -> Vec<(String, String)> {
    let names = names.iter().filter_map(|name| Some((repository(name), name.tag()?.to_owned())));
    names.filter(|(name, tag)| !image.names.contains(&format!("{name}:{tag}"))).collect()
}

/// Names that an engine can keep: with a tag.
fn tags(names: &[Reference]) -> impl Iterator<Item = (String, &str)> {
    names.iter().filter_map(|name| Some((name.familiar_name(), name.tag()?)))
}

/// Sends an image twice where the first time fails because of what was left out.
///
/// `has` is what the engine seems to have: it may have dropped some meanwhile, or be of a kind that wants all. What it
/// refuses for good was perhaps damaged here: nothing is hashed on its way to an engine that does so itself.
fn sent<H: Default + PartialEq>(
    has: H,
    (image, job): (&BuiltImage, Job),
    mut send: impl FnMut(&H) -> Result<usize, ExportError>,
) -> Result<usize, ExportError> {
    let refused = |error: &ExportError| error.kind() == ExportErrorKind::Engine;
    let mut result = send(&has);
    if result.as_ref().is_err_and(refused) && has != H::default() {
        job.check()?;
        result = send(&H::default());
    }
    match result {
        Err(error) if refused(&error) => {
            job.check()?;
            tars::check(image, job).and(Err(error))
        }
        result => result,
    }
}

/// How many of an image's layers, from the lowest on, are those of one that an engine has.
fn common(wanted: &[DiffId], has: &[DiffId]) -> usize {
    wanted.iter().zip(has).take_while(|(wanted, has)| wanted == has).count()
}

fn diff_ids(image: &BuiltImage) -> Vec<DiffId> {
    image.layers.iter().map(|layer| layer.diff_id).collect()
}

/// Asks an engine; `None` when it has no such thing.
fn asked(
    engine: &EngineAddress,
    path: &str,
    cancel: &Cancel,
) -> Result<Option<serde_json::Value>, ExportError> {
    let answer =
        http::get(engine, path, cancel).map_err(|source| io_error("ask", engine, source))?;
    match answer.status {
        404 => Ok(None),
        200 => match serde_json::from_slice(&answer.body) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(refused(engine, error.to_string())),
        },
        _ => Err(refused(engine, reason(&answer))),
    }
}

/// Has an engine do something.
fn done(engine: &EngineAddress, path: &str, cancel: &Cancel) -> Result<(), ExportError> {
    let answer = http::command(engine, path, cancel);
    let answer = answer.map_err(|source| io_error("ask", engine, source))?;
    match answer.status {
        200..300 => Ok(()),
        _ => Err(refused(engine, reason(&answer))),
    }
}

/// Posts an archive to an engine; gives what it answered.
fn posted(
    engine: &EngineAddress,
    path: &str,
    job: Job,
    fill: impl FnOnce(&mut dyn std::io::Write) -> Result<(), ExportError>,
) -> Result<Vec<u8>, ExportError> {
    let sent = http::post(engine, path, job.cancel, fill);
    let (answer, sent) = sent.map_err(|source| io_error("send the image to", engine, source))?;
    match (refusal(&answer), sent) {
        // What went wrong on this side is the reason for whatever the engine says of it, but for a broken pipe.
        (Some(reason), Err(error)) if error.is_broken_pipe() => Err(refused(engine, reason)),
        (_, Err(error)) => Err(error),
        (Some(reason), Ok(())) => Err(refused(engine, reason)),
        (None, Ok(())) => Ok(answer.body),
    }
}

fn io_error(
    operation: &'static str,
    engine: &EngineAddress,
    source: std::io::Error,
) -> ExportError {
    let socket = engine.to_string();
    Failure::EngineIo { operation, socket, source }.into()
}

fn refused(engine: &EngineAddress, reason: String) -> ExportError {
    Failure::EngineRefused { socket: engine.to_string(), reason }.into()
}

/// Why an engine did not take the image: a bad status, or an error among the lines of a good one.
fn refusal(answer: &http::Answer) -> Option<String> {
    let text = |value: &serde_json::Value| {
        let found = [&value["errorDetail"]["message"], &value["error"], &value["cause"]];
        found.into_iter().find_map(|v| v.as_str()).map(|text| show(text.as_bytes()))
    };
    if let Some(reason) = json_lines(&answer.body).iter().find_map(text) {
        return Some(reason);
    }
    (answer.status >= 300).then(|| reason(answer))
}

/// What an answer with a bad status says.
fn reason(answer: &http::Answer) -> String {
    let lines = json_lines(&answer.body);
    match lines.iter().find_map(|value| value["message"].as_str()) {
        Some(message) => show(message.as_bytes()),
        None => format!("status {}", answer.status),
    }
}

/// The JSON values that follow one another in a body; what is none of them is skipped.
fn json_lines(body: &[u8]) -> Vec<serde_json::Value> {
    serde_json::Deserializer::from_slice(body).into_iter().map_while(Result::ok).collect()
}

/// A name or an id in the path of a request.
fn in_path(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'_' | b'.' | b':' | b'@' | b'-' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> http::Answer {
        http::Answer::new(status, body.as_bytes())
    }

    #[test]
    fn a_refusal_is_found_in_answers_of_all_kinds() {
        let check = |status, body, want: Option<&str>| {
            assert_eq!(refusal(&answer(status, body)).as_deref(), want, "{body}");
        };
        check(200, "{\"stream\":\"Loaded image: a:b\"}", None);
        check(200, "{\"Names\":[\"localhost/a:b\"]}", None);
        let late =
            "{\"stream\":\"x\"}{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}";
        check(200, late, Some("no space"));
        check(500, "{\"message\":\"b\"}", Some("b"));
        check(500, "{\"cause\":\"why\",\"message\":\"b\"}", Some("why"));
        check(403, "", Some("status 403"));
        check(500, "{\"message\":\"\\u001b[31m\"}", Some("\\u{1b}[31m"));
    }

    #[test]
    fn names_in_paths_cannot_be_more_than_names() {
        assert_eq!(in_path("h:5000/a/b:1@sha256:ab"), "h:5000/a/b:1@sha256:ab");
        assert_eq!(in_path("a b?c#d%\r\n"), "a%20b%3Fc%23d%25%0D%0A");
    }

    #[test]
    fn layers_are_shared_from_the_lowest_on() {
        let ids = |text: &str| -> Vec<DiffId> {
            text.bytes().map(|byte| DiffId(oci::Digest::of(&[byte]))).collect()
        };
        let check = |wanted, has, count| assert_eq!(common(&ids(wanted), &ids(has)), count);
        check("abc", "abd", 2);
        check("abc", "abcd", 3);
        check("abc", "bc", 0);
        check("", "a", 0);
    }
}
