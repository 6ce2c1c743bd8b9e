//! DNS messages: one question out, addresses in (RFC 1035, 4). Total on any bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Record type of IPv4 addresses.
pub(super) const A: u16 = 1;
/// Record type of IPv6 addresses.
pub(super) const AAAA: u16 = 28;
const CNAME: u16 = 5;
const CLASS_IN: u16 = 1;

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its addresses for the name, none if there is no such name or no such record.
    Addresses(Vec<IpAddr>),
    /// The answer was too long for a datagram.
    Cut,
    /// It cannot or will not say.
    Failed,
}

/// Makes a query; `None` when the name cannot be one.
pub(super) fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend(id.to_be_bytes());
    // Recursion desired, one question.
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend(encode_name(name)?);
    out.extend(kind.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    Some(out)
}

/// Reads an answer; `None` when it does not belong to the query.
pub(super) fn answer(query: &[u8], bytes: &[u8]) -> Option<Answer> {
    let question = query.get(12..)?;
    if bytes.get(..2)? != query.get(..2)? || bytes.get(2)? & 0x80 == 0 {
        return None;
    }
    if u16_at(bytes, 4)? != 1 || !bytes.get(12..12 + question.len())?.eq_ignore_ascii_case(question)
    {
        return None;
    }
    if bytes[2] & 0x02 != 0 {
        return Some(Answer::Cut);
    }
    match bytes.get(3)? & 0x0f {
        0 => {}
        3 => return Some(Answer::Addresses(Vec::new())),
        _ => return Some(Answer::Failed),
    }
    let count = u16_at(bytes, 6)?;
    Some(match records(bytes, 12 + question.len(), count, question) {
        Some(found) => Answer::Addresses(found),
        None => Answer::Failed,
    })
}

/// The addresses of the question's name, aliases followed as far as the answer has them in order.
fn records(bytes: &[u8], mut at: usize, count: u16, question: &[u8]) -> Option<Vec<IpAddr>> {
    let (mut wanted, _) = decode_name(question, 0)?;
    let kind = u16_at(question, question.len() - 4)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (owner, after) = decode_name(bytes, at)?;
        let record_kind = u16_at(bytes, after)?;
        let class = u16_at(bytes, after + 2)?;
        let start = after + 10;
        let end = start + usize::from(u16_at(bytes, after + 8)?);
        let data = bytes.get(start..end)?;
        if class == CLASS_IN && owner.eq_ignore_ascii_case(&wanted) {
            if record_kind == CNAME {
                (wanted, _) = decode_name(bytes, start)?;
            } else if record_kind == kind {
                found.extend(address(data));
            }
        }
        at = end;
    }
    Some(found)
}

fn address(data: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(data) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(data).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

fn encode_name(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|l| (1..64).contains(l))?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

/// A name in wire form without compression, and where what follows it begins.
fn decode_name(bytes: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut here = at;
    let mut after = None;
    // Pointers only lead back, so a hostile loop ends at this count.
    for _ in 0..128 {
        let length = *bytes.get(here)?;
        match length {
            0 => {
                name.push(0);
                return Some((name, after.unwrap_or(here + 1)));
            }
            1..=63 => {
                let end = here + 1 + usize::from(length);
                name.extend(bytes.get(here..end)?);
                here = end;
            }
            0xc0.. => {
                after = after.or(Some(here + 2));
                here = usize::from(u16_at(bytes, here)? & 0x3fff);
            }
            _ => return None,
        }
        if name.len() > 255 {
            return None;
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `query` with the given records: (owner pointer or name, type, data).
    fn reply(query: &[u8], records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut out = query.to_vec();
        out[2] |= 0x80;
        out[7] = records.len() as u8;
        for (owner, kind, data) in records {
            out.extend(*owner);
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 60]);
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(*data);
        }
        out
    }

    const QUESTION: &[u8] = &[0xc0, 12];

    #[test]
    fn addresses_are_taken_from_the_names_chain_only() {
        let query = query(7, "r.example", A).expect("valid name");
        let alias = encode_name("cdn.example").expect("valid");
        let other = encode_name("evil.example").expect("valid");
        let bytes = reply(
            &query,
            &[
                (QUESTION, CNAME, &alias),
                (&other, A, &[6, 6, 6, 6]),
                (&alias, A, &[10, 0, 0, 1]),
                (&alias, AAAA, &[0; 16]),
            ],
        );
        let expect = Answer::Addresses(vec!["10.0.0.1".parse().expect("address")]);
        assert_eq!(answer(&query, &bytes), Some(expect));
    }

    #[test]
    fn answers_to_other_questions_and_broken_ones_are_not_believed() {
        let ours = query(7, "r.example", A).expect("valid name");
        let good = reply(&ours, &[(QUESTION, A, &[10, 0, 0, 1])]);
        let mut other_id = good.clone();
        other_id[0] ^= 1;
        assert_eq!(answer(&ours, &other_id), None);
        let other_name = query(7, "s.example", A).expect("valid name");
        assert_eq!(answer(&other_name, &good), None);
        let mut looped = reply(&ours, &[]);
        looped[7] = 1;
        let at = looped.len() as u8;
        looped.extend([0xc0, at]);
        assert_eq!(answer(&ours, &looped), Some(Answer::Failed));
        for length in 0..good.len() {
            let got = answer(&ours, &good[..length]);
            assert!(matches!(got, None | Some(Answer::Failed)), "{length}: {got:?}");
        }
        assert_eq!(query(1, "a..b", A), None);
    }

    #[test]
    fn codes_are_told_apart() {
        let query = query(7, "r.example", A).expect("valid name");
        let with = |byte: usize, bits: u8| {
            let mut bytes = reply(&query, &[]);
            bytes[byte] |= bits;
            answer(&query, &bytes)
        };
        assert_eq!(with(3, 3), Some(Answer::Addresses(vec![])));
        assert_eq!(with(3, 2), Some(Answer::Failed));
        assert_eq!(with(2, 2), Some(Answer::Cut));
    }
}
