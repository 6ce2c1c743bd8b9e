//! `shale save`, `shale load`, `shale import` and `shale export`.

use std::path::Path;

use engine::{
    ArchiveInput, BuildError, ExportRequest, ImportFrom, ImportRequest, SaveFormat, SaveRequest,
    SaveTo,
};
use graph::Op;
use oci::{ContainerConfig, Platform, Reference};
use parser::SourceText;
use planner::{
    EngineName, Findings, LowerRequest, OciLayout, ResolvedImage, SourceError, SourceErrorKind,
    Sources, TimedSource,
};

use super::streams::{Target, named, no_archive_from_a_terminal, no_archive_to_a_terminal, source};
use super::transfer::{NO_STEPS, shown};
use super::{Done, Failure, Process, print};
use crate::args::{
    DockerConfig, ExportArgs, ImportArgs, LoadArgs, SaveArgs, UsageError, platforms, tag_name,
};
use crate::exit::Exit;

/// Writes images to an archive. Where that means no more than to copy blobs, it is done here and now.
pub(crate) fn save(process: &mut Process, typed: &SaveArgs) -> Done {
    let (format, is_directory) = save_format(&typed.format)?;
    let platform = one_platform(typed.platform.as_deref())?;
    let path = typed.output.as_ref().map(|path| process.around.absolute(path));
    let directory = match (is_directory, &path) {
        (true, None) => {
            return Err(UsageError::new("a layout needs a directory")
                .with_hint("name it with -o")
                .into());
        }
        (is_directory, path) => path.clone().filter(|_| is_directory),
    };
    no_archive_to_a_terminal(typed.output.as_deref(), &process.around)?;
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let request = SaveRequest { images: typed.images.clone(), format, platform };
    let is_here = process.engine.is_some()
        || shown(process, true, |process, events| {
            engine::is_encoded(&request.images, &environment, (events, &process.cancel))
        })?;
    if !is_here {
        drop(environment);
        return process.in_engine(None, None, false);
    }
    let is_silent = typed.output.is_none() || !process.around.stderr_terminal;
    shown(process, is_silent, |process, events| {
        let with = (events, &process.cancel);
        if let Some(dir) = &directory {
            return engine::save(&request, SaveTo::Directory(dir), &environment, with);
        }
        let mut out = Target::open(path.as_deref())?;
        engine::save(&request, SaveTo::Stream(&mut out), &environment, with)?;
        out.finish()
    })?;
    Ok(Exit::Ok.into())
}

/// The form, and whether it is a directory. Podman's words are understood too.
fn save_format(text: &str) -> Result<(SaveFormat, bool), UsageError> {
    match text {
        "docker" | "docker-archive" => Ok((SaveFormat::Docker, false)),
        "oci" | "oci-archive" => Ok((SaveFormat::Oci, false)),
        "oci-dir" => Ok((SaveFormat::Oci, true)),
        other => Err(UsageError::new(format!("unknown form {other:?}"))
            .with_hint("use docker, oci or oci-dir")),
    }
}

fn one_platform(text: Option<&str>) -> Result<Option<Platform>, UsageError> {
    Ok(platforms(text.as_slice())?.into_iter().next())
}

/// Reads images from an archive and prints their names.
pub(crate) fn load(process: &mut Process, typed: &LoadArgs) -> Done {
    if let Some(to) = &typed.to {
        return super::hand_off::run(process, typed, to);
    }
    let platform = one_platform(typed.platform.as_deref())?;
    no_archive_from_a_terminal(typed.input.as_deref(), &process.around)?;
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let directory = typed.input.as_ref().map(|path| process.around.absolute(path));
    let archive = match directory.filter(|path| path.is_dir()) {
        Some(directory) => ArchiveInput::Directory(directory),
        None => ArchiveInput::Stream(source(typed.input.as_deref(), &process.around)?),
    };
    let is_silent = typed.quiet || !process.around.stderr_terminal;
    let loaded = shown(process, is_silent, |process, events| {
        engine::load(archive, platform.as_ref(), &environment, (events, &process.cancel))
    })
    .map_err(|error| named(error, "cannot load", typed.input.as_deref()))?;
    let mut text = String::new();
    for image in loaded {
        if image.names.is_empty() {
            text.push_str(&format!("Loaded image ID: {}\n", image.id));
        }
        for name in &image.names {
            text.push_str(&format!("Loaded image: {}\n", name.familiar()));
        }
    }
    print(&text)
}

