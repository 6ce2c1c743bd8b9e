//! Instructions that change the config, and history texts.

use super::*;

#[test]
fn bases() {
    check("FROM scratch", &request(), r#"{"WorkingDir":"/"}"#, &[]); // FROM-07
    check("FROM plain", &request(), r#"{"Cmd":["sh"]}"#, &[]); // FROM-10
    let full = concat!(
        r#"{"User":"app","ExposedPorts":{"80/tcp":{}},"Env":["B=b c"],"Entrypoint":["/e"],"Cmd":["x"],"#,
        r#""Volumes":{"/v":{}},"WorkingDir":"/srv","Labels":{"a":"1"},"StopSignal":"SIGQUIT","#,
        r#""Healthcheck":{"Test":["CMD","true"]},"Shell":["/bin/ash","-c"]}"#
    );
    check("FROM full", &request(), full, &[]); // FROM-08, IMG-04
    check("FROM full AS a\nFROM a", &request(), full, &[]); // FROM-09
    let env = |text: &str| lowered(text, &request()).graph.targets[0].config.config.env.clone();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env("FROM scratch"), [path]); // FROM-18
    assert_eq!(env("FROM nopath"), ["ONLY=this", path]);
    assert_eq!(env("FROM plain\nENV PATH=$PATH:/x"), ["PATH=/bin:/x"]); // EXP-83
    let author = lowered("FROM full", &request()).graph.targets[0].config.author.clone();
    assert_eq!(author.as_deref(), Some("A")); // MAINT-02
}

#[test]
fn env_label_arg() {
    check(
        "FROM scratch\nENV a=1 b=$a\nENV a 2  3\nENV b=$a c='$a' \"$b\"=x",
        &request(),
        r#"{"Env":["a=2  3","b=2  3","c=$a","=x"],"WorkingDir":"/"}"#, // EXP-72, ENV-02, ENV-06
        &["(ENV a=1 b=)", "(ENV a=2  3)", "(ENV b=2  3 c=$a =x)"],
    );
    check(
        "FROM plain\nENV A=env\nARG A=arg\nENV B=$A",
        &request(),
        r#"{"Env":["A=env","B=arg"],"Cmd":["sh"]}"#, // EXP-71
        &["(ENV A=env)", "(ARG A=arg)", "(ENV B=arg)"],
    );
    check(
        "FROM full\nARG X=1\nLABEL \"a b\"=$X a=2",
        &LowerRequest { labels: vec![("a".to_owned(), "cli".to_owned())], ..request() }, // LABEL-03
        concat!(
            r#"{"User":"app","ExposedPorts":{"80/tcp":{}},"Env":["B=b c"],"Entrypoint":["/e"],"Cmd":["x"],"#,
            r#""Volumes":{"/v":{}},"WorkingDir":"/srv","Labels":{"a":"cli","a b":"1"},"StopSignal":"SIGQUIT","#,
            r#""Healthcheck":{"Test":["CMD","true"]},"Shell":["/bin/ash","-c"]}"#
        ),
        &["(ARG X=1)", "(LABEL a b=1 a=2)"],
    );
}

#[test]
fn argument_values() {
    let text = "ARG G=global\nARG U\nFROM plain\nARG a=$b b=2 c=$b\nARG G\nARG U\nARG G=own\nRUN x";
    let run = "RUN |5 a= b=2 c=2 G=own U= /bin/sh -c x # buildkit";
    let history = ["ARG a= b=2 c=2", "ARG G=global", "ARG U", "ARG G=own", run]; // EXP-73, EXP-76
    check_history(text, &request(), &history);
    let given = with_args(&[("G", "$x"), ("U", "u"), ("N", "n"), ("a", "old"), ("a", "${")]); // EXP-77, ARG-09
    let run = "RUN |5 a=${ b=2 c=2 G=$x U=u /bin/sh -c x # buildkit";
    check_history(text, &given, &["ARG a=${ b=2 c=2", "ARG G=$x", "ARG U=u", "ARG G=$x", run]);
    // A child stage has its parent's arguments (EXP-82); one declared again without value stays what it was.
    let text = "FROM plain AS a\nARG A=base\nFROM a\nARG A\nRUN x";
    let run = "RUN |1 A=base /bin/sh -c x # buildkit";
    check_history(text, &request(), &["ARG A=base", "ARG A", run]);
    // An ENV that comes later decides (RUN-06 shows the value in effect).
    let text = "FROM plain\nARG A=1\nENV A=2\nRUN x";
    let run = "RUN |1 A=2 /bin/sh -c x # buildkit";
    check_history(text, &request(), &["ARG A=1", "ENV A=2", run]);
}

#[test]
fn predefined_arguments() {
    let arm = with_platforms(&["linux/arm/v7"]);
    let text = "FROM scratch\nARG TARGETPLATFORM\nARG BUILDARCH TARGETVARIANT TARGETSTAGE";
    let history = [
        "ARG TARGETPLATFORM=linux/arm/v7",
        "ARG BUILDARCH=amd64 TARGETVARIANT=v7 TARGETSTAGE=default",
    ];
    check_history(text, &arm, &history); // EXP-90, EXP-94
    check_history(
        "FROM scratch AS One\nARG TARGETSTAGE TARGETARCH",
        &LowerRequest { target: Some("oNe".to_owned()), ..with_args(&[("TARGETARCH", "x")]) },
        &["ARG TARGETSTAGE=oNe TARGETARCH=x"], // EXP-93
    );
    let Op::Run(run) = last_op(
        "FROM plain\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nARG http_proxy\nRUN x",
        &with_args(&[("HTTP_PROXY", "upper"), ("http_proxy", "lower"), ("NO_PROXY", "n")]),
    ) else {
        panic!("not a RUN")
    };
    let pair = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    assert_eq!(run.env, [("PATH", "/bin"), ("http_proxy", "lower")].map(pair)); // EXP-97, EXP-100
    let proxies = [("HTTP_PROXY", "lower"), ("NO_PROXY", "n"), ("no_proxy", "n")]; // EXP-96
    assert_eq!(run.proxy_env, proxies.map(pair));
}

fn last_op(text: &str, request: &LowerRequest) -> Op {
    lowered(text, request).graph.vertices.pop().expect("there is a vertex").op
}

#[test]
fn commands() {
    check(
        "FROM plain\nENTRYPOINT [\"a\", \"b \\\"c\\\"\"]\nCMD d $e",
        &request(),
        r#"{"Entrypoint":["a","b \"c\""],"Cmd":["/bin/sh","-c","d $e"],"ArgsEscaped":true}"#,
        &["(ENTRYPOINT [\"a\" \"b \\\"c\\\"\"])", "(CMD [\"/bin/sh\" \"-c\" \"d $e\"])"], // CMD-03
    );
    check(
        "FROM plain\nCMD a\nENTRYPOINT [\"x\"]\nCMD []",
        &request(),
        r#"{"Entrypoint":["x"],"ArgsEscaped":true}"#, // CMD-02
        &["(CMD [\"/bin/sh\" \"-c\" \"a\"])", "(ENTRYPOINT [\"x\"])", "(CMD [])"],
    );
    // A CMD of the base or of the parent stage is cleared (ENTRY-02).
    let text = "FROM plain AS a\nCMD [\"own\"]\nFROM a\nENTRYPOINT x";
    let history = ["(CMD [\"own\"])", "(ENTRYPOINT [\"/bin/sh\" \"-c\" \"x\"])"];
    check(text, &request(), r#"{"Entrypoint":["/bin/sh","-c","x"],"ArgsEscaped":true}"#, &history);
    check(
        "FROM scratch\nSHELL [\"/b\", \"-c\"]\nCMD x\nHEALTHCHECK --interval=90s --retries=2 CMD x y",
        &request(),
        concat!(
            r#"{"Cmd":["/b","-c","x"],"WorkingDir":"/","ArgsEscaped":true,"Healthcheck":{"Test":["CMD-SHELL","x y"],"#,
            r#""Interval":90000000000,"Retries":2},"Shell":["/b","-c"]}"#
        ),
        &[
            "(SHELL [/b -c])", // SHELL-02
            "(CMD [\"/b\" \"-c\" \"x\"])",
            "(HEALTHCHECK {Test:[CMD-SHELL x y] Interval:1m30s Timeout:0s StartPeriod:0s \
             StartInterval:0s Retries:2})", // HEAL-06
        ],
    );
}

#[test]
fn other_settings() {
    check(
        "FROM scratch\nARG P='81 82/UDP'\nUSER a b\nVOLUME [\"/a\", \"/b/\"]\nEXPOSE 90 $P 0\n\
         STOPSIGNAL rtmin+3\nONBUILD RUN <<E\nx\nE\nMAINTAINER \"me\" $P",
        &request(),
        concat!(
            r#"{"User":"a b","ExposedPorts":{"0/tcp":{},"81/tcp":{},"82/udp":{},"90/tcp":{}},"#,
            r#""Volumes":{"/a":{},"/b/":{}},"WorkingDir":"/","StopSignal":"rtmin+3","OnBuild":["RUN <<E\nx\nE"]}"#
        ),
        &[
            "(ARG P=81 82/UDP)",
            "(USER a b)",
            "(VOLUME [/a /b/])",                     // VOL-04
            "(EXPOSE [81/tcp 82/udp 0/tcp 90/tcp])", // EXPO-06
            "(STOPSIGNAL rtmin+3)",
            "(MAINTAINER \"me\" $P)", // MAINT-01; ONBUILD leaves nothing (ONB-03)
        ],
    );
    check(
        "FROM full\nUSER $NO\nEXPOSE $NO\nHEALTHCHECK NONE",
        &request(),
        concat!(
            r#"{"ExposedPorts":{"80/tcp":{}},"Env":["B=b c"],"Entrypoint":["/e"],"Cmd":["x"],"#,
            r#""Volumes":{"/v":{}},"WorkingDir":"/srv","Labels":{"a":"1"},"StopSignal":"SIGQUIT","#,
            r#""Healthcheck":{"Test":["NONE"]},"Shell":["/bin/ash","-c"]}"#
        ),
        &[
            "(USER )",     // USER-01
            "(EXPOSE [])", // EXPO-04
            "(HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0})",
        ],
    );
}

#[test]
fn working_directories() {
    check(
        "FROM scratch\nWORKDIR /wd/x/\nWORKDIR ..\nWORKDIR $NO\nWORKDIR a b\nWORKDIR /",
        &request(),
        r#"{"WorkingDir":"/"}"#,
        // WDIR-02, WDIR-03, WDIR-08, WDIR-09
        &["WORKDIR /wd/x/", "WORKDIR /wd", "WORKDIR /wd", "WORKDIR /wd/a b", "(WORKDIR /)"],
    );
    check_vertices(
        "FROM full\nWORKDIR /../up/\nCOPY f .\nCOPY f g",
        &request(),
        &[
            "0 [1/4] FROM docker.io/library/full:latest: image full",
            "1 [2/4] WORKDIR /../up/ on 0: mkdir /up \"app\"", // WDIR-05
            "2 [internal] load build context: local \"\"",
            "3 [3/4] COPY f . on 1: copy 2:f to /up/", // COPY-30
            "4 [4/4] COPY f g on 3: copy 2:f to /up/g",
        ],
    );
}

#[test]
fn epoch() {
    let Op::Mkdir(mkdir) =
        last_op("FROM scratch\nWORKDIR /w", &with_args(&[("SOURCE_DATE_EPOCH", "7")]))
    else {
        panic!("not a WORKDIR")
    };
    assert_eq!(mkdir.epoch, Some(7)); // WDIR-10
    let epoch = |text: &str, request: &LowerRequest| lowered(text, request).epoch;
    let text = "ARG SOURCE_DATE_EPOCH=5\nFROM scratch";
    assert_eq!(epoch(text, &request()), Some(5)); // EPO-01
    assert_eq!(epoch(text, &with_args(&[("SOURCE_DATE_EPOCH", "6")])), Some(6));
    assert_eq!(epoch(text, &LowerRequest { epoch: Some(8), ..request() }), Some(8));
    assert_eq!(epoch(text, &with_args(&[("SOURCE_DATE_EPOCH", "")])), None); // EPO-02
    let context = with_args(&[("SOURCE_DATE_EPOCH", "context")]);
    assert_eq!(epoch(text, &context), None); // EPO-04
    let context = LowerRequest { context_epoch: Some(9), ..context };
    let history = ["ARG SOURCE_DATE_EPOCH=9", "RUN |1 SOURCE_DATE_EPOCH=9 x # buildkit"]; // EPO-06
    check_history("FROM scratch\nARG SOURCE_DATE_EPOCH\nRUN [\"x\"]", &context, &history);
    let nothing = with_args(&[("SOURCE_DATE_EPOCH", "context")]);
    let history = ["ARG SOURCE_DATE_EPOCH=", "RUN |1 SOURCE_DATE_EPOCH= x # buildkit"];
    check_history("FROM scratch\nARG SOURCE_DATE_EPOCH\nRUN [\"x\"]", &nothing, &history);
}

#[test]
fn epochs_of_sources() {
    let epoch = |text: &str, value: &str, contexts: &[&str]| {
        let LowerRequest { contexts, .. } = with_contexts(contexts);
        let request = with_args(&[("SOURCE_DATE_EPOCH", value), ("X", "http://h/14")]);
        let built = build(text, &LowerRequest { contexts, ..request });
        built.map(|lowered| lowered.epoch).map_err(|errors| errors[0].message.clone())
    };
    let ok = |text: &str, value: &str, contexts: &[&str], want: Option<i64>| {
        assert_eq!(epoch(text, value, contexts), Ok(want), "{text}");
    };
    let bad = |text: &str, value: &str, contexts: &[&str], want: &str| {
        assert_eq!(epoch(text, value, contexts), Err(want.to_owned()), "{text}");
    };
    let last = "\nFROM scratch";
    let stage = |body: &str| format!("FROM scratch AS Src\n{body}{last}");
    ok(&stage("ADD http://h/11 /"), "src", &[], Some(11)); // EPO-05
    ok(&stage("ADD http://h/x/12.git#v1 /"), "SRC", &[], Some(12));
    ok(&stage("ARG V=13\nADD http://h/$V /"), "src", &[], Some(13));
    ok(&stage("ARG X\nADD ${X} /"), "src", &[], Some(14));
    ok(&stage("ADD http://h/none /"), "src", &[], None);
    bad(
        &stage("ADD http://h/x /"),
        "src",
        &[],
        "cannot find the time for SOURCE_DATE_EPOCH: http://h/x is gone",
    );
    let name = "SOURCE_DATE_EPOCH stage";
    bad(&format!("FROM plain AS src{last}"), "src", &[], &format!("{name} must use FROM scratch"));
    let one = format!("{name} must contain exactly one remote ADD");
    bad(&stage(""), "src", &[], &one);
    bad(&stage("ADD http://h/1 /\nADD http://h/2 /"), "src", &[], &one);
    bad(&stage("ADD http://h/1 http://h/2 /"), "src", &[], &format!("{one} source"));
    bad(
        &stage("ADD file /"),
        "src",
        &[],
        &format!("{name} source must be a single HTTP(S) or Git ADD"),
    );
    let run = format!("{name} does not meet source-only requirements: unsupported env instruction");
    bad(&stage("ENV a=b\nADD http://h/1 /"), "src", &[], &run);
    ok("FROM scratch", "ctx", &["ctx=http://h/21"], Some(21));
    ok("FROM scratch", "ctx", &["ctx=http://h/22.git"], Some(22));
    ok("FROM scratch", "ctx", &["ctx=docker-image://plain"], None);
    ok(&stage("ADD http://h/11 /"), "src", &["src=http://h/23"], Some(23));
    bad("FROM scratch", "foo", &[], "invalid SOURCE_DATE_EPOCH: foo"); // EPO-03
}
