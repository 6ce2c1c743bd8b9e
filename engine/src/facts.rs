//! What the parent process has learnt and the child need not ask again (design D1).
//!
//! Owns the small document that goes over in a memfd. It names inputs only (resolved images, fetched contents), never
//! layers: the child leases and looks up for itself.

use std::collections::BTreeMap;

use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

/// Facts on inputs, by what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Manifests that references were resolved to at their registries, by reference and platform.
    images: BTreeMap<(Reference, Platform), Digest>,
}

#[derive(Serialize, Deserialize)]
struct File {
    images: Vec<(String, String, String)>,
}

impl Facts {
    /// The manifest that a reference meant when it was asked for.
    pub fn image(&self, reference: &Reference, platform: &Platform) -> Option<Digest> {
        self.images.get(&(reference.clone(), platform.clone())).copied()
    }

    /// Notes what a reference means in this build: it is resolved once (FROM-17).
    pub fn learn_image(&mut self, reference: &Reference, platform: &Platform, manifest: Digest) {
        self.images.insert((reference.clone(), platform.clone()), manifest);
    }

    /// Writes the document.
    pub fn to_json(&self) -> Vec<u8> {
        let images = self
            .images
            .iter()
            .map(|((r, p), d)| (r.to_string(), p.to_string(), d.to_string()))
            .collect();
        serde_json::to_vec(&File { images }).expect("facts are lists of strings")
    }

    /// Reads the document; anything that is not one counts as no facts, since all of it can be asked again.
    pub fn from_json(bytes: &[u8]) -> Facts {
        let file: File = serde_json::from_slice(bytes).unwrap_or(File { images: Vec::new() });
        let images = file.images.iter().filter_map(|(reference, platform, digest)| {
            let key = (reference.parse().ok()?, platform.parse().ok()?);
            Some((key, digest.parse().ok()?))
        });
        Facts { images: images.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_the_way_to_the_child() {
        let mut facts = Facts::default();
        let reference: Reference = "debian:12".parse().expect("valid");
        facts.learn_image(&reference, &Platform::host(), Digest::of(b"x"));
        assert_eq!(Facts::from_json(&facts.to_json()), facts);
        assert_eq!(Facts::from_json(b"garbage"), Facts::default());
    }
}
