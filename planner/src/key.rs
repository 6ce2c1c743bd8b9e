//! Every key, on this page and nowhere else (design D4).
//!
//! - Instruction digest: what is known of a vertex before anything that it reads: format version, platform, operation.
//! - Operation digest: the instruction digest, the bodies of heredocs and scripts, and the digests of contents that are
//!   no layers: context files, URLs, commits ([`content_sources`]).
//! - Cache key: the operation digest, the stack below, and every other stack that is read ([`input_uses`]), each either
//!   weak (its identity and what is selected of it) or strong (the digest of what is selected). Equal on all machines.
//! - Near key: the same with layer ids instead of contents; good on one machine only.
//!
//! Encoding: every value is preceded by its length, every list by its count, every choice by a tag. What of an
//! instruction people know by a name is a part of its own ([`instruction_parts`]). Nothing depends on `Debug`, serde,
//! hash order or a host path. Structs are taken apart completely, so a new field cannot be forgotten. Vertices that are
//! read count by position, never by number. A changed key is a changed line of `testdata/keys/golden.txt`; a change
//! that is meant raises [`FORMAT_VERSION`].

mod hasher;

use graph::{
    CacheKey, CacheSharing, ContentId, Copy, CopySource, DeviceName, GitSource, Graph, HttpSource,
    ImageSource, InlineFile, InstructionDigest, LocalSource, Mkdir, Mode, ModeChange, Mount,
    MountKind, NearKey, Network, Op, OperationDigest, Run, Security, Selection, Stack,
    StackIdentity, TreeDigest, Ulimit, Unpack, Vertex, VertexId, Who,
};
use oci::{Digest, Platform};

use crate::parts::{COMMAND, FORMAT, Part};
use hasher::KeyHasher;

/// Raised when the meaning or the encoding of keys changes: old records are then not found.
pub const FORMAT_VERSION: u64 = 3;

/// The part that is a heredoc's name.
const HEREDOC: &str = "heredoc's name";

/// A content that is no layer, whose digest the operation digest wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentSource {
    /// Selected files of a directory that the user gave; the digest is the selection's [`TreeDigest`].
    Local {
        /// The vertex, a local one.
        input: VertexId,
        /// Which files.
        selection: Selection,
    },
    /// A download; the digest is [`http_content`].
    Http {
        /// The vertex, an HTTP one.
        input: VertexId,
    },
    /// A commit; the digest is [`git_content`].
    Git {
        /// The vertex, a git one.
        input: VertexId,
    },
}

/// A use of another vertex's stack that is not below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputUse {
    /// The vertex.
    pub input: VertexId,
    /// Which of its files are read.
    pub selection: Selection,
}

/// What an [`InputUse`] is to the cache key.
#[derive(Clone, Copy, Debug)]
pub enum InputIdentity<'a> {
    /// The stack's layers are known, not what is in the selected part.
    Weak(&'a StackIdentity, &'a Selection),
    /// The digest of the selected part.
    Strong(TreeDigest),
}

/// Digest of what is known of a vertex before anything that it reads.
pub fn instruction_digest(vertex: &Vertex) -> InstructionDigest {
    let mut hasher = KeyHasher::new("instruction");
    vertex.key_hash(&mut hasher);
    InstructionDigest(hasher.finish())
}

/// What the instruction digest is made of, part by part: two vertices have equal parts exactly when they have equal
/// instruction digests. In an order that is the same for equal instructions; a name may come several times (two sources
/// of one COPY).
pub fn instruction_parts(vertex: &Vertex) -> Vec<Part> {
    let mut hasher = KeyHasher::with_parts("instruction");
    vertex.key_hash(&mut hasher);
    hasher.into_parts()
}

/// The contents whose digests [`operation_digest`] wants, in its order.
pub fn content_sources(graph: &Graph, vertex: &Vertex) -> Vec<ContentSource> {
    let Op::Copy(copy) = &vertex.op else { return Vec::new() };
    let content = |source: &CopySource| match source {
        CopySource::Tree { input, selection, unpack: _ } => match graph.vertex(*input).op {
            Op::Local(_) => {
                Some(ContentSource::Local { input: *input, selection: selection.clone() })
            }
            Op::Git(_) => Some(ContentSource::Git { input: *input }),
            _ => None,
        },
        CopySource::Http { input, unpack: _ } => Some(ContentSource::Http { input: *input }),
        CopySource::Inline(_) => None,
    };
    copy.sources.iter().filter_map(content).collect()
}

