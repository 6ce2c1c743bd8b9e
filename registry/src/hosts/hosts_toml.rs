//! `hosts.toml` of containerd: one file for each registry, in `HOST/` or `_default/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::certs::is_file_name;
use super::{Said, TlsFiles, Wrong, line_at};
use crate::Secret;
use crate::url::Url;

/// One file.
#[derive(Debug)]
pub(super) struct HostsToml {
    /// Asked before the server, in this order.
    pub(super) hosts: Vec<Host>,
    /// The registry itself.
    pub(super) server: Host,
    pub(super) said: Said,
    /// Files of the same registry that this one hides.
    pub(super) unread: Vec<String>,
}

/// One server that may be asked.
#[derive(Debug)]
pub(super) struct Host {
    /// `None` for a server whose URL is not given: the registry of the reference.
    pub(super) url: Option<Url>,
    /// The path of the URL is the API's own: no `/v2` is added.
    pub(super) override_path: bool,
    pub(super) can_pull: bool,
    pub(super) can_resolve: bool,
    pub(super) can_push: bool,
    pub(super) skip_verify: Option<Said>,
    pub(super) files: TlsFiles,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) said: Said,
}

#[derive(Deserialize)]
struct File {
    server: Option<Spanned<String>>,
    #[serde(default)]
    host: BTreeMap<String, Spanned<Table>>,
    #[serde(flatten)]
    own: Table,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Table {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a file, a list of files, or a list of [certificate, key]")]
enum Client {
    One(String),
    Many(Vec<OneOrMany>),
}

/// The file for a registry in the first directory that has one.
pub(super) fn find(dirs: &[PathBuf], registry: &str) -> Result<Option<HostsToml>, Wrong> {
    let mut names = vec![registry.to_owned()];
    if let Some((host, port)) = registry.rsplit_once(':').filter(|(host, _)| !host.contains(':')) {
        names.insert(0, format!("{host}_{port}_"));
    }
    names.push("_default".to_owned());
    let paths = dirs.iter().flat_map(|dir| {
        let names = names.iter().filter(|name| is_file_name(name));
        names.map(move |name| dir.join(name).join("hosts.toml"))
    });
    let mut paths = paths.collect::<Vec<_>>().into_iter();
    for path in paths.by_ref() {
        if let Some(text) = super::read(&path)? {
            let mut file = parse(&path, &text)?;
            // A default is there to be hidden.
            let unread = paths.filter(|p| !p.ends_with("_default/hosts.toml") && p.exists());
            file.unread = unread.map(|other| super::not_read(&other, &path)).collect();
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn parse(path: &Path, text: &str) -> Result<HostsToml, Wrong> {
    let file: File = toml::from_str(text).map_err(|e| Wrong::toml(path, text, &e))?;
    let said = |at: usize| Said { file: path.to_owned(), line: Some(line_at(text, at)) };
    let mut tables: Vec<(String, Spanned<Table>)> = file.host.into_iter().collect();
    tables.sort_by_key(|(_, table)| table.span().start);
    let mut hosts = Vec::new();
    for (url, table) in tables {
        let said = said(table.span().start);
        hosts.push(host(path, Some(&url), table.into_inner(), said)?);
    }
    let at = file.server.as_ref().map_or(0, |server| server.span().start);
    let server = file.server.map(Spanned::into_inner);
    let mut server = host(path, server.as_deref(), file.own, said(at))?;
    // The registry itself can do everything, whatever stands there.
    (server.can_pull, server.can_resolve, server.can_push) = (true, true, true);
    Ok(HostsToml { hosts, server, said: said(0), unread: Vec::new() })
}

fn host(path: &Path, url: Option<&str>, table: Table, said: Said) -> Result<Host, Wrong> {
    let wrong = |reason: String| Wrong::line(path, said.line.unwrap_or(1), reason);
    let url = match url {
        Some(text) => {
            let whole = match text.contains("://") {
                true => text.to_owned(),
                false => format!("https://{text}"),
            };
            Some(Url::parse(&whole).map_err(|reason| wrong(format!("`{text}`: {reason}")))?)
        }
        None => None,
    };
    for word in table.capabilities.iter().flatten() {
        if !["pull", "resolve", "push", "referrers"].contains(&word.as_str()) {
            return Err(wrong(format!("capability `{word}`: pull, resolve and push are known")));
        }
    }
    // None named means all.
    let words = table.capabilities.unwrap_or_default();
    let can = |word: &str| words.is_empty() || words.iter().any(|w| w == word);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut files = TlsFiles::default();
    files.ca.extend(table.ca.map(OneOrMany::list).unwrap_or_default().iter().map(|f| dir.join(f)));
    files.client = client(dir, table.client).map_err(&wrong)?;
    let mut headers = Vec::new();
    for (name, values) in table.header {
        let values = values.list();
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let is_text = |v: &String| v.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b));
        if name.is_empty() || !name.bytes().all(is_token) || !values.iter().all(is_text) {
            return Err(wrong(format!("header `{name}` cannot be sent")));
        }
        let name = name.to_ascii_lowercase();
        headers.extend(values.into_iter().map(|value| (name.clone(), Secret::new(value))));
    }
    Ok(Host {
        url,
        override_path: table.override_path,
        can_pull: can("pull"),
        can_resolve: can("resolve"),
        can_push: can("push"),
        skip_verify: table.skip_verify.filter(|on| *on).map(|_| said.clone()),
        files,
        headers,
        said,
    })
}

/// Certificates with their keys; a file alone has both.
fn client(dir: &Path, client: Option<Client>) -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let both = |file: &str| (dir.join(file), dir.join(file));
    let list = match client {
        None => return Ok(Vec::new()),
        Some(Client::One(file)) => return Ok(vec![both(&file)]),
        Some(Client::Many(list)) => list,
    };
    let mut pairs = Vec::new();
    for entry in list {
        match entry {
            OneOrMany::One(file) => pairs.push(both(&file)),
            OneOrMany::Many(files) => match &files[..] {
                [file] => pairs.push(both(file)),
                [cert, key] if key.is_empty() => pairs.push(both(cert)),
                [cert, key] => pairs.push((dir.join(cert), dir.join(key))),
                _ => return Err("client: want [certificate, key]".to_owned()),
            },
        }
    }
    Ok(pairs)
}

impl OneOrMany {
    fn list(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(list) => list,
        }
    }
}