/// Makes an image from a tar and prints its id. The files are written in an engine, which may give them any owner.
pub(crate) fn import(process: &mut Process, typed: &ImportArgs) -> Done {
    let name: Option<Reference> = typed.name.as_deref().map(tag_name).transpose()?;
    let platform = one_platform(typed.platform.as_deref())?.unwrap_or_else(Platform::host);
    let config = changes(&typed.change)?;
    let url = typed.tar.to_str().filter(|text| is_url(text));
    let path = Some(&*typed.tar).filter(|path| *path != Path::new("-"));
    if url.is_none() {
        no_archive_from_a_terminal(path, &process.around)?;
    }
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let request = ImportRequest {
        name,
        // Passwords are for nobody's history.
        from: url.map_or_else(|| typed.tar.to_string_lossy().into_owned(), planner::without_user),
        message: typed.message.clone(),
        platform,
        config,
    };
    let mut tar = match url {
        None => Some(source(path, &process.around)?),
        Some(_) => None,
    };
    let from = match (&mut tar, url) {
        (Some(tar), _) => ImportFrom::Stream(&mut **tar),
        (None, url) => ImportFrom::Url(url.unwrap_or_default()),
    };
    let is_silent = !process.around.stderr_terminal;
    let id = shown(process, is_silent, |process, events| {
        engine::import(from, &request, &environment, (events, &process.cancel))
    })?;
    print(&format!("{id}\n"))
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Writes the files of an image. They are read in an engine, which may read files of any owner.
pub(crate) fn export(process: &mut Process, typed: &ExportArgs) -> Done {
    let platform = one_platform(typed.platform.as_deref())?;
    let path = typed.output.as_deref().filter(|path| *path != Path::new("-"));
    no_archive_to_a_terminal(path, &process.around)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let path = path.map(|path| process.around.absolute(path));
    let directory = path.clone().filter(|path| is_directory(path));
    let request = ExportRequest { image: typed.image.clone(), platform, directory };
    shown(process, true, |process, events| {
        let with = (events, &process.cancel);
        if request.directory.is_some() {
            return engine::export(&request, &mut std::io::sink(), &environment, with);
        }
        let mut out = Target::open(path.as_deref())?;
        engine::export(&request, &mut out, &environment, with)?;
        out.finish()
    })?;
    Ok(Exit::Ok.into())
}

/// A directory that is there, or that is written as one.
fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// The config that Dockerfile instructions make of an empty one.
fn changes(lines: &[String]) -> Result<ContainerConfig, Failure> {
    if lines.is_empty() {
        return Ok(ContainerConfig::default());
    }
    let mut config = planned(lines)?;
    // What every stage has anyway is none of the changes.
    let usual = planned(&[])?.env;
    let is_said = |pair: &String| lines.iter().any(|line| line.contains(&**pair));
    config.env.retain(|pair| !usual.contains(pair) || is_said(pair));
    Ok(config)
}

/// The config of a Dockerfile of these lines, which is planned, not built. Directories are not made: `WORKDIR` is a
/// setting here, as for docker.
fn planned(lines: &[String]) -> Result<ContainerConfig, Failure> {
    let text = format!("FROM scratch\n{}\n", lines.join("\n"));
    let source = SourceText::new("--change", &text);
    let failed = |diagnostics| Failure::Engine(BuildError::dockerfile(diagnostics));
    let parsed = parser::parse(&source);
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == parser::Severity::Error)
        .cloned()
        .collect();
    if !errors.is_empty() {
        return Err(failed(errors));
    }
    if parsed.dockerfile.stages.len() > 1 {
        return Err(not_a_change().into());
    }
    let request = LowerRequest::default();
    // What checks say of the line is of no interest here.
    let findings = Findings::new(&parsed, &source, &request).map_err(failed)?;
    let outline =
        planner::outline(&parsed.dockerfile, &source, &request, &findings).map_err(failed)?;
    let lowered = planner::lower(&outline, &NoImages, &findings).map_err(failed)?;
    let target = lowered.graph.targets.first();
    let target = target.expect("one platform was asked for, so there is one target");
    let is_setting = |op: &Op| !op.makes_layer() || matches!(op, Op::Mkdir(_));
    if !lowered.graph.vertices.iter().all(|vertex| is_setting(&vertex.op)) {
        return Err(not_a_change().into());
    }
    Ok(target.config.config.clone())
}

fn not_a_change() -> UsageError {
    UsageError::new("--change takes instructions for the config only")
        .with_hint("CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR and the like")
}

/// No image can be named in changes.
struct NoImages;

impl Sources for NoImages {
    fn resolve_image(&self, _: &Reference, _: &Platform) -> Result<ResolvedImage, SourceError> {
        Err(no_image())
    }

    fn resolve_layout(&self, _: &OciLayout, _: &Platform) -> Result<ResolvedImage, SourceError> {
        Err(no_image())
    }

    fn resolve_in_engine(
        &self,
        _: &EngineName,
        _: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        Err(no_image())
    }

    fn source_time(&self, _: &TimedSource) -> Result<Option<i64>, SourceError> {
        Err(no_image())
    }

    fn is_ignored(&self, _: &str) -> bool {
        false
    }
}

fn no_image() -> SourceError {
    let message = "no image can be named here".to_owned();
    SourceError { message, kind: SourceErrorKind::NotFound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_instructions_for_the_config() {
        let lines = ["CMD [\"sh\"]", "ENV A=b", "USER web"].map(str::to_owned);
        let config = changes(&lines).expect("all of them are for the config");
        assert_eq!((config.cmd, &*config.user), (Some(vec!["sh".to_owned()]), "web"));
        assert_eq!(config.env, ["A=b"]);
        let settings = ["WORKDIR /d", "ENV PATH=/bin"].map(str::to_owned);
        let config = changes(&settings).expect("settings");
        assert_eq!((&*config.working_dir, &config.env[..]), ("/d", &["PATH=/bin".to_owned()][..]));
        for bad in ["RUN x", "COPY a b", "NOPE", "FROM debian"] {
            assert!(changes(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(changes(&[]).expect("nothing to change"), ContainerConfig::default());
    }
}
