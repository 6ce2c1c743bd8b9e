//! What the outputs of a request ask for: layers, documents, a look into the file system.
//!
//! Owns the answers. Refuses to write anything.

use layer::Encoding;

use crate::attest::{self, Takes};
use crate::request::{DigestNames, Output, OutputKind};
use crate::session::Session;

/// Whether the result is kept in the store or written anywhere; else only the cache was to be filled.
pub(crate) fn keeps(session: &Session) -> bool {
    let outputs = &session.request.outputs;
    let is_file = |output: &Output| output.kind != OutputKind::CacheOnly;
    !session.request.tags.is_empty() || outputs.is_empty() || outputs.iter().any(is_file)
}

/// Whether any output needs the bytes of layers.
pub(crate) fn needs_layers(session: &Session) -> bool {
    let tagged = is_index(session) && !session.request.tags.is_empty();
    let outputs = &session.request.outputs;
    tagged || scans(session) || outputs.iter().any(|output| is_written(session, output))
}

/// Whether an output makes anything that the store has not already. An image with annotations needs its manifest now,
/// as nothing else could keep them; several platforms need theirs, as the id of such a result is that of its index.
pub(super) fn is_written(session: &Session, output: &Output) -> bool {
    match output.kind {
        OutputKind::CacheOnly => false,
        OutputKind::Image => {
            let attests = attest::is_wanted(&session.request.attest, takes(output));
            let is_named = output.digest_names != DigestNames::default();
            !output.annotations.is_empty() || is_index(session) || attests || is_named
        }
        _ => true,
    }
}

/// Which attestations an output takes: what is for images alone stays away from files (OUT-24).
pub(super) fn takes(output: &Output) -> Takes {
    match output.kind {
        OutputKind::Image | OutputKind::Registry => Takes::All,
        OutputKind::Oci if output.takes_inline => Takes::All,
        _ => Takes::NotInlineOnly,
    }
}

/// Whether an output holds attestations.
pub(super) fn attests(session: &Session, output: &Output) -> bool {
    // An engine's archive has one image and nothing else.
    let can =
        !matches!(output.kind, OutputKind::Docker | OutputKind::Engine | OutputKind::CacheOnly);
    can && attest::is_wanted(&session.request.attest, takes(output))
}

/// Whether anything looks into the result's file system to say what is in it.
pub(crate) fn scans(session: &Session) -> bool {
    let outputs = &session.request.outputs;
    session.request.attest.sbom.is_some() && outputs.iter().any(|o| attests(session, o))
}

/// Whether the result is an index, of one platform or several. A request that contradicts itself did not get so far.
pub(super) fn is_index(session: &Session) -> bool {
    session.request.plan.is_index() == Ok(true)
}

/// How the layers of the result are encoded, each way once: as its first output as an image wants it, then as others.
pub(crate) fn encodings(session: &Session) -> Vec<Encoding> {
    let images = session.request.outputs.iter().filter(|output| {
        !matches!(output.kind, OutputKind::Local | OutputKind::Tar | OutputKind::CacheOnly)
    });
    let mut encodings: Vec<Encoding> = Vec::new();
    for wanted in images.map(|output| encoding(session, output)) {
        if !encodings.contains(&wanted) {
            encodings.push(wanted);
        }
    }
    if encodings.is_empty() {
        encodings.push(Encoding::default());
    }
    encodings
}

/// How an output wants the layers that were made here.
pub(super) fn encoding(session: &Session, output: &Output) -> Encoding {
    Encoding {
        clamp_to: session.epoch().filter(|_| output.rewrite_timestamp),
        estargz: output.compression.estargz_level(),
    }
}
