//! The error of this crate. Owns how names from images are shown; refuses to decide what a person should do.

use std::io;

/// A layer could not be read, made or encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A system call on a name inside a layer directory failed.
    #[error("{operation} `{}`", show(.path))]
    File {
        /// What was tried: `open`, `create`, `change the owner of`.
        operation: &'static str,
        /// The path in the layer.
        path: Vec<u8>,
        /// Why it failed.
        source: io::Error,
    },
    /// A file was not what its table of contents says, or changed while it was read.
    #[error("`{}` is not what the layer's table of contents says", show(.path))]
    Changed {
        /// The path in the layer.
        path: Vec<u8>,
    },
    /// A name that image layers use for deletions (ADD-23).
    #[error(
        "`{}`: a name beginning with `.wh.` means a deletion in an image layer, so no file can have it",
        show(.path)
    )]
    ReservedName {
        /// The path in the layer or archive.
        path: Vec<u8>,
    },
    /// A table of contents is damaged or of another version.
    #[error("read a table of contents: {reason}")]
    BadToc {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A table of contents could not be read.
    #[error("read a table of contents")]
    ReadToc {
        /// Why it failed.
        source: io::Error,
    },
    /// A table of contents could not be written.
    #[error("write a table of contents")]
    WriteToc {
        /// Why it failed.
        source: io::Error,
    },
    /// The stream of a tar could not be read or decompressed.
    #[error("read the tar")]
    ReadTar {
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes that should be a tar header are none, or one that readers understand differently.
    #[error("tar header at byte {offset}: {reason}")]
    BadHeader {
        /// Where the header begins in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A tar entry that cannot be unpacked.
    #[error("tar entry `{}`: {reason}", show(.name))]
    BadEntry {
        /// The name as the tar has it.
        name: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A tar could not be written.
    #[error("write the tar")]
    WriteTar {
        /// Why it failed.
        source: io::Error,
    },
    /// A stream could not be compressed, or its source not be read.
    #[error("compress a layer")]
    Compress {
        /// Why it failed.
        source: io::Error,
    },
    /// The build was cancelled.
    #[error("hash the files of a layer: cancelled")]
    Cancelled,
}

impl LayerError {
    /// Whether the work was stopped because the build was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, LayerError::Cancelled)
    }

    /// Whether a name beginning with `.wh.` was met (ADD-23).
    pub fn is_reserved_name(&self) -> bool {
        matches!(self, LayerError::ReservedName { .. })
    }

    /// Whether the input is at fault: a tar or table of contents that is damaged or refused.
    pub fn is_malformed(&self) -> bool {
        matches!(
            self,
            LayerError::BadToc { .. } | LayerError::BadHeader { .. } | LayerError::BadEntry { .. }
        )
    }

    /// Makes the error of a failed system call on `path`.
    pub(crate) fn file(
        operation: &'static str,
        path: &[u8],
        source: impl Into<io::Error>,
    ) -> LayerError {
        LayerError::File { operation, path: path.to_vec(), source: source.into() }
    }

    pub(crate) fn entry(name: &[u8], reason: &'static str) -> LayerError {
        LayerError::BadEntry { name: name.to_vec(), reason }
    }
}

/// A name that is safe on a terminal and in one line.
fn show(name: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(name).chars().take(1000) {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_messages_are_escaped() {
        let error = LayerError::entry(b"a\x1b[2J\n\xff", "is bad");
        assert_eq!(error.to_string(), "tar entry `a\\u{1b}[2J\\n\u{fffd}`: is bad");
    }
}
