//! Names of images of the container engines of this machine: `docker-daemon:NAME`, `containers-storage:NAME`.
//!
//! Owns how they are written. They stand where names of images stand, so no image can be called `docker-daemon` with a
//! tag or `containers-storage` with one.

use std::fmt;

use oci::{Digest, Reference};

/// An engine with images of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LocalEngine {
    /// Docker.
    Docker,
    /// Podman, and what shares its storage.
    Podman,
}

/// An image of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineName {
    /// The engine.
    pub engine: LocalEngine,
    /// The image: a name or an id, as the engine understands it.
    pub name: String,
}

const PREFIXES: [(&str, LocalEngine); 2] =
    [("docker-daemon:", LocalEngine::Docker), ("containers-storage:", LocalEngine::Podman)];

impl EngineName {
    /// Reads a name of this form, with or without `//`; `None` when it has another one.
    pub fn parse(text: &str) -> Option<EngineName> {
        let (prefix, engine) = PREFIXES.iter().find(|(prefix, _)| text.starts_with(prefix))?;
        let name = &text[prefix.len()..];
        let name = name.strip_prefix("//").unwrap_or(name).to_owned();
        Some(EngineName { engine: *engine, name })
    }

    /// The name as a reference; `None` when it is an id, whole or its beginning, or nothing that can be a name.
    pub fn reference(&self) -> Option<Reference> {
        if self.is_id() { None } else { self.name.parse().ok() }
    }

    /// Whether it can be a name or an id at all.
    pub fn is_valid(&self) -> bool {
        self.is_id() || self.name.parse::<Reference>().is_ok()
    }

    fn is_id(&self) -> bool {
        self.name.parse::<Digest>().is_ok() || Digest::from_hex(&self.name).is_ok()
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = PREFIXES.iter().find(|(_, engine)| *engine == self.engine);
        write!(f, "{}{}", prefix.map_or("", |(prefix, _)| prefix), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_images_are_told_from_others() {
        let check = |text: &str, want: Option<(LocalEngine, &str, Option<&str>)>| {
            let got = EngineName::parse(text);
            let got = got.as_ref().map(|name| (name.engine, &*name.name, name.reference()));
            let want = want.map(|(engine, name, reference)| {
                (engine, name, reference.map(|text| text.parse().expect("a name")))
            });
            assert_eq!(got, want, "{text}");
        };
        let (docker, podman) = (LocalEngine::Docker, LocalEngine::Podman);
        check("docker-daemon:app", Some((docker, "app", Some("docker.io/library/app"))));
        check("docker-daemon://h/app:1", Some((docker, "h/app:1", Some("h/app:1"))));
        let id = "a".repeat(64);
        check(&format!("docker-daemon:sha256:{id}"), Some((docker, &format!("sha256:{id}"), None)));
        check(&format!("containers-storage:{id}"), Some((podman, &id, None)));
        check("docker-daemon", None);
        check("docker-image://x", None);
        assert!(!EngineName::parse("docker-daemon:").expect("a form").is_valid());
        assert!(!EngineName::parse("docker-daemon:A b").expect("a form").is_valid());
        assert_eq!(
            EngineName::parse("docker-daemon://a:1").expect("one").to_string(),
            "docker-daemon:a:1"
        );
    }
}
