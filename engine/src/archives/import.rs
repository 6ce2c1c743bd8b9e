//! `import`: an image with one layer, of a tar of a file system.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use layer::ApplyOptions;
use oci::{ChainId, ContainerConfig, History, ImageConfig, ImageId, Platform, Reference};
use progress::Emitter;
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image;
use crate::images::{keep, whole};
use crate::internal::{self, Internal};
use crate::room;
use crate::session::Session;
use crate::stop::Stoppable;
use crate::told::{Teller, Told};

/// What [`import`] makes.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Its name, if it gets one.
    pub name: Option<Reference>,
    /// Where the tar came from, for the history and for errors; `-` is standard input.
    pub from: String,
    /// Text of the history entry.
    pub message: Option<String>,
    /// The platform of its programs.
    pub platform: Platform,
    /// The container's settings.
    pub config: ContainerConfig,
}

/// Where the tar of [`import`] comes from.
pub enum ImportFrom<'a> {
    /// A tar, compressed or not.
    Stream(&'a mut (dyn Read + Send)),
    /// A download, `http` or `https`.
    Url(&'a str),
}

/// Makes an image with one layer of a tar of a file system, compressed or not. Needs a worker.
///
/// # Errors
/// The tar is damaged or hostile, or cannot be had, or the store cannot take it.
pub fn import(
    from: ImportFrom<'_>,
    request: &ImportRequest,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<ImageId, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let mut file;
    let tar: &mut (dyn Read + Send) = match from {
        ImportFrom::Stream(stream) => stream,
        ImportFrom::Url(url) => {
            file = internal::step(events, Internal::LoadContext, "downloading", || {
                downloaded(&session, url)
            })?;
            &mut file
        }
    };
    let name = format!("importing {}", request.from);
    let image = internal::step(events, Internal::Keep, &name, || {
        let teller = Teller::new(events, Internal::Keep.vertex(), "tar".to_owned());
        let mut tar = Told::new(Stoppable { inner: tar, cancel: &session.cancel }, teller);
        made(&session, &mut tar, request)
    });
    session.check_cancelled()?;
    room::settle(&session);
    image
}

fn downloaded(session: &Session, url: &str) -> Result<File, BuildError> {
    let vertex = Internal::LoadContext.vertex();
    let teller = RefCell::new(Teller::new(&session.events, vertex, "file".to_owned()));
    let told = |done_bytes, total_bytes| teller.borrow_mut().tell(done_bytes, total_bytes);
    let got = crate::source::http::download_told(session, url, None, &told)?;
    File::open(&got.path).map_err(|e| BuildError::io("cannot read what was downloaded", e))
}

fn made(
    session: &Arc<Session>,
    tar: &mut (dyn Read + Send),
    request: &ImportRequest,
) -> Result<ImageId, BuildError> {
    let store = |e| BuildError::store("cannot import the image", e);
    let failed = || match &*request.from {
        "-" => "cannot import the tar".to_owned(),
        from => format!("cannot import {from}"),
    };
    let ingest = crate::source::new_ingest(session)?;
    let dir = image::new_dir(&ingest, "diff")?;
    let options = ApplyOptions {
        userxattr: session.lease.store().userxattr(),
        owners_in_toc_only: session.maps_one_id(),
        lower_dir: &|_| None,
    };
    let applied = layer::apply_tar(&mut layer::decompress(tar), dir.as_fd(), &[], &options)
        .map_err(|e| BuildError::new(BuildErrorKind::Files, failed()).because(e))?;
    if applied.has_trailing_data {
        // Other readers may take it for more entries (security.md B4).
        let message = format!("{}: something follows its end", failed());
        return Err(BuildError::new(BuildErrorKind::Files, message));
    }
    let created = crate::request::now();
    let layer = session.lease.commit_layer(ingest, "diff", &created).map_err(store)?;
    let content_id = layer::content_id(&applied.toc);
    session.lease.set_toc(layer, applied.toc, content_id).map_err(store)?;
    // The tar that came may be written in many ways: the image has it as we would write it again.
    let (diff_id, _) = whole(finish::made(session, &[layer], &layer::Encoding::default()))?;
    let chain = ChainId(diff_id.0);
    session.lease.put_chain(&chain, &[layer]).map_err(store)?;
    let mut config = ImageConfig {
        architecture: request.platform.architecture.clone(),
        os: request.platform.os.clone(),
        variant: Some(request.platform.variant.clone()).filter(|variant| !variant.is_empty()),
        created: Some(created.clone()),
        config: request.config.clone(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids.push(diff_id);
    let message = request.message.clone();
    config.history.push(History {
        created: Some(created),
        comment: Some(message.unwrap_or_else(|| format!("Imported from {}", request.from))),
        ..History::default()
    });
    keep(session, config.to_json(), None, request.name.as_slice())
}
