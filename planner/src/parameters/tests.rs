//! What files can be given. Expected values follow the rules that the reference's outline has.

use parser::SourceText;

use super::*;
use crate::lower::tests::{FakeSources, request, with_args, with_target};
use crate::{Findings, LowerRequest, lower, outline};

fn parameters(text: &str, request: &LowerRequest) -> Parameters {
    let source = SourceText::new("Dockerfile", text);
    let parse = parser::parse(&source);
    let findings = Findings::new(&parse, &source, request).expect("no options");
    let outline = outline(&parse.dockerfile, &source, request, &findings).expect(text);
    lower(&outline, &FakeSources, &findings).expect(text).parameters
}

/// `line name=value (description)` of each argument.
#[track_caller]
fn check_arguments(text: &str, request: &LowerRequest, want: &[&str]) {
    let shown = parameters(text, request).arguments.into_iter().map(|argument| {
        let about = argument.description.map(|about| format!(" ({about})")).unwrap_or_default();
        format!("{} {}={}{about}", argument.lines.first, argument.name, argument.value)
    });
    assert_eq!(shown.collect::<Vec<_>>(), want, "{text}");
}

const FILE: &str = "\
ARG inherited=global
# sth is what is in the file
ARG sth=glob
ARG unused=1
# version is used by FROM
ARG version=1
ARG name=plain:$version
FROM plain AS build
# first is a number
ARG first=123${other} second
ENV v=$first
FROM $name AS target
ARG inherited
ARG first=9
COPY --from=build /a /
FROM plain AS others
ARG third=3
";

#[test]
fn arguments_that_count() {
    let target = |args: &[(&str, &str)]| LowerRequest {
        target: Some("target".to_owned()),
        ..with_args(args)
    };
    // CALL-09: of the target first, then of what it needs; global ones that FROM names or a stage lets in.
    check_arguments(
        FILE,
        &target(&[]),
        &[
            "1 inherited=global",
            "6 version=1 (is used by FROM)",
            "7 name=plain:1",
            "10 second=",
            "14 first=9",
        ],
    );
    check_arguments(
        FILE,
        &target(&[("second", "two"), ("name", "full"), ("inherited", "given"), ("sth", "x")]),
        &["7 name=full", "10 second=two", "13 inherited=given", "14 first=9"],
    );
    check_arguments(FILE, &request(), &["17 third=3"]);
    check_arguments(FILE, &with_target("build"), &["10 first=123 (is a number)", "10 second="]);
}

#[test]
fn arguments_that_name_themselves() {
    let text = "ARG a=1\nARG b=2\nARG b=${b}${a}\nARG b=${b}x\nFROM plain:$b";
    check_arguments(text, &request(), &["1 a=1", "4 b=21x"]);
    // Predefined ones have no line of their own.
    let text = "FROM --platform=$BUILDPLATFORM plain\nARG TARGETARCH\nARG TARGETOS=x";
    check_arguments(text, &request(), &["3 TARGETOS=x"]);
    let text = "ARG x=1\nFROM plain AS a\nARG y=$x\nFROM a\nARG x\nARG y";
    check_arguments(text, &request(), &["1 x=1", "6 y="]);
}

#[test]
fn mounts_that_count() {
    let text = "\
FROM plain AS first
RUN --mount=type=secret,target=/etc/token,required=true --mount=type=ssh true
FROM plain AS second
RUN --mount=type=secret,id=unused true
FROM plain AS third
ARG BAR
RUN --mount=type=secret,id=s${BAR} --mount=type=cache,target=/c --mount=type=tmpfs,target=/t true
FROM third AS target
COPY --from=first /a /
RUN --mount=type=ssh,id=key,required \\
    --mount=type=secret,id=s1,required=true --mount=type=bind,target=/b true
RUN --mount=type=ssh,id=key true
FROM second
";
    let args = [("BAR", "1"), ("BUILDKIT_CACHE_MOUNT_NS", "ns")];
    let request = LowerRequest { target: Some("target".into()), ..with_args(&args) };
    let found = parameters(text, &request);
    let access = |id: &str, is_required, first, last| Access {
        id: id.into(),
        is_required,
        lines: LineRange { first, last },
    };
    // CALL-10: required if any use is.
    assert_eq!(found.secrets, [access("token", true, 2, 2), access("s1", true, 10, 11)]);
    assert_eq!(found.agents, [access("default", false, 2, 2), access("key", true, 10, 11)]);
    assert_eq!(found.caches, [access("/c", false, 7, 7)]);
}

#[test]
fn the_target_says_what_it_is() {
    let text =
        "# App is wrong\n# app is the app\n# app twice\nFROM plain AS App\n# x\nFROM plain\n";
    let found = parameters(text, &with_target("APP"));
    assert_eq!(found.target.as_deref(), Some("app"));
    assert_eq!(found.description.as_deref(), Some("is the app")); // CALL-14
    let default = parameters(text, &request());
    assert_eq!((default.target, default.description), (None, None));
}

#[test]
fn triggers_ask_too() {
    let found = parameters("FROM plain AS parts\nARG p=1\nFROM trigger\nARG q", &request());
    let names: Vec<&str> = found.arguments.iter().map(|argument| &*argument.name).collect();
    assert_eq!(names, ["p", "q"]);
}
