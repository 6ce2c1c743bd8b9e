//! What people who come from docker, podman and buildah type, and what to do instead: hints for commands and flags that
//! shale does not have.
//!
//! Owns these sentences. Refuses to accept anything: what is taken without effect is a flag of its command.

/// The hint for a command that is not there. `parent` is the command in front of it, if any.
pub(crate) fn command_hint(name: &str, parent: Option<&str>) -> Option<String> {
    let hint = match (parent, name) {
        (Some("buildx" | "builder"), "create" | "use" | "rm" | "stop" | "ls" | "inspect") => {
            "there is no builder to make or to choose: leave this out"
        }
        (_, "bake") => "one `shale build --target NAME` for each target",
        (Some("buildx"), "imagetools") => {
            "`shale manifest inspect` shows an index, `shale join` makes one"
        }
        (Some("buildx" | "builder"), _) => {
            "`shale build`, `shale cache du` and `shale cache prune` are what a builder does"
        }
        (Some("container"), _) | (None, "container") => FOREGROUND,
        (Some("system"), "info") | (None, "info") => {
            "there is no daemon to ask: `shale version` and `shale system df` say what there is"
        }
        (None, "ps" | "exec" | "start" | "stop" | "restart" | "kill" | "logs" | "attach") => {
            FOREGROUND
        }
        (None, "create" | "rm" | "wait" | "stats" | "top" | "port" | "pause" | "rename") => {
            FOREGROUND
        }
        (None, "cp" | "diff" | "commit") => {
            "there are no containers: `shale export` gives the files of an image, a Dockerfile makes another one"
        }
        (None, "compose" | "swarm" | "service" | "stack" | "node" | "volume" | "network") => {
            "shale makes images and moves them; docker or podman runs them: `shale load --to docker IMAGE`"
        }
        (None, "context" | "events" | "plugin") => {
            "there is no daemon: every command does its work itself"
        }
        (None, "from") => {
            "`shale run IMAGE` runs a command in an image, a Dockerfile begins FROM one"
        }
        (None, "copy" | "sync" | "mirror") => {
            "`shale pull`, `shale tag` and `shale push`; archives are read and written by `shale load` and `shale save`"
        }
        (None, "delete") => "`shale registry rm`",
        (None, "list-tags") => "`shale registry tags`",
        (None, "bud") => "`shale build`",
        (None, "ls" | "list") => "`shale images`",
        (None, "df" | "du") => "`shale system df` and `shale cache du`",
        _ => return None,
    };
    Some(hint.to_owned())
}

const FOREGROUND: &str =
    "there are no containers that go on: `shale run IMAGE COMMAND` runs one in the foreground";

/// The hint for an image that is named as skopeo, podman and buildah name them, with a transport in front. Some of
/// these are valid names: `oci:dir` is the tag `dir` of docker.io's `oci`.
pub(crate) fn transport_hint(name: &str) -> Option<String> {
    let (transport, rest) = name.split_once(':')?;
    Some(match transport {
        "docker" if rest.starts_with("//") => {
            let name = rest.trim_start_matches('/');
            format!("without the transport: {name}")
        }
        "docker-daemon" => format!(
            "an engine's image comes by `docker save {rest} | shale load`, or in a Dockerfile by FROM {name}"
        ),
        "containers-storage" => format!(
            "an engine's image comes by `podman save {rest} | shale load`, or in a Dockerfile by FROM {name}"
        ),
        "oci" | "oci-archive" | "docker-archive" => {
            "archives and layouts are read by `shale load -i FILE` and written by `shale save -o FILE`"
                .to_owned()
        }
        _ => return None,
    })
}

/// The hint for a flag that is not there: those of docker's client, and of `buildah build` (CLI-70 to CLI-73).
pub(crate) fn flag_hint(flag: &str) -> Option<String> {
    let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
    FLAGS.iter().find(|(names, _)| names.contains(&name)).map(|(_, hint)| (*hint).to_owned())
}

