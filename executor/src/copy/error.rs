//! Why a copy failed, in paths of the image and of the source, never of this machine.

use std::io;

use layer::LayerError;
use tree::{SelectError, TreeError};

use crate::ExecError;

/// A copy that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("copy `{path}`")]
    Select { path: String, source: SelectError },
    #[error("read a source of the copy")]
    Tree { source: TreeError },
    #[error("the download has no file `{}`", String::from_utf8_lossy(.name))]
    NoDownload { name: Vec<u8> },
    #[error("the sources of the step do not fit the operation")]
    Mismatch,
    #[error("cannot copy to non-directory: /{}", String::from_utf8_lossy(.path))]
    NotDirectory { path: Vec<u8> },
    #[error("cannot replace to directory /{} with file", String::from_utf8_lossy(.path))]
    ReplaceDirectory { path: Vec<u8> },
    #[error("mkdir /{}: not a directory", String::from_utf8_lossy(.path))]
    InTheWay { path: Vec<u8> },
    #[error("{operation} /{}", String::from_utf8_lossy(.path))]
    File { operation: &'static str, path: Vec<u8>, source: io::Error },
    #[error(
        "cannot copy `/{}` to /{}",
        String::from_utf8_lossy(.from),
        String::from_utf8_lossy(.to)
    )]
    Content { from: Vec<u8>, to: Vec<u8>, source: io::Error },
    #[error(
        "copy /{}: a character device with the numbers 0, 0 would mean a deletion in a layer",
        String::from_utf8_lossy(.path)
    )]
    WhiteoutDevice { path: Vec<u8> },
    #[error("unpack `{}`", String::from_utf8_lossy(.name))]
    Unpack { name: Vec<u8>, source: LayerError },
    #[error("make the layer")]
    Layer { source: LayerError },
    #[error("stopped")]
    Cancelled,
}

impl CopyError {
    /// A closure that names a failed operation on a path of the image.
    pub(crate) fn file<E: Into<io::Error>>(
        operation: &'static str,
        path: &[u8],
    ) -> impl FnOnce(E) -> CopyError {
        let path = path.to_vec();
        move |source| CopyError::File { operation, path, source: source.into() }
    }
}

impl From<TreeError> for CopyError {
    fn from(source: TreeError) -> CopyError {
        CopyError::Tree { source }
    }
}

impl From<CopyError> for ExecError {
    fn from(error: CopyError) -> ExecError {
        match error {
            CopyError::Cancelled => ExecError::Cancelled,
            other => ExecError::Files(Box::new(other)),
        }
    }
}
