//! Caches that are written to a place and read again, from another value of the place as another machine has it.

mod azblob;
mod gha;
mod inline;
mod local;
mod registry;
mod s3;

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use ::registry::{
    Credentials, CredentialsSource, RegistryClient, RegistryOptions, RetryPolicy, TlsRoots,
};
use graph::{CacheKey, ContentId, InstructionDigest};
use oci::{ChainId, Descriptor, DiffId, Digest, media};
use remotecache::{
    CacheDocument, CacheEntry, CacheExport, CacheImport, CacheLayer, CachePlace, ExportPlace,
    ImportPlace, Put, open_export, open_import,
};

/// A cache with its blobs.
struct Cache {
    document: CacheDocument,
    blobs: Vec<Vec<u8>>,
}

/// One record for each name, on a layer of its own above those before it.
fn cache(names: &[&str]) -> Cache {
    let blobs: Vec<Vec<u8>> = names.iter().map(|name| noise(name, 20_000)).collect();
    let layers = names.iter().zip(&blobs).map(|(name, blob)| CacheLayer {
        diff_id: DiffId(Digest::of(format!("diff {name}").as_bytes())),
        content_id: ContentId(Digest::of(format!("content {name}").as_bytes())),
        descriptor: Descriptor::new(media::OCI_LAYER_GZIP, Digest::of(blob), blob.len() as u64),
        created: "2026-01-02T03:04:05Z".to_owned(),
    });
    let records = names.iter().zip(0..).map(|(name, place)| CacheEntry {
        instruction: InstructionDigest(Digest::of(format!("instruction {name}").as_bytes())),
        operation: None,
        keys: vec![CacheKey(Digest::of(format!("key {name}").as_bytes()))],
        base: Some(ChainId(Digest::of(b"base"))),
        layers: (0..=place).collect(),
        layer: Some(place),
        created: "2026-01-02T03:04:05Z".to_owned(),
        took_ms: 5,
        step: format!("RUN {name}"),
        inputs: Vec::new(),
    });
    let (layers, records) = (layers.collect(), records.collect());
    Cache { document: CacheDocument { layers, records, ..CacheDocument::default() }, blobs }
}

/// Bytes that depend on a name and differ at each place.
fn noise(name: &str, length: usize) -> Vec<u8> {
    let seed = Digest::of(name.as_bytes()).as_bytes()[0];
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn client() -> RegistryClient {
    client_trusting(TlsRoots::System { extra: Vec::new() })
}

fn client_trusting(roots: TlsRoots) -> RegistryClient {
    let credentials = Credentials::load(&CredentialsSource::default()).expect("no credentials");
    let mut options = RegistryOptions::new(credentials);
    options.retry = RetryPolicy {
        tries: 2,
        first_delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(10),
        max_retry_after: Duration::from_secs(2),
    };
    options.roots = roots;
    options.idle_timeout = Duration::from_secs(5);
    RegistryClient::new(options)
}

fn to(place: ExportPlace) -> Arc<dyn CachePlace> {
    open(&CacheExport::new(place))
}

fn open(export: &CacheExport) -> Arc<dyn CachePlace> {
    open_export(export, &client()).expect("options").expect("a place")
}

fn from(place: ImportPlace) -> Arc<dyn CachePlace> {
    open_import(&CacheImport::new(place), &client()).expect("options")
}

/// Puts all blobs, then the document; says what became of each blob.
fn export(place: &dyn CachePlace, cache: &Cache) -> Vec<Put> {
    let put = cache.document.layers.iter().zip(&cache.blobs).map(|(layer, bytes)| {
        let open = || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
        place.put(&layer.descriptor, &open, None).expect("put")
    });
    let put = put.collect();
    place.publish(&cache.document).expect("publish");
    put
}

fn read_blob(place: &dyn CachePlace, blob: &Descriptor) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = place.open(blob).map_err(|error| chain(&error))?;
    reader.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
}

/// What the place has is what was exported, and its blobs are whole.
fn check(place: &dyn CachePlace, cache: &Cache) {
    let read = place.read().expect("read").expect("a document");
    let bytes = |document: &CacheDocument| document.encode().expect("encode");
    assert_eq!(bytes(&read), bytes(&cache.document));
    for (layer, bytes) in cache.document.layers.iter().zip(&cache.blobs) {
        assert!(place.has(&layer.descriptor).expect("asked"));
        assert!(read_blob(place, &layer.descriptor).expect("blob") == *bytes);
    }
    let missing = Descriptor::new("x", Digest::of(b"nowhere"), 7);
    assert!(!place.has(&missing).expect("asked"));
    assert!(read_blob(place, &missing).is_err());
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
