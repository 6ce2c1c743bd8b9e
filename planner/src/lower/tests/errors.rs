//! What is refused, in which words and where (spec section 11).

use super::*;
use crate::Entitlement;

#[track_caller]
fn check_plain(instruction: &str, want: &str) {
    check_error(&format!("FROM plain AS me\n{instruction}"), &request(), want);
}

#[test]
fn from_lines() {
    check_error("FROM $NO", &request(), "1-1: base name ($NO) should not be blank"); // ERR-15
    check_error(
        "FROM a:b:c",
        &request(),
        "1-1: failed to parse stage name \"a:b:c\": invalid reference format", // ERR-16
    );
    check_error(
        "FROM --platform=$NO plain",
        &request(),
        "1-1: empty platform value from expression $NO", // ERR-17
    );
    check_error(
        "FROM --platform=$TARGETPLATFROM plain",
        &request(),
        "1-1: empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)",
    );
    check_error(
        "FROM scratch\nFROM --platform=bad/1/2/3/4 plain",
        &request(),
        "2-2: failed to parse platform bad/1/2/3/4: too many parts, want os/architecture/variant",
    );
    check_error(
        "FROM nosuch:1",
        &request(),
        "1-1: nosuch:1: failed to resolve source metadata for docker.io/library/nosuch:1: \
         no such repository: not found", // ERR-19
    );
    check_error(
        "ARG A=\"x\nFROM plain",
        &request(),
        concat!(
            "1-1: failed to process \"\\\"x\": unexpected end of statement while looking for ",
            "matching double-quote"
        ),
    ); // ERR-79
    let errors =
        build("FROM plain AS base\nFROM bass", &request()).map(|_| ()).expect_err("no image");
    assert_eq!(errors[0].help.as_deref(), Some("did you mean the stage base?")); // FROM-15
    for text in
        ["COPY --from=BASs /a /", "RUN --mount=from=bass,target=/b x", "COPY --from=far a b"]
    {
        let text = format!("FROM plain AS base\nFROM plain\n{}", text.replace("BASs", "bass"));
        let errors = build(&text, &request()).map(|_| ()).expect_err("no image");
        let help = (!text.contains("far")).then_some("did you mean the stage base?");
        assert_eq!(errors[0].help.as_deref(), help, "{text}");
        assert!(errors[0].message.ends_with("no such repository: not found"), "{errors:?}");
    }
}

/// Each of these would fill all memory: a value of 2 MiB is named again and again.
#[test]
fn values_that_grow_have_an_end() {
    let grow = format!("{{}} a=0123456789abcdef{}", "\n{} a=$a$a".repeat(17));
    let (arg, env) = (grow.replace("{}", "ARG"), grow.replace("{}", "ENV"));
    let many = |line: &str| (0..100).map(|n| line.replace('#', &n.to_string())).collect::<String>();
    let fails = |text: String| {
        let errors = build(&text, &request()).map(|_| ()).expect_err("too much");
        assert_eq!(errors[0].code, "too-large", "{}", errors[0].message);
    };
    fails(format!("FROM plain\n{env}{}", many("\nENV b#=$a")));
    fails(format!("FROM plain\n{env}\nENV{}", many(" b#=$a")));
    fails(format!("FROM plain\n{env}{}", many("\nRUN x")));
    fails(format!("FROM plain\n{arg}{}", many("\nLABEL b#=$a")));
    let stages = (0..100).map(|n| format!("\nFROM s{n} AS s{}", n + 1)).collect::<String>();
    fails(format!("FROM plain AS s0\n{env}{stages}"));
    fails(format!("{arg}{}\nFROM plain", many("\nARG b#=$a")));
    fails(format!("{arg}\nFROM plain\nARG{}", many(" a")));
    fails(format!("FROM plain\nEXPOSE{}", many(" 1-65535")));
}

#[test]
fn targets_and_arguments() {
    check_error(
        "FROM plain AS two\nRUN x",
        &with_target("tow"),
        "target stage \"tow\" could not be found (did you mean two?)", // STG-03
    );
    check_error(
        "FROM plain AS builder",
        &with_target("0"),
        "target stage \"0\" could not be found",
    );
    check_error(
        "FROM plain",
        &with_args(&[("SOURCE_DATE_EPOCH", "foo")]),
        "invalid SOURCE_DATE_EPOCH: foo", // ERR-69
    );
    let refused = build("FROM plain", &with_args(&[("BUILDKIT_DISABLE_FILEOP", "1")]));
    assert!(refused.is_err()); // EXP-102
}

