//! `shale save`, `shale load` and `shale import`.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use engine::{BuildError, BuildErrorKind, ImportRequest, SaveFormat};
use oci::{ContainerConfig, Platform, Reference};
use parser::SourceText;
use planner::{
    Findings, LowerRequest, OciLayout, ResolvedImage, SourceError, SourceErrorKind, Sources,
    TimedSource,
};

use super::transfer::{NO_STEPS, shown};
use super::{Done, Failure, Process, print};
use crate::args::{
    DockerConfig, ImportArgs, LoadArgs, SaveArgs, Surroundings, UsageError, platforms, tag_name,
};
use crate::exit::Exit;

/// Writes images to an archive.
pub(crate) fn save(process: &mut Process, typed: &SaveArgs) -> Done {
    let format = match &*typed.format {
        "docker" => SaveFormat::Docker,
        "oci" => SaveFormat::Oci,
        other => {
            return Err(UsageError::new(format!("unknown form {other:?}"))
                .with_hint("use docker or oci")
                .into());
        }
    };
    if typed.output.is_none() && process.around.stdout_terminal {
        return Err(UsageError::new("refusing to write an archive to a terminal")
            .with_hint("name a file with -o")
            .into());
    }
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let path = typed.output.as_ref().map(|path| process.around.absolute(path));
    let mut out = Target::open(path.as_deref())?;
    shown(process, true, |process, events| {
        let with = (events, &process.cancel);
        engine::save(&typed.images, format, &mut out, &environment, with)?;
        out.finish()
    })?;
    Ok(Exit::Ok.into())
}

/// Reads images from an archive and prints their names.
pub(crate) fn load(process: &mut Process, typed: &LoadArgs) -> Done {
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let mut archive = source(typed.input.as_deref(), &process.around)?;
    let loaded = shown(process, true, |process, events| {
        engine::load(&mut *archive, &environment, events, &process.cancel)
    })
    .map_err(|error| not_loaded(error, typed.input.as_deref()))?;
    let mut text = String::new();
    for image in loaded {
        if typed.quiet || image.names.is_empty() {
            text.push_str(&format!("{}\n", image.id));
            continue;
        }
        for name in &image.names {
            text.push_str(&format!("Loaded image: {}\n", name.familiar()));
        }
    }
    print(&text)
}

/// The same error with the archive's name.
fn not_loaded(error: BuildError, path: Option<&Path>) -> BuildError {
    match path {
        Some(path) if error.kind() == BuildErrorKind::Files => {
            let message = format!("cannot load {}: {error}", path.display());
            error.saying(message)
        }
        _ => error,
    }
}

/// Makes an image from a tar and prints its id. The files are written in an engine, which may give them any owner.
pub(crate) fn import(process: &mut Process, typed: &ImportArgs) -> Done {
    let name: Option<Reference> = typed.name.as_deref().map(tag_name).transpose()?;
    let platforms = platforms(typed.platform.as_slice())?;
    let platform = platforms.into_iter().next().unwrap_or_else(Platform::host);
    let config = changes(&typed.change)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let input = Some(&*typed.tar).filter(|path| *path != Path::new("-"));
    let mut tar = source(input, &process.around)?;
    let request = ImportRequest {
        name,
        from: typed.tar.to_string_lossy().into_owned(),
        message: typed.message.clone(),
        platform,
        config,
    };
    let id = shown(process, true, |process, events| {
        engine::import(&mut *tar, &request, &environment, events, &process.cancel)
    })?;
    print(&format!("{id}\n"))
}

/// A file or standard input.
pub(super) fn source(
    path: Option<&Path>,
    around: &Surroundings,
) -> Result<Box<dyn Read + Send>, Failure> {
    let Some(path) = path else { return Ok(Box::new(std::io::stdin())) };
    let file = File::open(around.absolute(path));
    let failed = |error| BuildError::io(format!("cannot read {}", path.display()), error);
    Ok(Box::new(file.map_err(failed)?))
}

/// Where an archive goes: a file that appears when it is whole, or standard output.
pub(super) struct Target {
    out: BufWriter<Box<dyn Write>>,
    /// The file under its temporary name and its own.
    file: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Target {
    pub(super) fn open(path: Option<&Path>) -> Result<Target, BuildError> {
        let Some(path) = path else {
            return Ok(Target { out: BufWriter::new(Box::new(std::io::stdout())), file: None });
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.part", std::process::id()));
        let partial = std::path::PathBuf::from(partial);
        let file = File::create(&partial)
            .map_err(|error| BuildError::io(format!("cannot write {}", path.display()), error))?;
        let file: Box<dyn Write> = Box::new(file);
        Ok(Target { out: BufWriter::new(file), file: Some((partial, path.to_owned())) })
    }

    pub(super) fn finish(&mut self) -> Result<(), BuildError> {
        let done = self.out.flush().and_then(|()| match self.file.take() {
            Some((partial, path)) => std::fs::rename(partial, path),
            None => Ok(()),
        });
        done.map_err(|error| BuildError::io("cannot write the archive", error))
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// The config that Dockerfile instructions make of an empty one: a Dockerfile of these lines, planned, not built.
fn changes(lines: &[String]) -> Result<ContainerConfig, Failure> {
    if lines.is_empty() {
        return Ok(ContainerConfig::default());
    }
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
    let request = LowerRequest::default();
    // What checks say of the line is of no interest here.
    let findings = Findings::new(&parsed, &source, &request).map_err(failed)?;
    let outline =
        planner::outline(&parsed.dockerfile, &source, &request, &findings).map_err(failed)?;
    let lowered = planner::lower(&outline, &NoImages, &findings).map_err(failed)?;
    let target = lowered.graph.targets.first();
    let target = target.expect("one platform was asked for, so there is one target");
    if lowered.graph.vertices.iter().any(|vertex| vertex.op.makes_layer()) {
        return Err(UsageError::new("--change takes instructions for the config only")
            .with_hint("CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME and the like")
            .into());
    }
    Ok(target.config.config.clone())
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
        assert!(config.env.contains(&"A=b".to_owned()));
        for bad in ["RUN x", "COPY a b", "NOPE", "FROM debian"] {
            assert!(changes(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(changes(&[]).expect("nothing to change"), ContainerConfig::default());
    }
}
