//! The base images that cases stand on, made here and pushed to the run's registry: a busybox in many dresses.
//!
//! Owns what is in them, and finds out later which of them an image stands on.

use serde_json::{Value, json};
use testkit::rootfs::TarBuilder;

use super::image::{Cache, Image, history, sha256};
use super::push::Remote;
use super::tree::Tree;

/// 2020-01-01T00:00:00Z, the time of all files.
const STAMP: u64 = 1_577_836_800;
const CREATED: &str = "2020-01-01T00:00:00Z";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const APPLETS: &str = "[ arch ash awk base64 basename bunzip2 bzcat bzip2 cat chgrp chmod chown chroot cmp cp cpio \
    crc32 cut date dd df diff dirname dos2unix du echo ed egrep env expand expr factor false \
    fgrep find fold free getopt grep groups gunzip gzip head hexdump hostid hostname id ifconfig \
    install ip kill less link ln ls lzcat md5sum mkdir mkfifo mknod mktemp more mount mv nc \
    netstat nice nl nohup nproc od paste patch printenv printf ps pwd readlink realpath reset \
    rev rm rmdir sed seq setpriv setsid sh sha1sum sha256sum sha512sum shuf sleep sort split \
    stat strings stty su sum sync tac tail tar tee test time timeout touch tr true truncate tty \
    umount uname unexpand uniq unix2dos unlink unshare unxz unzip uptime usleep uudecode \
    uuencode vi wc wget which who whoami xargs xxd xz xzcat yes zcat";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
adm:x:3:4:adm:/var/adm:/bin/false
web:x:1500:1500:web:/srv:/bin/sh
app:x:1234:2345:app user:/home/app:/bin/sh
4242:x:4300:4301:a name made of digits:/:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";

const GROUP: &str = "root:x:0:
daemon:x:1:
adm:x:4:app
web:x:1500:
app:x:2345:
extra:x:3000:web,app
5252:x:5300:
nogroup:x:65534:
";

/// The bases of a run.
pub(super) struct Bases {
    known: Vec<Known>,
    /// Tree of the busybox alone.
    busybox: Tree,
}

/// What recognizes an image of the registry, and its tree.
struct Known {
    history: Vec<(String, bool)>,
    diff_ids: Vec<String>,
    tree: Tree,
}

impl Bases {
    /// One base alone, for tests of what is judged by it.
    #[cfg(test)]
    pub(super) fn of_one(history: Vec<(String, bool)>, diff_ids: Vec<String>, tree: Tree) -> Bases {
        Bases { known: vec![Known { history, diff_ids, tree }], busybox: Tree::default() }
    }

    /// The tree of the longest base that an image's layers begin with. An image that stands on none and still has a
    /// busybox was copied together from one.
    pub(super) fn tree_below(&self, image: &Image) -> Option<&Tree> {
        let ids = image.diff_ids();
        let fits = |base: &&Known| !base.diff_ids.is_empty() && ids.starts_with(&base.diff_ids);
        let longest = self.known.iter().filter(fits).max_by_key(|base| base.diff_ids.len());
        longest.map(|base| &base.tree).or_else(|| self.tree_like(&image.tree))
    }

    /// The busybox's tree, where files alone have to be judged.
    pub(super) fn tree_like(&self, files: &Tree) -> Option<&Tree> {
        files.get("/bin/busybox").is_some().then_some(&self.busybox)
    }

    /// How many entries of a history are the base's.
    pub(super) fn history_below(&self, entries: &[(String, bool)]) -> usize {
        let fits = |base: &&Known| entries.starts_with(&base.history);
        self.known.iter().filter(fits).map(|base| base.history.len()).max().unwrap_or(0)
    }
}

/// Makes all bases and pushes them. Panics without busybox.
pub(super) fn push(address: &str, cache: &Cache) -> Bases {
    let mut maker = Maker {
        remote: Remote { address: address.to_owned() },
        cache,
        known: Vec::new(),
        squeezed: Vec::new(),
    };
    let busybox = busybox_layer();
    plain_ones(&mut maker, &busybox);
    with_triggers(&mut maker, &busybox);
    with_configs(&mut maker, &busybox);
    of_platforms(&mut maker, &busybox);
    Bases { known: maker.known, busybox: Tree::of_archive(&busybox).unwrap() }
}

