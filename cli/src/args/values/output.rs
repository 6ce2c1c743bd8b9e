//! `--output` (spec section 8): CSV of attributes, or a directory.

use engine::{Annotations, AttachForm, Compression, DigestNames, Output, OutputDest, OutputKind};
use oci::Reference;

use super::{add_annotation_attribute, csv, go_bool, image_name};
use crate::args::{Surroundings, UsageError};

/// One `--output`, read.
#[derive(Clone, Debug)]
pub(crate) struct OutputValue {
    /// What the engine is asked for.
    pub(crate) output: Output,
    /// Names that the result has in the store: those of `type=image` (OUT-07).
    pub(crate) tags: Vec<Reference>,
    /// Its `source-date-epoch` (EPO-01).
    pub(crate) epoch: Option<i64>,
    /// Attributes that are understood but not in force yet.
    pub(crate) warnings: Vec<String>,
}

/// Attributes as typed.
#[derive(Default)]
struct Attributes {
    kind: Option<String>,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    push_by_digest: bool,
    oci_media_types: Option<bool>,
    compression: Option<String>,
    level: Option<u8>,
    force_compression: bool,
    rewrite_timestamp: bool,
    unpack: bool,
    as_archive: Option<bool>,
    platform_split: Option<bool>,
    delete: bool,
    annotations: Annotations,
    beside: Beside,
    is_unkept: bool,
    insecure: bool,
    digest_names: DigestNames,
    epoch: Option<i64>,
    warnings: Vec<String>,
}

/// Where attestations go.
#[derive(Default)]
struct Beside {
    artifact: Option<bool>,
    referrers: bool,
    inline: Option<bool>,
    prefix: String,
}

impl Beside {
    fn form(&self) -> Result<AttachForm, UsageError> {
        match (self.artifact, self.referrers) {
            (None | Some(true), false) => Ok(AttachForm::Artifact),
            (Some(false), false) => Ok(AttachForm::Config),
            (None | Some(true), true) => Ok(AttachForm::Referrers),
            (Some(false), true) => {
                Err(UsageError::new("oci-referrers=true conflicts with oci-artifact=false"))
            }
        }
    }
}

/// Attributes that people write, for those who misspell one.
const COMMON: [&str; 12] = [
    "type",
    "dest",
    "name",
    "push",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "tar",
    "platform-split",
    "mode",
];

/// Reads one value of `--output`.
pub(crate) fn parse_output(text: &str, around: &Surroundings) -> Result<OutputValue, UsageError> {
    let fields = csv::fields(text)?;
    let mut typed = Attributes::default();
    match &fields[..] {
        // OUT-02: a path alone is a directory, `-` alone a tar on standard output.
        [path] if !path.starts_with("type=") => {
            typed.kind = Some(if path == "-" { "tar" } else { "local" }.to_owned());
            typed.dest = Some(path.clone());
        }
        fields => {
            for field in fields {
                let (key, value) = field.split_once('=').unwrap_or((field, ""));
                typed.take(key.trim(), value, field.contains('='))?;
            }
        }
    }
    typed.finish(around)
}

