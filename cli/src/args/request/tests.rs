//! From a command line to a request, as a table.

use std::path::Path;

use clap::Parser as _;
use engine::PullPolicy;
use graph::Network;

use super::*;
use crate::args::{Cli, Command, Method};

fn around() -> Surroundings {
    let vars = [("HOME", "/home/me"), ("FROM_ENV", "env value"), ("SOURCE_DATE_EPOCH", "77")];
    Surroundings {
        vars: vars.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        directory: "/".into(),
        ..Surroundings::default()
    }
}

fn parse(arguments: &[&str]) -> Result<BuildCommand, UsageError> {
    let typed = Cli::try_parse_from(["shale", "build"].iter().chain(arguments))
        .map_err(|error| UsageError::new(error.to_string()))?;
    let Command::Build(typed) = typed.command else { unreachable!("it is a build") };
    build_command(&typed, &DockerConfig::default(), &around())
}

fn good(arguments: &[&str]) -> BuildCommand {
    parse(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn bad(arguments: &[&str], want: &str) {
    let error = parse(arguments).map(|_| ()).expect_err(want);
    assert!(error.message.contains(want), "{arguments:?}: {error}");
}

#[test]
fn one_directory_is_the_context() {
    let command = good(&["tmp"]);
    let request = &command.request;
    assert!(matches!(&request.context, ContextInput::Directory(dir) if dir == Path::new("/tmp")));
    assert!(matches!(request.dockerfile, DockerfileInput::Default));
    assert_eq!((command.call.method, command.display), (Method::Build, Display::Plain));
    bad(&[], "CONTEXT"); // CLI-01
    bad(&["tmp", "usr"], "unexpected argument");
    bad(&["no/such"], "unable to prepare context: path \"no/such\" not found"); // ERR-72
    bad(&["--no-such-flag", "tmp"], "--no-such-flag"); // CLI-05
    bad(&["-", "-f", "-"], "can't use stdin for both"); // CTX-09
}

#[test]
fn contexts_may_be_elsewhere() {
    let check = |text: &str, want: &str| {
        let got = match good(&[text]).request.context {
            ContextInput::Git(_) => "git",
            ContextInput::Http(_) => "http",
            _ => "here",
        };
        assert_eq!(got, want, "{text}");
    };
    check("https://example.test/a/repo.git#main:sub", "git"); // CTX-13
    check("github.com/org/repo", "git");
    check("https://example.test/context.tar.gz", "http"); // CTX-12
    check("tmp", "here");
    let wrong = "https://example.test/r.git?foo=1";
    bad(&[wrong], &format!("unable to prepare context: {wrong}: unexpected query \"foo\"")); // ADD-53
}

#[test]
fn the_dockerfile_is_relative_to_the_directory() {
    let command = good(&["tmp", "-f", "docker/app.Dockerfile"]);
    let DockerfileInput::File { path, shown } = command.request.dockerfile else {
        panic!("a file of this machine") // CTX-03
    };
    assert_eq!((path.to_str(), &*shown), (Some("/docker/app.Dockerfile"), "docker/app.Dockerfile"));
    let remote = good(&["github.com/org/repo", "-f", "a/Dockerfile"]).request.dockerfile;
    assert!(matches!(remote, DockerfileInput::InContext(path) if path == "a/Dockerfile")); // CTX-15
}

#[test]
fn flags_reach_the_plan() {
    let command = good(&[
        "--build-arg=A=1",
        "--build-arg",
        "FROM_ENV",
        "--build-arg",
        "NOT_SET",
        "--build-arg",
        "B=-x",
        "--label",
        "l",
        "--label=k=v=w",
        "--target",
        "app",
        "--platform",
        "linux/amd64,arm64",
        "--platform=linux/x86_64",
        "--no-cache-filter=a,b",
        "--add-host",
        "db:10.0.0.1,x=::1",
        "--network",
        "none",
        "--shm-size=1g",
        "--ulimit",
        "nofile=10:20",
        "-m",
        "1g",
        "-c",
        "0",
        "--allow",
        "network.host",
        "--pull",
        "--rm=false",
        "tmp",
    ]);
    let plan = &command.request.plan;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let want = [
        pair("A", "1"),
        pair("FROM_ENV", "env value"),
        pair("B", "-x"),
        pair("SOURCE_DATE_EPOCH", "77"),
    ];
    assert_eq!(plan.build_args, want); // CLI-14, EPO-01
    assert_eq!(plan.labels, [pair("l", ""), pair("k", "v=w")]);
    assert_eq!(plan.platforms.len(), 2); // PLAT-09
    assert_eq!(plan.no_cache_filter, ["a", "b"]);
    assert_eq!(plan.add_hosts, [pair("db", "10.0.0.1"), pair("x", "::1")]);
    assert_eq!((plan.network, plan.shm_size_bytes), (Network::None, Some(1 << 30)));
    assert_eq!((plan.limits.memory_bytes, plan.limits.cpu_shares), (Some(1 << 30), None));
    assert_eq!(command.request.pull, engine::PullPolicy::Always);
    assert!(command.warnings.is_empty(), "{:?}", command.warnings);
}

#[test]
fn switches_take_a_value_behind_an_equals_sign_only() {
    assert!(good(&["--no-cache", "tmp"]).request.plan.no_cache);
    assert!(good(&["--no-cache=1", "tmp"]).request.plan.no_cache);
    assert!(!good(&["--no-cache=false", "tmp"]).request.plan.no_cache);
    assert!(!good(&["--no-cache", "--no-cache=f", "tmp"]).request.plan.no_cache);
    assert!(good(&["-qt", "name", "tmp"]).quiet); // CLI-02
    bad(&["--no-cache=perhaps", "tmp"], "want true or false");
}

#[test]
fn rules_for_steps_are_read() {
    let pull = |arguments: &[&str]| good(arguments).request.pull;
    assert_eq!(pull(&["tmp"]), PullPolicy::Missing);
    assert_eq!(pull(&["--pull=false", "tmp"]), PullPolicy::Missing); // CLI-35
    assert_eq!(pull(&["--pull=newer", "tmp"]), PullPolicy::Newer);
    assert_eq!(pull(&["--pull", "--pull=never", "tmp"]), PullPolicy::Never);
    bad(&["--pull=perhaps", "tmp"], "want always, missing, newer or never");
    let command = good(&["--expect-cached", "a:2", "--expect-cached=all", "--max-age=1d", "tmp"]);
    let rules = &command.request.cache_rules;
    let expected: Vec<String> = rules.expect_cached.iter().map(ToString::to_string).collect();
    assert_eq!(expected, ["a:2", "all"]);
    assert_eq!(rules.max_age.len(), 1);
    assert!(rules.no_cache_from.is_empty());
    bad(&["--expect-cached", "a:", "tmp"], "names no step");
    bad(&["--max-age", "1y", "tmp"], "no age");
}

#[test]
fn outputs_and_names_go_together() {
    let kinds = |arguments: &[&str]| -> Vec<OutputKind> {
        good(arguments).request.outputs.iter().map(|output| output.kind).collect()
    };
    assert_eq!(kinds(&["tmp"]), []);
    assert_eq!(kinds(&["--push", "-t", "a", "tmp"]), [OutputKind::Registry]); // OUT-04
    assert_eq!(kinds(&["--load", "tmp"]), [OutputKind::Engine]);
    assert_eq!(kinds(&["--platform=amd64,arm64", "tmp"]), [OutputKind::Image]); // OUT-40
    assert_eq!(kinds(&["-t", "a", "--push", "-o", "type=image", "tmp"]), [OutputKind::Registry]);
    let both = [OutputKind::Local, OutputKind::Registry];
    assert_eq!(kinds(&["-o", "out", "--push", "-t", "a", "tmp"]), both);
    bad(&["--push", "tmp"], "tag is needed when pushing to registry"); // ERR-74
    bad(&["-t", "X", "tmp"], "invalid tag \"X\": invalid reference format"); // ERR-75
    bad(&["-o", "-", "-o", "type=oci", "tmp"], "multiple outputs to standard output"); // OUT-05
    assert_eq!(good(&["-t", "a", "-t", "a:latest", "tmp"]).request.tags.len(), 1);
    let named = good(&["-t", "a", "-o", "type=image,\"name=a,b\"", "-o", "type=oci,name=c", "tmp"]);
    assert_eq!(named.request.tags.len(), 2); // OUT-07
}

#[test]
fn attestations_of_a_name_are_made_with_it() {
    let kinds = |arguments: &[&str]| -> Vec<OutputKind> {
        good(arguments).request.outputs.iter().map(|output| output.kind).collect()
    };
    assert_eq!(kinds(&["--sbom", "-t", "a", "tmp"]), [OutputKind::Image]);
    assert_eq!(kinds(&["--provenance", "-t", "a", "tmp"]), [OutputKind::Image]);
    assert_eq!(kinds(&["--provenance=false", "-t", "a", "tmp"]), []);
    assert_eq!(kinds(&["--sbom", "tmp"]), []);
    assert_eq!(
        kinds(&["--sbom", "-t", "a", "-o", "type=local,dest=o", "tmp"]),
        [OutputKind::Local]
    );
}

#[test]
fn annotations_go_to_all_outputs() {
    let annotated = |arguments: &[&str]| -> Vec<(OutputKind, usize)> {
        let outputs = good(arguments).request.outputs;
        outputs.iter().map(|o| (o.kind, o.annotations.manifest.len())).collect()
    };
    assert_eq!(annotated(&["--annotation", "a=b", "tmp"]), [(OutputKind::Image, 1)]);
    let both = ["-o", "type=oci,annotation.a=c,annotation.d=e", "-o", "-", "tmp"];
    bad(&both, "multiple outputs to standard output");
    let both =
        ["--annotation", "a=b", "-o", "type=oci,annotation.a=c,annotation.d=e", "-o", "x", "tmp"];
    assert_eq!(annotated(&both), [(OutputKind::Oci, 2), (OutputKind::Local, 1)]);
    bad(&["--annotation", "a", "tmp"], "invalid annotation \"a\", expected key=value");
}

#[test]
fn caches_are_read_from_both_flags() {
    let request = |arguments: &[&str]| good(arguments).request;
    let both = ["--cache-from", "a,b", "--cache-from=", "--cache-to", "type=inline", "tmp"];
    let both = request(&both);
    assert_eq!((both.cache_from.len(), both.cache_to.len()), (2, 1)); // CIO-01
    let inline = |more: &[&str]| {
        let arguments = [more, &["tmp"]].concat();
        request(&arguments).cache_to.len()
    };
    assert_eq!(inline(&["--build-arg", "BUILDKIT_INLINE_CACHE=1"]), 1); // CIO-06
    assert_eq!(inline(&["--build-arg", "BUILDKIT_INLINE_CACHE=1", "--cache-to=type=inline"]), 1);
    assert_eq!(inline(&["--build-arg", "BUILDKIT_INLINE_CACHE=0"]), 0);
    bad(&["--cache-to", "type=nfs", "tmp"], "unknown cache exporter: \"nfs\"");
}

#[test]
fn what_has_no_effect_is_said() {
    let warned = |arguments: &[&str]| good(arguments).warnings.len();
    assert_eq!(warned(&["--compress", "--force-rm", "-D", "--builder", "x", "tmp"]), 0); // CLI-46, CLI-48
    assert_eq!(warned(&["--squash", "--isolation", "hyperv", "--security-opt", "a", "tmp"]), 3);
    assert_eq!(warned(&["--provenance=false", "--sbom=false", "tmp"]), 0);
    let attested = ["--provenance", "--sbom", "--attest", "type=sbom", "tmp"];
    assert_eq!(warned(&[&attested[..], &["-t", "a"]].concat()), 0); // ATT-01
    assert_eq!(warned(&attested), 1);
    assert_eq!(warned(&["--sbom", "--load", "tmp"]), 1);
    assert_eq!(warned(&["--provenance=inline-only=true", "--load", "tmp"]), 0);
    bad(&["--policy", "p", "tmp"], "--policy is not supported yet");
}

#[test]
fn modes_are_checked() {
    let method = |arguments: &[&str]| good(arguments).call.method;
    assert_eq!(method(&["--check", "tmp"]), Method::Check);
    assert_eq!(method(&["--check=false", "tmp"]), Method::Build);
    assert_eq!(method(&["--call=build", "--check", "tmp"]), Method::Check);
    assert_eq!(method(&["--call=check", "tmp"]), Method::Check);
    assert_eq!(method(&["--print", "outline", "tmp"]), Method::Outline); // CLI-52
    assert_eq!(good(&["--progress", "rawjson", "tmp"]).display, Display::RawJson);
    let sandbox = good(&["--network=sandbox", "tmp"]);
    assert_eq!((sandbox.request.plan.network, sandbox.require_network), (Network::Default, true));
    bad(&["--call=image", "tmp"], "unsupported method of --call: image");
    bad(&["--progress", "loud", "tmp"], "invalid progress");
    bad(&["--progress", "tty", "tmp"], "needs a terminal");
    bad(&["--network", "mine", "tmp"], "network mode \"mine\" not supported");
    bad(&["--no-cache", "--no-cache-filter", "a", "tmp"], "cannot currently be used together");
}

#[test]
fn named_contexts_are_found() {
    let command =
        good(&["--build-context", "src=tmp", "--build-context=b=docker-image://busybox", "tmp"]);
    assert_eq!(command.request.plan.contexts.len(), 2);
    assert_eq!(command.request.context_dirs.get("src").map(|dir| &**dir), Some(Path::new("/tmp")));
    bad(&["--build-context", "x", "tmp"], "invalid context value: x, expected key=value"); // NCTX-13
    bad(&["--build-context", "x=no/dir", "tmp"], "failed to get build context x");
}

#[test]
fn standard_input_is_read_once_and_handed_on() {
    let copy = Arc::new(tempfile::tempfile().expect("a temporary file"));
    std::io::Write::write_all(&mut &*copy, b"FROM scratch").expect("room for it");
    let around = Surroundings { stdin_copy: Some(copy), ..around() };
    let build = |arguments: &[&str]| {
        let typed = Cli::try_parse_from(["shale", "build"].iter().chain(arguments)).expect("good");
        let Command::Build(typed) = typed.command else { unreachable!("it is a build") };
        build_command(&typed, &DockerConfig::default(), &around).expect("good")
    };
    let command = build(&["-f", "-", "tmp"]);
    assert!(command.stdin.is_some());
    let DockerfileInput::Text(text) = command.request.dockerfile else { panic!("a text") };
    assert_eq!(&*text, b"FROM scratch");
    assert!(matches!(build(&["-"]).request.context, ContextInput::Stream(_)));
    assert!(build(&["tmp"]).stdin.is_none());
}

#[test]
fn a_wrong_value_names_its_flag_and_the_remedy() {
    let check = |arguments: &[&str], want: &str, hint: &str| {
        let error = parse(&[arguments, &["tmp"]].concat()).map(|_| ()).expect_err(want);
        assert_eq!((&*error.message, &*error.hint.unwrap_or_default()), (want, hint));
    };
    check(
        &["--secret", "tok"],
        "invalid field 'tok' must be a key=value pair (in --secret tok)",
        "write id=tok,src=FILE or id=tok,env=VARIABLE",
    );
    check(
        &["--secret=id=npmrc,scr=x"],
        "unexpected key 'scr' in 'scr=x' (did you mean src?) (in --secret id=npmrc,scr=x)",
        "the keys are id, src, source, env, type",
    );
    check(
        &["--ssh", "tmp"],
        "invalid empty ssh agent socket for tmp: make sure SSH_AUTH_SOCK is set (in --ssh tmp)",
        "tmp is a file here: write --ssh default=tmp",
    );
    let forms = CONTEXT_FORMS;
    check(
        &["--build-context", "foo=no/such"],
        "failed to get build context foo: /no/such does not exist (in --build-context foo=no/such)",
        forms,
    );
    check(
        &["--build-context", "foo=etc/passwd"],
        "failed to get build context foo: /etc/passwd is not a directory (in --build-context \
         foo=etc/passwd)",
        forms,
    );
    let error = parse(&["-o", "type=oci,dets=x", "tmp"]).map(|_| ()).expect_err("no attribute");
    let want =
        "unknown output attribute \"dets\" (did you mean dest?) (in --output type=oci,dets=x)";
    assert_eq!(error.message, want);
}