/// Digest of a vertex's operation with all contents that are no layers: `contents` is as [`content_sources`] says.
pub fn operation_digest(vertex: &Vertex, contents: &[Digest]) -> OperationDigest {
    let mut hasher = KeyHasher::new("operation");
    hasher.digest(&instruction_digest(vertex).0);
    let inline: Vec<&InlineFile> = match &vertex.op {
        Op::Run(run) => run.scripts.iter().collect(),
        Op::Copy(copy) => copy.sources.iter().filter_map(inline_file).collect(),
        Op::Scratch | Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Mkdir(_) => {
            Vec::new()
        }
    };
    hasher.list(&inline, |hasher, file| {
        let InlineFile { name: _, content } = file; // The name is in the instruction digest.
        hasher.bytes(content);
    });
    hasher.list(contents, |hasher, digest| hasher.digest(digest));
    OperationDigest(hasher.finish())
}

fn inline_file(source: &CopySource) -> Option<&InlineFile> {
    match source {
        CopySource::Inline(file) => Some(file),
        CopySource::Tree { .. } | CopySource::Http { .. } => None,
    }
}

/// What a download is to a key (ADD-37): with a wanted checksum its time does not count (ADD-41).
pub fn http_content(source: &HttpSource, content: Digest, last_modified: Option<&str>) -> Digest {
    let HttpSource { url: _, checksum, file_name } = source;
    let mut hasher = KeyHasher::new("http");
    hasher.digest(&content);
    hasher.text(file_name);
    let time = last_modified.filter(|_| checksum.is_none());
    hasher.option(time, |hasher, time| hasher.text(time));
    hasher.finish()
}

/// What a commit is to a key (ADD-61); the wanted checksum does not count (ADD-56), nor does where it comes from.
/// `names` are those of the branch or tag, and the tag's id: who keeps `.git` finds them in it.
pub fn git_content(source: &GitSource, commit: &str, names: &[&str]) -> Digest {
    let GitSource {
        remote: _,
        reference: _,
        subdir,
        checksum: _,
        keep_git_dir,
        submodules,
        commit_times,
        fetch_by_commit: _,
    } = source;
    let mut hasher = KeyHasher::new("git");
    hasher.text(commit);
    hasher.text(subdir);
    hasher.flags(&[*keep_git_dir, *submodules, *commit_times]);
    if *keep_git_dir {
        hasher.list(names, |hasher, name| hasher.text(name));
    }
    hasher.finish()
}

/// The uses of other vertices' stacks, in the order of mounts or sources. What is below is none of them.
pub fn input_uses(graph: &Graph, vertex: &Vertex) -> Vec<InputUse> {
    let path = |input: VertexId, source: &str| InputUse {
        input,
        selection: Selection { path: source.to_owned(), itself: true, ..Selection::default() },
    };
    let mount = |mount: &Mount| match &mount.kind {
        MountKind::Bind { input, source } => Some(path(*input, source)),
        MountKind::Cache { input: Some(input), source, .. } => Some(path(*input, source)),
        MountKind::Cache { input: None, .. }
        | MountKind::Tmpfs { .. }
        | MountKind::Secret { .. }
        | MountKind::Ssh { .. } => None,
    };
    let source = |source: &CopySource| match source {
        CopySource::Tree { input, selection, unpack: _ } => match graph.vertex(*input).op {
            Op::Local(_) | Op::Git(_) | Op::Http(_) => None,
            Op::Scratch | Op::Image(_) | Op::Run(_) | Op::Copy(_) | Op::Mkdir(_) => {
                Some(InputUse { input: *input, selection: selection.clone() })
            }
        },
        CopySource::Http { .. } | CopySource::Inline(_) => None,
    };
    match &vertex.op {
        Op::Run(run) => run.mounts.iter().filter_map(mount).collect(),
        Op::Copy(copy) => copy.sources.iter().filter_map(source).collect(),
        Op::Scratch | Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Mkdir(_) => {
            Vec::new()
        }
    }
}

