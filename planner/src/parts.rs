//! What of a vertex counts for its instruction digest, part by part, under names that people know.
//!
//! Owns the names. The bytes behind a part are those of [`crate::key`]: structs are taken apart completely here too,
//! and a test holds that two vertices have equal parts exactly when they have equal instruction digests. Refuses to
//! show a value: a part is its name and a digest, since values may be nobody's business (passwords in ENV).

use graph::{
    Copy, CopySource, DeviceName, GitSource, HttpSource, ImageSource, LocalSource, Mkdir, Mount,
    MountKind, Network, Op, Run, Security, Selection, Ulimit, Unpack, Vertex,
};
use oci::Digest;

use crate::key::{FORMAT_VERSION, KeyHash, KeyHasher};

/// A part of an instruction: `command`, `ENV FOO`, `--mount /cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What people call it.
    pub name: String,
    /// Digest of what it says.
    pub digest: Digest,
}

/// All parts of a vertex's instruction, in an order that is the same for equal instructions. A name may come several
/// times (two sources of one COPY).
pub fn parts(vertex: &Vertex) -> Vec<Part> {
    let Vertex { id: _, op, platform, below: _, origin: _, no_cache: _ } = vertex;
    let mut parts = Parts(Vec::new());
    parts.add(FORMAT, |hasher| hasher.number(FORMAT_VERSION));
    parts.add("platform", |hasher| platform.key_hash(hasher));
    match op {
        Op::Scratch => parts.kind("scratch"),
        Op::Image(image) => of_image(&mut parts, image),
        Op::Local(LocalSource { name }) => {
            parts.kind("context");
            parts.add("name", |hasher| hasher.text(name));
        }
        Op::Http(http) => of_http(&mut parts, http),
        Op::Git(git) => of_git(&mut parts, git),
        Op::Run(run) => of_run(&mut parts, run),
        Op::Copy(copy) => of_copy(&mut parts, copy),
        Op::Mkdir(mkdir) => of_mkdir(&mut parts, mkdir),
    }
    parts.0
}

/// The part that says by which rules keys are made: it changes with shale, not with the Dockerfile.
pub const FORMAT: &str = "shale's cache format";
/// The part that people see as the text of an instruction.
pub const COMMAND: &str = "command";

struct Parts(Vec<Part>);

impl Parts {
    fn add(&mut self, name: impl Into<String>, hash: impl FnOnce(&mut KeyHasher)) {
        let mut hasher = KeyHasher::new("part");
        hash(&mut hasher);
        self.0.push(Part { name: name.into(), digest: hasher.finish() });
    }

    fn kind(&mut self, kind: &'static str) {
        self.add("kind of instruction", |hasher| hasher.tag(kind));
    }

    fn text(&mut self, name: impl Into<String>, text: &str) {
        self.add(name, |hasher| hasher.text(text));
    }
}

fn of_image(parts: &mut Parts, image: &ImageSource) {
    let ImageSource { reference, origin: _, manifest, config: _ } = image;
    parts.kind("image");
    parts.text("reference", &reference.to_string());
    parts.add("manifest", |hasher| {
        hasher.option(manifest.as_ref(), |hasher, manifest| hasher.digest(manifest));
    });
}

fn of_http(parts: &mut Parts, http: &HttpSource) {
    let HttpSource { url, checksum, file_name } = http;
    parts.kind("http source");
    parts.text("URL", url);
    parts.add("--checksum", |hasher| {
        hasher.option(checksum.as_ref(), |hasher, digest| hasher.digest(digest));
    });
    parts.text("file name", file_name);
}

fn of_git(parts: &mut Parts, git: &GitSource) {
    let GitSource {
        remote,
        reference,
        subdir,
        checksum,
        keep_git_dir,
        submodules,
        commit_times,
        fetch_by_commit,
    } = git;
    parts.kind("git source");
    parts.text("repository", remote);
    parts.add("reference", |hasher| {
        hasher.option(reference.as_ref(), |hasher, text| hasher.text(text));
    });
    parts.text("directory", subdir);
    parts.add("--checksum", |hasher| {
        hasher.option(checksum.as_ref(), |hasher, text| hasher.text(text));
    });
    parts.add("--keep-git-dir", |hasher| hasher.flags(&[*keep_git_dir]));
    parts.add("submodules", |hasher| hasher.flags(&[*submodules]));
    parts.add("times", |hasher| hasher.flags(&[*commit_times]));
    parts.add("fetch by commit", |hasher| hasher.flags(&[*fetch_by_commit]));
}