#[test]
fn names_of_other_stages() {
    check_plain("COPY --from=me / /", "2-2: circular dependency detected on stage: me"); // COPY-72
    check_plain(
        "RUN --mount=from=me,target=/t x",
        "2-2: circular dependency detected on stage: me",
    );
    check_plain("COPY --from=9 / /", "2-2: invalid stage index 9"); // COPY-71
    check_error(
        "FROM plain\nCOPY --from=7 / /\nFROM plain",
        &request(),
        "2-2: invalid stage index 7", // even where nobody goes
    );
    check_error(
        "FROM plain AS a\nCOPY --from=b / /\nFROM plain AS b\nFROM a",
        &request(),
        "2-2: cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
    );
    check_error(
        "FROM plain AS a\nRUN --mount=from=b,target=/t x\nFROM plain AS b\nFROM a",
        &request(),
        "2-2: cannot mount from stage \"b\" to \"/t\", stage needs to be defined before current \
         command", // MNT-15
    );
    check_error(
        "FROM plain AS a\nCOPY --from=b / /\nFROM plain AS b\nCOPY --from=a / /\nFROM plain",
        &request(),
        "4-4: circular dependency detected on stage: b", // STG-07
    );
    check_plain(
        "ARG A=me\nCOPY --from=$A / /",
        "3-3: variable expansion is not supported for --from, define a new stage with FROM using \
         ARG from global scope as a workaround", // EXP-51
    );
    check_error(
        "FROM plain\nCOPY --from=INVALID / /",
        &request(),
        "2-2: failed to parse stage name \"INVALID\": invalid reference format: repository name \
         (library/INVALID) must be lowercase", // ERR-50
    );
    check_plain(
        "RUN --mount=from=nosuch,target=/t x",
        "2-2: nosuch: failed to resolve source metadata for docker.io/library/nosuch:latest: no \
         such repository: not found",
    );
}

#[test]
fn values() {
    check_plain("ENV A=${X:?msg}", "2-2: failed to process \"${X:?msg}\": X: msg"); // ERR-22
    check_plain("EXPOSE 80/foo", "2-2: invalid port: \"80/foo\": invalid proto: foo"); // ERR-61
    check_plain("STOPSIGNAL FOO", "2-2: invalid signal: FOO"); // ERR-62
    check_plain("STOPSIGNAL 0", "2-2: invalid signal: 0"); // STOP-01
    check_plain("STOPSIGNAL SIGRTMIN+16", "2-2: invalid signal: SIGRTMIN+16");
    check_plain("VOLUME /a $NO", "2-2: VOLUME specified can not be an empty string"); // VOL-01
    check_error(
        "FROM plain\nENV A=\"x",
        &request(),
        concat!(
            "2-2: failed to process \"\\\"x\": unexpected end of statement while looking for ",
            "matching double-quote"
        ),
    ); // ERR-21
    // Only where the target goes (LEX-16).
    lowered("FROM plain\nCOPY f ${X:?}\nEXPOSE foo\nRUN --mount=typ=x y\nFROM plain", &request());
}

#[test]
fn copies() {
    check_plain("COPY http://h/x /", "2-2: source can't be a URL for COPY"); // COPY-03
    check_plain("COPY git@h:x /", "2-2: source can't be a git ref for COPY");
    check_plain(
        "COPY --chmod=8 f /",
        "2-2: invalid chmod parameter: '8'. it should be octal string and between 0 and 07777",
    );
    check_plain(
        "COPY --chmod=u+z f /",
        "2-2: invalid chmod parameter: 'u+z': invalid syntax in 'u+z'",
    );
    check_plain(
        "COPY --chown=-1 f /",
        "2-2: invalid chown parameter: '-1'. an id cannot be negative",
    );
    check_plain(
        "COPY <<F /d\n${\nF",
        "2-4: failed to process \"${\\n\": syntax error: missing '}'",
    );
    // ADD-39, ADD-40, ADD-53 to ADD-55
    check_plain("ADD --checksum=sha256:1 f /", "2-2: checksum requires HTTP(S) or Git sources");
    check_plain(
        "ADD --checksum=sha256:1 http://h/a http://h/b /",
        "2-2: checksum can't be specified for multiple sources",
    );
    check_plain("ADD --checksum=md5:1 http://h/a /", "2-2: unsupported digest algorithm: md5:1");
    check_plain(
        "ADD --checksum=sha256:1 http://h/a /",
        "2-2: invalid checksum digest length: sha256:1",
    );
    check_plain("ADD https://h/x.git?foo=1 /", "2-2: unexpected query \"foo\"");
    check_plain(
        "ADD --keep-git-dir=true https://h/x.git?keep-git-dir=false /",
        "2-2: inconsistent keep-git-dir configuration",
    );
    check_plain(
        "ADD --checksum=ab https://h/x.git?commit=cd /",
        "2-2: checksum mismatch \"ab\" != \"cd\"",
    );
    check_plain(
        "ADD --checksum=xy https://h/x.git /",
        "2-2: invalid checksum xy for Git URL, expected hex commit hash",
    );
}

