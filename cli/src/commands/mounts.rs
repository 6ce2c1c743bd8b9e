//! `shale cache mounts`: what `RUN --mount=type=cache` keeps, in and out.

use std::path::Path;
use std::process::ExitCode;

use engine::{BuildError, BuildErrorKind};
use layer::Compression;
use serde_json::{Value, json};
use store::{CacheMountId, CacheMountInfo, CacheMountOwner, Store};

use super::streams::{Target, named, no_archive_to_a_terminal, source};
use super::transfer::NO_STEPS;
use super::{Done, Failure, Process, print, warn};
use crate::args::{
    DockerConfig, MountsArgs, MountsClearArgs, MountsCommand, MountsExportArgs, MountsImportArgs,
    MountsLsArgs, UsageError, size_bytes,
};
use crate::exit::Exit;
use crate::render::{Table, moment, plain_text, shown_time, size};

/// Digits of a key that are shown, and that are enough to name it.
const SHORT_KEY: usize = 12;
/// Digits of a key that are taken for one.
const KEY_DIGITS_MIN: usize = 8;
/// Mode of a mount unless its Dockerfile gives one (MNT-35).
const USUAL_MODE: u32 = 0o755;

/// One of its commands.
pub(crate) fn run(process: &mut Process, typed: &MountsArgs) -> Done {
    match &typed.command {
        MountsCommand::Ls(typed) => ls(process, typed),
        MountsCommand::Clear(typed) => clear(process, typed),
        MountsCommand::Export(typed) => export(process, typed),
        MountsCommand::Import(typed) => import(process, typed),
    }
}

fn ls(process: &mut Process, typed: &MountsLsArgs) -> Done {
    let mounts = all(&process.store()?)?;
    let is_whole = mounts.iter().flat_map(|mount| &mount.dirs).all(|dir| dir.is_whole);
    if !is_whole && process.engine.is_none() {
        // Files of a step's other users can be looked at where these users are.
        return process.in_engine(None, None, false);
    }
    if typed.format == "json" {
        let mounts: Vec<Value> = mounts.iter().map(as_json).collect();
        return print(&format!("{}\n", Value::from(mounts)));
    }
    let key = |mount: &CacheMountInfo| match typed.no_trunc {
        true => mount.key.hex(),
        false => short(mount),
    };
    if typed.quiet {
        return print(&mounts.iter().map(|mount| key(mount) + "\n").collect::<String>());
    }
    let mut table =
        Table::new(&["ID", "NAMESPACE", "OWNER", "SIZE", "DIRS", "USE", "LAST USED", "KEY"]);
    for mount in &mounts {
        let used = mount.dirs.iter().filter(|dir| dir.in_use).count();
        let used = if used == 0 { String::new() } else { format!("{used} in use") };
        let bytes = mount.dirs.iter().map(|dir| dir.size_bytes).sum();
        let id = mount.id.as_ref();
        table.row(&[
            &shown(mount),
            &plain_text(id.map_or("", |id| &id.namespace)),
            &id.map_or_else(String::new, owner_text),
            &size(bytes),
            &mount.dirs.len().to_string(),
            &used,
            &time_text(mount),
            &key(mount),
        ]);
    }
    print(&table.to_string())
}

fn clear(process: &mut Process, typed: &MountsClearArgs) -> Done {
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let store = process.store()?;
    let is_wanted = |mount: &CacheMountInfo| is_in(mount, typed.namespace.as_deref());
    let mut wanted: Vec<CacheMountInfo> = Vec::new();
    let mounts: Vec<CacheMountInfo> = all(&store)?.into_iter().filter(is_wanted).collect();
    for name in &typed.mounts {
        let found: Vec<_> = mounts.iter().filter(|mount| is_named(mount, name)).cloned().collect();
        if found.is_empty() {
            return Err(no_such(name).into());
        }
        wanted
            .extend(found.into_iter().filter(|mount| !wanted.contains(mount)).collect::<Vec<_>>());
    }
    let wanted = if typed.all { mounts } else { wanted };
    let mut kept = Vec::new();
    let mut cleared = String::new();
    for mount in &wanted {
        let done = store.clear_cache_mount(&mount.key);
        let done = done.map_err(|e| BuildError::store("cannot clear a cache mount", e))?;
        match done.in_use {
            0 => cleared.push_str(&format!("{}\n", shown(mount))),
            _ => kept.push(shown(mount)),
        }
    }
    let emptied = store.empty_trash();
    emptied.map_err(|e| BuildError::store("cannot delete what was cleared", e))?;
    print(&cleared)?;
    for id in &kept {
        warn(&format!("{id} is in use and was not cleared"));
    }
    Ok(if kept.is_empty() { Exit::Ok.into() } else { ExitCode::from(Exit::Failed as u8) })
}

