//! The operations of vertices.

use std::sync::Arc;

use oci::{Digest, ImageConfig, Reference};

use crate::VertexId;

/// What a vertex does.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a graph has few vertices, most of them the large ones"
)]
#[allow(missing_docs, reason = "the payloads are documented")]
pub enum Op {
    /// An empty file system.
    Scratch,
    Image(ImageSource),
    Local(LocalSource),
    Http(HttpSource),
    Git(GitSource),
    Run(Run),
    Copy(Copy),
    Mkdir(Mkdir),
}

impl Op {
    /// The vertices, other than the one below, whose trees this operation reads, each once, in order of first use.
    pub fn inputs(&self) -> Vec<VertexId> {
        let mut inputs = Vec::new();
        let mut add = |id: VertexId| {
            if !inputs.contains(&id) {
                inputs.push(id);
            }
        };
        match self {
            Op::Run(run) => run.mounts.iter().filter_map(|m| m.kind.input()).for_each(&mut add),
            Op::Copy(copy) => copy.sources.iter().filter_map(CopySource::input).for_each(&mut add),
            Op::Scratch | Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Mkdir(_) => {
            }
        }
        inputs
    }

    /// Whether the vertex puts a layer on what is below it.
    pub fn makes_layer(&self) -> bool {
        matches!(self, Op::Run(_) | Op::Copy(_) | Op::Mkdir(_))
    }
}

/// An image whose layers are a file system.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSource {
    /// As the Dockerfile or the command line names it.
    pub reference: Reference,
    /// Where its layers are to be had.
    pub origin: ImageOrigin,
    /// Digest of the manifest for the platform; `None` for an image built here that has none yet.
    pub manifest: Option<Digest>,
    /// The config document.
    pub config: Arc<ImageConfig>,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageOrigin {
    /// The store has it, under the config's id.
    Store,
    /// A registry has it.
    Registry,
    /// A container engine of this machine had it; the store has its layers' blobs since.
    Engine {
        /// Its name as given, such as `docker-daemon:app`.
        name: String,
    },
    /// An OCI layout directory on this machine.
    OciLayout {
        /// Path of the layout as given on the command line.
        path: String,
    },
}

/// A directory tree that the user gives: the build context or a named one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalSource {
    /// Name of the context; empty for the main one.
    pub name: String,
}

/// A file at a URL (ADD-30 to ADD-41).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpSource {
    /// The URL as written, expanded.
    pub url: String,
    /// Wanted digest of the content.
    pub checksum: Option<Digest>,
    /// Name that the file gets (ADD-31).
    pub file_name: String,
}

/// A git repository at a commit (ADD-50 to ADD-61).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitSource {
    /// Remote, without fragment and query.
    pub remote: String,
    /// Branch, tag or commit; `None` for the remote's default branch.
    pub reference: Option<String>,
    /// Directory inside the repository; empty for its root.
    pub subdir: String,
    /// Wanted commit, as a hexadecimal prefix.
    pub checksum: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Fetch submodules.
    pub submodules: bool,
    /// Files get the commit's time, not that of the checkout.
    pub commit_times: bool,
    /// The checksum is the commit: the remote is not asked what the reference means.
    pub fetch_by_commit: bool,
}