fn plain_ones(maker: &mut Maker<'_>, busybox: &[u8]) {
    for name in ["busybox", "busybox-docker2", "busybox-plain", "busybox-zstd"] {
        let mut image = Draft::busybox(name, busybox);
        image.encoding = match name {
            "busybox-plain" => "none",
            "busybox-zstd" => "zstd",
            _ => "gzip",
        };
        image.is_docker = name == "busybox-docker2";
        maker.push(image);
    }
    for (tag, flavour) in [("v1", "one"), ("v2", "two")] {
        let mut image = Draft::busybox("busybox", busybox);
        image.tag = tag;
        image.config["Env"] = json!([PATH, format!("FLAVOUR={flavour}")]);
        maker.push(image);
    }
    let mut nothing = Draft::busybox("nothing", busybox);
    nothing.layers.clear();
    nothing.config = json!({"Env": [PATH], "Labels": {"no": "layers"}});
    nothing.history = vec![("no layers at all", true)];
    maker.push(nothing);
    let mut stacked = Draft::busybox("stacked", busybox);
    stacked.layers.extend(stacked_layers());
    stacked.history.extend([("data one", false), ("data two", false), ("data three", false)]);
    maker.push(stacked);
}

fn with_triggers(maker: &mut Maker<'_>, busybox: &[u8]) {
    let triggers: [(&str, &[&str]); 3] = [
        (
            "busybox-onbuild",
            &[
                "ENV FROM_TRIGGER=yes",
                "RUN echo first-trigger >> /trigger-log",
                "COPY trigger.txt /trigger.txt",
                "RUN echo second-trigger $FROM_TRIGGER >> /trigger-log",
            ],
        ),
        (
            "busybox-onbuild-from",
            &[
                "COPY --from=parts /part.txt /part.txt",
                "ARG COLOUR=plain",
                "RUN echo colour=$COLOUR > /colour",
            ],
        ),
        ("busybox-onbuild-bad", &["RUN exit 9"]),
    ];
    for (name, lines) in triggers {
        let mut image = Draft::busybox(name, busybox);
        image.config["OnBuild"] = json!(lines);
        maker.push(image);
    }
}

fn with_configs(maker: &mut Maker<'_>, busybox: &[u8]) {
    let mut full = Draft::busybox("busybox-cfg", busybox);
    full.config = json!({
        "Env": [PATH, "BASE_A=base a", "BASE_B=b=with=equals", "BASE_EMPTY="],
        "Entrypoint": ["/bin/busybox", "env"], "Cmd": ["sh", "-c", "echo base"],
        "User": "app", "WorkingDir": "/srv/base",
        "Labels": {"base.label": "from base", "shared": "base"},
        "ExposedPorts": {"8080/tcp": {}, "5353/udp": {}}, "Volumes": {"/vol-base": {}},
        "StopSignal": "SIGQUIT", "Shell": ["/bin/ash", "-e", "-c"],
        "Healthcheck": {
            "Test": ["CMD", "true"], "Interval": 5_000_000_000_u64, "Timeout": 1_000_000_000, "Retries": 4
        },
    });
    full.author = Some("Base Author <base@example.test>");
    maker.push(full);
    let mut no_path = Draft::busybox("busybox-nopath", busybox);
    no_path.config = json!({"Env": ["ONLY=this"], "Cmd": ["/bin/sh"]});
    maker.push(no_path);
}

fn of_platforms(maker: &mut Maker<'_>, busybox: &[u8]) {
    let foreign = |name: &str| {
        let tar = TarBuilder::new().at(STAMP).dir("etc", 0o755);
        tar.file("etc/arch", 0o644, format!("{name}\n").as_bytes()).dir("tmp", 0o1777).finish()
    };
    let native = || TarBuilder::new().at(STAMP).file("etc/arch", 0o644, b"amd64\n").finish();
    let other = |repository, tag, layer, platform, env| {
        let mut image = Draft::busybox(repository, busybox);
        image.tag = tag;
        image.layers = vec![layer];
        image.config = json!({ "Env": env });
        image.history = vec![("arch", false)];
        image.platform = platform;
        image
    };
    let v8 = ("arm64", Some("v8"));
    let amd64 = |repository| {
        let mut image = Draft::busybox(repository, busybox);
        image.tag = "amd64";
        image.layers.push(native());
        image.history.push(("arch", false));
        image
    };
    let arm_env = json!([PATH, "ON_ARM=yes"]);
    let children = [
        maker.push(amd64("multi")),
        maker.push(other("multi", "arm64", foreign("arm64"), v8, arm_env)),
        maker.push(other("multi", "armv7", foreign("arm/v7"), ("arm", Some("v7")), json!([PATH]))),
    ];
    let index = "application/vnd.oci.image.index.v1+json";
    let document = json!({"schemaVersion": 2, "mediaType": index, "manifests": children});
    maker.remote.manifest("multi", "latest", &document);

    let mut docker = amd64("multi-docker2");
    docker.is_docker = true;
    let child = maker.push(docker);
    let index = "application/vnd.docker.distribution.manifest.list.v2+json";
    let document = json!({"schemaVersion": 2, "mediaType": index, "manifests": [child]});
    maker.remote.manifest("multi-docker2", "latest", &document);
    maker.push(other("only-arm", "latest", foreign("arm64"), v8, json!([PATH])));
}

