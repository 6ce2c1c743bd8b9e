//! What a build is asked to do: plain data, free of environment and working directory (design D12).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use attest::{Mode, SlsaVersion};
use executor::Agent;
use exporter::{Annotations, AttachForm, EnginePlaces};
use oci::Reference;
use remotecache::{CacheExport, CacheImport};

use crate::address::Address;

/// Everything that one build needs to know. All paths are absolute.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Where COPY and ADD read from.
    pub context: ContextInput,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileInput,
    /// Target, arguments, platforms, labels and all else that decides the graph.
    pub plan: planner::LowerRequest,
    /// Directories of named contexts, by name.
    pub context_dirs: BTreeMap<String, PathBuf>,
    /// When a registry is asked for an image that the store has.
    pub pull: PullPolicy,
    /// Names for the result.
    pub tags: Vec<Reference>,
    /// Where the result goes besides the store.
    pub outputs: Vec<Output>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretInput>,
    /// Agents for ssh by id.
    pub ssh: BTreeMap<String, Agent>,
    /// Directories with descriptions of devices, later ones win (CDI).
    pub device_dirs: Vec<PathBuf>,
    /// Steps that may run at the same time; `None` for as many as there are processors, four at least.
    pub jobs: Option<usize>,
    /// Fail instead of running a step with less isolation than designed.
    pub require_isolation: bool,
    /// Where the container engines of this machine may be.
    pub engines: EnginePlaces,
    /// Caches that results are looked for in besides the store's own, in order (CIO-01).
    pub cache_from: Vec<CacheImport>,
    /// Where the results of this build's steps go besides the store (CIO-01).
    pub cache_to: Vec<CacheExport>,
    /// Which of the results that there are may be used, besides what `plan` says of it.
    pub cache_rules: CacheRules,
    /// What is to be said of the result beside it.
    pub attest: Attestations,
    /// Variables that helper programs such as git get: PATH, SSH_AUTH_SOCK, proxies.
    pub tool_env: Vec<(OsString, OsString)>,
}

impl BuildRequest {
    /// A request that builds nothing: the surroundings of pulling, pushing and running.
    pub(crate) fn nothing() -> BuildRequest {
        BuildRequest {
            context: ContextInput::Nothing,
            dockerfile: DockerfileInput::Default,
            plan: planner::LowerRequest::default(),
            context_dirs: BTreeMap::new(),
            pull: PullPolicy::Missing,
            tags: Vec::new(),
            outputs: Vec::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            device_dirs: Vec::new(),
            jobs: None,
            require_isolation: false,
            engines: EnginePlaces::default(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            cache_rules: CacheRules::default(),
            attest: Attestations::default(),
            tool_env: Vec::new(),
        }
    }
}

/// The present time as configs have it: RFC 3339 with nanoseconds, UTC. With [`Stopwatch`] the engine's only look at a
/// clock.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The present time in microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    jiff::Timestamp::now().as_microsecond().try_into().unwrap_or(0)
}

