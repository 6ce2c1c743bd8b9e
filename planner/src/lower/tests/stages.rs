//! Stages, triggers, named contexts, platforms.

use super::*;

#[test]
fn only_what_the_target_needs() {
    let text = "FROM nosuch AS unused\nRUN x\nFROM plain AS a\nRUN a\nFROM plain AS b\nCOPY --from=a /x /\n\
                FROM nosuch2\nRUN y";
    check_vertices(
        text,
        &with_target("B"), // STG-03
        &[
            "0 [a 1/2] FROM docker.io/library/plain:latest: image plain",
            "1 [a 2/2] RUN a on 0: run [\"/bin/sh\", \"-c\", \"a\"]",
            "2 [b 2/2] COPY --from=a /x / on 0: copy 1:/x to //", // STG-11: one FROM
        ],
    );
}

#[test]
fn names_of_stages() {
    // An earlier stage hides an image (FROM-04); a later one of the same name wins (FROM-05).
    let text = "FROM plain AS x\nRUN 1\nFROM scratch AS y\nCOPY --from=x / /\nCOPY --from=0 / /\nFROM full AS x\n\
                FROM x\nCOPY --from=Y / /";
    check_vertices(
        text,
        &request(),
        &[
            "0 [x 1/2] FROM docker.io/library/plain:latest: image plain",
            "1 [x 2/2] RUN 1 on 0: run [\"/bin/sh\", \"-c\", \"1\"]",
            "2 FROM scratch: scratch",
            "3 [y 1/2] COPY --from=x / / on 2: copy 1:/ to //",
            "4 [y 2/2] COPY --from=0 / / on 3: copy 1:/ to //", // COPY-73
            "5 [x 1/1] FROM docker.io/library/full:latest: image full",
            "6 [stage-3 1/1] COPY --from=Y / / on 5: copy 4:/ to //", // COPY-70
        ],
    );
    check_error(
        "FROM plain AS B\nFROM B",
        &request(),
        concat!(
            "2-2: failed to parse stage name \"B\": invalid reference format: ",
            "repository name (library/B) must be lowercase"
        ),
    ); // FROM-03
}

#[test]
fn triggers_of_images() {
    let text = "FROM plain AS parts\nRUN p\nFROM trigger\nRUN own";
    check(
        text,
        &request(),
        r#"{"Env":["T=yes"]}"#, // ONB-04
        &[
            "(ENV T=yes)",
            "COPY /p /p # buildkit",
            "RUN /bin/sh -c echo $T $V # buildkit", // ONB-10
            "RUN /bin/sh -c own # buildkit",
        ],
    );
    check_vertices(
        text,
        &request(),
        &[
            "0 [stage-1 1/4] FROM docker.io/library/trigger:latest: image trigger",
            "1 [parts 1/2] FROM docker.io/library/plain:latest: image plain", // ONB-07
            "2 [parts 2/2] RUN p on 1: run [\"/bin/sh\", \"-c\", \"p\"]",
            "3 [stage-1 2/4] ONBUILD COPY --from=parts /p /p on 0: copy 2:/p to /p",
            "4 [stage-1 3/4] ONBUILD RUN echo yes $V on 3: run [\"/bin/sh\", \"-c\", \"echo $T $V\"]",
            "5 [stage-1 4/4] RUN own on 4: run [\"/bin/sh\", \"-c\", \"own\"]",
        ],
    );
}

#[test]
fn triggers_of_stages_run_once() {
    let text = "FROM plain AS a\nONBUILD RUN echo $V\nFROM a AS b\nARG V=1\nFROM b\nRUN z"; // ONB-06
    let echo = "RUN /bin/sh -c echo $V # buildkit";
    let history = [echo, "ARG V=1", "RUN |1 V=1 /bin/sh -c z # buildkit"];
    check_history(text, &request(), &history);
    let on_build = |target: &str| {
        lowered(text, &with_target(target)).graph.targets[0].config.config.on_build.clone()
    };
    assert_eq!(on_build("a"), ["RUN echo $V"]);
    assert!(on_build("b").is_empty());
}