/// An image to be made.
struct Draft {
    repository: &'static str,
    tag: &'static str,
    layers: Vec<Vec<u8>>,
    config: Value,
    history: Vec<(&'static str, bool)>,
    author: Option<&'static str>,
    /// `gzip`, `zstd` or `none`.
    encoding: &'static str,
    /// With docker's media types.
    is_docker: bool,
    platform: (&'static str, Option<&'static str>),
}

impl Draft {
    fn busybox(repository: &'static str, layer: &[u8]) -> Draft {
        Draft {
            repository,
            tag: "latest",
            layers: vec![layer.to_vec()],
            config: json!({"Env": [PATH], "Cmd": ["sh"]}),
            history: vec![("busybox rootfs", false), ("CMD [\"sh\"]", true)],
            author: None,
            encoding: "gzip",
            is_docker: false,
            platform: ("amd64", None),
        }
    }

    fn config_document(&self) -> Value {
        let history = self.history.iter().map(|(by, empty)| {
            let mut entry = json!({"created": CREATED, "created_by": by});
            if *empty {
                entry["empty_layer"] = true.into();
            }
            entry
        });
        let mut document = json!({
            "architecture": self.platform.0, "config": self.config, "created": CREATED,
            "history": history.collect::<Vec<_>>(), "os": "linux",
            "rootfs": {
                "type": "layers",
                "diff_ids": self.layers.iter().map(|layer| sha256(layer)).collect::<Vec<_>>(),
            },
        });
        if let Some(variant) = self.platform.1 {
            document["variant"] = variant.into();
        }
        if let Some(author) = self.author {
            document["author"] = author.into();
        }
        document
    }

    fn media_type(&self, what: &str) -> String {
        let oci = "application/vnd.oci.image";
        let docker = "application/vnd.docker";
        let kind = match (what, self.is_docker) {
            ("manifest", true) => return format!("{docker}.distribution.manifest.v2+json"),
            ("config", true) => return format!("{docker}.container.image.v1+json"),
            ("layer", true) => return format!("{docker}.image.rootfs.diff.tar.gzip"),
            ("layer", false) if self.encoding == "none" => "layer.v1.tar".to_owned(),
            ("layer", false) => format!("layer.v1.tar+{}", self.encoding),
            (other, _) => format!("{other}.v1+json"),
        };
        format!("{oci}.{kind}")
    }
}

struct Maker<'a> {
    remote: Remote,
    cache: &'a Cache,
    known: Vec<Known>,
    /// Compressed layers by encoding and digest: most images share one.
    squeezed: Vec<((&'static str, String), Vec<u8>)>,
}

impl Maker<'_> {
    /// Pushes an image; returns its descriptor.
    fn push(&mut self, draft: Draft) -> Value {
        let config = draft.config_document();
        let raw = config.to_string().into_bytes();
        let mut layers = Vec::new();
        let mut tree = Tree::default();
        for layer in &draft.layers {
            let blob = self.squeeze(draft.encoding, layer);
            let digest = self.remote.blob(draft.repository, &blob);
            tree.apply(&self.cache.layer(&digest, &blob).unwrap().1).unwrap();
            let media_type = draft.media_type("layer");
            layers.push(json!({"mediaType": media_type, "digest": digest, "size": blob.len()}));
        }
        let digest = self.remote.blob(draft.repository, &raw);
        let media_type = draft.media_type("config");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": draft.media_type("manifest"),
            "config": {"mediaType": media_type, "digest": digest, "size": raw.len()},
            "layers": layers,
        });
        let (digest, size) = self.remote.manifest(draft.repository, draft.tag, &manifest);
        let diff_ids = draft.layers.iter().map(|layer| sha256(layer)).collect();
        self.known.push(Known { history: history(&config), diff_ids, tree });
        let mut platform = json!({"architecture": draft.platform.0, "os": "linux"});
        if let Some(variant) = draft.platform.1 {
            platform["variant"] = variant.into();
        }
        let media_type = draft.media_type("manifest");
        json!({"mediaType": media_type, "digest": digest, "size": size, "platform": platform})
    }

    fn squeeze(&mut self, encoding: &'static str, layer: &[u8]) -> Vec<u8> {
        let key = (encoding, sha256(layer));
        if let Some((_, blob)) = self.squeezed.iter().find(|(known, _)| *known == key) {
            return blob.clone();
        }
        let blob = match encoding {
            "gzip" => testkit::image::gzip(layer),
            "zstd" => zstd::encode_all(layer, 6).unwrap(),
            _ => layer.to_vec(),
        };
        self.squeezed.push((key, blob.clone()));
        blob
    }
}

