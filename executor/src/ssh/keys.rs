//! Private keys in files, and what they sign (security.md E6: a key never leaves this process).
//!
//! Owns the agent's answers. Refuses to keep a passphrase: a protected key belongs into a real agent.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};

use super::wire::{Reader, put_mpint, put_string};
use super::{FAILURE, REQUEST_IDENTITIES, SIGN_REQUEST, files};

/// Larger files are no keys.
const FILE_MAX_BYTES: u64 = 100 << 10;

/// Answers of the agent protocol.
const IDENTITIES: u8 = 12;
const SIGNATURE: u8 = 14;

/// Flags of a request to sign.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Why a file is no usable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(String),
    /// It holds something else.
    #[error("holds no private key: {0}")]
    Malformed(&'static str),
    /// It has a passphrase.
    #[error("is protected by a passphrase")]
    Protected,
    /// Its kind is not known here.
    #[error("holds a key of the kind {0}, which is not supported")]
    Unsupported(String),
}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            KeyError::Read(_) | KeyError::Malformed(_) => {
                "name a private key as ssh-keygen writes it, or the socket of an agent"
            }
            KeyError::Protected => {
                "add it to an ssh-agent with ssh-add and forward the agent: --ssh default"
            }
            KeyError::Unsupported(_) => {
                "use an ed25519, ecdsa (256 or 384 bits) or rsa (2048 bits or more) key, or an ssh-agent"
            }
        }
    }
}

/// Some keys, served as an agent serves them. Shows nothing of them.
#[derive(Clone)]
pub struct Keys(Arc<Vec<Pair>>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// What signs.
pub(super) enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

impl Keys {
    /// Reads the keys of files.
    ///
    /// # Errors
    /// The first file that is no usable key, by its place in the list.
    pub fn read(paths: &[&Path]) -> Result<Keys, (usize, KeyError)> {
        let read = |(at, path): (usize, &&Path)| read_file(path).map_err(|error| (at, error));
        let keys: Vec<Pair> = paths.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Keys(Arc::new(keys)))
    }

    /// The answer to a message, both with their lengths.
    pub(super) fn answer(&self, request: &[u8]) -> Vec<u8> {
        let mut reader = Reader(request.get(4..).unwrap_or_default());
        let body = match reader.byte() {
            Some(REQUEST_IDENTITIES) => Some(self.identities()),
            Some(SIGN_REQUEST) => self.sign(&mut reader),
            _ => None,
        };
        let Some(body) = body else { return FAILURE.to_vec() };
        let mut answer = Vec::new();
        put_string(&mut answer, &body);
        answer
    }

    fn identities(&self) -> Vec<u8> {
        let mut body = vec![IDENTITIES];
        body.extend((self.0.len() as u32).to_be_bytes());
        for pair in self.0.iter() {
            put_string(&mut body, &pair.public());
            // No comment: it names a person, a machine or a path, which is none of the step's business.
            put_string(&mut body, b"");
        }
        body
    }

    fn sign(&self, reader: &mut Reader<'_>) -> Option<Vec<u8>> {
        let (public, data) = (reader.string()?, reader.string()?);
        let flags = reader.number()?;
        let pair = self.0.iter().find(|pair| pair.public() == public)?;
        let mut body = vec![SIGNATURE];
        put_string(&mut body, &pair.sign(data, flags)?);
        Some(body)
    }
}

impl Pair {
    /// The public key as the protocol has it.
    pub(super) fn public(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        match self {
            Pair::Ed25519(pair) => {
                put_string(&mut blob, b"ssh-ed25519");
                put_string(&mut blob, pair.public_key().as_ref());
            }
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                put_string(&mut blob, b"ssh-rsa");
                put_mpint(&mut blob, &public.e);
                put_mpint(&mut blob, &public.n);
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                let curve = self.curve();
                put_string(&mut blob, format!("ecdsa-sha2-{curve}").as_bytes());
                put_string(&mut blob, curve.as_bytes());
                put_string(&mut blob, pair.public_key().as_ref());
            }
        }
        blob
    }

    fn curve(&self) -> &'static str {
        match self {
            Pair::P256(_) => "nistp256",
            _ => "nistp384",
        }
    }

    fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (name, signature) = match self {
            Pair::Ed25519(pair) => ("ssh-ed25519".to_owned(), pair.sign(data).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                // Without a flag SHA-1 is meant, which nobody should accept any more.
                let (name, padding) = match flags {
                    _ if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    _ if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                (name.to_owned(), signature)
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                let both = pair.sign(&random, data).ok()?;
                let (r, s) = both.as_ref().split_at(both.as_ref().len() / 2);
                let mut signature = Vec::new();
                put_mpint(&mut signature, r);
                put_mpint(&mut signature, s);
                (format!("ecdsa-sha2-{}", self.curve()), signature)
            }
        };
        let mut blob = Vec::new();
        put_string(&mut blob, name.as_bytes());
        put_string(&mut blob, &signature);
        Some(blob)
    }

    /// A pair on one of the curves; the private number may lack leading zeros or have one too many.
    pub(super) fn on_curve(curve: &str, private: &[u8], public: &[u8]) -> Result<Pair, KeyError> {
        let (algorithm, length) = match curve {
            "nistp256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, 32),
            "nistp384" => (&ECDSA_P384_SHA384_FIXED_SIGNING, 48),
            other => return Err(KeyError::Unsupported(format!("ecdsa-sha2-{other}"))),
        };
        let digits =
            private.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &private[at..]);
        let mut whole = vec![0; length.max(digits.len()) - digits.len()];
        whole.extend_from_slice(digits);
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &whole, public, &random);
        let pair = pair.map_err(|_| KeyError::Malformed("its numbers do not fit together"))?;
        Ok(if length == 32 { Pair::P256(pair) } else { Pair::P384(pair) })
    }
}

/// A pipe is refused: the process that looks up and the one that works both read the file.
fn read_file(path: &Path) -> Result<Pair, KeyError> {
    let text = sys::read_small_of_machine(path, FILE_MAX_BYTES);
    files::parse(&text.map_err(|error| KeyError::Read(error.to_string()))?)
}

#[cfg(test)]
mod tests;
