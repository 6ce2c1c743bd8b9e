//! What to do next about a finding whose finder had no better word: by its code, or the form of its instruction.

use parser::Diagnostic;

/// The next step for a finding, if one is known.
pub(super) fn advice(finding: &Diagnostic) -> Option<String> {
    if let Some(help) = &finding.help {
        return Some(help.clone());
    }
    if let Some((_, text)) = BY_CODE.iter().find(|(code, _)| *code == finding.code) {
        return Some((*text).to_owned());
    }
    let is_about_form = ABOUT_FORM.contains(&finding.code);
    is_about_form.then(|| form(finding)).flatten().map(|form| format!("the form is {form}"))
}

/// Codes of findings that the instruction's form answers.
const ABOUT_FORM: [&str; 8] = [
    "arguments",
    "flag",
    "unknown-flag",
    "json-form",
    "healthcheck",
    "empty-run",
    "empty-volume",
    "mount",
];

/// How the instruction is written that a finding is about.
fn form(finding: &Diagnostic) -> Option<&'static str> {
    let (source, label) = (finding.source.as_ref()?, finding.labels.first()?);
    let text = source.text.get(label.span.start as usize..)?;
    let keyword = text.split_whitespace().next()?.to_ascii_uppercase();
    FORMS.iter().find(|form| form.split(' ').next() == Some(&keyword)).copied()
}

/// The forms of the instructions, with the flags that people use.
const FORMS: [&str; 18] = [
    "FROM [--platform=OS/ARCHITECTURE] IMAGE [AS NAME]",
    "RUN [--mount=…] [--network=…] COMMAND, or RUN [\"PROGRAM\", \"ARGUMENT\"] in double quotes",
    "COPY [--from=STAGE] [--chown=USER:GROUP] [--chmod=MODE] [--link] SOURCE… DESTINATION",
    "ADD [--chown=USER:GROUP] [--chmod=MODE] [--checksum=sha256:…] SOURCE… DESTINATION",
    "ARG NAME[=DEFAULT]",
    "ENV NAME=VALUE",
    "LABEL NAME=VALUE",
    "WORKDIR DIRECTORY",
    "USER NAME[:GROUP]",
    "VOLUME DIRECTORY, or VOLUME [\"DIRECTORY\"] in double quotes",
    "EXPOSE PORT[/PROTOCOL]",
    "STOPSIGNAL SIGNAL",
    "CMD [\"PROGRAM\", \"ARGUMENT\"] in double quotes, or CMD COMMAND",
    "ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"] in double quotes, or ENTRYPOINT COMMAND",
    "SHELL [\"PROGRAM\", \"ARGUMENT\"] in double quotes",
    "HEALTHCHECK [--interval=30s] [--timeout=5s] [--retries=3] CMD COMMAND, or HEALTHCHECK NONE",
    "ONBUILD INSTRUCTION",
    "MAINTAINER NAME",
];

const BY_CODE: &[(&str, &str)] = &[
    ("empty-file", "begin it with FROM IMAGE"),
    ("no-instructions", "begin with FROM IMAGE"),
    ("no-stages", "add FROM IMAGE: an ARG alone makes no image"),
    (
        "line-too-long",
        "end the line with a backslash and go on in the next, or COPY the text from a file",
    ),
    ("directive", "a directive is there once: # escape=` or # escape=\\"),
    ("onbuild", "write the instruction into the Dockerfiles that are built on this image"),
    ("onbuild-trigger", "the base image has it; build that anew without the trigger"),
    (
        "expansion",
        "the forms are $X ${X} ${X:-default} ${X:+other} ${X:?message} ${X#pattern} ${X%pattern} \
         ${X/pattern/text}; a backslash before $ or a quote keeps it as it is",
    ),
    ("invalid-reference", "the form is [HOST/]NAME[:TAG][@sha256:…], the name in lower case"),
    ("image-not-resolved", "look at the name and the tag, and whether this machine may pull it"),
    ("invalid-platform", "such as linux/amd64, linux/arm64 or linux/arm/v7"),
    ("empty-platform", "such as linux/amd64, or $BUILDPLATFORM"),
    ("invalid-chmod", "such as 644, 0755 or u=rwx,go=rx"),
    ("invalid-chown", "the form is USER[:GROUP], names or numbers"),
    ("copy-source", "ADD takes URLs and repositories"),
    (
        "add-checksum",
        "--checksum=sha256:DIGEST goes with one URL, --checksum=COMMIT with one git repository",
    ),
    (
        "git-reference",
        "the form is URL.git[?ref=REF&subdir=DIRECTORY&checksum=COMMIT], or URL.git#REF:DIRECTORY",
    ),
    ("circular-dependency", "a stage can use the results of stages above it, not its own"),
    ("later-stage", "move that stage above this one"),
    ("stage-index", "stages are counted from 0"),
    ("invalid-port", "the form is PORT or PORT-PORT, then /tcp, /udp or /sctp"),
    ("invalid-signal", "such as SIGTERM or 15"),
    (
        "invalid-mount",
        "the types are bind (from, source, target, rw), cache (id, target, sharing, from, source, \
         mode, uid, gid, ro), tmpfs (target, size), secret (id, target, env, required, mode, uid, \
         gid) and ssh (id, target, required, mode, uid, gid)",
    ),
    ("invalid-epoch", "seconds since 1970, context, or the name of a stage or named context"),
    ("lint-violation", "the warnings say where; # check=skip=RULE leaves a rule out"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use parser::{SourceText, Span};

    fn of(code: &'static str, text: &str) -> Option<String> {
        let source = SourceText::new("Dockerfile", text);
        advice(&Diagnostic::error(code, "no", &source, Span::new(0, text.len())))
    }

    #[test]
    fn the_instruction_s_form_is_told() {
        assert_eq!(of("arguments", "env").as_deref(), Some("the form is ENV NAME=VALUE"));
        assert_eq!(of("flag", "  RUN x"), of("json-form", "RUN x"));
        assert_eq!(of("arguments", "FOO x"), None);
        assert_eq!(of("step-failed", "RUN x"), None);
        assert_eq!(of("invalid-signal", "x").as_deref(), Some("such as SIGTERM or 15"));
    }

    #[test]
    fn what_the_finder_says_counts() {
        let source = SourceText::new("Dockerfile", "ENV");
        let finding = Diagnostic::error("arguments", "no", &source, Span::new(0, 3));
        let finding = finding.with_help("look at it");
        assert_eq!(advice(&finding).as_deref(), Some("look at it"));
    }
}
