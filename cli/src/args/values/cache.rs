//! `--cache-from` and `--cache-to` (CIO-01 to CIO-09): CSV of attributes, or plain names of images. No message here
//! repeats a value as a whole: it may hold a secret key.

mod attributes;
mod cloud;
#[cfg(test)]
mod tests;

use layer::Compression;
use oci::Reference;
use remotecache::{CacheExport, CacheImport, CacheMode, ExportPlace, ImportPlace, MountSelection};

use super::csv;
use super::small::size_bytes;
use crate::args::{Surroundings, UsageError};
use attributes::Attributes;

/// Attributes of exports that people leave in place when they turn one into an import.
const OF_EXPORTS: [&str; 8] = [
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "image-manifest",
    "ignore-error",
    "reset",
];

/// Reads one `--cache-from`; several caches when it is a list of names (CIO-01).
pub(crate) fn parse_cache_from(
    text: &str,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<Vec<CacheImport>, UsageError> {
    let fields = csv::fields(text).map_err(|_| malformed("--cache-from"))?;
    if !text.contains('=') {
        let named = fields.iter().filter(|field| !field.is_empty());
        return named.map(|name| Ok(CacheImport::new(of_registry(name, false)?))).collect();
    }
    let mut typed = Attributes::read("--cache-from", &fields)?;
    let Some(place) = import_place(&mut typed, around, warnings)? else { return Ok(Vec::new()) };
    let mut import = CacheImport::new(place);
    (import.mounts, import.mounts_max_bytes) = mounts(&mut typed)?;
    import.mounts_readonly = typed.switch("mounts-readonly", false)?;
    for name in typed.take_all(&OF_EXPORTS) {
        warnings.push(format!("{name} of --cache-from has no effect: it is for --cache-to"));
    }
    typed.finish()?;
    Ok(vec![import])
}

/// Reads one `--cache-to`; several places when it is a list of names, none when it cannot be meant here.
pub(crate) fn parse_cache_to(
    text: &str,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<Vec<CacheExport>, UsageError> {
    let fields = csv::fields(text).map_err(|_| malformed("--cache-to"))?;
    if !text.contains('=') {
        let named = fields.iter().filter(|field| !field.is_empty());
        return named.map(|name| Ok(CacheExport::new(to_registry(name, false)?))).collect();
    }
    let mut typed = Attributes::read("--cache-to", &fields)?;
    let Some(place) = export_place(&mut typed, around, warnings)? else { return Ok(Vec::new()) };
    let mut export = CacheExport::new(place);
    export.mode = mode(&mut typed)?;
    if export.mode == CacheMode::Max && matches!(export.place, ExportPlace::Inline) {
        export.mode = CacheMode::Min;
        warnings.push(
            "mode=max has no effect on an inline cache: an image has no layers but its own"
                .to_owned(),
        );
    }
    export.compression = compression(&mut typed)?;
    export.force_compression = typed.switch("force-compression", false)?;
    media_types(&mut typed, &mut export)?;
    export.ignore_error = typed.switch("ignore-error", false)?;
    (export.mounts, export.mounts_max_bytes) = mounts(&mut typed)?;
    typed.finish()?;
    Ok(vec![export])
}

fn malformed(flag: &str) -> UsageError {
    UsageError::new(format!("invalid value of {flag}: not a list of key=value"))
        .with_hint("quote a field that holds commas: \"dest=a,b\"")
}

fn import_place(
    typed: &mut Attributes,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<Option<ImportPlace>, UsageError> {
    Ok(Some(match typed.kind() {
        "registry" => {
            let insecure = typed.switch("registry.insecure", false)?;
            let name = typed.required("ref", "registry cache importer requires ref")?;
            of_registry(&name, insecure)?
        }
        "local" => ImportPlace::Local {
            src: around.absolute(typed.required("src", "local cache importer requires src")?),
            tag: tag(typed)?,
            digest: digest(typed)?,
        },
        "s3" => ImportPlace::S3(cloud::s3(typed, around)?),
        "gha" => match cloud::gha(typed, around)? {
            Some(options) => ImportPlace::Gha(options),
            None => {
                warnings.push(cloud::no_gha("--cache-from"));
                return Ok(None);
            }
        },
        "azblob" => ImportPlace::Azblob(cloud::azblob(typed, around)?),
        "inline" => {
            let message = "unknown cache importer: inline";
            let hint = "an inline cache is read with type=registry,ref=IMAGE";
            return Err(UsageError::new(message).with_hint(hint));
        }
        other => {
            let meant = parser::did_you_mean(other, TYPES);
            let message = format!("unknown cache importer: {other}{meant}"); // CIO-02
            return Err(
                UsageError::new(message).with_hint("use registry, local, s3, gha or azblob")
            );
        }
    }))
}

const TYPES: [&str; 6] = ["registry", "local", "inline", "s3", "gha", "azblob"];

fn export_place(
    typed: &mut Attributes,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<Option<ExportPlace>, UsageError> {
    Ok(Some(match typed.kind() {
        "inline" => ExportPlace::Inline,
        "registry" => {
            let insecure = typed.switch("registry.insecure", false)?;
            let name = typed.required("ref", "registry cache exporter requires ref")?;
            to_registry(&name, insecure)?
        }
        "local" => ExportPlace::Local {
            dest: around.absolute(typed.required("dest", "local cache exporter requires dest")?),
            tag: tag(typed)?,
            // The reference keeps such blobs unless told otherwise; directories then grow without bound.
            reset: typed.switch("reset", true)?,
        },
        "s3" => ExportPlace::S3(cloud::s3(typed, around)?),
        "gha" => match cloud::gha(typed, around)? {
            Some(options) => ExportPlace::Gha(options),
            None => {
                warnings.push(cloud::no_gha("--cache-to"));
                return Ok(None);
            }
        },
        "azblob" => ExportPlace::Azblob(cloud::azblob(typed, around)?),
        other => {
            let meant = parser::did_you_mean(other, TYPES);
            let message = format!("unknown cache exporter: {other:?}{meant}"); // CIO-02
            return Err(UsageError::new(message)
                .with_hint("use registry, local, inline, s3, gha or azblob"));
        }
    }))
}

fn reference(name: &str) -> Result<Reference, UsageError> {
    name.parse().map_err(|error: oci::ParseReferenceError| {
        let invalid = UsageError::new(format!("invalid cache reference {name:?}: {error}"));
        match name.starts_with(['.', '/', '~']) {
            true => invalid.with_hint(
                "for a directory: --cache-from type=local,src=DIR, --cache-to type=local,dest=DIR",
            ),
            false => invalid,
        }
    })
}

fn of_registry(name: &str, insecure: bool) -> Result<ImportPlace, UsageError> {
    Ok(ImportPlace::Registry { reference: reference(name)?, insecure })
}

fn to_registry(name: &str, insecure: bool) -> Result<ExportPlace, UsageError> {
    let reference = reference(name)?;
    if reference.digest().is_some() {
        let message = format!("invalid cache reference {name:?}: an export needs a tag, no digest");
        return Err(UsageError::new(message));
    }
    Ok(ExportPlace::Registry { reference, insecure })
}

fn tag(typed: &mut Attributes) -> Result<String, UsageError> {
    match typed.text("tag") {
        Some(tag) if tag.is_empty() => Err(UsageError::new(format!(
            "empty tag of {}: name one, or leave it out for latest",
            typed.flag()
        ))),
        tag => Ok(tag.unwrap_or_else(|| "latest".to_owned())),
    }
}

fn digest(typed: &mut Attributes) -> Result<Option<oci::Digest>, UsageError> {
    let text = typed.text("digest").filter(|text| !text.is_empty());
    text.map(|text| {
        text.parse().map_err(|error: oci::ParseDigestError| {
            UsageError::new(format!("invalid digest {text:?} of {}: {error}", typed.flag()))
        })
    })
    .transpose()
}

fn mode(typed: &mut Attributes) -> Result<CacheMode, UsageError> {
    match typed.text("mode").as_deref() {
        None | Some("min" | "") => Ok(CacheMode::Min),
        Some("max") => Ok(CacheMode::Max),
        Some(other) => Err(UsageError::new(format!("unsupported cache export mode {other:?}"))
            .with_hint("use min or max")),
    }
}

fn compression(typed: &mut Attributes) -> Result<Compression, UsageError> {
    let level: Option<u8> = typed.number("compression-level")?;
    let up_to = |max: u8, default: u8| match level {
        Some(level) if level > max => {
            Err(UsageError::new(format!("compression-level {level} is over the highest, {max}")))
        }
        level => Ok(level.unwrap_or(default)),
    };
    match typed.text("compression").as_deref() {
        None | Some("gzip" | "") => {
            Ok(Compression::Gzip(up_to(9, Compression::GZIP_LEVEL as u8)?.into()))
        }
        Some("zstd") => Ok(Compression::Zstd(up_to(22, Compression::ZSTD_LEVEL as u8)?.into())),
        Some("uncompressed") => Ok(Compression::None),
        Some("estargz") => Err(UsageError::new("compression=estargz is not supported yet")),
        Some(other) => Err(UsageError::new(format!("unsupported layer compression {other:?}"))
            .with_hint("use gzip, zstd or uncompressed")),
    }
}

/// Docker's types go with an index alone: no such manifest has a config of BuildKit's type.
fn media_types(typed: &mut Attributes, export: &mut CacheExport) -> Result<(), UsageError> {
    export.oci_media_types = typed.switch("oci-mediatypes", true)?;
    export.image_manifest = typed.switch("image-manifest", export.oci_media_types)?;
    if export.image_manifest && !export.oci_media_types {
        let message = "invalid configuration for remote cache, OCI mediatypes are required for \
                       image-manifest cache format";
        return Err(UsageError::new(message));
    }
    if !export.oci_media_types && matches!(export.compression, Compression::Zstd(_)) {
        let message = "cache option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"";
        return Err(UsageError::new(message)); // IMG-43
    }
    Ok(())
}

/// `mounts=ID;ID` or `mounts=*`, and `mounts-max=SIZE`.
fn mounts(typed: &mut Attributes) -> Result<(MountSelection, u64), UsageError> {
    let selection = match typed.text("mounts").as_deref() {
        None | Some("") => MountSelection::None,
        Some("*" | "all") => MountSelection::All,
        Some(ids) => {
            let ids = ids.split(';').filter(|id| !id.is_empty());
            MountSelection::Ids(ids.map(str::to_owned).collect())
        }
    };
    let max = typed.text("mounts-max").map(|text| {
        size_bytes(&text).map_err(|error| error.of_flag("mounts-max of", typed.flag()))
    });
    let max = max.transpose()?;
    Ok((selection, max.unwrap_or(MountSelection::MAX_BYTES)))
}