/// How long something takes.
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts one.
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    /// Milliseconds since the start.
    pub(crate) fn took_ms(&self) -> u64 {
        self.0.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// So far the clocks of two machines that share a cache may be apart.
const CLOCKS_APART_MS: i128 = 3_600_000;

/// Milliseconds since a time that [`now`] gave, whoever's clock it was; none for one that lies a little ahead. `None`
/// for a text that is no time, and for a time that no clock should have said yet.
pub(crate) fn age_ms(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    let age = jiff::Timestamp::now().duration_since(time).as_millis();
    (age >= -CLOCKS_APART_MS).then(|| age.max(0).try_into().unwrap_or(u64::MAX))
}

/// Rules for single steps on the use of what earlier builds left.
#[derive(Clone, Debug, Default)]
pub struct CacheRules {
    /// These steps run, and those that follow in their stage.
    pub no_cache_from: Vec<Address>,
    /// Results that are too old are not used.
    pub max_age: Vec<MaxAge>,
    /// The build fails before one of these steps runs.
    pub expect_cached: Vec<Address>,
}

/// How old a result may be.
#[derive(Clone, Debug)]
pub struct MaxAge {
    /// Milliseconds since its step ran.
    pub age_ms: u64,
    /// The same as it was typed: `24h`.
    pub shown: String,
    /// The steps that it is for; `None` for all.
    pub steps: Option<Address>,
}

/// What is to be said of a result beside it (spec 8.6). Nothing unless asked for.
#[derive(Clone, Debug, Default)]
pub struct Attestations {
    /// How it was built.
    pub provenance: Option<ProvenanceRequest>,
    /// What is in it.
    pub sbom: Option<SbomRequest>,
    /// How it was built, for --metadata-file (OUT-41).
    pub in_metadata: Option<Mode>,
}

/// Attributes of `type=provenance` (ATT-09).
#[derive(Clone, Debug)]
pub struct ProvenanceRequest {
    /// Form of the document.
    pub version: SlsaVersion,
    /// How much is told.
    pub mode: Mode,
    /// Who builds.
    pub builder_id: String,
    /// The caller says that the build is reproducible.
    pub reproducible: bool,
    /// For images in the store and in registries alone (OUT-24).
    pub inline_only: bool,
    /// Name of its file in outputs of files (OUT-34).
    pub file_name: String,
}

impl Default for ProvenanceRequest {
    fn default() -> ProvenanceRequest {
        ProvenanceRequest {
            version: SlsaVersion::V1,
            mode: Mode::Max,
            builder_id: String::new(),
            reproducible: false,
            inline_only: false,
            file_name: "provenance.json".to_owned(),
        }
    }
}

/// Attributes of `type=sbom`.
#[derive(Clone, Debug, Default)]
pub struct SbomRequest {
    /// An image that does the scan; `None` for our own look (ATT-17).
    pub generator: Option<Reference>,
    /// What it gets as BUILDKIT_SCAN_NAME (ATT-18).
    pub parameters: Vec<(String, String)>,
}

/// The main build context.
#[derive(Clone, Debug)]
pub enum ContextInput {
    /// No files at all.
    Nothing,
    /// A directory.
    Directory(PathBuf),
    /// A stream that was read to its end into a seekable file: a tar archive, or a Dockerfile (CTX-08).
    Stream(Arc<File>),
    /// A git reference (CTX-13).
    Git(String),
    /// An http or https URL (CTX-12).
    Http(String),
}

/// Where the Dockerfile comes from.
#[derive(Clone, Debug)]
pub enum DockerfileInput {
    /// `Dockerfile` in the context, or the Dockerfile that the context stream itself is.
    Default,
    /// A file of this machine; `shown` is the name as the user typed it.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Name for messages.
        shown: String,
    },
    /// A path inside a context that is not a local directory (CTX-15).
    InContext(String),
    /// The text itself, from standard input.
    Text(Arc<[u8]>),
    /// An http or https URL (CTX-10).
    Http(String),
}

/// When registries are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only for what the store does not have.
    #[default]
    Missing,
    /// For every image.
    Always,
    /// For every image; one that the store has is taken where it is the same, or when the registry cannot be asked.
    Newer,
    /// Not at all.
    Never,
}

/// A secret's value.
#[derive(Clone)]
pub enum SecretInput {
    /// A file, read when a step needs it.
    File(PathBuf),
    /// The value itself, from an environment variable.
    Value(Arc<[u8]>),
}

impl std::fmt::Debug for SecretInput {
    /// Never shows a value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretInput::File(path) => write!(f, "File({})", path.display()),
            SecretInput::Value(_) => f.write_str("Value(****)"),
        }
    }
}