/// Flags, and what to do instead.
const FLAGS: &[(&[&str], &str)] = &[
    (
        &["H", "host", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify", "context"],
        "there is no daemon to reach: leave this out",
    ),
    (
        &["timestamp", "source-date-epoch"],
        "set SOURCE_DATE_EPOCH, or --build-arg SOURCE_DATE_EPOCH=SECONDS",
    ),
    (&["rewrite-timestamp"], "--output type=image,rewrite-timestamp=true, with SOURCE_DATE_EPOCH"),
    (&["format"], "--output type=image,oci-mediatypes=false makes a manifest in docker's form"),
    (
        &["manifest"],
        "`shale manifest create` and `shale join` make lists of images; --platform with several builds one",
    ),
    (&["from"], "--build-context NAME=docker-image://IMAGE puts another image for what FROM names"),
    (
        &["omit-history", "save-stages", "stage-labels", "created-annotation"],
        "the image is what docker build makes of the Dockerfile",
    ),
    (&["build-arg-file"], "--build-arg NAME=VALUE for each"),
    (&["env", "unsetenv"], "ENV in the Dockerfile, or --build-arg"),
    (
        &["unsetlabel", "layer-label", "inherit-labels", "identity-label"],
        "--label, or LABEL in the Dockerfile",
    ),
    (&["unsetannotation"], "--annotation"),
    (&["volume", "v", "mount"], "RUN --mount=type=bind,from=NAME with --build-context NAME=DIR"),
    (&["cap-add", "cap-drop"], "RUN --security=insecure with --allow security.insecure"),
    (&["device"], "RUN --device=NAME with --allow device=NAME"),
    (
        &["dns", "dns-option", "dns-search", "no-hosts", "no-hostname"],
        "steps have this machine's names; --add-host and --network change that",
    ),
    (
        &[
            "userns",
            "userns-uid-map",
            "userns-gid-map",
            "userns-uid-map-user",
            "pid",
            "ipc",
            "uts",
            "cgroupns",
            "group-add",
            "runtime",
            "runtime-flag",
            "hooks-dir",
        ],
        "every step has namespaces of its own; --require-isolation insists on that",
    ),
    (&["http-proxy"], "proxies are taken from docker's config.json, or --build-arg HTTP_PROXY=URL"),
    (
        &["ignorefile"],
        "NAME.dockerignore beside the Dockerfile NAME, or .dockerignore in the context",
    ),
    (&["authfile"], "set REGISTRY_AUTH_FILE"),
    (&["creds"], "`shale login`, or DOCKER_AUTH_CONFIG"),
    (
        &["tls-verify", "cert-dir"],
        "registries.conf, certs.d and hosts.toml say so for each registry; `shale registry explain` shows what counts",
    ),
    (&["retry", "retry-delay"], "what may pass is tried again by itself"),
    (&["sign-by", "decryption-key", "cw"], "signed and encrypted images are not made"),
    (
        &["compression-format", "compression-level", "force-compression", "disable-compression"],
        "--output type=image,compression=zstd,compression-level=3,force-compression=true",
    ),
    (&["cache-ttl"], "--max-age"),
    (
        &["all-platforms", "os", "arch", "variant", "os-version", "os-feature"],
        "--platform OS/ARCH[/VARIANT]",
    ),
    (&["cpp-flag"], "a Dockerfile is taken as it is"),
    (&["compat-volumes", "stdin", "iidfile-raw"], "there is nothing like it"),
    (&["source-policy-file"], "policies are not supported"),
    (&["logfile", "logsplit", "log-level", "l"], "--progress=plain, and 2> FILE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_are_answered() {
        let of = |name: &str, parent| command_hint(name, parent).unwrap_or_default();
        assert!(of("ps", None).contains("shale run IMAGE"));
        assert!(of("create", Some("buildx")).contains("no builder"));
        assert!(of("bake", Some("buildx")).contains("--target"));
        assert_eq!(command_hint("xyzzy", None), None);
        assert!(of("list-tags", None).contains("shale registry tags"));
        let of = |name: &str| transport_hint(name).unwrap_or_default();
        assert!(of("docker://r.example:5000/a").ends_with(": r.example:5000/a"));
        assert!(of("docker-daemon:app:1").contains("docker save app:1 | shale load"));
        assert!(of("oci-archive:app.tar").contains("shale load -i"));
        assert_eq!(transport_hint("localhost:5000/oci:1"), None);
        assert_eq!(transport_hint("docker:24"), None);
        let of = |flag: &str| flag_hint(flag).unwrap_or_default();
        assert!(of("--timestamp").contains("SOURCE_DATE_EPOCH"));
        assert!(of("--format=docker").contains("oci-mediatypes=false"));
        assert!(of("-H").contains("no daemon"));
        assert_eq!(flag_hint("--no-such-flag"), None);
    }
}
