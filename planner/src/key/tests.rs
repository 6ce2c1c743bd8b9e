//! The golden file, and which changes change a key.

use std::fmt::Write as _;

use graph::{ContentId, LayerId, Limits};
use oci::ChainId;

use super::*;

/// Set to write the golden file anew; the difference is then for people to judge.
const UPDATE: &str = "SHALE_UPDATE_KEYS";

fn vertex(op: Op) -> Vertex {
    Vertex {
        id: VertexId(9),
        op,
        platform: Platform::new("linux", "amd64", ""),
        below: Some(VertexId(0)),
        origin: graph::Origin::default(),
        no_cache: false,
    }
}

fn run() -> Run {
    Run {
        argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
        env: vec![("PATH".to_owned(), "/bin".to_owned()), ("A".to_owned(), "b".to_owned())],
        workdir: "/src".to_owned(),
        user: String::new(),
        mounts: Vec::new(),
        scripts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
        devices: Vec::new(),
        hostname: None,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        cgroup_parent: None,
        proxy_env: Vec::new(),
        limits: Limits::default(),
    }
}

fn run_with(change: impl FnOnce(&mut Run)) -> Vertex {
    let mut op = run();
    change(&mut op);
    vertex(Op::Run(op))
}

fn mount(kind: MountKind) -> Mount {
    Mount { target: "/m".to_owned(), read_only: true, kind }
}

fn mounted(kind: MountKind) -> Vertex {
    run_with(|run| run.mounts.push(mount(kind)))
}

fn cache(id: &str, sharing: CacheSharing, uid: Option<u32>) -> MountKind {
    MountKind::Cache {
        namespace: String::new(),
        id: id.to_owned(),
        sharing,
        input: None,
        source: "/".to_owned(),
        mode: None,
        uid,
        gid: None,
    }
}

fn secret(id: &str, required: bool) -> MountKind {
    let (env, mode, uid, gid) = (None, 0o400, 0, 0);
    MountKind::Secret { id: id.to_owned(), env, mode, uid, gid, required }
}

fn tree(path: &str) -> CopySource {
    let selection = Selection { path: path.to_owned(), ..Selection::default() };
    CopySource::Tree { input: VertexId(1), selection, unpack: Unpack::No }
}

fn inline(name: &str, content: &str) -> CopySource {
    CopySource::Inline(InlineFile { name: name.to_owned(), content: content.as_bytes().into() })
}

fn copy() -> Copy {
    Copy {
        sources: vec![tree("f")],
        dest: "/d".to_owned(),
        dest_is_dir: false,
        chown: None,
        chmod: None,
        link: false,
    }
}

fn copy_with(change: impl FnOnce(&mut Copy)) -> Vertex {
    let mut op = copy();
    change(&mut op);
    vertex(Op::Copy(op))
}

fn mkdir(path: &str, user: &str, epoch: Option<i64>) -> Vertex {
    let owner = Who { user: user.to_owned(), group: None };
    vertex(Op::Mkdir(Mkdir { path: path.to_owned(), owner, epoch }))
}

/// Vertices whose operation digests all differ.
fn different() -> Vec<(&'static str, Vertex)> {
    let mut vertices = vec![("scratch", vertex(Op::Scratch))];
    vertices.extend(different_runs());
    vertices.extend(different_mounts());
    vertices.extend(different_copies());
    vertices
}

fn different_runs() -> Vec<(&'static str, Vertex)> {
    let mut arm = vertex(Op::Run(run()));
    arm.platform = Platform::new("linux", "arm64", "");
    let ulimit = Ulimit { name: "nofile".to_owned(), soft: 1, hard: -1 };
    let script = InlineFile { name: "EOF".to_owned(), content: b"#!x".as_slice().into() };
    vec![
        ("run", vertex(Op::Run(run()))),
        ("run argv", run_with(|run| run.argv[2].push('x'))),
        (
            "run argv split",
            run_with(|run| run.argv = ["/bin/sh-c", "make"].map(str::to_owned).to_vec()),
        ),
        ("run env", run_with(|run| run.env[1].1.push('x'))),
        ("run env order", run_with(|run| run.env.swap(0, 1))), // CACHE-12
        ("run workdir", run_with(|run| run.workdir = "/".to_owned())),
        ("run user", run_with(|run| run.user = "web".to_owned())),
        ("run network", run_with(|run| run.network = Network::None)), // RUN-23
        ("run host network", run_with(|run| run.network = Network::Host)),
        ("run security", run_with(|run| run.security = Security::Insecure)),
        (
            "run device",
            run_with(|run| {
                run.devices.push(DeviceName { name: "v/c=d".to_owned(), required: false })
            }),
        ),
        ("run hostname", run_with(|run| run.hostname = Some("h".to_owned()))), // XENV-04
        ("run host", run_with(|run| run.extra_hosts.push(("h".to_owned(), "1.2.3.4".to_owned())))),
        ("run ulimit", run_with(|run| run.ulimits.push(ulimit))), // XENV-16
        ("run shm", run_with(|run| run.shm_size_bytes = Some(1))), // XENV-17
        ("run cgroup", run_with(|run| run.cgroup_parent = Some("c".to_owned()))),
        ("run script", run_with(|run| run.scripts.push(script))),
        ("run arm64", arm),
    ]
}

