//! How values become the bytes that are hashed.
//!
//! Owns the encoding, and what the named parts of it are: a part's digest is made of the very bytes that count for the
//! whole. Refuses to know what is hashed.

use std::fmt;

use oci::{Digest, Hasher};

use crate::parts::Part;

/// Feeds a hash so that no two different sequences of values are the same bytes.
pub(super) struct KeyHasher {
    whole: Hasher,
    /// Those that have ended, when somebody wants them.
    parts: Option<Vec<Part>>,
    /// The one that is being fed.
    part: Option<Hasher>,
}

impl KeyHasher {
    pub(super) fn new(kind: &'static str) -> KeyHasher {
        KeyHasher { whole: begin(kind), parts: None, part: None }
    }

    /// For [`KeyHasher::into_parts`].
    pub(super) fn with_parts(kind: &'static str) -> KeyHasher {
        KeyHasher { parts: Some(Vec::new()), ..KeyHasher::new(kind) }
    }

    pub(super) fn finish(self) -> Digest {
        self.whole.finish()
    }

    pub(super) fn into_parts(self) -> Vec<Part> {
        self.parts.unwrap_or_default()
    }

    /// What `hash` feeds is a part that people know by this name. Parts have no parts. What stands outside of them must
    /// follow from them: the lengths of lists do.
    pub(super) fn part(&mut self, name: impl fmt::Display, hash: impl FnOnce(&mut KeyHasher)) {
        debug_assert!(self.part.is_none(), "{name} is in another part");
        self.part = self.parts.is_some().then(|| begin("part"));
        hash(self);
        if let (Some(parts), Some(part)) = (&mut self.parts, self.part.take()) {
            parts.push(Part { name: name.to_string(), digest: part.finish() });
        }
    }

    /// The part that says what is hashed at all.
    pub(super) fn kind(&mut self, kind: &'static str) {
        self.part("kind of instruction", |hasher| hasher.tag(kind));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.fixed(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Names what comes: a field's group or a choice. Tags are never values.
    pub(super) fn tag(&mut self, tag: &'static str) {
        self.text(tag);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.fixed(&number.to_le_bytes());
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.fixed(&number.to_le_bytes());
    }

    pub(super) fn flags(&mut self, flags: &[bool]) {
        for flag in flags {
            self.fixed(&[u8::from(*flag)]);
        }
    }

    pub(super) fn digest(&mut self, digest: &Digest) {
        self.fixed(digest.as_bytes());
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, hash: impl FnOnce(&mut KeyHasher, T)) {
        self.flags(&[value.is_some()]);
        if let Some(value) = value {
            hash(self, value);
        }
    }

    pub(super) fn list<T>(&mut self, values: &[T], mut hash: impl FnMut(&mut KeyHasher, &T)) {
        self.number(values.len() as u64);
        for value in values {
            hash(self, value);
        }
    }

    /// Bytes that are always as many.
    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.whole.update(bytes);
        if let Some(part) = &mut self.part {
            part.update(bytes);
        }
    }
}

/// A hash of this kind, which no other kind's can equal.
fn begin(kind: &'static str) -> Hasher {
    let mut hasher = Hasher::new();
    for tag in ["shale key", kind] {
        hasher.update(&(tag.len() as u64).to_le_bytes());
        hasher.update(tag.as_bytes());
    }
    hasher
}
