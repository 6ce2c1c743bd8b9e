//! Named contexts: what `--build-context name=value` means (NCTX-01 to NCTX-13).

use graph::GitSource;
use oci::{Digest, Platform, Reference};

use crate::engine_name::EngineName;
use crate::git::{GitError, GitForm, parse_git};

/// A named context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedContext {
    /// The name as given, an `::os/arch` at its end included (NCTX-03).
    pub name: String,
    /// What it stands for.
    pub value: ContextValue,
}

/// What a named context stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextValue {
    /// `docker-image://reference`.
    Image(Reference),
    /// `oci-layout://dir[:tag][@digest]`.
    OciLayout(OciLayout),
    /// `docker-daemon:name` or `containers-storage:name`: an image of a container engine of this machine.
    Engine(EngineName),
    /// A directory of this machine, as given.
    Local(String),
    /// A git repository.
    Git(GitSource),
    /// A URL: a tree with one file called `context` (NCTX-09).
    Http(String),
    /// `docker-image://scratch`: an empty tree.
    Scratch,
    /// `target:name`: the result of a stage of the same file, with its config (NCTX-10).
    Target(String),
}

/// An image in an OCI layout directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciLayout {
    /// What stands behind `oci-layout://`, for people.
    pub given: String,
    /// The directory; as given, until the caller puts an absolute path in its place.
    pub path: String,
    /// Which image, by its name in the index.
    pub tag: Option<String>,
    /// Which image, by its digest; decides over the tag.
    pub digest: Option<Digest>,
}

/// A `--build-context` value could not be read (NCTX-13).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ContextValueError {
    #[error("invalid context value: {text}, expected key=value")]
    NoValue { text: String },
    #[error("invalid context name {name}: invalid reference format")]
    Name { name: String },
    #[error("unsupported context source {scheme} for {name}")]
    Scheme { name: String, scheme: String },
    #[error("invalid image reference in context {name}")]
    Reference { name: String, source: oci::ParseReferenceError },
    #[error("invalid image name in context {name}")]
    EngineImage { name: String },
    #[error("invalid digest in context {name}")]
    Digest { name: String, source: oci::ParseDigestError },
    #[error("invalid git reference in context {name}")]
    Git { name: String, source: GitError },
}

impl NamedContext {
    /// Reads `name=value` of the command line.
    pub fn parse(text: &str) -> Result<NamedContext, ContextValueError> {
        let Some((name, value)) =
            text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            return Err(ContextValueError::NoValue { text: text.to_owned() });
        };
        if normal_name(&lower_repository(base_name(name))).is_none() {
            return Err(ContextValueError::Name { name: name.to_owned() });
        }
        Ok(NamedContext { name: name.to_owned(), value: parse_value(name, value)? })
    }
}

impl ContextValue {
    /// Reads the value of a context of this name.
    pub(crate) fn parse(name: &str, value: &str) -> Result<ContextValue, ContextValueError> {
        parse_value(name, value)
    }
}

fn parse_value(name: &str, value: &str) -> Result<ContextValue, ContextValueError> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return match image {
            "scratch" => Ok(ContextValue::Scratch),
            image => image
                .parse()
                .map(ContextValue::Image)
                .map_err(|source| ContextValueError::Reference { name: name.to_owned(), source }),
        };
    }
    if let Some(engine) = EngineName::parse(value) {
        let unnamed = || ContextValueError::EngineImage { name: name.to_owned() };
        return engine.is_valid().then_some(ContextValue::Engine(engine)).ok_or_else(unnamed);
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return parse_layout(name, layout).map(ContextValue::OciLayout);
    }
    if let Some(git) = parse_git(value, GitForm::Context) {
        return git
            .map(ContextValue::Git)
            .map_err(|source| ContextValueError::Git { name: name.to_owned(), source });
    }
    if value.starts_with("http://") || value.starts_with("https://") {
        return Ok(ContextValue::Http(value.to_owned()));
    }
    // What bake calls a target is called an input where the build is made.
    if let Some(target) = value.strip_prefix("target:").or_else(|| value.strip_prefix("input:")) {
        return Ok(ContextValue::Target(target.to_owned()));
    }
    if let Some((scheme, _)) = value.split_once("://") {
        return Err(ContextValueError::Scheme { name: name.to_owned(), scheme: scheme.to_owned() });
    }
    Ok(ContextValue::Local(value.to_owned()))
}

fn parse_layout(name: &str, text: &str) -> Result<OciLayout, ContextValueError> {
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) => {
            let digest = digest
                .parse()
                .map_err(|source| ContextValueError::Digest { name: name.to_owned(), source })?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (rest, None),
    };
    Ok(OciLayout { given: text.to_owned(), path: path.to_owned(), tag, digest })
}

/// A name without its platform.
fn base_name(name: &str) -> &str {
    name.split_once("::").map_or(name, |(name, _)| name)
}