fn different_mounts() -> Vec<(&'static str, Vertex)> {
    vec![
        ("mount bind", mounted(MountKind::Bind { input: VertexId(1), source: "/a".to_owned() })),
        ("mount cache", mounted(cache("/a", CacheSharing::Shared, None))),
        ("mount cache uid", mounted(cache("/a", CacheSharing::Shared, Some(1)))), // CACHE-13
        ("mount tmpfs", mounted(MountKind::Tmpfs { size_bytes: None })),
        ("mount tmpfs size", mounted(MountKind::Tmpfs { size_bytes: Some(1) })),
        ("mount secret", mounted(secret("a", false))), // MNT-67
        ("mount secret id", mounted(secret("b", false))),
        ("mount secret required", mounted(secret("a", true))),
    ]
}

fn different_copies() -> Vec<(&'static str, Vertex)> {
    let who = |user: &str, group: Option<&str>| {
        Some(Who { user: user.to_owned(), group: group.map(str::to_owned) })
    };
    let chmod = |changes: &[ModeChange]| {
        copy_with(|copy| copy.chmod = Some(Mode::Symbolic(changes.to_vec())))
    };
    let class = |from, to, operator| ModeChange::Class { from, to, operator };
    vec![
        ("mkdir", mkdir("/w", "", None)), // WDIR-12
        ("mkdir path", mkdir("/x", "", None)),
        ("mkdir owner", mkdir("/w", "web", None)),
        ("mkdir epoch", mkdir("/w", "", Some(0))), // EPO-16
        ("copy", vertex(Op::Copy(copy()))),
        ("copy name", copy_with(|copy| copy.sources = vec![tree("g")])), // CACHE-23
        ("copy two", copy_with(|copy| copy.sources.push(tree("g")))),
        ("copy dest", copy_with(|copy| copy.dest = "/e".to_owned())),
        ("copy dest slash", copy_with(|copy| copy.dest_is_dir = true)),
        ("copy chown", copy_with(|copy| copy.chown = who("1", None))),
        ("copy chown group", copy_with(|copy| copy.chown = who("1", Some("")))),
        ("copy chmod", copy_with(|copy| copy.chmod = Some(Mode::Octal(0o644)))),
        ("copy chmod symbolic", chmod(&[ModeChange::Set(1), class(4, 7, '=')])), // COPY-63
        ("copy chmod clear", chmod(&[ModeChange::Clear(1), class(4, 7, '=')])),
        ("copy chmod execute", chmod(&[ModeChange::SetExecute(1), class(4, 7, '=')])),
        ("copy chmod class", chmod(&[ModeChange::Set(1), class(4, 7, '+')])),
        ("copy link", copy_with(|copy| copy.link = true)),
        ("copy heredoc", copy_with(|copy| copy.sources = vec![inline("f", "x")])), // COPY-114
        ("copy heredoc body", copy_with(|copy| copy.sources = vec![inline("f", "y")])),
        ("copy heredoc name", copy_with(|copy| copy.sources = vec![inline("g", "x")])),
        (
            "copy unpack",
            copy_with(|copy| {
                let CopySource::Tree { unpack, .. } = &mut copy.sources[0] else { return };
                *unpack = Unpack::Archives;
            }),
        ),
    ]
}