/// One `--output` (spec section 8).
#[derive(Clone, Debug)]
pub struct Output {
    /// What is made.
    pub kind: OutputKind,
    /// Where it goes; `None` for kinds that have no file.
    pub dest: Option<OutputDest>,
    /// Names for the image in it; empty for the build's tags.
    pub names: Vec<Reference>,
    /// A registry gets the image without its names (OUT-10).
    pub push_by_digest: bool,
    /// Compression of layers.
    pub compression: Compression,
    /// Compress layers of base images anew too.
    pub force_compression: bool,
    /// OCI media types; Docker's when false.
    pub oci_media_types: bool,
    /// Times in layers later than the epoch become the epoch (EPO-12).
    pub rewrite_timestamp: bool,
    /// `tar=false` of type oci and docker: a directory in OCI layout.
    pub as_directory: bool,
    /// `platform-split` of type local and tar; `None` for its default.
    pub platform_split: Option<bool>,
    /// `mode=delete` of type local.
    pub delete: bool,
    /// Annotations of manifests and indexes (IMG-46); kinds that have none do not look at them.
    pub annotations: Annotations,
    /// How attestations are put beside images.
    pub attach: AttachForm,
    /// `attestation-inline`: attestations that are for images alone, too (OUT-24).
    pub takes_inline: bool,
    /// Begin of the names of attestations in outputs of files.
    pub attestation_prefix: String,
    /// Images are kept in the store under their names; false for `store=false`.
    pub is_kept: bool,
    /// The registry may be one of plain http, or with any certificate: `registry.insecure`.
    pub is_insecure: bool,
    /// Further names that the store gets, with the result's digest: `dangling-name-prefix`, `name-canonical`.
    pub digest_names: DigestNames,
}

/// Names with the digest of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DigestNames {
    /// Of this repository.
    pub prefix: Option<Reference>,
    /// Only when there is no other name.
    pub only_nameless: bool,
    /// Of the repository of each other name.
    pub canonical: bool,
}

impl Output {
    /// The store alone, with all options as usual.
    pub(crate) fn of_store() -> Output {
        Output {
            kind: OutputKind::Image,
            dest: None,
            names: Vec::new(),
            push_by_digest: false,
            compression: Compression::Gzip(None),
            force_compression: false,
            oci_media_types: true,
            rewrite_timestamp: false,
            as_directory: false,
            platform_split: None,
            delete: false,
            annotations: Annotations::default(),
            attach: AttachForm::Artifact,
            takes_inline: true,
            attestation_prefix: String::new(),
            is_kept: true,
            is_insecure: false,
            digest_names: DigestNames::default(),
        }
    }
}

/// Kinds of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The store alone.
    Image,
    /// A registry.
    Registry,
    /// An OCI layout.
    Oci,
    /// An archive for `docker load`.
    Docker,
    /// The file system as a directory.
    Local,
    /// The file system as a tar.
    Tar,
    /// A running Docker or Podman.
    Engine,
    /// Nothing (OUT-06).
    CacheOnly,
}

/// Where an output is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputDest {
    /// A file or directory.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip; `None` for the default level.
    Gzip(Option<u8>),
    /// zstd; `None` for the default level.
    Zstd(Option<u8>),
    /// gzip of which single files can be read; `None` for the default level.
    Estargz(Option<u8>),
}

impl Compression {
    /// The level of an eStargz, if it is one.
    pub(crate) fn estargz_level(self) -> Option<u32> {
        let Compression::Estargz(level) = self else { return None };
        Some(level.map_or(layer::Compression::GZIP_LEVEL, u32::from))
    }
}

impl From<Compression> for layer::Compression {
    fn from(wanted: Compression) -> layer::Compression {
        match wanted {
            Compression::None => layer::Compression::None,
            Compression::Gzip(None) | Compression::Estargz(None) => layer::Compression::gzip(),
            Compression::Gzip(Some(level)) | Compression::Estargz(Some(level)) => {
                layer::Compression::Gzip(level.into())
            }
            Compression::Zstd(None) => layer::Compression::zstd(),
            Compression::Zstd(Some(level)) => layer::Compression::Zstd(level.into()),
        }
    }
}