#[test]
fn named_contexts() {
    let request = with_contexts(&[
        "plain=docker-image://full",
        "a=dir",
        "web=http://h/f",
        "s=oci-layout://plain",
    ]);
    // The result of a stage is replaced, none of its instructions run (NCTX-17).
    check_vertices(
        "FROM plain AS a\nRUN x\nFROM plain\nCOPY --from=a f /\nCOPY --from=web / /w/\nCOPY --from=s / /",
        &request,
        &[
            "0 [context a] load from client: local \"a\"",
            "1 [context a] copy: copy 0:/ to //", // NCTX-07
            "2 [context plain] docker-image://docker.io/library/full:latest: image full", // NCTX-01
            "3 [stage-1 2/4] COPY --from=a f / on 2: copy 1:f to //",
            "4 http://h/f: http http://h/f context", // NCTX-09
            "5 [context web] load http://h/f: copy 4: to /context",
            "6 [stage-1 3/4] COPY --from=web / /w/ on 3: copy 5:/ to /w/",
            "7 [context s] oci-layout://plain: image plain", // NCTX-06
            "8 [stage-1 4/4] COPY --from=s / / on 6: copy 7:/ to //",
        ],
    );
    let request = with_contexts(&["x=dir", "unused=docker-image://nosuch"]); // NCTX-12
    check_vertices(
        "FROM scratch\nCOPY --from=x f /\nRUN --mount=from=x,source=d,target=/m y",
        &request,
        &[
            "0 FROM scratch: scratch",
            "1 [context x] load from client: local \"x\"",
            "2 [1/2] COPY --from=x f / on 0: copy 1:f to //",
            "3 [internal] copy /d for a mount: copy 1:/d to /src",
            "4 [2/2] RUN --mount=from=x,source=d,target=/m y on 2: run [\"/bin/sh\", \"-c\", \"y\"] \
             [/m ro bind 3:/src]",
        ],
    );
}

#[test]
fn several_platforms() {
    let request = with_platforms(&["linux/amd64", "linux/arm64", "linux/amd64"]); // PLAT-09
    let text = "FROM --platform=$BUILDPLATFORM plain AS tool\nRUN t\nFROM plain\nCOPY --from=tool /t /\nCOPY f /";
    check_vertices(
        text,
        &request,
        &[
            "0 [linux/amd64 tool 1/2] FROM docker.io/library/plain:latest: image plain",
            "1 [linux/amd64 tool 2/2] RUN t on 0: run [\"/bin/sh\", \"-c\", \"t\"]", // PLAT-10
            "2 [linux/amd64 stage-1 2/3] COPY --from=tool /t / on 0: copy 1:/t to //",
            "3 [internal] load build context: local \"\"",
            "4 [linux/amd64 stage-1 3/3] COPY f / on 2: copy 3:f to //",
            "5 [linux/arm64 stage-1 1/3] FROM docker.io/library/plain:latest: image plain",
            "6 [linux/arm64 stage-1 2/3] COPY --from=tool /t / on 5: copy 1:/t to //",
            "7 [linux/arm64 stage-1 3/3] COPY f / on 6: copy 3:f to //",
        ],
    );
    let lowered = lowered(text, &request);
    let targets: Vec<String> =
        lowered.graph.targets.iter().map(|target| target.platform.to_string()).collect();
    assert_eq!(targets, ["linux/amd64", "linux/arm64"]); // PLAT-07
}

#[test]
fn platform_of_the_result() {
    let platform = |text: &str, request: &LowerRequest| {
        let config = lowered(text, request).graph.targets[0].config.clone();
        (config.os.clone(), config.architecture.clone(), config.variant.clone())
    };
    let is = |os: &str, architecture: &str, variant: Option<&str>| {
        (os.to_owned(), architecture.to_owned(), variant.map(str::to_owned))
    };
    // PLAT-06, PLAT-14
    assert_eq!(platform("FROM arm", &request()), is("linux", "arm64", None));
    let amd = with_platforms(&["linux/amd64"]);
    assert_eq!(platform("FROM arm", &amd), is("linux", "amd64", None));
    let arm = with_platforms(&["linux/arm64"]);
    assert_eq!(platform("FROM arm", &arm), is("linux", "arm64", None));
    let v7 = with_platforms(&["linux/arm/v7"]);
    assert_eq!(platform("FROM scratch", &v7), is("linux", "arm", Some("v7"))); // PLAT-03
}

