//! `export`: the file system of an image, all layers in one, without its config.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use exporter::DirOptions;
use graph::{ImageOrigin, ImageSource};
use oci::{ImageConfig, Platform};
use progress::Emitter;
use store::{StoredImage, Tagged};
use sys::Cancel;
use tree::Tree;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::image;
use crate::images::{by_id, find_tagged, whole};
use crate::internal::{self, Internal};
use crate::output::job::job;
use crate::room;
use crate::run_image::shown_reference;
use crate::stack_tree;

/// What [`export`] writes.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// Name, id or the beginning of an id.
    pub image: String,
    /// Of several platforms this one instead of this machine's.
    pub platform: Option<Platform>,
    /// A directory to write into; else a tar goes to the stream.
    pub directory: Option<PathBuf>,
}

/// Writes the file system of an image as a tar, with owners and modes, or into a directory of the calling user. Needs a
/// worker.
///
/// # Errors
/// There is no such image, or none for the platform, or the output cannot be written.
pub fn export(
    request: &ExportRequest,
    out: &mut dyn Write,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let tagged = find_tagged(&session.lease, &request.image)?;
    let stored = of_platform(&session.lease, &tagged, request)?;
    let config = ImageConfig::from_json(&stored.config).map_err(|e| {
        BuildError::new(BuildErrorKind::Files, "the image's config cannot be read").because(e)
    })?;
    let platform = config.platform();
    let source = ImageSource {
        reference: shown_reference(&request.image),
        origin: ImageOrigin::Store,
        manifest: stored.manifest.map(|manifest| manifest.digest),
        config: Arc::new(config),
    };
    let name = format!("exporting the files of {}", request.image);
    let written = internal::step(events, Internal::Export, &name, || {
        let value = image::value(&session, &source)?;
        let tree: Arc<dyn Tree> = stack_tree::open(&session, &value, Internal::Export.vertex())?;
        let trees = [(platform, &*tree)];
        let job = job(&session);
        let written = match &request.directory {
            Some(dir) => exporter::write_directory(&trees, dir, &DirOptions::default(), job),
            None => exporter::write_tree_tar(&trees, None, None, out, job),
        };
        Ok(written.map_err(BuildError::export)?)
    });
    // Layers may have been unpacked for it.
    room::settle(&session);
    whole(written)
}

fn of_platform(
    lease: &store::Lease,
    tagged: &Tagged,
    request: &ExportRequest,
) -> Result<StoredImage, BuildError> {
    let ids = tagged.images();
    let mut images =
        ids.iter().map(|id| by_id(lease, id)).collect::<Result<Vec<StoredImage>, _>>()?;
    let wanted = request.platform.clone().unwrap_or_else(Platform::host);
    let at = match (image::fitting(&images, &wanted), &request.platform) {
        (Some(at), _) => at,
        // What there is, where nothing was asked for.
        (None, None) => 0,
        (None, Some(platform)) => {
            let text = format!("image {} has nothing for {platform}", request.image);
            return Err(BuildError::new(BuildErrorKind::Dockerfile, text));
        }
    };
    Ok(images.swap_remove(at))
}
