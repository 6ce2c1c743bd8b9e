//! What RUN, COPY and ADD become.

use super::*;

/// The vertices behind `FROM plain` and the build context, for one instruction.
#[track_caller]
fn check_one(text: &str, want: &str) {
    let lowered = lowered(&format!("FROM plain\nARG V=val\nENV E=env\n{text}"), &request());
    let got = dump_op(&lowered.graph.vertices.last().expect("there is a vertex").op);
    assert_eq!(got, want, "{text}");
}

#[test]
fn copies() {
    check_one("COPY a b* /d/", "copy 1:a 1:b** to /d/"); // COPY-20
    check_one("COPY $V ${E} /d", "copy 1:val 1:env to /d"); // EXP-46
    check_one("COPY [\"a $V\", \"/w w\"]", "copy 1:a val to /w w"); // COPY-02
    check_one("COPY $NO ./x/.", "copy 1:/ to /x/"); // COPY-16, COPY-31
    check_one("COPY a[b] /x", "copy 1:a[b]* to /x");
    check_one("COPY --parents --exclude=*.o a/./b /x", "copy 1:a/./b^! to /x");
    check_one(
        "COPY --chown=$V:g --chmod=0755 a /",
        "copy 1:a to // chown val Some(\"g\") chmod 755",
    );
    check_one("COPY --chown=$NO --chmod=$NO a /b", "copy 1:a to /b");
    check_one("COPY --chown=5: --link a /b", "copy 1:a to /b chown 5 Some(\"\") link"); // COPY-54
    check_one("COPY --link --chmod=u+x,g=u a /b", "copy 1:a to /b chmod 2 changes"); // COPY-84
    check_one("COPY --from=scratch / /b", "copy 1:/ to /b"); // COPY-75
    check_one(
        "COPY <<F <<'G' a /d/\n$V \"\\$V\"\nF\n$V\nG",
        "copy 1:a <<F \"val \\\"$V\\\"\\n\" <<G \"$V\\n\" to /d/", // COPY-113, EXP-60, EXP-61, EXP-63
    );
    check_one("COPY <<F <<F /d/\n1\nF\n2\nF", "copy <<F \"2\\n\" to /d/"); // LEX-113
}

#[test]
fn copy_history() {
    let text = "FROM plain AS a\nFROM plain\nARG V=f\nCOPY --from=a --chown=1:2 --chmod=600 /e ./x\n\
                COPY --link --parents --exclude=x f $V /z/\nADD --chown=app $V /y\nCOPY <<A b /d/\nA";
    check_history(
        text,
        &request(),
        &[
            "ARG V=f",
            "COPY --chown=1:2 --chmod=600 /e ./x # buildkit", // COPY-04
            "COPY --parents f f /z/ # buildkit",
            "ADD --chown=app f /y # buildkit",
            "COPY b <<A /d/ # buildkit",
        ],
    );
}

#[test]
fn adds() {
    check_one("ADD a.tar /x", "copy 1:a.tar~ to /x"); // ADD-10
    check_one("ADD --unpack=false a.tar /x", "copy 1:a.tar to /x"); // ADD-22
    let vertices = |text: &str, want: &[&str]| {
        let lowered = lowered(&format!("FROM plain\n{text}"), &request());
        let got: Vec<String> = lowered.graph.vertices[1..].iter().map(dump).collect();
        assert_eq!(got, want, "{text}");
    };
    vertices(
        "ADD http://h/a%20b?q f https://h/x.git#v1 /d/",
        &[
            "1 http://h/a%20b?q: http http://h/a%20b?q a b", // ADD-31
            "2 [internal] load build context: local \"\"",
            "3 https://h/x.git#v1: git https://h/x.git", // ADD-50
            "4 [2/2] ADD http://h/a%20b?q f https://h/x.git#v1 /d/ on 0: copy 1: 2:f~ 3:/ to /d/",
        ],
    );
    vertices(
        "ADD github.com/o/x /d",
        &[
            "1 [internal] load build context: local \"\"",
            "2 [2/2] ADD github.com/o/x /d on 0: copy 1:github.com/o/x~ to /d",
        ],
    );
}

#[test]
fn remote_sources_of_add() {
    let op = |flags: &str, source: &str| {
        let text = format!("FROM plain\nADD {flags} {source} /d");
        lowered(&text, &request()).graph.vertices.swap_remove(1).op
    };
    let Op::Git(git) = op("--checksum=ab --keep-git-dir=true", "git@h:o/x.git?#r:s") else {
        panic!("not git")
    };
    assert_eq!((git.checksum.as_deref(), git.keep_git_dir, &*git.subdir), (Some("ab"), true, "s"));
    let sum = Digest::of(b"x");
    let Op::Http(http) = op(&format!("--checksum={sum}"), "http://h/f") else { panic!("not http") };
    assert_eq!(http.checksum, Some(sum)); // ADD-39
}

#[test]
fn runs() {
    check_one("RUN echo $V", "run [\"/bin/sh\", \"-c\", \"echo $V\"]"); // EXP-50
    check_one("RUN [\"a\", \"$V\"]", "run [\"a\", \"$V\"]");
    check_one("SHELL [\"/b\"]\nRUN x", "run [\"/b\", \"x\"]"); // RUN-14
    check_one("RUN <<E\na $V\nb\nE", "run [\"/bin/sh\", \"-c\", \"a $V\\nb\\n\"]"); // LEX-115, LEX-118
    check_one("RUN <<E\n#!/x\ny\nE", "run [\"/bin/sh\", \"-c\", \"/dev/pipes/E\"]"); // LEX-116
    check_one("RUN cat <<E >f\na\nE", "run [\"/bin/sh\", \"-c\", \"cat <<E >f\\na\\nE\"]"); // LEX-117
    check_history(
        "FROM plain\nRUN --network=none <<E\n#!/x\ny\nE",
        &request(),
        &["RUN /bin/sh -c /dev/pipes/E # buildkit"], // RUN-08, RUN-09
    );
}