#[test]
fn golden_file() {
    let stack = StackIdentity {
        base: Some(ChainId(Digest::of(b"base"))),
        contents: vec![ContentId(Digest::of(b"layer"))],
    };
    let layers = Stack {
        base: Some((ChainId(Digest::of(b"base")), 1)),
        layers: vec![LayerId(1), LayerId(2)],
    };
    let selection = Selection { path: "/a/f".to_owned(), ..Selection::default() };
    let strong = InputIdentity::Strong(TreeDigest(Digest::of(b"tree")));
    let contents = [Digest::of(b"content")];
    let mut lines = String::new();
    for (name, vertex) in different() {
        let operation = operation_digest(&vertex, &contents);
        let short = |digest: Digest| digest.hex()[..24].to_owned();
        writeln!(
            lines,
            "{name}: {} {} {} {} {}",
            short(instruction_digest(&vertex).0),
            short(operation.0),
            short(cache_key(&operation, Some(&stack), &[strong]).0),
            short(cache_key(&operation, None, &[InputIdentity::Weak(&stack, &selection)]).0),
            short(near_key(&operation, Some(&layers), &[(&selection, &layers)]).0),
        )
        .expect("a string takes everything");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/keys/golden.txt");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &lines).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(path).expect("the golden file is there");
    assert_eq!(lines, golden, "a key changed; if it was meant to, run again with {UPDATE}=1");
}

#[test]
fn what_counts_makes_another_key() {
    let vertices = different();
    let digests: Vec<OperationDigest> =
        vertices.iter().map(|(_, vertex)| operation_digest(vertex, &[])).collect();
    for (at, digest) in digests.iter().enumerate() {
        let equal = digests[..at].iter().position(|other| other == digest);
        assert_eq!(equal.map(|other| vertices[other].0), None, "{}", vertices[at].0);
    }
    let vertex = vertex(Op::Copy(copy()));
    let one = operation_digest(&vertex, &[Digest::of(b"1")]);
    assert_ne!(one, operation_digest(&vertex, &[Digest::of(b"2")])); // CACHE-20
}

/// Parts tell apart exactly what instruction digests tell apart, so that a changed digest always has a changed part.
#[test]
fn parts_differ_when_the_instruction_does() {
    let mut vertices = different();
    // These have the digest of others: what differs counts later, or not at all.
    let proxy = ("http_proxy".to_owned(), "x".to_owned());
    vertices.push(("run proxy", run_with(|run| run.proxy_env.push(proxy))));
    vertices.push(("mount cache id", mounted(cache("/b", CacheSharing::Locked, None))));
    vertices.push(("copy path", copy_with(|copy| copy.sources = vec![tree("a/f")])));
    let exclude = |pattern: &str| {
        let selection = Selection {
            path: "a/f".to_owned(),
            exclude: vec![pattern.to_owned()],
            ..Selection::default()
        };
        let source = CopySource::Tree { input: VertexId(1), selection, unpack: Unpack::No };
        copy_with(|copy| copy.sources = vec![source])
    };
    vertices.push(("copy exclude", exclude("*.o")));
    vertices.push(("copy exclude other", exclude("*.a")));
    let parents = |path: &str| {
        let selection = Selection { path: path.to_owned(), parents: true, ..Selection::default() };
        let source = CopySource::Tree { input: VertexId(1), selection, unpack: Unpack::No };
        copy_with(|copy| copy.sources = vec![source])
    };
    vertices.push(("copy parents", parents("a/f")));
    vertices.push(("copy parents elsewhere", parents("b/f")));
    for (name, one) in &vertices {
        for (other_name, other) in &vertices {
            let same = instruction_digest(one) == instruction_digest(other);
            let parts_same = instruction_parts(one) == instruction_parts(other);
            assert_eq!(same, parts_same, "{name} and {other_name}");
        }
    }
}

#[test]
fn a_changed_part_has_the_name_that_people_know() {
    let changed = |one: &Vertex, other: &Vertex| {
        let (one, other) = (instruction_parts(one), instruction_parts(other));
        let new = other.iter().filter(|part| !one.contains(part));
        new.map(|part| part.name.clone()).collect::<Vec<_>>()
    };
    let plain = vertex(Op::Run(run()));
    let check = |want: &str, change: fn(&mut Run)| {
        assert_eq!(changed(&plain, &run_with(change)), [want]);
    };
    check("command", |run| run.argv[2].push('x'));
    check("ENV A", |run| run.env[1].1.push('x'));
    check("USER", |run| run.user.push('x'));
    check("WORKDIR", |run| run.workdir.push('x'));
    check("--network", |run| run.network = Network::None);
    check("--mount /m", |run| run.mounts.push(mount(MountKind::Tmpfs { size_bytes: None })));
    let copied = vertex(Op::Copy(copy()));
    let check = |want: &str, change: fn(&mut Copy)| {
        assert_eq!(changed(&copied, &copy_with(change)), [want]);
    };
    check("destination", |copy| copy.dest.push('x'));
    check("--chmod", |copy| copy.chmod = Some(Mode::Octal(0o600)));
    check("--link", |copy| copy.link = true);
}

#[test]
fn what_does_not_count_makes_the_same_key() {
    let check = |name: &str, a: &Vertex, b: &Vertex| {
        assert_eq!(operation_digest(a, &[]), operation_digest(b, &[]), "{name}");
    };
    let plain = vertex(Op::Run(run()));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let proxy = run_with(|run| run.proxy_env.push(pair("http_proxy", "x")));
    check("proxies (EXP-97)", &plain, &proxy);
    let limited = run_with(|run| run.limits.memory_bytes = Some(1));
    check("limits (XENV-17)", &plain, &limited);
    let host = |address| run_with(|run| run.extra_hosts.push(pair("h", address)));
    check("addresses (CACHE-11)", &host("1.1.1.1"), &host("2.2.2.2"));
    let shared = mounted(cache("/a", CacheSharing::Shared, None));
    let locked = mounted(cache("/b", CacheSharing::Locked, None));
    check("id and sharing of a cache (MNT-37)", &shared, &locked);
    let bind = |number, source: &str| {
        mounted(MountKind::Bind { input: VertexId(number), source: source.to_owned() })
    };
    check("numbers of vertices", &bind(1, "/a"), &bind(2, "/a"));
    check("path of a bind, which is an input's", &bind(1, "/a"), &bind(1, "/b"));
    let copy_of = |path: &str| copy_with(|copy| copy.sources = vec![tree(path)]);
    check("directories of the path (CACHE-23)", &copy_of("a/d"), &copy_of("b/d"));
    check("a slash at the end (CACHE-25)", &copy_of("d"), &copy_of("d/"));
    let mut moved = plain.clone();
    moved.id = VertexId(3);
    moved.below = None;
    moved.no_cache = true;
    moved.origin.name = "elsewhere".to_owned();
    check("place and origin (CACHE-01)", &plain, &moved);
}

#[test]
fn what_follows_a_dated_workdir_is_another_result() {
    let graph = |epoch| {
        let place = |vertex: Vertex, id, below: Option<u32>| Vertex {
            id: VertexId(id),
            below: below.map(VertexId),
            ..vertex
        };
        let vertices = vec![
            place(mkdir("/w", "", epoch), 0, None),
            place(vertex(Op::Run(run())), 1, Some(0)),
            place(vertex(Op::Copy(copy())), 2, Some(1)),
        ];
        Graph { vertices, ..Graph::default() }
    };
    let identity = |epoch, at: usize| {
        let graph = graph(epoch);
        dated(&graph, &graph.vertices[at], StackIdentity::default())
    };
    for at in [1, 2] {
        assert_ne!(identity(Some(1), at), identity(Some(2), at)); // WDIR-12
        assert_eq!(identity(None, at), StackIdentity::default());
    }
    assert_eq!(identity(Some(1), 0), identity(Some(2), 0));
}

#[test]
fn paths_count_where_only_the_stack_is_known() {
    let operation = operation_digest(&vertex(Op::Copy(copy())), &[]);
    let identity = StackIdentity::default();
    let stack = Stack::default();
    let selection = |path: &str| Selection { path: path.to_owned(), ..Selection::default() };
    let (a, b) = (selection("/a/f"), selection("/b/f"));
    let weak =
        |selection| cache_key(&operation, None, &[InputIdentity::Weak(&identity, selection)]);
    assert_ne!(weak(&a), weak(&b));
    let near = |selection| near_key(&operation, None, &[(selection, &stack)]);
    assert_ne!(near(&a), near(&b));
    assert_ne!(near_key(&operation, Some(&stack), &[]), near_key(&operation, None, &[]));
}

#[test]
fn downloads_and_commits() {
    let http =
        |checksum| HttpSource { url: "http://h/f".to_owned(), checksum, file_name: "f".to_owned() };
    let content = Digest::of(b"x");
    let time = |source: &HttpSource, time| http_content(source, content, time);
    assert_ne!(time(&http(None), Some("Mon")), time(&http(None), Some("Tue"))); // ADD-37
    let sure = http(Some(content));
    assert_eq!(time(&sure, Some("Mon")), time(&sure, None)); // ADD-41
    let git = |checksum: Option<&str>, keep_git_dir| GitSource {
        remote: "git://h/x".to_owned(),
        reference: None,
        subdir: String::new(),
        checksum: checksum.map(str::to_owned),
        keep_git_dir,
        submodules: true,
        commit_times: false,
        fetch_by_commit: false,
    };
    let commit = |source: &GitSource| git_content(source, "0123", &[]);
    assert_eq!(commit(&git(None, false)), commit(&git(Some("01"), false))); // ADD-56
    assert_ne!(commit(&git(None, false)), commit(&git(None, true))); // ADD-61
    let named = |keep| git_content(&git(None, keep), "0123", &["refs/tags/v1"]);
    assert_eq!(commit(&git(None, false)), named(false));
    assert_ne!(commit(&git(None, true)), named(true));
}