fn export(process: &mut Process, typed: &MountsExportArgs) -> Done {
    let output = typed.output.as_deref().filter(|path| *path != Path::new("-"));
    no_archive_to_a_terminal(output, &process.around)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let Some(id) = one(&environment.store, &typed.mount, typed.namespace.as_deref())? else {
        return Err(no_such(&typed.mount).into());
    };
    let path = output.map(|path| process.around.absolute(path));
    let mut out = Target::open(path.as_deref())?;
    let compression = compression(path.as_deref());
    let told = engine::export_cache_mount(&id, compression, &mut out, &environment)?;
    let told = told.ok_or_else(|| no_such(&typed.mount))?;
    out.finish()?;
    if told.left_out > 0 {
        warn(&format!("{} devices and sockets were left out", told.left_out));
    }
    Ok(Exit::Ok.into())
}

fn import(process: &mut Process, typed: &MountsImportArgs) -> Done {
    let max_bytes =
        size_bytes(&typed.max_size).map_err(|e| e.of_flag("--max-size", &typed.max_size))?;
    let owner = owner(typed)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let namespace = typed.namespace.as_deref();
    let known = match owner {
        None => one(&environment.store, &typed.mount, namespace)?,
        Some(_) => None,
    };
    let id = known.unwrap_or_else(|| CacheMountId {
        namespace: namespace.unwrap_or_default().to_owned(),
        id: typed.mount.clone(),
        owner,
        origin: None,
    });
    let input = typed.input.as_deref().filter(|path| *path != Path::new("-"));
    let mut tar = source(input, &process.around)?;
    let told = engine::import_cache_mount(&id, &mut *tar, max_bytes, &environment, &process.cancel)
        .map_err(|error| not_imported(named(error, "cannot import", input)))?;
    let id = plain_text(&id.id);
    print(&format!("{id}: {} entries, {}\n", told.entries, size(told.size_bytes)))
}

/// The same error with what can be imported, if it has no better word.
fn not_imported(error: BuildError) -> BuildError {
    match (error.kind(), error.hint()) {
        (BuildErrorKind::Files, None) => error.with_hint(
            "a tar can be imported, compressed or not, without devices and with no more than --max-size in its files",
        ),
        _ => error,
    }
}

/// Gzip and no compression by the file's name.
fn compression(path: Option<&Path>) -> Compression {
    let name = path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().to_lowercase();
    match () {
        () if name.ends_with(".tar") => Compression::None,
        () if name.ends_with(".gz") || name.ends_with(".tgz") => Compression::gzip(),
        () => Compression::zstd(),
    }
}

/// What makes a mount another one, as in a Dockerfile (MNT-32).
fn owner(typed: &MountsImportArgs) -> Result<Option<CacheMountOwner>, UsageError> {
    let invalid = |_| UsageError::new(format!("invalid mode: {:?}", typed.mode));
    let mode = typed.mode.as_deref().map(|mode| u32::from_str_radix(mode, 8));
    let mode = mode.transpose().map_err(invalid)?;
    if typed.uid.is_none() && typed.gid.is_none() && mode.is_none() {
        return Ok(None);
    }
    let (uid, gid) = (typed.uid.unwrap_or(0), typed.gid.unwrap_or(0));
    Ok(Some(CacheMountOwner { uid, gid, mode: mode.unwrap_or(USUAL_MODE) }))
}

fn all(store: &Store) -> Result<Vec<CacheMountInfo>, BuildError> {
    let mut mounts =
        store.cache_mounts().map_err(|e| BuildError::store("cannot list cache mounts", e))?;
    mounts.sort_by(|a, b| (&a.id, a.key.hex()).cmp(&(&b.id, b.key.hex())));
    Ok(mounts)
}