/// A command in the file system so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Program and arguments, the shell included.
    pub argv: Vec<String>,
    /// The environment in order of first definition, PATH included (XENV-01); proxies are apart.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub workdir: String,
    /// USER's text; empty for root.
    pub user: String,
    /// Mounts in the order of the flags.
    pub mounts: Vec<Mount>,
    /// Files below `/dev/pipes` for script heredocs (LEX-116), mode 0755.
    pub scripts: Vec<InlineFile>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`, in the order of the flags.
    pub devices: Vec<DeviceName>,
    /// Host name; `None` for the default (XENV-04).
    pub hostname: Option<String>,
    /// `--add-host` pairs of name and address; only the names count for the key (CACHE-11).
    pub extra_hosts: Vec<(String, String)>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm in bytes, `None` for the default of 64 MiB.
    pub shm_size_bytes: Option<u64>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// Proxy variables; never in the key (EXP-97).
    pub proxy_env: Vec<(String, String)>,
    /// Memory and processor limits; never in the key (XENV-17).
    pub limits: Limits,
}

/// Limits of a step's resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap in bytes.
    pub memory_swap_bytes: Option<i64>,
    /// Relative processor weight.
    pub cpu_shares: Option<u64>,
    /// Length of a scheduling period in microseconds.
    pub cpu_period_us: Option<u64>,
    /// Processor time in a period in microseconds.
    pub cpu_quota_us: Option<i64>,
    /// Processors that may be used, as the kernel writes lists.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used.
    pub cpuset_mems: Option<String>,
}

/// One `--ulimit`; -1 means unlimited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A `--device` (RUN-27).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceName {
    /// `vendor/class=name`, a kind, `kind=*` or a class; what it means is known where the devices are.
    pub name: String,
    /// The step cannot do without.
    pub required: bool,
}

/// A step's network (RUN-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// An own network with a way out.
    #[default]
    Default,
    /// Only a loopback interface.
    None,
    /// The host's.
    Host,
}

/// A step's confinement (RUN-24).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// The usual one.
    #[default]
    Sandbox,
    /// None: all capabilities, no filter.
    Insecure,
}

/// One `--mount`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Absolute path in the step; empty for a secret that is only a variable.
    pub target: String,
    /// No writing.
    pub read_only: bool,
    /// What is mounted.
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A part of another vertex's tree. Parts of the build context come as a [`Copy`] onto nothing (design D5).
    Bind {
        /// The vertex.
        input: VertexId,
        /// Path in its tree.
        source: String,
    },
    /// A directory that lasts over builds.
    Cache {
        /// BUILDKIT_CACHE_MOUNT_NS; empty for none (CACHE-45).
        namespace: String,
        /// Its name, or the place that stands for one (MNT-31).
        id: String,
        /// What happens with a second user.
        sharing: CacheSharing,
        /// First content, if any.
        input: Option<VertexId>,
        /// Path in that tree, or in the cache directory.
        source: String,
        /// Mode of a new directory.
        mode: Option<u32>,
        /// Owner of a new directory.
        uid: Option<u32>,
        /// Group of a new directory.
        gid: Option<u32>,
    },
    /// Memory.
    Tmpfs {
        /// Size in bytes; `None` for the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A secret as a file, a variable, or both.
    Secret {
        /// Its id on the command line.
        id: String,
        /// Variable that gets the value.
        env: Option<String>,
        /// Mode of the file, 0400 by default.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// Fail when it is not given.
        required: bool,
    },
    /// An ssh agent's socket.
    Ssh {
        /// Its id on the command line.
        id: String,
        /// Mode of the socket, 0600 by default.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
        /// Fail when it is not given.
        required: bool,
    },
}

impl MountKind {
    /// The vertex whose tree is mounted or gives the first content.
    pub fn input(&self) -> Option<VertexId> {
        match self {
            MountKind::Bind { input, .. } => Some(*input),
            MountKind::Cache { input, .. } => *input,
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => None,
        }
    }
}

/// Use of a cache mount by two steps at once (MNT-33).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheSharing {
    /// Both use it.
    #[default]
    Shared,
    /// The second one gets a new directory.
    Private,
    /// The second one waits.
    Locked,
}

/// COPY and ADD.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// What is copied, in order.
    pub sources: Vec<CopySource>,
    /// Absolute destination, joined with the working directory, not resolved in the file system.
    pub dest: String,
    /// The destination ends in a slash: files go inside (COPY-31).
    pub dest_is_dir: bool,
    /// `--chown`.
    pub chown: Option<Who>,
    /// `--chmod`.
    pub chmod: Option<Mode>,
    /// `--link`: made on nothing and put on whatever is below.
    pub link: bool,
}

/// One source of a [`Copy`].
#[derive(Clone, Debug, PartialEq)]
pub enum CopySource {
    /// Paths of another vertex's tree.
    Tree {
        /// The vertex: a context, an image, a stage, or a git repository (whose root is copied as a directory).
        input: VertexId,
        /// Which paths.
        selection: Selection,
        /// Which of them are unpacked.
        unpack: Unpack,
    },
    /// The file at a URL.
    Http {
        /// The vertex, an [`HttpSource`].
        input: VertexId,
        /// Whether it is unpacked.
        unpack: Unpack,
    },
    /// A heredoc.
    Inline(InlineFile),
}

impl CopySource {
    /// The vertex that is read.
    pub fn input(&self) -> Option<VertexId> {
        match self {
            CopySource::Tree { input, .. } | CopySource::Http { input, .. } => Some(*input),
            CopySource::Inline(_) => None,
        }
    }
}

/// Archives among the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unpack {
    /// Copied as files.
    #[default]
    No,
    /// Unpacked when they are tars, plain or compressed (ADD-10).
    Archives,
}

/// Which part of a tree is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Path or pattern as written, expanded. Relative to the root; `..` stays inside (COPY-10).
    pub path: String,
    /// Whether `*`, `?`, `[` mean anything in `path`.
    pub wildcards: bool,
    /// Keep the directories of the path (COPY-90); `**` and the pivot `/./` then have a meaning.
    pub parents: bool,
    /// `--exclude` patterns (COPY-100).
    pub exclude: Vec<String>,
    /// A directory counts itself, not only what is in it: it is mounted.
    pub itself: bool,
}

/// A file whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InlineFile {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub content: Arc<[u8]>,
}

/// An owner: `user[:group]` of --chown, USER and WORKDIR, names not looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Who {
    /// Name or number; empty means 0.
    pub user: String,
    /// Name or number; `None` when there was no colon.
    pub group: Option<String>,
}

/// `--chmod`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 0 to 07777 (COPY-61).
    Octal(u32),
    /// Changes to each item's own mode, in order (COPY-63).
    Symbolic(Vec<ModeChange>),
}

/// One step of a symbolic mode. They are done in order, each on what the one before left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeChange {
    /// Bits that are taken away.
    Clear(u32),
    /// Bits that are given.
    Set(u32),
    /// Execute bits that are given to directories, and to files that could be executed before the first step (`X`).
    SetExecute(u32),
    /// What one class may others may (`+`), may not (`-`), or may and no more (`=`).
    Class {
        /// 4 for the user, 2 for the group, 1 for others.
        from: u8,
        /// The sum of the classes that are changed.
        to: u8,
        /// `+`, `-` or `=`.
        operator: char,
    },
}

/// WORKDIR: a directory that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mkdir {
    /// Absolute path, cleaned.
    pub path: String,
    /// Owner of directories that are made: the current USER (WDIR-05).
    pub owner: Who,
    /// Modification time of the last component (WDIR-10); `None` for the time of the build.
    pub epoch: Option<i64>,
}
