//! `shale run`: an image's command in the sandbox of a step, in the foreground.

use std::sync::Arc;

use executor::{ExecError, Exit, RunStep};
use graph::{ImageOrigin, ImageSource, Limits, Network, Run, Security};
use oci::{ContainerConfig, ImageConfig, Reference};
use progress::{Emitter, EventKind};
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::execute;
use crate::foreign;
use crate::image;
use crate::images;
use crate::mounts;
use crate::present;
use crate::stop::Stop;

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct RunImageRequest {
    /// Name, id or the beginning of an id.
    pub image: String,
    /// Arguments instead of the image's CMD; empty for its own.
    pub argv: Vec<String>,
    /// Program instead of the image's ENTRYPOINT.
    pub entrypoint: Option<String>,
    /// Variables on top of the image's.
    pub env: Vec<(String, String)>,
    /// Directory instead of the image's.
    pub workdir: Option<String>,
    /// User instead of the image's.
    pub user: Option<String>,
    /// The network.
    pub network: Network,
    /// Name of the host; `None` for the usual one.
    pub hostname: Option<String>,
    /// More names in /etc/hosts, with their addresses.
    pub extra_hosts: Vec<(String, String)>,
}

/// Runs a command in an image with our standard descriptors; what it writes to the file system is thrown away.
///
/// # Errors
/// No such image, no command, a program that is not there, a machine that cannot run it.
pub fn run_image(
    request: &RunImageRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Exit, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let stored = images::find(&session.lease, &request.image)?;
    let config = ImageConfig::from_json(&stored.config).map_err(|e| {
        BuildError::new(BuildErrorKind::Files, "the image's config cannot be read").because(e)
    })?;
    let platform = config.platform();
    if let Some(refused) = foreign::refusal(&platform) {
        return Err(refused);
    }
    let run = command(request, &config.config)?;
    let source = ImageSource {
        reference: shown_reference(&request.image),
        origin: ImageOrigin::Store,
        manifest: stored.manifest.map(|manifest| manifest.digest),
        config: Arc::new(config),
    };
    let attach = || {
        let value = image::value(&session, &source)?;
        let stack = present::ensure(&session, &value, 0)?;
        let layers = mounts::layer_dirs(&session, &stack.layers)?;
        let ingest = session.lease.new_ingest();
        let ingest = ingest.map_err(|e| BuildError::store("cannot prepare the command", e))?;
        let step = RunStep {
            layers: &layers,
            ingest: ingest.path(),
            run: &run,
            mounts: Vec::new(),
            devices: Vec::new(),
            platform: &platform,
        };
        let mut warn = |message: &str| {
            events.emit(EventKind::Warning { vertex: None, message: message.to_owned() });
        };
        let ended = session.worker()?.attach(&step, &mut warn, cancel);
        Ok(ended.map_err(not_run)?)
    };
    attach().map_err(|stop: Stop| stop.into_error("running needs a process with a worker"))
}

/// Why the command did not run, with a shell's difference between a program that is missing and one that cannot be
/// executed.
fn not_run(error: ExecError) -> BuildError {
    let hint = match &error {
        ExecError::ProgramNotFound { program } if program.contains(char::is_whitespace) => Some(
            "write the program and its arguments as words of their own, or run sh -c 'COMMAND'",
        ),
        ExecError::ProgramNotFound { .. } => Some(
            "the command behind the image's name is looked for in the image; look at its own with \
             `shale inspect IMAGE`",
        ),
        ExecError::InterpreterNotFound { .. } => {
            Some("the image needs what the first line or the dynamic loader of the program names")
        }
        ExecError::NotExecutable { .. } => {
            Some("look at its permissions, its first line and the platform that it was made for")
        }
        _ => None,
    };
    let kind = match &error {
        ExecError::ProgramNotFound { .. } | ExecError::InterpreterNotFound { .. } => {
            BuildErrorKind::NoProgram
        }
        ExecError::NotExecutable { .. } => BuildErrorKind::NotExecutable,
        other => execute::kind_of(other),
    };
    BuildError::of(kind, error).with_hint_if(hint)
}