/// Whether a vertex's keys name what is below it: a --link copy does not depend on it (COPY-80).
pub fn counts_below(vertex: &Vertex) -> bool {
    match &vertex.op {
        Op::Copy(copy) => !copy.link && vertex.below.is_some(),
        _ => vertex.below.is_some(),
    }
}

/// What is below a vertex, from the identity of its stack. Contents have no times; where an epoch has dated directories
/// of WORKDIR below, what follows is another result (WDIR-12, EPO-16).
pub fn dated(graph: &Graph, vertex: &Vertex, mut stack: StackIdentity) -> StackIdentity {
    let mut next = vertex.below;
    while let Some(below) = next.map(|id| graph.vertex(id)) {
        if let Op::Mkdir(Mkdir { epoch: Some(seconds), .. }) = below.op {
            let epoch = Digest::of(format!("WORKDIR's epoch {seconds}").as_bytes());
            stack.contents.push(ContentId(epoch));
            break; // One build has one epoch.
        }
        next = below.below;
    }
    stack
}

/// The key of a result. `below` is `None` where [`counts_below`] says no, else by way of [`dated`]; `inputs` has one
/// entry for each of [`input_uses`].
pub fn cache_key(
    operation: &OperationDigest,
    below: Option<&StackIdentity>,
    inputs: &[InputIdentity<'_>],
) -> CacheKey {
    let mut hasher = KeyHasher::new("cache");
    hasher.digest(&operation.0);
    hasher.option(below, |hasher, below| below.key_hash(hasher));
    hasher.list(inputs, |hasher, input| match input {
        InputIdentity::Weak(stack, selection) => {
            hasher.tag("weak");
            stack.key_hash(hasher);
            hash_whole_selection(selection, hasher);
        }
        InputIdentity::Strong(digest) => {
            hasher.tag("strong");
            hasher.digest(&digest.0);
        }
    });
    CacheKey(hasher.finish())
}

/// The key of a result on this machine, made without hashing files of layers; arguments as for [`cache_key`].
pub fn near_key(
    operation: &OperationDigest,
    below: Option<&Stack>,
    inputs: &[(&Selection, &Stack)],
) -> NearKey {
    let mut hasher = KeyHasher::new("near");
    hasher.digest(&operation.0);
    hasher.option(below, |hasher, below| below.key_hash(hasher));
    hasher.list(inputs, |hasher, (selection, stack)| {
        hash_whole_selection(selection, hasher);
        stack.key_hash(hasher);
    });
    NearKey(hasher.finish())
}

/// What of a value counts for the instruction digest. Implementations take the value apart completely.
trait KeyHash {
    fn key_hash(&self, hasher: &mut KeyHasher);
}

impl KeyHash for Vertex {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        // Not in any key: the number, where it comes from, whether the cache is used (CACHE-01, CACHE-40).
        let Vertex { id: _, op, platform, below: _, origin: _, no_cache: _ } = self;
        hasher.part(FORMAT, |hasher| hasher.number(FORMAT_VERSION));
        hasher.part("platform", |hasher| platform.key_hash(hasher));
        op.key_hash(hasher);
    }
}

impl KeyHash for Platform {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Platform { os, architecture, variant, os_version } = self;
        for part in [os, architecture, variant, os_version] {
            hasher.text(part);
        }
    }
}

impl KeyHash for Op {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        match self {
            Op::Scratch => hasher.kind("scratch"),
            Op::Image(image) => image.key_hash(hasher),
            Op::Local(LocalSource { name }) => {
                hasher.kind("local");
                hasher.part("name", |hasher| hasher.text(name));
            }
            Op::Http(http) => http.key_hash(hasher),
            Op::Git(git) => git.key_hash(hasher),
            Op::Run(run) => run.key_hash(hasher),
            Op::Copy(copy) => copy.key_hash(hasher),
            Op::Mkdir(mkdir) => mkdir.key_hash(hasher),
        }
    }
}

