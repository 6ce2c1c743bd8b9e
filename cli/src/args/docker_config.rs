//! The docker configuration as far as a client needs it: texts with registry credentials, and proxies.

use std::path::PathBuf;

use registry::{
    Credentials, CredentialsSource, CredentialsText, Hosts, ProxySettings, RegistryError,
    RegistryOptions,
};
use serde_json::Value;

use super::{Surroundings, hosts_source};

/// What the user's configuration files say (spec CLI-61, CLI-62).
#[derive(Clone, Debug, Default)]
pub(crate) struct DockerConfig {
    /// The document of config.json; `null` when there is none.
    document: Value,
    /// Texts with credentials, most important first.
    credentials: Vec<CredentialsText>,
    /// Why a configuration that is there was not understood.
    pub(crate) warning: Option<String>,
}

impl DockerConfig {
    /// Reads `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE`, `config.json` in `DOCKER_CONFIG` or `~/.docker`, the
    /// `auth.json` files of podman and skopeo, and the old `~/.dockercfg`.
    pub(crate) fn read(around: &Surroundings) -> DockerConfig {
        let mut config = DockerConfig::default();
        if let Some(text) = around.text("DOCKER_AUTH_CONFIG") {
            config.add("DOCKER_AUTH_CONFIG", text.to_owned());
        }
        if let Some(file) = around.raw("REGISTRY_AUTH_FILE") {
            config.read_file(around.absolute(file));
        }
        if let Some(text) = DockerConfig::path(around).and_then(|path| config.read_file(path)) {
            config.document = serde_json::from_str(&text).unwrap_or_default();
        }
        let run = match around.raw("XDG_RUNTIME_DIR") {
            Some(dir) => PathBuf::from(dir),
            // Where podman keeps it for users without a session, root among them.
            None => PathBuf::from("/run").join("containers").join(around.user_id.to_string()),
        };
        let run = if run.starts_with("/run/containers") { run } else { run.join("containers") };
        let own = around.config_home().map(|home| home.join("containers"));
        for directory in [run].into_iter().chain(own) {
            config.read_file(directory.join("auth.json"));
        }
        if let Some(home) = around.raw("HOME") {
            config.read_oldest(PathBuf::from(home).join(".dockercfg"));
        }
        config
    }

    /// Where docker keeps its configuration; `None` for a user without a home.
    pub(crate) fn path(around: &Surroundings) -> Option<PathBuf> {
        let directory = match around.raw("DOCKER_CONFIG") {
            Some(directory) => around.absolute(directory),
            None => PathBuf::from(around.raw("HOME")?).join(".docker"),
        };
        Some(directory.join("config.json"))
    }

    /// Absolute directories in which credential helpers are looked for.
    pub(crate) fn helper_dirs(around: &Surroundings) -> Vec<PathBuf> {
        let path = around.raw("PATH").unwrap_or_default();
        std::env::split_paths(path).filter(|dir| dir.is_absolute()).collect()
    }

    /// A file in which the entries stand alone.
    fn read_oldest(&mut self, path: PathBuf) {
        if let Ok(text) = registry::read_local_text(&path) {
            self.add(&path.display().to_string(), format!("{{\"auths\":{text}}}"));
        }
    }

    /// Notes a file's text, if there is one, and gives it back.
    fn read_file(&mut self, path: PathBuf) -> Option<String> {
        use std::io::ErrorKind;
        let name = path.display().to_string();
        match registry::read_local_text(&path) {
            Ok(text) => self.add(&name, text.clone()).then_some(text),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            // Another user's, where this one looks like root.
            Err(e) if e.kind() == ErrorKind::PermissionDenied && name.starts_with("/run/") => None,
            Err(error) => {
                self.warning = Some(format!("cannot read {name}: {error}"));
                None
            }
        }
    }

    /// Notes a text when it is JSON; credentials in it are looked at when a registry is asked.
    fn add(&mut self, origin: &str, text: String) -> bool {
        let checked = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        match checked {
            Ok(_) => self.credentials.push(CredentialsText { origin: origin.to_owned(), text }),
            Err(error) => {
                self.warning = Some(format!("{origin} is not JSON and is ignored: {error}"));
                return false;
            }
        }
        true
    }

    /// Build arguments for proxies that were not given (CLI-61).
    pub(crate) fn proxy_arguments(&self, given: &[(String, String)]) -> Vec<(String, String)> {
        const PROXIES: [(&str, &str); 5] = [
            ("httpProxy", "http_proxy"),
            ("httpsProxy", "https_proxy"),
            ("ftpProxy", "ftp_proxy"),
            ("noProxy", "no_proxy"),
            ("allProxy", "all_proxy"),
        ];
        let mut arguments = Vec::new();
        for (member, name) in PROXIES {
            let Some(value) = self.document["proxies"]["default"][member].as_str() else {
                continue;
            };
            if given.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                continue;
            }
            arguments.push((name.to_ascii_uppercase(), value.to_owned()));
            arguments.push((name.to_owned(), value.to_owned()));
        }
        arguments
    }

    /// How registries are spoken to.
    ///
    /// # Errors
    /// When a text with credentials has another form than expected.
    pub(crate) fn registry_options(
        &self,
        around: &Surroundings,
    ) -> Result<RegistryOptions, RegistryError> {
        let helper_dirs = DockerConfig::helper_dirs(around);
        let source = CredentialsSource { texts: self.credentials.clone(), helper_dirs };
        let either =
            |lower: &str, upper: &str| around.text(lower).or(around.text(upper)).map(str::to_owned);
        let proxy = ProxySettings {
            https: either("https_proxy", "HTTPS_PROXY"),
            http: either("http_proxy", "HTTP_PROXY"),
            no_proxy: either("no_proxy", "NO_PROXY").unwrap_or_default(),
        };
        let hosts = Hosts::new(hosts_source(around));
        Ok(RegistryOptions { proxy, hosts, ..RegistryOptions::new(Credentials::load(&source)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        let home = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(home.path().join("config.json"), text).expect("a file");
        let vars = [("DOCKER_CONFIG".into(), home.path().into())].into();
        DockerConfig::read(&Surroundings { vars, ..Surroundings::default() })
    }

    #[test]
    fn proxies_become_arguments_unless_given() {
        let config =
            config(r#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":"a,b"}}}"#);
        let given = [("NO_PROXY".to_owned(), "mine".to_owned())];
        let pair = |name: &str| (name.to_owned(), "http://p:1".to_owned());
        assert_eq!(config.proxy_arguments(&given), [pair("HTTP_PROXY"), pair("http_proxy")]);
        assert!(DockerConfig::default().proxy_arguments(&[]).is_empty());
    }

    #[test]
    fn a_broken_configuration_is_a_warning() {
        let broken = config("{");
        assert!(broken.warning.is_some_and(|w| w.contains("config.json is not JSON")));
        assert!(broken.document.is_null() && broken.credentials.is_empty());
    }

    #[test]
    fn the_variable_comes_before_files() {
        let vars =
            [("DOCKER_AUTH_CONFIG", "{}"), ("HTTPS_PROXY", "http://p:2"), ("PATH", "bin:/bin")];
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let around = Surroundings { vars, ..Surroundings::default() };
        let config = DockerConfig::read(&around);
        assert_eq!(config.credentials[0].origin, "DOCKER_AUTH_CONFIG");
        let options = config.registry_options(&around).expect("nothing wrong in it");
        assert_eq!(options.proxy.https.as_deref(), Some("http://p:2"));
    }
}
