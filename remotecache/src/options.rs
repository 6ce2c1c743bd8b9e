//! `--cache-from` and `--cache-to` as data (CIO-01 to CIO-09). Reading their text is the command line's business.

use std::collections::BTreeMap;
use std::path::PathBuf;

use layer::Compression;
use oci::{Digest, Reference};
use registry::Secret;

/// One `--cache-from`.
#[derive(Clone, Debug)]
pub struct CacheImport {
    /// Where the cache lies.
    pub place: ImportPlace,
    /// Which cache mounts are taken from it.
    pub mounts: MountSelection,
    /// A mount with more bytes than this is left out.
    pub mounts_max_bytes: u64,
    /// Mounts are used by this build and never written back to any cache.
    pub mounts_readonly: bool,
}

/// Places to read from.
#[derive(Clone, Debug)]
pub enum ImportPlace {
    /// A registry: a cache of its own, or an image with an inline one (CIO-04, CIO-06).
    Registry {
        /// Name with tag or digest.
        reference: Reference,
        /// Plain http and unchecked certificates are allowed.
        insecure: bool,
    },
    /// A directory in OCI layout (CIO-05).
    Local {
        /// Absolute path.
        src: PathBuf,
        /// Name in index.json.
        tag: String,
        /// Digest of the manifest; instead of a name.
        digest: Option<Digest>,
    },
    /// A bucket (CIO-08).
    S3(S3Options),
    /// The cache service of GitHub Actions (CIO-07).
    Gha(GhaOptions),
    /// A container of Azure's blob storage (CIO-09).
    Azblob(AzblobOptions),
}

/// One `--cache-to`.
#[derive(Clone, Debug)]
pub struct CacheExport {
    /// Where the cache goes.
    pub place: ExportPlace,
    /// Which steps.
    pub mode: CacheMode,
    /// How layers are compressed.
    pub compression: Compression,
    /// Compress layers anew that lie in another form already.
    pub force_compression: bool,
    /// OCI media types; Docker's when false.
    pub oci_media_types: bool,
    /// An image manifest; an index when false.
    pub image_manifest: bool,
    /// A failure is a warning (CIO-11).
    pub ignore_error: bool,
    /// Which cache mounts travel along.
    pub mounts: MountSelection,
    /// A mount with more bytes than this is left out.
    pub mounts_max_bytes: u64,
}

/// Places to write to.
#[derive(Clone, Debug)]
pub enum ExportPlace {
    /// A registry (CIO-04).
    Registry {
        /// Name with a tag.
        reference: Reference,
        /// Plain http and unchecked certificates are allowed.
        insecure: bool,
    },
    /// A directory in OCI layout (CIO-05).
    Local {
        /// Absolute path.
        dest: PathBuf,
        /// Name in index.json.
        tag: String,
        /// Remove blobs that no manifest of the directory names, after the export.
        reset: bool,
    },
    /// The config of the image itself (CIO-06).
    Inline,
    /// A bucket (CIO-08).
    S3(S3Options),
    /// The cache service of GitHub Actions (CIO-07).
    Gha(GhaOptions),
    /// A container of Azure's blob storage (CIO-09).
    Azblob(AzblobOptions),
}

impl CacheExport {
    /// An export with all options as usual.
    pub fn new(place: ExportPlace) -> CacheExport {
        CacheExport {
            place,
            mode: CacheMode::Min,
            compression: Compression::gzip(),
            force_compression: false,
            oci_media_types: true,
            image_manifest: true,
            ignore_error: false,
            mounts: MountSelection::default(),
            mounts_max_bytes: MountSelection::MAX_BYTES,
        }
    }
}

impl CacheImport {
    /// An import with all options as usual.
    pub fn new(place: ImportPlace) -> CacheImport {
        CacheImport {
            place,
            mounts: MountSelection::default(),
            mounts_max_bytes: MountSelection::MAX_BYTES,
            mounts_readonly: false,
        }
    }
}

/// Which steps an export has (CIO-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers the result has.
    #[default]
    Min,
    /// All.
    Max,
}

/// Which cache mounts travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MountSelection {
    /// None.
    #[default]
    None,
    /// All that the build's steps name.
    All,
    /// Those with these ids.
    Ids(Vec<String>),
}

impl MountSelection {
    /// Largest mount that travels when nobody says otherwise: 1 GiB.
    pub const MAX_BYTES: u64 = 1 << 30;

    /// Whether the mount with this id travels.
    pub fn has(&self, id: &str) -> bool {
        match self {
            MountSelection::None => false,
            MountSelection::All => true,
            MountSelection::Ids(ids) => ids.iter().any(|wanted| wanted == id),
        }
    }
}

/// A bucket and the way to it (CIO-08).
#[derive(Clone, Debug)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Names of the manifest; the first one is read, all are written.
    pub names: Vec<String>,
    /// Put before every key.
    pub prefix: String,
    /// Put before digests of blobs, behind `prefix`.
    pub blobs_prefix: String,
    /// Put before names of manifests, behind `prefix`.
    pub manifests_prefix: String,
    /// Another server than Amazon's.
    pub endpoint_url: Option<String>,
    /// The bucket's name goes into the path instead of the host.
    pub use_path_style: bool,
    /// Credential named on the command line.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// Its session token.
    pub session_token: Option<Secret>,
    /// An object that is older than this is touched when it is needed again, in seconds.
    pub touch_refresh_s: u64,
    /// Blobs that are sent at the same time.
    pub upload_parallelism: usize,
    /// Tries for each request; `None` for the usual number.
    pub retry_max_attempts: Option<u32>,
    /// What the environment says.
    pub environment: AwsEnvironment,
}

/// Where credentials are looked for that the command line does not name.
#[derive(Clone, Debug, Default)]
pub struct AwsEnvironment {
    /// Variables whose names begin with `AWS_`.
    pub variables: BTreeMap<String, Secret>,
    /// The user's directory, for `.aws/credentials` and `.aws/config`.
    pub home: Option<PathBuf>,
}

/// The cache service of GitHub Actions (CIO-07).
#[derive(Clone, Debug)]
pub struct GhaOptions {
    /// Address of version 1 of the service.
    pub url: Option<String>,
    /// Address of version 2; preferred.
    pub url_v2: Option<String>,
    /// 1 or 2 when the user asked for one.
    pub version: Option<u32>,
    /// The job's token.
    pub token: Secret,
    /// Name of the cache.
    pub scope: String,
    /// Longest time for one transfer, in seconds.
    pub timeout_s: u64,
}

/// A container of Azure's blob storage (CIO-09).
#[derive(Clone, Debug)]
pub struct AzblobOptions {
    /// Address of the account.
    pub account_url: String,
    /// Name of the account.
    pub account_name: String,
    /// Name of the container; made when it is not there.
    pub container: String,
    /// Names of the manifest; the first one is read, all are written.
    pub names: Vec<String>,
    /// Directory of everything; empty for none.
    pub prefix: String,
    /// Directory of blobs, below `prefix`.
    pub blobs_prefix: String,
    /// Directory of manifests, below `prefix`.
    pub manifests_prefix: String,
    /// The account's key, base64.
    pub secret_access_key: Secret,
}
