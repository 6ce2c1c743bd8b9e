//! RUN: argument vector, environment, what it may use (RUN-01 to RUN-28, LEX-114 to LEX-119).

use std::sync::Arc;

use graph::{DeviceName, InlineFile, Network, Op, Run, Security};
use parser::ast::{self, Command, Word};
use parser::did_you_mean;

use super::mounts::{self, Mounts};
use super::{StageBuild, commands, workdir};
use crate::Entitlement;
use crate::git::parse_bool;
use crate::scope::{Variables, proxies};
use crate::site::{Fail, Site};

/// Where script heredocs are mounted (LEX-116).
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

pub(super) fn lower(
    build: &mut StageBuild<'_, '_>,
    run: &ast::Run,
    name: &str,
    site: &Site,
) -> Result<(), Fail> {
    let network = network(build, run.network.as_ref(), site)?;
    let security = security(build, run.security.as_ref(), site)?;
    let devices = devices(&run.devices, site)?;
    let mounts = mounts::lower(build, &run.mounts, site)?;
    let (argv, scripts) = argv(build, run, site)?;
    if argv.iter().any(|argument| argument.contains('\0')) {
        let message = "RUN has a NUL byte, which no argument of a program can hold";
        return Err(site.error("nul-byte", message));
    }
    let history = history(build, &argv);
    let variables = environment(&build.state.variables, &mounts);
    build.take_room(variables.bytes(), site)?;
    let name = name_with_secrets(name, &variables, &mounts);
    let request = build.request();
    let hostname = request.hostname.as_deref();
    let hostname = hostname.or_else(|| request.build_arg("BUILDKIT_SANDBOX_HOSTNAME"));
    let mut proxy_env = proxies(request);
    proxy_env.retain(|(name, _)| variables.get(name).is_none()); // EXP-97
    let op = Run {
        argv,
        env: variables.pairs().to_vec(),
        workdir: workdir::current(build),
        user: build.state.config.config.user.clone(),
        mounts: mounts.list,
        scripts,
        network,
        security,
        devices,
        hostname: hostname.map(str::to_owned),
        extra_hosts: request.add_hosts.clone(),
        ulimits: request.ulimits.clone(),
        shm_size_bytes: request.shm_size_bytes,
        cgroup_parent: request.cgroup_parent.clone(),
        proxy_env,
        limits: request.limits.clone(),
    };
    build.push_layer(Op::Run(op), &name, history, site);
    Ok(())
}

/// The stage's variables, and where the ssh agent is (MNT-81).
fn environment(variables: &Variables, mounts: &Mounts) -> Variables {
    let mut variables = variables.clone();
    if let Some(socket) = &mounts.ssh_socket
        && variables.get("SSH_AUTH_SOCK").is_none()
    {
        variables.set("SSH_AUTH_SOCK", socket);
    }
    variables
}

/// Values of secrets are not known here, and a variable of the same name would be the wrong one (MNT-69).
fn name_with_secrets(name: &str, variables: &Variables, mounts: &Mounts) -> String {
    if mounts.secret_variables.is_empty() {
        return name.to_owned();
    }
    let mut hidden = variables.clone();
    for variable in &mounts.secret_variables {
        hidden.set(variable, "****");
    }
    super::display::with_values(name, &hidden)
}

fn argv(
    build: &StageBuild<'_, '_>,
    run: &ast::Run,
    site: &Site,
) -> Result<(Vec<String>, Vec<InlineFile>), Fail> {
    let text = match &run.command {
        Command::Exec(argv) if argv.is_empty() => {
            return Err(site.error("empty-run", "arguments are required")); // LEX-85
        }
        Command::Exec(argv) => return Ok((argv.clone(), Vec::new())),
        Command::Shell(text) => text,
    };
    let mut scripts = Vec::new();
    let text = match &run.heredocs[..] {
        [] => text.clone(),
        [only] if run.only_heredoc && only.body.starts_with("#!") => {
            let content: Arc<[u8]> = only.body.as_bytes().into();
            scripts.push(InlineFile { name: only.name.clone(), content });
            format!("{SCRIPT_DIRECTORY}/{}", only.name)
        }
        [only] if run.only_heredoc => only.body.clone(), // LEX-115
        _ => run.script.clone(),                         // LEX-117
    };
    Ok((commands::with_shell(&build.state, text), scripts))
}

