//! The values of secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::{BuildError, BuildErrorKind};
use crate::request::SecretInput;
use crate::session::Session;

/// Largest secret (MNT-70).
const SECRET_MAX_BYTES: u64 = 500 << 10;

/// The value of a secret; `None` when the command line gives none with this id.
pub(crate) fn read(session: &Session, id: &str) -> Result<Option<Vec<u8>>, BuildError> {
    let bytes = match session.request.secrets.get(id) {
        Some(SecretInput::Value(bytes)) => bytes.to_vec(),
        Some(SecretInput::File(path)) => {
            read_file(path).map_err(|e| BuildError::io(format!("cannot read secret {id}"), e))?
        }
        None => return Ok(None),
    };
    match bytes.len() as u64 > SECRET_MAX_BYTES {
        true => {
            let text = format!("secret {id} is larger than 500 KiB");
            Err(BuildError::new(BuildErrorKind::Step, text))
        }
        false => Ok(Some(bytes)),
    }
}

/// No more than shows that it is too large: a device has no end. A pipe is as good as a file.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