fn busybox_layer() -> Vec<u8> {
    let program = testkit::rootfs::busybox().expect("busybox (package busybox-static) is there");
    let program = std::fs::read(program).unwrap();
    let mut tar = TarBuilder::new().at(STAMP);
    let directories = "bin dev etc home opt proc run sbin srv sys usr usr/bin usr/local usr/local/bin usr/sbin \
        var var/log";
    for directory in directories.split_whitespace() {
        tar = tar.dir(directory, 0o755);
    }
    tar = tar.dir("root", 0o700).owned_by(1234, 2345).dir("home/app", 0o750).owned_by(0, 0);
    tar = tar.dir("tmp", 0o1777).dir("var/tmp", 0o1777).file("bin/busybox", 0o755, &program);
    for applet in APPLETS.split_whitespace() {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.symlink("usr/bin/env", "../../bin/busybox")
        .file("etc/passwd", 0o644, PASSWD.as_bytes())
        .file("etc/group", 0o644, GROUP.as_bytes())
        .file("etc/hostname", 0o644, b"base\n")
        .finish()
}

/// Three layers with deletions, an opaque directory, hard links, and directories and files that trade places.
fn stacked_layers() -> [Vec<u8>; 3] {
    let start = || TarBuilder::new().at(STAMP).dir("data", 0o755);
    let text = |tar: TarBuilder, path: &str, text: &str| tar.file(path, 0o644, text.as_bytes());
    let mut one = start().dir("data/keep", 0o755);
    one = text(one, "data/keep/a", "a from one\n");
    one = text(one, "data/keep/b", "b from one\n").dir("data/opaque", 0o755);
    one = text(one, "data/opaque/old1", "old1\n").dir("data/opaque/sub", 0o755);
    one = text(one, "data/opaque/sub/old2", "old2\n");
    one = text(one, "data/gone", "gone\n").dir("data/wasdir", 0o755);
    one = text(one, "data/wasdir/x", "x\n");
    one = text(one, "data/wasfile", "f\n");
    one = text(one, "data/h1", "hard\n");
    one = one.hard_link("data/h2", 0o644, "data/h1").hard_link("data/h3", 0o644, "data/h1");

    let mut two = text(start(), "data/.wh.gone", "").dir("data/keep", 0o755);
    two = text(two, "data/keep/.wh.b", "");
    two = text(two, "data/wasdir", "now a file\n").dir("data/wasfile", 0o755);
    two = text(two, "data/wasfile/y", "y\n");
    two = text(two, "data/h2", "no longer linked\n");

    let mut three = text(start().dir("data/opaque", 0o755), "data/opaque/.wh..wh..opq", "");
    three = text(three, "data/opaque/new", "new\n").symlink("data/abs", "/data/keep");
    three = three.symlink("data/rel", "keep").symlink("data/dangling", "/no/such/place");
    three = three.dir("usr", 0o755).dir("usr/lib", 0o755).symlink("lib", "usr/lib");
    [one.finish(), two.finish(), text(three, "usr/lib/libx.so", "lib\n").finish()]
}