#[test]
fn what_a_run_gets() {
    let mut request = with_args(&[("BUILDKIT_SANDBOX_HOSTNAME", "box")]);
    request.add_hosts.push(("db".to_owned(), "10.0.0.1".to_owned()));
    request.network = graph::Network::None;
    let text = "FROM full\nUSER web\nWORKDIR sub\nARG A=1 N\nENV B=2\nRUN <<E\n#!/x\nE\nRUN --network=default y";
    let vertices = lowered(text, &request).graph.vertices;
    let run = |at: usize| match &vertices[at].op {
        Op::Run(run) => run.clone(),
        op => panic!("{op:?}"),
    };
    let first = run(2);
    let pair = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    assert_eq!(first.env, [("PATH", "/bin"), ("A", "1"), ("B", "2")].map(pair)); // XENV-01, EXP-79
    assert_eq!((&*first.user, &*first.workdir), ("web", "/srv/sub"));
    assert_eq!(first.scripts[0].name, "E");
    assert_eq!(&*first.scripts[0].content, b"#!/x\n");
    assert_eq!(first.hostname.as_deref(), Some("box")); // XENV-04
    assert_eq!(first.extra_hosts, [pair(("db", "10.0.0.1"))]);
    assert_eq!(first.network, graph::Network::None); // RUN-22
    assert_eq!(run(3).network, graph::Network::None); // the word is no flag
}

#[test]
fn mounts() {
    let check = |flags: &str, want: &str| {
        check_one(
            &format!("WORKDIR /w\nRUN {flags} x"),
            &format!("run [\"/bin/sh\", \"-c\", \"x\"] {want}"),
        );
    };
    check("--mount=target=$V,rw", "[/w/val rw bind 3:/src]"); // MNT-09, MNT-10
    check("--mount=type=cache", "[/w rw cache :. Shared]");
    check("--mount=type=cache,target=/a//b/,sharing=locked", "[/a/b rw cache :/a/b Locked]"); // MNT-31
    check("--mount=type=cache,target=c,ro", "[/w/c ro cache :c Shared]");
    check(
        "--mount=type=cache,id=i,target=/a,uid=5,mode=700",
        "[/a rw cache :i (Some(5), None, Some(448)) Shared]",
    ); // MNT-32
    check("--mount=type=cache,target=/a,from=arm,source=s", "[/a rw cache :/a Shared 2:/s]"); // MNT-34
    check("--mount=type=tmpfs,target=/t,size=1m", "[/t rw tmpfs Some(1048576)]"); // MNT-50
    check("--mount=type=secret,id=a", "[/run/secrets/a ro secret a None 400 false]"); // MNT-61
    check("--mount=required,type=secret,src=d/a", "[/run/secrets/a ro secret d/a None 400 true]"); // MNT-06
    check("--mount=type=secret,id=a,env=X", "[ ro secret a Some(\"X\") 400 false]"); // MNT-62
    check("--mount=type=secret,target=t/a,mode=440", "[/w/t/a ro secret a None 440 false]"); // MNT-60
    check(
        "--mount=type=ssh --mount=type=ssh,id=k,target=/s --mount=type=ssh,id=l", // MNT-80
        "[/run/buildkit/ssh_agent.0 ro ssh default 600] [/s ro ssh k 600] \
         [/run/buildkit/ssh_agent.2 ro ssh l 600]",
    );
    let text = "FROM plain\nRUN --mount=type=ssh,target=/s x\nENV SSH_AUTH_SOCK=own\nRUN --mount=type=ssh x";
    let sockets: Vec<Option<String>> = lowered(text, &request()).graph.vertices[1..]
        .iter()
        .map(|vertex| match &vertex.op {
            Op::Run(run) => {
                run.env.iter().find(|(n, _)| n == "SSH_AUTH_SOCK").map(|(_, v)| v.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(sockets, [Some("/s".to_owned()), Some("own".to_owned())]); // MNT-81
}

#[test]
fn names_hide_secrets() {
    let text = "FROM plain\nENV TOKEN=old\nRUN --mount=type=secret,id=t,env=TOKEN curl $TOKEN";
    let vertices = lowered(text, &request()).graph.vertices;
    let name = &vertices[1].origin.name;
    assert_eq!(name, "[2/2] RUN --mount=type=secret,id=t,env=TOKEN curl ****"); // MNT-69
}

#[test]
fn users_of_urls_are_hidden() {
    let text = "FROM plain\nARG T=secret\nADD https://$T@h/f https://u:secret@h/r.git /";
    let lowered = lowered(text, &request());
    let graph = &lowered.graph;
    for vertex in &graph.vertices {
        assert!(!vertex.origin.name.contains("secret@"), "{}", vertex.origin.name);
    }
    let said = graph.targets[0].history.iter().map(|entry| entry.created_by.as_str());
    let said: Vec<&str> = said.filter(|text| text.starts_with("ADD")).collect();
    assert_eq!(said, ["ADD https://h/f https://h/r.git / # buildkit"]);
}

#[test]
fn cache_namespace() {
    let request = with_args(&[("BUILDKIT_CACHE_MOUNT_NS", "ns")]); // CACHE-45
    let lowered = lowered("FROM plain\nRUN --mount=type=cache,target=/a x", &request);
    assert!(dump(&lowered.graph.vertices[1]).ends_with("[/a rw cache ns:/a Shared]"));
}