/// An image counts by its layers, which are a stack's identity (FROM-17); this only tells image vertices apart.
impl KeyHash for ImageSource {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let ImageSource { reference, origin: _, manifest, config: _ } = self;
        hasher.kind("image");
        hasher.part("reference", |hasher| hasher.text(&reference.to_string()));
        hasher.part("manifest", |hasher| {
            hasher.option(manifest.as_ref(), |hasher, manifest| hasher.digest(manifest));
        });
    }
}

impl KeyHash for HttpSource {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let HttpSource { url, checksum, file_name } = self;
        hasher.kind("http source");
        hasher.part("URL", |hasher| hasher.text(url));
        hasher.part("--checksum", |hasher| {
            hasher.option(checksum.as_ref(), |hasher, digest| hasher.digest(digest));
        });
        hasher.part("file name", |hasher| hasher.text(file_name));
    }
}

impl KeyHash for GitSource {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let GitSource {
            remote,
            reference,
            subdir,
            checksum,
            keep_git_dir,
            submodules,
            commit_times,
            fetch_by_commit,
        } = self;
        hasher.kind("git source");
        hasher.part("repository", |hasher| hasher.text(remote));
        hasher.part("reference", |hasher| {
            hasher.option(reference.as_ref(), |hasher, text| hasher.text(text));
        });
        hasher.part("directory", |hasher| hasher.text(subdir));
        hasher.part("--checksum", |hasher| {
            hasher.option(checksum.as_ref(), |hasher, text| hasher.text(text));
        });
        hasher.part("--keep-git-dir", |hasher| hasher.flags(&[*keep_git_dir]));
        hasher.part("submodules", |hasher| hasher.flags(&[*submodules]));
        hasher.part("times", |hasher| hasher.flags(&[*commit_times]));
        hasher.part("fetch by commit", |hasher| {
            if *fetch_by_commit {
                hasher.tag("fetch by commit");
            }
        });
    }
}

/// CACHE-10, CACHE-11.
impl KeyHash for Run {
    fn key_hash(&self, hasher: &mut KeyHasher) {
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
            proxy_env: _, // EXP-97
            limits: _,    // XENV-17
        } = self;
        hasher.kind("run");
        hasher.part(COMMAND, |hasher| hasher.list(argv, |hasher, word| hasher.text(word)));
        hasher.list(env, |hasher, (name, value)| {
            hasher.part(format_args!("ENV {name}"), |hasher| {
                hasher.text(name);
                hasher.text(value);
            });
        });
        hasher.part("WORKDIR", |hasher| hasher.text(workdir));
        hasher.part("USER", |hasher| hasher.text(user));
        hasher.list(mounts, |hasher, mount| {
            let name = mount_name(mount);
            hasher.part(format_args!("--mount {name}"), |hasher| mount.key_hash(hasher));
        });
        hasher.list(scripts, |hasher, file| {
            hasher.part(HEREDOC, |hasher| file.key_hash(hasher));
        });
        hasher.part("--network", |hasher| network.key_hash(hasher));
        hasher.part("--security", |hasher| security.key_hash(hasher));
        hasher.list(devices, |hasher, DeviceName { name, required }| {
            hasher.part(format_args!("--device {name}"), |hasher| {
                hasher.text(name);
                hasher.tag(if *required { "required" } else { "optional" });
            });
        });
        hasher.part("host name", |hasher| {
            hasher.option(hostname.as_ref(), |hasher, name| hasher.text(name));
        });
        // The names alone (CACHE-11).
        hasher.list(extra_hosts, |hasher, (name, _address)| {
            hasher.part(format_args!("--add-host {name}"), |hasher| hasher.text(name));
        });
        hasher.list(ulimits, |hasher, ulimit| {
            let name = &ulimit.name;
            hasher.part(format_args!("--ulimit {name}"), |hasher| ulimit.key_hash(hasher));
        });
        hasher.part("--shm-size", |hasher| {
            hasher.option(shm_size_bytes.as_ref(), |hasher, size| hasher.number(*size));
        });
        hasher.part("--cgroup-parent", |hasher| {
            hasher.option(cgroup_parent.as_ref(), |hasher, parent| hasher.text(parent));
        });
    }
}