/// A context's name in lower case, but for tag and digest: tags that differ in case are different images (NCTX-02).
fn lower_repository(name: &str) -> String {
    let last = name.rfind('/').unwrap_or(0);
    let end = name[last..].find([':', '@']).map_or(name.len(), |at| last + at);
    format!("{}{}", name[..end].to_lowercase(), &name[end..])
}

/// The form in which names are compared: familiar, without `:latest` (NCTX-02). Names of contexts are given in lower
/// case; what a Dockerfile says counts as written, since an upper-case name is no image.
fn normal_name(name: &str) -> Option<String> {
    let reference: Reference = name.parse().ok()?;
    let familiar = reference.familiar();
    Some(familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar))
}

/// The context that replaces a name for a platform; a name with the platform is tried first (NCTX-03).
pub(crate) fn find<'c>(
    contexts: &'c [NamedContext],
    name: &str,
    platform: &Platform,
) -> Option<&'c NamedContext> {
    // NCTX-04
    if contexts.is_empty()
        || name.eq_ignore_ascii_case("scratch")
        || name.eq_ignore_ascii_case("context")
    {
        return None;
    }
    let wanted = normal_name(name)?;
    let is_wanted = |context: &NamedContext, for_platform: bool| {
        let (name, written) = match context.name.split_once("::") {
            Some((name, platform)) => (name, Some(platform)),
            None => (&*context.name, None),
        };
        let fits = match written {
            Some(written) => {
                for_platform && written.parse::<Platform>().is_ok_and(|p| p == *platform)
            }
            None => !for_platform,
        };
        fits && normal_name(&lower_repository(name)).is_some_and(|name| name == wanted)
    };
    let newest = |for_platform| contexts.iter().rev().find(|c| is_wanted(c, for_platform));
    newest(true).or_else(|| newest(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let check = |text: &str, want: &str| {
            let got = match NamedContext::parse(text) {
                Ok(context) => match context.value {
                    ContextValue::Image(reference) => format!("image {reference}"),
                    ContextValue::OciLayout(l) => {
                        format!("layout {} {:?} {}", l.path, l.tag, l.digest.is_some())
                    }
                    ContextValue::Engine(name) => format!("engine {name}"),
                    ContextValue::Local(path) => format!("local {path}"),
                    ContextValue::Git(git) => format!("git {} {:?}", git.remote, git.reference),
                    ContextValue::Http(url) => format!("http {url}"),
                    ContextValue::Scratch => "scratch".to_owned(),
                    ContextValue::Target(name) => format!("target {name}"),
                },
                Err(error) => format!("error {error}"),
            };
            assert_eq!(got, want, "{text}");
        };
        check("a=docker-image://alpine", "image docker.io/library/alpine:latest"); // NCTX-05
        check("a=docker-image://scratch", "scratch");
        check("a=docker-daemon:app", "engine docker-daemon:app");
        check("a=containers-storage://app:1", "engine containers-storage:app:1");
        check("a=docker-daemon:A", "error invalid image name in context a");
        check("a=oci-layout://dir/x:v1", "layout dir/x Some(\"v1\") false"); // NCTX-06
        check("a=../dir", "local ../dir"); // NCTX-07
        check("a=https://h/x.git#main", "git https://h/x.git Some(\"main\")"); // NCTX-08
        check("a=https://h/x.tar", "http https://h/x.tar"); // NCTX-09
        check("a=target:b", "target b"); // NCTX-10
        check("a=input:b", "target b");
        check("a=ftp://x", "error unsupported context source ftp for a"); // NCTX-13
        check("a", "error invalid context value: a, expected key=value");
        check("a b=x", "error invalid context name a b: invalid reference format");
    }

    #[test]
    fn names_are_compared_in_normal_form() {
        let contexts: Vec<NamedContext> =
            ["Alpine=one", "alpine::linux/arm64=two", "alpine:3.19=three"]
                .iter()
                .map(|text| NamedContext::parse(text).expect("valid"))
                .collect();
        let amd: Platform = "linux/amd64".parse().expect("valid");
        let arm: Platform = "linux/arm64/v8".parse().expect("valid");
        let check = |name: &str, platform: &Platform, want: Option<&str>| {
            let got = find(&contexts, name, platform).map(|context| match &context.value {
                ContextValue::Local(path) => path.as_str(),
                _ => "other",
            });
            assert_eq!(got, want, "{name}");
        };
        check("docker.io/library/alpine:latest", &amd, Some("one")); // NCTX-02
        check("alpine", &arm, Some("two")); // NCTX-03
        check("alpine:3.19", &arm, Some("three"));
        check("alpine:3.20", &amd, None);
        check("ALPINE", &amd, None);
        check("scratch", &amd, None); // NCTX-04
    }
}
