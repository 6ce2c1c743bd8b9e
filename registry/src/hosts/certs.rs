//! Directories of certificates, `certs.d/HOST/`: `*.crt` sign the registry's certificate, `NAME.cert` with `NAME.key`
//! is who we are.

use std::path::PathBuf;

use super::{TlsFiles, Wrong, files_with};

/// Adds what all directories have for any of a host's names.
pub(super) fn add(files: &mut TlsFiles, dirs: &[PathBuf], names: &[&str]) -> Result<(), Wrong> {
    for dir in dirs {
        for name in names.iter().filter(|name| is_file_name(name)) {
            let dir = dir.join(name);
            for path in files_with(&dir, "crt")? {
                if !files.ca.contains(&path) {
                    files.ca.push(path);
                }
            }
            for cert in files_with(&dir, "cert")? {
                let key = cert.with_extension("key");
                if !key.exists() {
                    let text = format!(
                        "there is no key {} for it; certificates of an authority end in .crt",
                        key.display()
                    );
                    return Err(Wrong::file(&cert, text));
                }
                if !files.client.iter().any(|(known, _)| *known == cert) {
                    files.client.push((cert, key));
                }
            }
        }
    }
    Ok(())
}

/// Names of registries become names of directories: nothing may lead elsewhere.
pub(super) fn is_file_name(host: &str) -> bool {
    !host.is_empty() && host != "." && host != ".." && !host.contains(['/', '\0'])
}
