//! Forms of private key files: OpenSSH's own, and the older PEM ones (PKCS#1, PKCS#8, SEC1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaKeyPair,
};

use super::keys::{KeyError, Pair};
use super::wire::{Reader, without_zeros};

/// Longer numbers are of no key that could be used; reckoning with them would take long.
const NUMBER_MAX_BYTES: usize = 2048;

const MALFORMED: KeyError = KeyError::Malformed("it is damaged");

/// Reads a key file.
pub(super) fn parse(text: &[u8]) -> Result<Pair, KeyError> {
    let not_a_key = KeyError::Malformed("no line says BEGIN … PRIVATE KEY");
    let text = std::str::from_utf8(text).map_err(|_| not_a_key.clone())?;
    let (label, body) = unwrap_pem(text).ok_or(not_a_key)?;
    // Headers stand in old protected keys only.
    if label == "ENCRYPTED PRIVATE KEY" || body.contains("ENCRYPTED") {
        return Err(KeyError::Protected);
    }
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| MALFORMED)?;
    match label {
        "OPENSSH PRIVATE KEY" => openssh(&bytes),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&bytes).map_err(bad_rsa).map(Pair::Rsa),
        "EC PRIVATE KEY" => sec1(&bytes),
        "PRIVATE KEY" => pkcs8(&bytes),
        other => Err(KeyError::Unsupported(other.to_owned())),
    }
}

/// Label and content of the first private key in a PEM text.
fn unwrap_pem(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    label.ends_with("PRIVATE KEY").then_some((label, body))
}

fn bad_rsa(error: ring::error::KeyRejected) -> KeyError {
    match error.to_string().as_str() {
        "TooSmall" | "TooLarge" => KeyError::Unsupported("rsa of this size".to_owned()),
        _ => MALFORMED,
    }
}

fn openssh(bytes: &[u8]) -> Result<Pair, KeyError> {
    let rest = bytes.strip_prefix(b"openssh-key-v1\0").ok_or(MALFORMED)?;
    let mut reader = Reader(rest);
    let cipher = reader.text().ok_or(MALFORMED)?;
    if cipher != "none" {
        return Err(KeyError::Protected);
    }
    let private = || {
        let (_derivation, _its_options) = (reader.string()?, reader.string()?);
        let count = reader.number()?;
        let _public = reader.string()?;
        let mut private = Reader(reader.string()?);
        (count == 1 && private.number()? == private.number()?).then_some(private)
    };
    let mut private = { private }().ok_or(MALFORMED)?;
    let kind = private.text().ok_or(MALFORMED)?;
    match kind {
        "ssh-ed25519" => ed25519(&mut private),
        "ssh-rsa" => rsa(&mut private),
        _ if kind.starts_with("ecdsa-sha2-") => {
            let mut fields = || Some((private.text()?, private.string()?, private.string()?));
            let (curve, public, number) = fields().ok_or(MALFORMED)?;
            Pair::on_curve(curve, number, public)
        }
        other => Err(KeyError::Unsupported(other.to_owned())),
    }
}

fn ed25519(private: &mut Reader<'_>) -> Result<Pair, KeyError> {
    let mut fields = || Some((private.string()?, private.string()?.get(..32)?));
    let (public, seed) = fields().ok_or(MALFORMED)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).map(Pair::Ed25519).map_err(|_| MALFORMED)
}

fn rsa(private: &mut Reader<'_>) -> Result<Pair, KeyError> {
    let mut fields = || {
        let (n, e, d) = (private.mpint()?, private.mpint()?, private.mpint()?);
        Some((n, e, d, private.mpint()?, private.mpint()?, private.mpint()?))
    };
    let (n, e, d, inverse, p, q) = fields().ok_or(MALFORMED)?;
    if [d, p, q].iter().any(|number| number.len() > NUMBER_MAX_BYTES) {
        return Err(KeyError::Unsupported("rsa of this size".to_owned()));
    }
    let (d_p, d_q) = (modulo_less_one(d, p), modulo_less_one(d, q));
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: without_zeros(&d_p),
        dQ: without_zeros(&d_q),
        qInv: inverse,
    };
    RsaKeyPair::from_components(&components).map(Pair::Rsa).map_err(bad_rsa)
}

/// `number mod (odd - 1)`, big end first: OpenSSH's form leaves these two out.
fn modulo_less_one(number: &[u8], odd: &[u8]) -> Vec<u8> {
    // One byte more than the modulus, for the bit that doubling pushes out.
    let mut modulus = vec![0];
    modulus.extend_from_slice(odd);
    if let Some(last) = modulus.last_mut() {
        *last &= 0xfe;
    }
    let mut rest = vec![0u8; modulus.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            let high = *byte >> 7;
            *byte = *byte << 1 | carry;
            carry = high;
        }
        if rest >= modulus {
            let mut borrow = false;
            for (byte, less) in rest.iter_mut().zip(&modulus).rev() {
                let (once, first) = byte.overflowing_sub(*less);
                let (twice, second) = once.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (twice, first || second);
            }
        }
    }
    rest
}

fn pkcs8(bytes: &[u8]) -> Result<Pair, KeyError> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Ok(Pair::Ed25519(pair));
    }
    let random = SystemRandom::new();
    let on = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, bytes, &random);
    if let Ok(pair) = on(&ECDSA_P256_SHA256_FIXED_SIGNING) {
        return Ok(Pair::P256(pair));
    }
    if let Ok(pair) = on(&ECDSA_P384_SHA384_FIXED_SIGNING) {
        return Ok(Pair::P384(pair));
    }
    RsaKeyPair::from_pkcs8(bytes).map(Pair::Rsa).map_err(|error| match error.to_string().as_str() {
        "WrongAlgorithm" => KeyError::Unsupported("of its algorithm number".to_owned()),
        _ => bad_rsa(error),
    })
}

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const BITS: u8 = 0x03;
const PARAMETERS: u8 = 0xa0;
const PUBLIC: u8 = 0xa1;
/// Object identifiers of the curves.
const CURVES: [(&str, &[u8]); 2] = [
    ("nistp256", &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
    ("nistp384", &[0x2b, 0x81, 4, 0, 0x22]),
];

/// The form of `BEGIN EC PRIVATE KEY` (RFC 5915).
fn sec1(bytes: &[u8]) -> Result<Pair, KeyError> {
    let fields = || {
        let mut fields = Reader(der(&mut Reader(bytes), SEQUENCE)?);
        der(&mut fields, INTEGER)?;
        let number = der(&mut fields, OCTETS)?;
        let curve = der(&mut Reader(der(&mut fields, PARAMETERS)?), OBJECT)?;
        let public = der(&mut Reader(der(&mut fields, PUBLIC)?), BITS)?;
        Some((number, curve, public.strip_prefix(&[0])?))
    };
    let (number, curve, public) = fields().ok_or(MALFORMED)?;
    let name = CURVES.iter().find(|(_, object)| *object == curve).map(|(name, _)| *name);
    let name = name.ok_or_else(|| KeyError::Unsupported("ecdsa of this curve".to_owned()))?;
    Pair::on_curve(name, number, public)
}

/// The content of the next DER value, if it has this tag.
fn der<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    if reader.byte()? != tag {
        return None;
    }
    let length = match reader.byte()? {
        short @ 0..0x80 => usize::from(short),
        long => {
            let bytes = reader.take(usize::from(long & 0x7f)).filter(|bytes| bytes.len() <= 4)?;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
    };
    reader.take(length)
}