impl Attributes {
    fn take(&mut self, key: &str, value: &str, has_value: bool) -> Result<(), UsageError> {
        let switch = || match has_value {
            false => Ok(true),
            true => go_bool(value)
                .map_err(|_| UsageError::new(format!("non-bool value specified for {key}"))),
        };
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" => self.dest = Some(value.to_owned()),
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    self.names.push(image_name(name)?);
                }
            }
            "push" => self.push = switch()?,
            "push-by-digest" => self.push_by_digest = switch()?,
            "oci-mediatypes" => self.oci_media_types = Some(switch()?),
            "compression" => self.compression = Some(value.to_owned()),
            "compression-level" => {
                let level = value.parse().map_err(|_| {
                    UsageError::new(format!("non-integer value {value:?} specified for {key}"))
                })?;
                self.level = Some(level);
            }
            "force-compression" => self.force_compression = switch()?,
            "rewrite-timestamp" => self.rewrite_timestamp = switch()?,
            "tar" => self.as_archive = Some(switch()?),
            "platform-split" => self.platform_split = Some(switch()?),
            "mode" => {
                self.delete = match value {
                    "copy" => false,
                    "delete" => true,
                    _ => {
                        let message = format!("invalid mode {value:?} of a local output");
                        return Err(UsageError::new(message).with_hint("use copy or delete"));
                    }
                }
            }
            "source-date-epoch" if value.is_empty() => {}
            "source-date-epoch" => {
                let invalid = || UsageError::new(format!("invalid SOURCE_DATE_EPOCH: {value}"));
                self.epoch = Some(value.parse().map_err(|_| invalid())?);
            }
            _ => return self.take_other(key, value, switch),
        }
        Ok(())
    }

    /// Attributes without an effect, and those that must not be passed over.
    fn take_other(
        &mut self,
        key: &str,
        value: &str,
        switch: impl Fn() -> Result<bool, UsageError>,
    ) -> Result<(), UsageError> {
        let refuse = |what: String| Err(UsageError::new(format!("{what} is not supported yet")));
        match key {
            "store" => self.is_unkept = !switch()?,
            "oci-artifact" => self.beside.artifact = Some(switch()?),
            "oci-referrers" => self.beside.referrers = switch()?,
            "attestation-inline" => self.beside.inline = Some(switch()?),
            "attestation-prefix" if value.contains('/') => {
                return Err(UsageError::new(format!("invalid attestation-prefix {value:?}")));
            }
            "attestation-prefix" => value.clone_into(&mut self.beside.prefix),
            "registry.insecure" => self.insecure = switch()?,
            "name-canonical" => self.digest_names.canonical = switch()?,
            "danging-name-empty-only" => self.digest_names.only_nameless = switch()?,
            "dangling-name-prefix" => self.digest_names.prefix = Some(image_name(value)?),
            "unpack" => self.unpack = switch()?,
            "compatibility-version" if value == "30" => {}
            "compatibility-version" => return refuse(format!("compatibility-version={value}")),
            "prefer-nondist-layers" => {
                if switch()? {
                    let why = "every layer is sent, those of Windows' bases too";
                    self.warnings.push(format!("output attribute {key} has no effect: {why}"));
                }
            }
            _ if add_annotation_attribute(key, value, &mut self.annotations)? => {}
            _ => {
                let meant = parser::did_you_mean(key, COMMON);
                let message = format!("unknown output attribute {key:?}{meant}");
                let known = format!("often used are {}", COMMON.join(", "));
                return Err(UsageError::new(message).with_hint(known));
            }
        }
        Ok(())
    }

    fn finish(self, around: &Surroundings) -> Result<OutputValue, UsageError> {
        let tags = match self.kind.as_deref() {
            Some("image") if !self.is_unkept => self.names.clone(),
            _ => Vec::new(),
        };
        let kind = self.kind()?;
        let dest = self.dest(kind, around)?;
        let kind = match (kind, &dest) {
            // Without a file, type=docker goes to the running engine, as with buildx.
            (OutputKind::Docker, None) => OutputKind::Engine,
            (kind, _) => kind,
        };
        let compression = self.compression()?;
        let attach = self.beside.form()?;
        let oci_media_types = self.oci_media_types.unwrap_or(true);
        if !oci_media_types && matches!(compression, Compression::Zstd(_)) {
            let message =
                "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"";
            return Err(UsageError::new(message)); // IMG-43
        }
        let is_estargz = matches!(compression, Compression::Estargz(_));
        if !oci_media_types && is_estargz {
            let message =
                "exporter option \"compression=estargz\" conflicts with \"oci-mediatypes=false\"";
            return Err(UsageError::new(message));
        }
        if self.force_compression && is_estargz {
            let message = "compression=estargz is for layers that are built, not for a base's";
            return Err(UsageError::new(message).with_hint("leave out force-compression"));
        }
        if self.rewrite_timestamp && self.unpack {
            let message = "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"";
            return Err(UsageError::new(message)); // EPO-13
        }
        let output = Output {
            kind,
            dest,
            names: self.names,
            push_by_digest: self.push_by_digest,
            compression,
            force_compression: self.force_compression,
            oci_media_types,
            rewrite_timestamp: self.rewrite_timestamp,
            as_directory: self.as_archive == Some(false),
            platform_split: self.platform_split,
            delete: self.delete,
            annotations: self.annotations,
            attach,
            takes_inline: self.beside.inline.unwrap_or(kind != OutputKind::Oci),
            attestation_prefix: self.beside.prefix,
            is_kept: !self.is_unkept,
            is_insecure: self.insecure,
            digest_names: self.digest_names,
        };
        Ok(OutputValue { output, tags, epoch: self.epoch, warnings: self.warnings })
    }

    fn kind(&self) -> Result<OutputKind, UsageError> {
        Ok(match self.kind.as_deref() {
            Some("image") if self.push => OutputKind::Registry,
            Some("image") => OutputKind::Image,
            Some("registry") => OutputKind::Registry,
            Some("oci") => OutputKind::Oci,
            Some("docker") => OutputKind::Docker,
            Some("local") => OutputKind::Local,
            Some("tar") => OutputKind::Tar,
            Some("cacheonly") => OutputKind::CacheOnly,
            None | Some("") => return Err(UsageError::new("type is required for output")),
            Some(other) => {
                return Err(UsageError::new(format!("unknown output type {other:?}"))
                    .with_hint("use oci, docker, tar, local, image, registry or cacheonly"));
            }
        })
    }

    fn dest(
        &self,
        kind: OutputKind,
        around: &Surroundings,
    ) -> Result<Option<OutputDest>, UsageError> {
        let name = self.kind.as_deref().unwrap_or_default();
        let dest = self.dest.as_deref().filter(|dest| !dest.is_empty());
        let directory = kind == OutputKind::Local || self.as_archive == Some(false);
        match (kind, dest) {
            (OutputKind::Image | OutputKind::Registry | OutputKind::CacheOnly, None) => Ok(None),
            (OutputKind::Image | OutputKind::Registry | OutputKind::CacheOnly, Some(_)) => {
                Err(UsageError::new(format!("dest is not supported by output type {name}")))
            }
            (_, None | Some("-")) if directory => {
                Err(UsageError::new(format!("dest is required for {name} output")))
            }
            (OutputKind::Docker, None) => Ok(None),
            (_, None | Some("-")) if around.stdout_terminal => Err(UsageError::new(format!(
                "dest file is required for {name} exporter. refusing to write to console"
            ))), // OUT-05
            (_, None | Some("-")) => Ok(Some(OutputDest::Stdout)),
            (_, Some(path)) => Ok(Some(OutputDest::Path(around.absolute(path)))),
        }
    }

    fn compression(&self) -> Result<Compression, UsageError> {
        let level_up_to = |max: u8| match self.level {
            Some(level) if level > max => Err(UsageError::new(format!(
                "compression-level {level} is over the highest, {max}"
            ))),
            level => Ok(level),
        };
        match self.compression.as_deref() {
            None | Some("gzip") => Ok(Compression::Gzip(level_up_to(9)?)),
            Some("uncompressed") => Ok(Compression::None),
            Some("zstd") => Ok(Compression::Zstd(level_up_to(22)?)),
            Some("estargz") => Ok(Compression::Estargz(level_up_to(9)?)),
            Some(other) => Err(UsageError::new(format!("unsupported layer compression {other:?}"))
                .with_hint("use gzip, zstd, estargz or uncompressed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(stdout_terminal: bool) -> Surroundings {
        Surroundings { directory: "/cwd".into(), stdout_terminal, ..Surroundings::default() }
    }

    fn check(text: &str, want: &str) {
        let got = match parse_output(text, &around(false)) {
            Ok(value) => format!(
                "{:?} {:?} {:?}",
                value.output.kind, value.output.dest, value.output.compression
            ),
            Err(error) => error.message,
        };
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn short_forms_mean_a_directory_or_a_tar() {
        check("out", "Local Some(Path(\"/cwd/out\")) Gzip(None)"); // OUT-02
        check("/abs/out", "Local Some(Path(\"/abs/out\")) Gzip(None)");
        check("-", "Tar Some(Stdout) Gzip(None)");
    }

    #[test]
    fn types_have_their_destinations() {
        check("type=oci,dest=a.tar", "Oci Some(Path(\"/cwd/a.tar\")) Gzip(None)");
        check("type=oci,\"dest=a,b.tar\"", "Oci Some(Path(\"/cwd/a,b.tar\")) Gzip(None)");
        check("type=oci", "Oci Some(Stdout) Gzip(None)");
        check("type=docker", "Engine None Gzip(None)");
        check("type=docker,dest=-", "Docker Some(Stdout) Gzip(None)");
        check("type=image,push=true,name=a/b", "Registry None Gzip(None)");
        check("type=image,push=false", "Image None Gzip(None)");
        check("type=cacheonly", "CacheOnly None Gzip(None)");
        check("type=local", "dest is required for local output");
        check("type=oci,tar=false", "dest is required for oci output");
        check("type=image,dest=x", "dest is not supported by output type image");
        let error = parse_output("type=tar", &around(true)).expect_err("a terminal");
        assert!(error.message.ends_with("refusing to write to console"), "{error}"); // OUT-05
    }

    #[test]
    fn attributes_are_checked() {
        check("type=oci,compression=zstd,compression-level=19", "Oci Some(Stdout) Zstd(Some(19))");
        check("type=oci,compression=uncompressed", "Oci Some(Stdout) None");
        check("type=oci,compression-level=10", "compression-level 10 is over the highest, 9");
        check("type=image,push=maybe", "non-bool value specified for push"); // OUT-03
        check("dest=x,type=", "type is required for output");
        check(
            "type=image,unpack=true,rewrite-timestamp=true",
            "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"",
        );
        check("type=image,unpack=false,rewrite-timestamp=true", "Image None Gzip(None)");
        check("type=local,dest=x,mode=move", "invalid mode \"move\" of a local output");
        check("type=nfs", "unknown output type \"nfs\"");
        check("type=oci,colour=red", "unknown output attribute \"colour\"");
        check(
            "type=oci,compression=zstd,oci-mediatypes=false",
            "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"",
        );
        let value = parse_output("type=oci,rewrite-timestamp,source-date-epoch=5", &around(false));
        let value = value.expect("both are known");
        assert_eq!((value.output.rewrite_timestamp, value.epoch), (true, Some(5)));
    }
}
