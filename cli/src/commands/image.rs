//! Commands on the images of the store: look, name, unname, remove. What they print is docker's.

mod df;
mod filter;
mod history;
mod inspect;
mod list;
mod prune;
mod remove;
mod sizes;
mod tag;

use engine::{BuildError, BuildErrorKind, Environment};
use oci::{Digest, ImageConfig, Platform, Reference};
use store::{Lease, StoreError, StoredImage, Tagged};
use template::TemplateError;

use super::transfer::NO_STEPS;
use super::{Done, Failure, Process, print};
use crate::args::{DockerConfig, ImageArgs, ImageCommand, SystemArgs, SystemCommand};

pub(crate) use history::history;
pub(crate) use inspect::inspect;
pub(crate) use list::images;
pub(crate) use remove::rmi;
pub(crate) use tag::tag;

/// Characters of an id that lists show.
const SHORT_ID: usize = 12;

/// `shale image`: what has no short form.
pub(crate) fn image(process: &mut Process, typed: &ImageArgs) -> Done {
    match &typed.command {
        ImageCommand::Prune(typed) => prune::images(process, typed),
        // `Command::in_short` has turned all others into the commands that they stand for.
        _ => print(""),
    }
}

/// `shale system`.
pub(crate) fn system(process: &mut Process, typed: &SystemArgs) -> Done {
    match &typed.command {
        SystemCommand::Df(typed) => df::df(process, typed),
        SystemCommand::Prune(typed) => prune::system(process, typed),
    }
}

fn store_error(what: &'static str) -> impl Fn(StoreError) -> Failure {
    move |error| Failure::Engine(BuildError::store(what, error))
}

/// A template that is wrong or does not fit, as docker words it.
pub(super) fn bad_format(error: TemplateError) -> Failure {
    let text = format!("template parsing error: {error}");
    BuildError::new(BuildErrorKind::Files, text).into()
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

    fn tags(&self) -> Result<Vec<(Reference, Tagged)>, Failure> {
        self.lease.store().tags().map_err(store_error("cannot list the names"))
    }

    /// Under which digests repositories have what they got from here, or gave: what it is, and its name there.
    fn repo_digests(&self) -> Result<Vec<(Digest, Reference)>, Failure> {
        let failed = store_error("cannot list the digests");
        let mut all = self.lease.store().repo_digests().map_err(failed)?;
        // A name by digest says it itself.
        for (name, tagged) in self.tags()? {
            all.extend(name.digest().map(|digest| (tagged.object(), name.with_digest(digest))));
        }
        all.sort_by(|(_, a), (_, b)| a.cmp(b));
        all.dedup();
        Ok(all)
    }

    /// The image of a name or id; of several platforms the one that was asked for, else this machine's.
    fn find(&self, text: &str, platform: Option<&Platform>) -> Result<StoredImage, Failure> {
        let Some(platform) = platform else {
            return Ok(engine::find_image(text, &self.environment)?);
        };
        let failed = store_error("cannot look for the image");
        for id in engine::find_tagged(&self.lease, text)?.images() {
            let Some(image) = self.lease.image(&id).map_err(&failed)? else { continue };
            if config(&image)?.platform() == *platform {
                return Ok(image);
            }
        }
        let text = format!("image {text} is not there for the platform {platform}");
        Err(BuildError::new(BuildErrorKind::Files, text).into())
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