#[test]
fn images_to_fetch_ahead() {
    let text = "ARG V=full\nFROM nosuch AS unused\nFROM plain AS a\nFROM $V\nCOPY --from=a / /\nCOPY --from=arm / /\n\
                RUN --mount=from=nopath,target=/n x";
    let source = SourceText::new("Dockerfile", text);
    let parse = parser::parse(&source);
    let findings = Findings::new(&parse, &source, &request()).expect("no options");
    let outline = outline(&parse.dockerfile, &source, &request(), &findings).expect("a good file");
    let images: Vec<String> =
        outline.images().iter().map(|(reference, _)| reference.familiar_name()).collect();
    assert_eq!(images, ["plain", "full", "arm", "nopath"]); // FROM-16
}

#[test]
fn caches_that_are_not_used() {
    let text = "FROM plain AS a\nWORKDIR /w\nRUN x\nFROM plain\nCOPY --from=a /w /w";
    let forced = |request: &LowerRequest| -> Vec<u32> {
        let vertices = lowered(text, request).graph.vertices;
        vertices.iter().filter(|vertex| vertex.no_cache).map(|vertex| vertex.id.0).collect()
    };
    assert_eq!(forced(&LowerRequest { no_cache: true, ..request() }), [2, 3]); // CACHE-40, WDIR-13
    let filter = vec!["A".to_owned(), "stage-1".to_owned()];
    assert_eq!(forced(&LowerRequest { no_cache_filter: filter, ..request() }), [2]); // CACHE-41
}

#[test]
fn targets_as_contexts() {
    // NCTX-10: the result of a stage, its environment but not its arguments.
    let text = "FROM plain AS lib\nARG V=1\nENV E=2\nRUN x\nFROM base AS app\nRUN echo $V $E\n\
                FROM app\nCOPY --from=other f /";
    check_vertices(
        text,
        &with_contexts(&["base=target:lib", "other=input:LIB", "unused=target:nosuch"]),
        &[
            "0 [lib 1/2] FROM docker.io/library/plain:latest: image plain",
            "1 [lib 2/2] RUN x on 0: run [\"/bin/sh\", \"-c\", \"x\"]",
            "2 [app 2/2] RUN echo $V 2 on 1: run [\"/bin/sh\", \"-c\", \"echo $V $E\"]",
            "3 [stage-2 1/1] COPY --from=other f / on 2: copy 1:f to //",
        ],
    );
    // NCTX-11: what a context names is the stage itself, also when another context replaces it.
    check_vertices(
        "FROM plain AS a\nRUN a\nFROM plain AS b\nRUN b\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /",
        &with_contexts(&["a=target:b", "b=target:a"]),
        &[
            "0 [b 1/2] FROM docker.io/library/plain:latest: image plain",
            "1 [b 2/2] RUN b on 0: run [\"/bin/sh\", \"-c\", \"b\"]",
            "2 [a 2/2] RUN a on 0: run [\"/bin/sh\", \"-c\", \"a\"]",
            "3 FROM scratch: scratch",
            "4 [stage-2 1/2] COPY --from=a / / on 3: copy 1:/ to //",
            "5 [stage-2 2/2] COPY --from=b / / on 4: copy 2:/ to //",
        ],
    );
    let error = |text: &str, contexts: &[&str], want: &str| {
        check_error(text, &with_contexts(contexts), want);
    };
    let circular = "1-1: circular dependency detected on stage: app";
    error("FROM base AS app", &["base=target:app"], circular);
    let missing = "2-2: failed to find target lb for context x (did you mean lib?)";
    error("FROM scratch AS lib\nFROM x", &["x=target:lb"], missing);
}
