//! Where a registry's content is really asked for: mirrors, other places, what is blocked, and how each place is spoken
//! to, as the configuration of podman, containerd and docker says (docs/registries.md).
//!
//! Owns the formats of these files and which of them counts. Refuses to know where they lie on a machine, and the
//! network: a [`Plan`] is data.

mod certs;
mod daemon_json;
mod hosts_toml;
mod plan;
mod registries_conf;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use oci::Reference;

use crate::RegistryError;
use crate::error::{Action, Cause};
use crate::local_file::read_local_text;
use daemon_json::DaemonJson;
use registries_conf::RegistriesConf;

pub(crate) use plan::is_docker_hub;
pub use plan::{Asked, Endpoint, Link, Plan, Said, Scheme, TlsFiles};

/// Where the files lie; made by the command line. All may be missing.
#[derive(Clone, Debug, Default)]
pub struct HostsSource {
    /// `registries.conf`: the first that is there is read.
    pub registries_conf: Vec<PathBuf>,
    /// Read instead of these; it must be there (CONTAINERS_REGISTRIES_CONF).
    pub named_registries_conf: Option<PathBuf>,
    /// Directories with drop-ins of it, `*.conf`; later ones replace what earlier ones say of a prefix.
    pub registries_conf_dirs: Vec<PathBuf>,
    /// Directories with `HOST/hosts.toml`; the first that has one for a host is read.
    pub hosts_dirs: Vec<PathBuf>,
    /// Directories with `HOST/*.crt`, `*.cert` and `*.key`; all are used.
    pub certs_dirs: Vec<PathBuf>,
    /// `daemon.json`; all are read, the first that speaks of a host counts.
    pub daemon_json: Vec<PathBuf>,
}

/// What the files say. They are read when the first registry is asked for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    source: HostsSource,
    loaded: OnceLock<Result<Loaded, Wrong>>,
}

/// What holds for all registries.
#[derive(Debug, Default)]
struct Loaded {
    registries: RegistriesConf,
    /// Files of the same kind that others hide, and words that mean nothing.
    unread: Vec<String>,
    daemons: Vec<DaemonJson>,
}

/// A file that cannot be used, with its line where it is known, and why.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    place: String,
    reason: String,
}

impl Hosts {
    /// Files that are read later.
    pub fn new(source: HostsSource) -> Hosts {
        Hosts(Arc::new(Inner { source, loaded: OnceLock::new() }))
    }

    /// Where a reference is asked for, in this order.
    ///
    /// # Errors
    /// A file cannot be read, or says something that makes no sense.
    pub fn plan(&self, reference: &Reference, asked: Asked) -> Result<Plan, RegistryError> {
        self.try_plan(reference, asked).map_err(|wrong| {
            let cause = Cause::Configuration { what: wrong.place, reason: wrong.reason };
            RegistryError::new(Action::ReadHosts, cause)
        })
    }

    fn try_plan(&self, reference: &Reference, asked: Asked) -> Result<Plan, Wrong> {
        let loaded = self.0.loaded.get_or_init(|| load(&self.0.source));
        plan::plan(&self.0.source, loaded.as_ref().map_err(Clone::clone)?, reference, asked)
    }
}

impl Loaded {
    /// The statement of a daemon.json that lets a host be insecure.
    fn insecure(&self, host: &str) -> Option<Said> {
        self.daemons.iter().find_map(|daemon| daemon.insecure(host))
    }
}

fn load(source: &HostsSource) -> Result<Loaded, Wrong> {
    let mut registries = RegistriesConf::default();
    let usual = match &source.named_registries_conf {
        Some(path) => {
            let text = read(path)?.ok_or_else(|| Wrong::file(path, "there is no such file"))?;
            registries.add(path, &text)?;
            &[]
        }
        None => &source.registries_conf[..],
    };
    let mut unread = Vec::new();
    let mut first: Option<&PathBuf> = None;
    for path in usual {
        match first {
            Some(first) if path.exists() => unread.push(not_read(path, first)),
            Some(_) => {}
            None => {
                if let Some(text) = read(path)? {
                    registries.add(path, &text)?;
                    first = Some(path);
                }
            }
        }
    }
    for dir in &source.registries_conf_dirs {
        for path in files_with(dir, "conf")? {
            if let Some(text) = read(&path)? {
                registries.add(&path, &text)?;
            }
        }
    }
    unread.extend(registries.unknown().iter().cloned());
    let mut daemons = Vec::new();
    for path in &source.daemon_json {
        if let Some(text) = read(path)? {
            daemons.push(DaemonJson::parse(path, &text)?);
        }
    }
    Ok(Loaded { registries, unread, daemons })
}

impl Wrong {
    fn file(path: &Path, reason: impl ToString) -> Wrong {
        Wrong { place: path.display().to_string(), reason: reason.to_string() }
    }

    fn line(path: &Path, line: usize, reason: impl ToString) -> Wrong {
        Wrong { place: format!("{}:{line}", path.display()), reason: reason.to_string() }
    }

    /// What the TOML reader says.
    fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Wrong {
        let at = error.span().map_or(0, |span| span.start);
        Wrong::line(path, line_at(text, at), error.message().replace('\n', "; "))
    }
}

/// What is said of a file that another one hides.
fn not_read(path: &Path, first: &Path) -> String {
    format!("{} is not read, {} is there", path.display(), first.display())
}

/// A file's text; `None` when it is not there.
fn read(path: &Path) -> Result<Option<String>, Wrong> {
    match read_local_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Wrong::file(path, e)),
    }
}

/// Files of a directory that end so, in order of their names; none when there is no directory.
fn files_with(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Wrong> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Wrong::file(dir, e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Wrong::file(dir, e))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The line, from 1, in which a byte lies.
fn line_at(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}