impl KeyHash for Network {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        hasher.tag(match self {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        });
    }
}

impl KeyHash for Security {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        hasher.tag(match self {
            Security::Sandbox => "sandbox",
            Security::Insecure => "insecure",
        });
    }
}

impl KeyHash for Ulimit {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Ulimit { name, soft, hard } = self;
        hasher.text(name);
        hasher.signed(*soft);
        hasher.signed(*hard);
    }
}

/// Where it is mounted; a secret that is only a variable by that.
fn mount_name(mount: &Mount) -> &str {
    let Mount { target, read_only: _, kind } = mount;
    match kind {
        MountKind::Secret { id, env, .. } if target.is_empty() => env.as_deref().unwrap_or(id),
        _ => target,
    }
}

impl KeyHash for Mount {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Mount { target, read_only, kind } = self;
        hasher.text(target);
        hasher.flags(&[*read_only]);
        kind.key_hash(hasher);
    }
}

/// CACHE-13. Stacks that are read come in with the cache key, in the order of the mounts.
impl KeyHash for MountKind {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        match self {
            MountKind::Bind { input: _, source: _ } => hasher.tag("bind"),
            MountKind::Cache { namespace: _, id: _, sharing, input, source, mode, uid, gid } => {
                // Named so that a new way of sharing is thought about here; none counts (MNT-37).
                match sharing {
                    CacheSharing::Shared | CacheSharing::Private | CacheSharing::Locked => {}
                }
                hasher.tag("cache");
                hasher.flags(&[input.is_some()]);
                let own_path = Some(source).filter(|_| input.is_none());
                hasher.option(own_path, |hasher, path| hasher.text(path));
                for number in [mode, uid, gid] {
                    hasher.option(number.as_ref(), |hasher, n| hasher.number(u64::from(*n)));
                }
            }
            MountKind::Tmpfs { size_bytes } => {
                hasher.tag("tmpfs");
                hasher.option(size_bytes.as_ref(), |hasher, size| hasher.number(*size));
            }
            MountKind::Secret { id, env, mode, uid, gid, required } => {
                hasher.tag("secret"); // MNT-67
                hasher.text(id);
                hasher.option(env.as_ref(), |hasher, name| hasher.text(name));
                hash_owner([mode, uid, gid], hasher);
                hasher.flags(&[*required]);
            }
            MountKind::Ssh { id, mode, uid, gid, required } => {
                hasher.tag("ssh"); // MNT-84
                hasher.text(id);
                hash_owner([mode, uid, gid], hasher);
                hasher.flags(&[*required]);
            }
        }
    }
}

/// Mode, owner and group of a file that a mount makes.
fn hash_owner(numbers: [&u32; 3], hasher: &mut KeyHasher) {
    for number in numbers {
        hasher.number(u64::from(*number));
    }
}

/// CACHE-20.
impl KeyHash for Copy {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Copy { sources, dest, dest_is_dir, chown, chmod, link } = self; // No epoch: EPO-16.
        hasher.kind("copy");
        hasher.list(sources, |hasher, source| source.key_hash(hasher));
        hasher.part("destination", |hasher| {
            hasher.text(dest);
            hasher.flags(&[*dest_is_dir]);
        });
        hasher.part("--link", |hasher| hasher.flags(&[*link]));
        hasher.part("--chown", |hasher| {
            hasher.option(chown.as_ref(), |hasher, who| who.key_hash(hasher));
        });
        hasher.part("--chmod", |hasher| {
            hasher.option(chmod.as_ref(), |hasher, mode| mode.key_hash(hasher));
        });
    }
}

impl KeyHash for CopySource {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        match self {
            CopySource::Tree { input: _, selection, unpack } => {
                hash_named_selection(selection, hasher);
                hasher.part("unpacking", |hasher| unpack.key_hash(hasher));
            }
            CopySource::Http { input: _, unpack } => {
                hasher.part("source", |hasher| hasher.tag("http"));
                hasher.part("unpacking", |hasher| unpack.key_hash(hasher));
            }
            CopySource::Inline(file) => hasher.part(HEREDOC, |hasher| {
                hasher.tag("inline");
                file.key_hash(hasher);
            }),
        }
    }
}