/// `RUN [|N k=v …] args # buildkit` (RUN-06).
fn history(build: &StageBuild<'_, '_>, argv: &[String]) -> String {
    let state = &build.state;
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for (name, given) in &state.args {
        let value = state.variables.get(name).or(given.as_deref()).unwrap_or_default();
        match shown.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => shown.push((name, value)),
        }
    }
    let mut words = vec!["RUN".to_owned()];
    if !shown.is_empty() {
        words.push(format!("|{}", shown.len()));
    }
    words.extend(shown.iter().map(|(name, value)| format!("{name}={value}")));
    words.extend_from_slice(argv);
    words.push("# buildkit".to_owned());
    words.join(" ")
}

/// RUN-20 to RUN-22.
fn network(build: &StageBuild<'_, '_>, flag: Option<&Word>, site: &Site) -> Result<Network, Fail> {
    let network = match flag.map(|word| word.text.as_str()) {
        None | Some("default") => build.request().network, // the word means no flag at all
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            let message = format!("invalid network mode {other:?}");
            return Err(site.error("invalid-network", message));
        }
    };
    if network == Network::Host && !build.request().allows(&Entitlement::NetworkHost) {
        let mut fail = site.error("not-allowed", "network.host is not allowed");
        fail.help = Some("allow it with `--allow network.host`".to_owned());
        return Err(fail);
    }
    Ok(network)
}

/// RUN-24.
fn security(
    build: &StageBuild<'_, '_>,
    flag: Option<&Word>,
    site: &Site,
) -> Result<Security, Fail> {
    match flag.map(|word| word.text.as_str()) {
        None | Some("sandbox") => Ok(Security::Sandbox),
        Some("insecure") if build.request().allows(&Entitlement::SecurityInsecure) => {
            Ok(Security::Insecure)
        }
        Some("insecure") => {
            let mut fail = site.error("not-allowed", "security.insecure is not allowed");
            fail.help = Some("allow it with `--allow security.insecure`".to_owned());
            Err(fail)
        }
        Some(other) => {
            Err(site.error("invalid-security", format!("security {other:?} is not valid")))
        }
    }
}

/// RUN-27. What a name means, and whether it is allowed, is known where the machine's devices are.
fn devices(flags: &[Word], site: &Site) -> Result<Vec<DeviceName>, Fail> {
    flags
        .iter()
        .map(|flag| device(&flag.text).map_err(|m| site.error("invalid-device", m)))
        .collect()
}

fn device(text: &str) -> Result<DeviceName, String> {
    let fields = parser::csv_fields(text);
    let fields = fields.map_err(|error| format!("failed to parse csv devices: {error}"))?;
    let mut device = DeviceName { name: String::new(), required: false };
    for field in fields {
        match field.split_once('=').map(|(key, value)| (key.to_ascii_lowercase(), value)) {
            None if field.eq_ignore_ascii_case("required") => device.required = true,
            Some((key, value)) if key == "name" && device.name.is_empty() => {
                value.clone_into(&mut device.name);
            }
            Some((key, _)) if key == "name" => {
                return Err(format!("device name already set to {}", device.name));
            }
            Some((key, value)) if key == "required" => {
                let invalid = || format!("invalid value for required: {value}");
                device.required = parse_bool(value).ok_or_else(invalid)?;
            }
            _ if device.name.is_empty() => device.name = field,
            None => return Err(format!("invalid field '{field}' must be a key=value pair")),
            Some((key, _)) => {
                let known = ["name", "required"];
                let hint = did_you_mean(&key, known);
                return Err(format!("unexpected key '{key}' in '{field}'{hint}"));
            }
        }
    }
    if device.name.is_empty() { Err("a device needs a name".to_owned()) } else { Ok(device) }
}