/// The one mount that a name means; `None` when there is none.
fn one(
    store: &Store,
    name: &str,
    namespace: Option<&str>,
) -> Result<Option<CacheMountId>, Failure> {
    let mounts = all(store)?;
    let mut found: Vec<&CacheMountInfo> =
        mounts.iter().filter(|mount| is_named(mount, name) && is_in(mount, namespace)).collect();
    match (found.pop(), &found[..]) {
        (None, _) => Ok(None),
        (Some(CacheMountInfo { id: Some(id), .. }), []) => Ok(Some(id.clone())),
        (Some(_), []) => {
            let text = format!("the note on the cache mount {name} is damaged");
            Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint("a build that uses it writes the note again")
                .into())
        }
        (Some(last), others) => {
            let keys: Vec<String> = others.iter().copied().chain([last]).map(short).collect();
            Err(UsageError::new(format!("several cache mounts have the id {name}"))
                .with_hint(format!(
                    "they differ in namespace, owner or first content; name one by its key: {}",
                    keys.join(", ")
                ))
                .into())
        }
    }
}

fn is_named(mount: &CacheMountInfo, name: &str) -> bool {
    let is_key = name.len() >= KEY_DIGITS_MIN && mount.key.hex().starts_with(name);
    is_key || mount.id.as_ref().is_some_and(|id| id.id == name)
}

fn is_in(mount: &CacheMountInfo, namespace: Option<&str>) -> bool {
    let is_same = |wanted| mount.id.as_ref().is_some_and(|id| id.namespace == wanted);
    namespace.is_none_or(is_same)
}

fn no_such(name: &str) -> BuildError {
    BuildError::new(BuildErrorKind::Dockerfile, format!("no such cache mount: {name}"))
        .with_hint("see what there is with `shale cache mounts ls`")
}

fn short(mount: &CacheMountInfo) -> String {
    mount.key.hex()[..SHORT_KEY].to_owned()
}

fn shown(mount: &CacheMountInfo) -> String {
    match &mount.id {
        Some(id) => plain_text(&id.id).into_owned(),
        None => format!("(damaged note) {}", short(mount)),
    }
}

fn owner_text(id: &CacheMountId) -> String {
    let owner =
        id.owner.map(|CacheMountOwner { uid, gid, mode }| format!("{uid}:{gid} {mode:04o}"));
    let origin = id.origin.as_ref().map(|_| "from".to_owned());
    owner.into_iter().chain(origin).collect::<Vec<_>>().join(" ")
}

fn time_text(mount: &CacheMountInfo) -> String {
    let used = mount.dirs.iter().map(|dir| dir.used_secs).max();
    used.map_or_else(String::new, shown_time)
}

fn as_json(mount: &CacheMountInfo) -> Value {
    let id = mount.id.as_ref();
    let owner = id.and_then(|id| id.owner);
    let dirs = mount.dirs.iter().map(|dir| {
        json!({
            "size": dir.size_bytes,
            "sizeIsWhole": dir.is_whole,
            "lastUsed": moment(dir.used_secs),
            "inUse": dir.in_use,
        })
    });
    json!({
        "key": mount.key.hex(),
        "id": id.map(|id| &id.id),
        "namespace": id.map(|id| &id.namespace),
        "owner": owner.map(|CacheMountOwner { uid, gid, mode }| {
            json!({ "uid": uid, "gid": gid, "mode": format!("{mode:04o}") })
        }),
        "from": id.and_then(|id| id.origin.as_ref()),
        "directories": dirs.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_say_how_they_are_compressed() {
        let check = |name: &str| compression(Some(Path::new(name)));
        assert_eq!(check("a.tar"), Compression::None);
        assert_eq!((check("a.tar.gz"), check("A.TGZ")), (Compression::gzip(), Compression::gzip()));
        assert_eq!((check("a.tar.zst"), check("a")), (Compression::zstd(), Compression::zstd()));
        assert_eq!(compression(None), Compression::zstd());
    }

    #[test]
    fn mounts_are_named_by_id_and_key() {
        let id = CacheMountId { id: "deadbeef".to_owned(), ..CacheMountId::default() };
        let mount = CacheMountInfo { key: id.key(), id: Some(id), dirs: Vec::new() };
        let key = mount.key.hex();
        for name in ["deadbeef", &key, &key[..8]] {
            assert!(is_named(&mount, name), "{name}");
        }
        for name in ["", "deadbee", &key[..7], "/deadbeef"] {
            assert!(!is_named(&mount, name), "{name}");
        }
        assert!(is_in(&mount, None) && is_in(&mount, Some("")) && !is_in(&mount, Some("x")));
    }
}