/// A name to show for an image that may have been asked for by its id.
pub(crate) fn shown_reference(text: &str) -> Reference {
    text.parse().unwrap_or_else(|_| "image".parse().expect("a valid name"))
}

fn command(request: &RunImageRequest, config: &ContainerConfig) -> Result<Run, BuildError> {
    let entrypoint = match &request.entrypoint {
        Some(program) => vec![program.clone()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    let own_command = request.argv.is_empty() && request.entrypoint.is_none();
    let arguments = match own_command {
        true => config.cmd.clone().unwrap_or_default(),
        false => request.argv.clone(),
    };
    let argv: Vec<String> = entrypoint.into_iter().chain(arguments).collect();
    if argv.is_empty() {
        let text = format!("image {} has neither CMD nor ENTRYPOINT", request.image);
        return Err(BuildError::new(BuildErrorKind::Dockerfile, text)
            .with_hint("say what to run after the image's name"));
    }
    let mut env: Vec<(String, String)> = Vec::new();
    let own = config.env.iter().filter_map(|pair| pair.split_once('='));
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in own.chain(request.env.iter().cloned()) {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => env.push((name, value)),
        }
    }
    let workdir = request.workdir.clone().unwrap_or_else(|| config.working_dir.clone());
    Ok(Run {
        argv,
        env,
        workdir: if workdir.is_empty() { "/".to_owned() } else { workdir },
        user: request.user.clone().unwrap_or_else(|| config.user.clone()),
        mounts: Vec::new(),
        scripts: Vec::new(),
        network: request.network,
        security: Security::Sandbox,
        devices: Vec::new(),
        hostname: request.hostname.clone(),
        extra_hosts: request.extra_hosts.clone(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        cgroup_parent: None,
        proxy_env: Vec::new(),
        limits: Limits::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_run_says_why() {
        let kind = |error: ExecError| not_run(error).kind();
        let program = || "nosuch".to_owned();
        let missing = not_run(ExecError::ProgramNotFound { program: program() });
        assert_eq!(missing.kind(), BuildErrorKind::NoProgram);
        assert!(missing.hint().is_some_and(|hint| hint.contains("in the image")));
        let line = not_run(ExecError::ProgramNotFound { program: "ls -l".to_owned() });
        assert!(line.hint().is_some_and(|hint| hint.contains("sh -c")));
        let interpreter = ExecError::InterpreterNotFound { program: program() };
        assert_eq!(kind(interpreter), BuildErrorKind::NoProgram);
        let source = sys::SysError::new("execve", 13);
        let refused = ExecError::NotExecutable { program: program(), source };
        assert_eq!(kind(refused), BuildErrorKind::NotExecutable);
        assert_eq!(kind(ExecError::Died { process: "init" }), BuildErrorKind::Environment);
        assert_eq!(kind(ExecError::Cancelled), BuildErrorKind::Cancelled);
    }

    #[test]
    fn arguments_replace_cmd_and_a_program_replaces_both() {
        let config = ContainerConfig {
            entrypoint: Some(vec!["/e".to_owned()]),
            cmd: Some(vec!["c".to_owned()]),
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            ..ContainerConfig::default()
        };
        let check = |request: &RunImageRequest, want: &[&str]| {
            assert_eq!(command(request, &config).expect("a command").argv, want);
        };
        let plain = RunImageRequest::default();
        check(&plain, &["/e", "c"]);
        check(&RunImageRequest { argv: vec!["x".to_owned()], ..plain.clone() }, &["/e", "x"]);
        check(&RunImageRequest { entrypoint: Some("/p".to_owned()), ..plain.clone() }, &["/p"]);
        assert!(command(&plain, &ContainerConfig::default()).is_err());
        let with_env = RunImageRequest { env: vec![("B".to_owned(), "3".to_owned())], ..plain };
        let run = command(&with_env, &config).expect("a command");
        assert_eq!(run.env[1], ("B".to_owned(), "3".to_owned()));
    }
}
