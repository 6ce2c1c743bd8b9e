//! `shale login`, `shale logout` and `shale registry` as they are typed, and where the files lie that say how
//! registries are asked (docs/registries.md).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use registry::HostsSource;

use super::Surroundings;
use super::lists::{RegistryRmArgs, RegistryTagsArgs};

/// `shale login`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Name of the user
    #[arg(long, short = 'u', value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password or access token; other users of this machine can see it here, --password-stdin is better
    #[arg(long, short = 'p', value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// Read the password or access token from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Registry (default: docker.io)
    pub(crate) server: Option<String>,
}

/// `shale logout`.
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// Registry (default: docker.io)
    pub(crate) server: Option<String>,
}

/// `shale registry`.
#[derive(Args, Debug)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

/// What is to be done with registries.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Show where an image is asked for, and which file and line says so
    Explain(ExplainArgs),
    /// Print the tags that a repository has
    Tags(RegistryTagsArgs),
    /// Remove images from their registry
    Rm(RegistryRmArgs),
}

/// `shale registry explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show where a push would go
    #[arg(long)]
    pub(crate) push: bool,
    /// Contact each place, and run credential helpers; else the network is not asked
    #[arg(long = "try")]
    pub(crate) attempt: bool,
    /// The image
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
}

/// The user's files come before the machine's, and those of podman, containerd and docker in this order.
pub(crate) fn hosts_source(around: &Surroundings) -> HostsSource {
    let user = around.config_home();
    let both = |user_file: &str, system: &str| -> Vec<PathBuf> {
        let own = user.as_ref().map(|home| home.join(user_file));
        own.into_iter().chain([PathBuf::from(system)]).collect()
    };
    let mut hosts_dirs = both("containerd/certs.d", "/etc/containerd/certs.d");
    hosts_dirs.extend(both("docker/certs.d", "/etc/docker/certs.d"));
    let mut certs_dirs = both("containers/certs.d", "/etc/containers/certs.d");
    certs_dirs.extend(both("docker/certs.d", "/etc/docker/certs.d"));
    certs_dirs.extend(both("containerd/certs.d", "/etc/containerd/certs.d"));
    // Drop-ins: what comes later replaces what came earlier.
    let mut drop_ins = both("containers/registries.conf.d", "/etc/containers/registries.conf.d");
    drop_ins.reverse();
    let named = around.raw("CONTAINERS_REGISTRIES_CONF").map(|file| around.absolute(file));
    HostsSource {
        registries_conf: both("containers/registries.conf", "/etc/containers/registries.conf"),
        named_registries_conf: named,
        registries_conf_dirs: drop_ins,
        hosts_dirs,
        certs_dirs,
        daemon_json: both("docker/daemon.json", "/etc/docker/daemon.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_s_files_come_first_and_drop_ins_last() {
        let vars = [("HOME".into(), "/h".into())].into();
        let source = hosts_source(&Surroundings { vars, ..Surroundings::default() });
        let first = |list: &[PathBuf]| list[0].display().to_string();
        assert_eq!(first(&source.registries_conf), "/h/.config/containers/registries.conf");
        assert_eq!(first(&source.hosts_dirs), "/h/.config/containerd/certs.d");
        assert_eq!(first(&source.daemon_json), "/h/.config/docker/daemon.json");
        let last = source.registries_conf_dirs.last().map(|p| p.display().to_string());
        assert_eq!(last.as_deref(), Some("/h/.config/containers/registries.conf.d"));
        // A user without a home has the machine's.
        assert_eq!(hosts_source(&Surroundings::default()).daemon_json.len(), 1);
    }
}