#[test]
fn mounts() {
    let check = |flag: &str, want: &str| {
        check_plain(&format!("RUN --mount={flag} x"), &format!("2-2: {want}"))
    };
    check("target", "invalid field 'target' must be a key=value pair"); // MNT-03
    check("typ=tmp", "unexpected key 'typ' in 'typ=tmp' (did you mean type?)"); // MNT-04
    check("type=tmp", "unsupported mount type \"tmp\" (did you mean tmpfs?)");
    check("target=/a,ro=foo", "invalid value for ro: foo"); // MNT-05
    check("type=secret,id=a,required=foo", "invalid value for required: foo");
    check("type=secret,id=a,mode=9", "invalid value 9 for mode");
    check("type=secret,id=a,uid=a", "invalid value a for uid");
    check("type=tmpfs,target=/a,size=zz", "invalid value for size: zz");
    check("target=/a,mode=7", "mode not allowed for \"bind\" type mounts"); // MNT-07
    check("type=cache,target=/a,size=1", "unexpected key 'size' for mount type 'cache'");
    check("target=/a,sharing=locked", "invalid cache sharing set for bind mount");
    check("target=/a,required", "unexpected key 'required' for mount type 'bind'");
    check("source=a", "invalid mount target \"/\""); // MNT-09
    let help = |flag: &str| {
        let errors = build(&format!("FROM plain\nRUN --mount={flag} x"), &request());
        errors.expect_err("no target")[0].help.clone()
    };
    let missing = "target= is missing: write type=cache,target=/DIRECTORY";
    assert_eq!(help("type=cache").as_deref(), Some(missing));
    assert_eq!(help("type=cache,target="), help("type=cache"));
    assert_eq!(help("type=cache,target=/"), None);
    check("type=cache,target=/a,sharing=foo", "unsupported sharing value \"foo\""); // MNT-33
    check("type=secret", "invalid secret mount. one of source, target required"); // MNT-60
    check("type=secret,id=a,src=b", "both source and id can't be set");
    check("type=secret,id=a,from=arm", "secret mount should not have a from"); // MNT-66
    check("type=ssh,src=a", "ssh does not support source"); // MNT-82
}

#[test]
fn rights() {
    check_plain("RUN --network=host x", "2-2: network.host is not allowed"); // ERR-42
    check_plain("RUN --security=insecure x", "2-2: security.insecure is not allowed");
    let allow = vec![Entitlement::NetworkHost, Entitlement::SecurityInsecure];
    let text = "FROM plain\nRUN --network=host --security=insecure x";
    lowered(text, &LowerRequest { allow, ..request() });
}

#[test]
fn run_27_devices() {
    let check = |flag: &str, want: &str| {
        check_plain(&format!("RUN --device={flag} x"), &format!("2-2: {want}"));
    };
    check("a,name=b", "device name already set to a");
    check("a=1,nane=b", "unexpected key 'nane' in 'nane=b' (did you mean name?)");
    check("a,b", "invalid field 'b' must be a key=value pair");
    check("a,required=perhaps", "invalid value for required: perhaps");
    check("required", "a device needs a name");
    let text = "FROM plain\nRUN --device=v.com/c=d,required --device=\"name=v.com/c\" x";
    let lowered = lowered(text, &request());
    let runs = lowered.graph.vertices.iter().filter_map(|vertex| match &vertex.op {
        graph::Op::Run(run) => Some(run.devices.clone()),
        _ => None,
    });
    let device = |name: &str, required| graph::DeviceName { name: name.to_owned(), required };
    let want = vec![device("v.com/c=d", true), device("v.com/c", false)];
    assert_eq!(runs.collect::<Vec<_>>(), [want]);
}

#[test]
fn triggers() {
    check_error(
        "FROM scratch AS x\nFROM badtrigger\nRUN y",
        &request(),
        "2-2: unknown flag: --nope",
    ); // ERR-67
    check_error(
        "FROM nest",
        &request(),
        "1-1: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", // ONB-01
    );
    let errors = build("FROM badtrigger", &request()).map(|_| ()).expect_err("a bad trigger");
    assert_eq!(errors[0].labels[0].text, "in the base's trigger `ONBUILD RUN --nope x`"); // D10
    check_error(
        "FROM plain AS a\nONBUILD FOO x\nFROM a",
        &request(),
        "3-3: unknown instruction: FOO (did you mean FROM?)", // ONB-02
    );
    // What lies in engines of this machine is not for whoever made the base.
    for (base, name) in [("taking", "docker-daemon:app:1"), ("mounting", "containers-storage:app")]
    {
        let want = format!("1-1: a trigger of the base cannot use {name}");
        check_error(&format!("FROM {base}"), &request(), &want);
    }
    // A trigger may find the way back to its own stage (ONB-07).
    check_error(
        "FROM trigger AS parts\nRUN x",
        &request(),
        "1-1: circular dependency detected on stage: parts",
    );
}