impl KeyHash for Unpack {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        hasher.tag(match self {
            Unpack::No => "as files",
            Unpack::Archives => "unpacked",
        });
    }
}

/// What of a selection the result depends on when the digest of what is selected is known: only the last name of the
/// path, which may become the file's name (CACHE-23, CACHE-25); with --parents the whole path, which is kept.
fn hash_named_selection(selection: &Selection, hasher: &mut KeyHasher) {
    let Selection { path, wildcards, parents, exclude, itself: _ } = selection; // Of mounts only.
    let name = match parents {
        true => path.as_str(),
        false => path.rsplit('/').find(|part| !matches!(*part, "" | ".")).unwrap_or_default(),
    };
    hasher.part("source", |hasher| {
        hasher.tag("tree");
        hasher.text(name);
        hasher.flags(&[*wildcards]);
    });
    hasher.part("--parents", |hasher| hasher.flags(&[*parents]));
    hasher.list(exclude, |hasher, pattern| {
        hasher.part("--exclude", |hasher| hasher.text(pattern));
    });
}

/// A selection that has to say itself what is selected. Whether it is of a mount the instruction digest says.
fn hash_whole_selection(selection: &Selection, hasher: &mut KeyHasher) {
    let Selection { path, wildcards, parents, exclude, itself: _ } = selection;
    hasher.text(path);
    hasher.flags(&[*wildcards, *parents]);
    hasher.list(exclude, |hasher, pattern| hasher.text(pattern));
}

/// The bytes are the operation digest's (COPY-114).
impl KeyHash for InlineFile {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let InlineFile { name, content: _ } = self;
        hasher.text(name);
    }
}

impl KeyHash for Who {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Who { user, group } = self;
        hasher.text(user);
        hasher.option(group.as_ref(), |hasher, group| hasher.text(group));
    }
}

impl KeyHash for Mode {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        match self {
            Mode::Octal(bits) => {
                hasher.tag("octal");
                hasher.number(u64::from(*bits));
            }
            Mode::Symbolic(changes) => {
                hasher.tag("symbolic");
                hasher.list(changes, |hasher, change| change.key_hash(hasher));
            }
        }
    }
}

impl KeyHash for ModeChange {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let (tag, bits) = match self {
            ModeChange::Clear(bits) => ("clear bits", bits),
            ModeChange::Set(bits) => ("set bits", bits),
            ModeChange::SetExecute(bits) => ("set execute", bits),
            ModeChange::Class { from, to, operator } => {
                hasher.tag("copy class");
                hasher.number(u64::from(*from));
                hasher.number(u64::from(*to));
                return hasher.number(u64::from(u32::from(*operator)));
            }
        };
        hasher.tag(tag);
        hasher.number(u64::from(*bits));
    }
}

/// WDIR-12.
impl KeyHash for Mkdir {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Mkdir { path, owner, epoch } = self;
        hasher.kind("mkdir");
        hasher.part("path", |hasher| hasher.text(path));
        hasher.part("USER", |hasher| owner.key_hash(hasher));
        hasher.part("SOURCE_DATE_EPOCH", |hasher| {
            hasher.option(epoch.as_ref(), |hasher, seconds| hasher.signed(*seconds));
        });
    }
}

impl KeyHash for StackIdentity {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let StackIdentity { base, contents } = self;
        hasher.option(base.as_ref(), |hasher, chain| hasher.digest(&chain.0));
        hasher.list(contents, |hasher, content| hasher.digest(&content.0));
    }
}

impl KeyHash for Stack {
    fn key_hash(&self, hasher: &mut KeyHasher) {
        let Stack { base, layers } = self;
        hasher.option(base.as_ref(), |hasher, (chain, count)| {
            hasher.digest(&chain.0);
            hasher.number(*count as u64);
        });
        hasher.list(layers, |hasher, layer| hasher.fixed(&layer.0.to_le_bytes()));
    }
}

#[cfg(test)]
mod tests;
