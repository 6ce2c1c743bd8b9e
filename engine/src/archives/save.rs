//! `save`: images of the store to one archive or layout.

use std::io::Write;
use std::path::Path;

use exporter::{Job, Prepared, Saved};
use oci::{Platform, Reference};
use progress::Emitter;
use store::Tagged;
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::image::Claims;
use crate::images::{fetch_of, find_tagged};
use crate::internal::{self, Internal};
use crate::output::job::job;
use crate::session::Session;
use crate::transfer::chosen;

/// What [`save`] writes.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// Names and ids of images. A repository's name without a tag means all its tags, as for docker.
    pub images: Vec<String>,
    /// The form.
    pub format: SaveFormat,
    /// Of several platforms only this one.
    pub platform: Option<Platform>,
}

/// Forms of [`save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFormat {
    /// What `docker load` reads.
    Docker,
    /// An OCI layout.
    Oci,
}

/// Where [`save`] writes to.
pub enum SaveTo<'a> {
    /// A tar.
    Stream(&'a mut dyn Write),
    /// An OCI layout's directory; one that is there is added to.
    Directory(&'a Path),
}

/// Writes images with their names to one archive. What they share is in it once.
///
/// # Errors
/// An image is not there, or not for the platform, or the archive cannot be written.
pub fn save(
    request: &SaveRequest,
    to: SaveTo<'_>,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let mut images: Vec<(Prepared, Vec<Reference>)> = Vec::new();
    for wanted in wanted(&session, &request.images)? {
        let Wanted { tagged, names, asked } = wanted;
        let image = chosen(&session, &tagged, &asked, request.platform.as_ref())?;
        images.push((image, names));
    }
    let saved: Vec<Saved> =
        images.iter().map(|(prepared, names)| Saved { prepared, names }).collect();
    let fetch = fetch_of(&session, Claims::of(images.iter().map(|(prepared, _)| prepared)));
    let job = Job { fetch: Some(&fetch), ..job(&session) };
    let step = format!("saving {}", request.images.join(" "));
    let written = internal::step(events, Internal::Export, &step, || {
        let written = match (to, request.format) {
            (SaveTo::Stream(out), SaveFormat::Docker) => {
                exporter::write_saved_archive(&saved, out, job)
            }
            (SaveTo::Stream(out), SaveFormat::Oci) => {
                exporter::write_saved_layout(&saved, out, job)
            }
            (SaveTo::Directory(dir), _) => saved.iter().try_for_each(|image| {
                exporter::write_oci_directory(image.prepared, image.names, dir, job)
            }),
        };
        written.map_err(BuildError::export)
    });
    // Layers may have been compressed for it.
    crate::room::settle(&session);
    written
}

/// Whether [`save`] only copies: every layer that it needs has its blob, so that no file of a layer is opened and no
/// worker is needed.
///
/// # Errors
/// An image is not there, or the store cannot be read.
pub fn is_encoded(
    images: &[String],
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<bool, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    for wanted in wanted(&session, images)? {
        if !crate::images::is_encoded(&session, &wanted.tagged)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An image that goes into the archive.
struct Wanted {
    tagged: Tagged,
    /// Its names that were asked for.
    names: Vec<Reference>,
    /// What was typed first for it.
    asked: String,
}

/// What was asked for, each image once, in the order of asking.
fn wanted(session: &Session, asked: &[String]) -> Result<Vec<Wanted>, BuildError> {
    if asked.is_empty() {
        return Err(BuildError::new(BuildErrorKind::Dockerfile, "no image was named"));
    }
    let store = |e| BuildError::store("cannot look for the image", e);
    let mut all: Vec<Wanted> = Vec::new();
    let mut add = |tagged: Tagged, name: Option<Reference>, asked: &str| {
        let known = match all.iter().position(|known| known.tagged == tagged) {
            Some(at) => &mut all[at],
            None => {
                let asked = asked.to_owned();
                all.push(Wanted { tagged, names: Vec::new(), asked });
                all.last_mut().expect("it was pushed")
            }
        };
        known.names.extend(name.filter(|name| !known.names.contains(name)));
    };
    for text in asked {
        let repository = whole_repository(text);
        let mut tags = Vec::new();
        if let Some(repository) = &repository {
            tags = session.lease.store().tags().map_err(store)?;
            tags.retain(|(name, _)| name.name() == *repository && name.digest().is_none());
        }
        if tags.is_empty() {
            let tagged = find_tagged(&session.lease, text)?;
            let name: Option<Reference> = text.parse().ok();
            let is_name =
                |r: &Reference| session.lease.tag(r).is_ok_and(|t| t.as_ref() == Some(&tagged));
            let name = name.filter(is_name);
            add(tagged, name, text);
        }
        for (name, tagged) in tags {
            add(tagged, Some(name), text);
        }
    }
    Ok(all)
}

/// The repository that a text names when it names neither tag nor digest.
fn whole_repository(text: &str) -> Option<String> {
    let last = text.rsplit('/').next().unwrap_or(text);
    let is_bare = !last.contains([':', '@']) && !text.contains('@');
    let reference: Reference = text.parse().ok().filter(|_| is_bare)?;
    Some(reference.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_tag_means_the_repository() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(whole_repository(text).as_deref(), expect, "{text}");
        };
        check("app", Some("docker.io/library/app"));
        check("localhost:5000/team/app", Some("localhost:5000/team/app"));
        check("app:1", None);
        check("localhost:5000/team/app:latest", None);
        let digest = format!("app@sha256:{}", "a".repeat(64));
        check(&digest, None);
        check("NOT A NAME", None);
    }
}