fn of_run(parts: &mut Parts, run: &Run) {
    let Run {
        argv,
        env,
        workdir,
        user,
        mounts,
        scripts,
        network,
        security,
        devices,
        hostname,
        extra_hosts,
        ulimits,
        shm_size_bytes,
        cgroup_parent,
        proxy_env: _,
        limits: _,
    } = run;
    parts.kind("RUN");
    parts.add(COMMAND, |hasher| hasher.list(argv, |hasher, word| hasher.text(word)));
    for (name, value) in env {
        parts.add(format!("ENV {name}"), |hasher| {
            hasher.text(name);
            hasher.text(value);
        });
    }
    parts.text("WORKDIR", workdir);
    parts.text("USER", user);
    for mount in mounts {
        parts.add(format!("--mount {}", mount_name(mount)), |hasher| mount.key_hash(hasher));
    }
    for file in scripts {
        parts.add("heredoc's name", |hasher| file.key_hash(hasher));
    }
    parts.add("--network", |hasher| {
        hasher.tag(match network {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        });
    });
    parts.add("--security", |hasher| {
        hasher.tag(match security {
            Security::Sandbox => "sandbox",
            Security::Insecure => "insecure",
        });
    });
    devices.iter().for_each(|device| of_device(parts, device));
    parts.add("host name", |hasher| {
        hasher.option(hostname.as_ref(), |hasher, name| hasher.text(name));
    });
    for (name, _address) in extra_hosts {
        parts.text(format!("--add-host {name}"), name); // CACHE-11
    }
    for ulimit in ulimits {
        let Ulimit { name, soft: _, hard: _ } = ulimit;
        parts.add(format!("--ulimit {name}"), |hasher| ulimit.key_hash(hasher));
    }
    parts.add("--shm-size", |hasher| {
        hasher.option(shm_size_bytes.as_ref(), |hasher, size| hasher.number(*size));
    });
    parts.add("--cgroup-parent", |hasher| {
        hasher.option(cgroup_parent.as_ref(), |hasher, parent| hasher.text(parent));
    });
}

fn of_device(parts: &mut Parts, DeviceName { name, required }: &DeviceName) {
    parts.add(format!("--device {name}"), |hasher| {
        hasher.text(name);
        hasher.flags(&[*required]);
    });
}

/// Where it is mounted; a secret that is only a variable by that.
fn mount_name(mount: &Mount) -> &str {
    let Mount { target, read_only: _, kind } = mount;
    match kind {
        MountKind::Secret { id, env, .. } if target.is_empty() => env.as_deref().unwrap_or(id),
        _ => target,
    }
}

fn of_copy(parts: &mut Parts, copy: &Copy) {
    let Copy { sources, dest, dest_is_dir, chown, chmod, link } = copy;
    parts.kind("COPY");
    for source in sources {
        of_source(parts, source);
    }
    parts.add("destination", |hasher| {
        hasher.text(dest);
        hasher.flags(&[*dest_is_dir]);
    });
    parts.add("--link", |hasher| hasher.flags(&[*link]));
    parts.add("--chown", |hasher| {
        hasher.option(chown.as_ref(), |hasher, who| who.key_hash(hasher));
    });
    parts.add("--chmod", |hasher| {
        hasher.option(chmod.as_ref(), |hasher, mode| mode.key_hash(hasher));
    });
}

fn of_source(parts: &mut Parts, source: &CopySource) {
    let unpack_part = |parts: &mut Parts, unpack: &Unpack| {
        parts.add("unpacking", |hasher| {
            hasher.tag(match unpack {
                Unpack::No => "as files",
                Unpack::Archives => "unpacked",
            });
        });
    };
    match source {
        CopySource::Tree { input: _, selection, unpack } => {
            let Selection { path: _, wildcards: _, parents, exclude, itself: _ } = selection;
            let plain = Selection { parents: false, exclude: Vec::new(), ..selection.clone() };
            parts.add("source", |hasher| {
                hasher.tag("tree");
                // With --parents the whole path counts, else its last name.
                let named = if *parents { selection } else { &plain };
                crate::key::hash_named_selection(named, hasher);
            });
            parts.add("--parents", |hasher| hasher.flags(&[*parents]));
            for pattern in exclude {
                parts.text("--exclude", pattern);
            }
            unpack_part(parts, unpack);
        }
        CopySource::Http { input: _, unpack } => {
            parts.add("source", |hasher| hasher.tag("http"));
            unpack_part(parts, unpack);
        }
        CopySource::Inline(file) => {
            parts.add("heredoc's name", |hasher| file.key_hash(hasher));
        }
    }
}

fn of_mkdir(parts: &mut Parts, mkdir: &Mkdir) {
    let Mkdir { path, owner, epoch } = mkdir;
    parts.kind("WORKDIR");
    parts.text("path", path);
    parts.add("USER", |hasher| owner.key_hash(hasher));
    parts.add("SOURCE_DATE_EPOCH", |hasher| {
        hasher.option(epoch.as_ref(), |hasher, seconds| hasher.signed(*seconds));
    });
}
