//! Faults of registries by name, as tables of cases spell them.
//!
//! Owns what each name does to an answer. Knows nothing of registries' meaning: a fault falls upon whatever would have
//! been answered.
//!
//! `GET /blobs/ 2: cut middle ; GET /blobs/ 3+: no-range` are two faults: of the requests with this method and this
//! part in their path, counted from 1, the second, and the third with all that follow. `*` stands for any method, `2-4`
//! for a range.

use std::time::Duration;

use crate::image::gzip;
use crate::registry::{Fault, FaultKind};
use crate::wire::{Answered, Make, Piece, Wire};

/// Longer than any time limit of a test.
const FOR_EVER: Duration = Duration::from_secs(20);

/// Reads a list of faults.
///
/// # Panics
/// The text makes no sense: it is part of a test.
pub fn parse(text: &str) -> Vec<Fault> {
    text.split(" ; ").map(str::trim).filter(|one| !one.is_empty()).map(parse_one).collect()
}

fn parse_one(text: &str) -> Fault {
    let (which, what) = text.split_once(": ").unwrap_or_else(|| panic!("no fault: {text}"));
    let words: Vec<&str> = which.split(' ').collect();
    let [method, path, numbers] = words[..] else { panic!("not METHOD PATH NUMBER: {which}") };
    let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("no number: {which}"));
    let (first, last) = match (numbers.strip_suffix('+'), numbers.split_once('-')) {
        (Some(first), _) => (number(first), u32::MAX),
        (None, Some((first, last))) => (number(first), number(last)),
        (None, None) => (number(numbers), number(numbers)),
    };
    let method = match method {
        "*" => "",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        _ => panic!("unknown method: {which}"),
    };
    let (skip, times) = (first - 1, last.saturating_sub(first).saturating_add(1));
    Fault { method, path: path.replace('*', ""), skip, times, kind: kind(what) }
}

/// What a fault's name stands for.
pub fn kind(text: &str) -> FaultKind {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    match name {
        "close" => FaultKind::Close,
        "lose-answer" => FaultKind::LoseAnswer,
        "expire-tokens" => FaultKind::ExpireTokens,
        "no-range" => FaultKind::NoRange,
        _ => FaultKind::Wire(
            instead(name, rest)
                .or_else(|| broken(name, rest))
                .or_else(|| changed(name, rest))
                .unwrap_or_else(|| panic!("unknown fault: {text}")),
        ),
    }
}

/// Answers that have nothing to do with the request.
fn instead(name: &str, rest: &str) -> Option<Wire> {
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let pieces = match name {
        "status" => vec![Piece::Bytes(status(rest)), Piece::KeepOpen],
        "reset" => vec![Piece::Reset],
        "half-head" => vec![Piece::Bytes(b"HTTP/1.1 200 OK\r\ncontent-len".to_vec())],
        "garbage" => vec![Piece::Bytes(vec![0x16, 0x03, 0x01, 0, 0, 0xff, 0x0a, 0x0a])],
        "bad-status" => vec![Piece::Bytes(b"HTTP/1.1 abc\r\n\r\n".to_vec())],
        "http-0.9" => vec![Piece::Bytes(b"<html>hello</html>\r\n".to_vec())],
        "stall-head" => vec![Piece::Bytes(head), Piece::Pause(FOR_EVER)],
        "stall" => vec![Piece::Pause(FOR_EVER)],
        "endless-head" => {
            vec![Piece::Bytes(head), Piece::Endless(b"x-more: and more\r\n".to_vec())]
        }
        "huge-head" => {
            let line = format!("x-long: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(1 << 20));
            vec![Piece::Bytes(head), Piece::Bytes(line.into_bytes())]
        }
        "slow-head" => {
            let line = "x-slow: y\r\n".repeat(1000).into_bytes();
            vec![Piece::Bytes(head), Piece::Drip(line, millis(rest))]
        }
        "endless-interim" => vec![Piece::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())],
        _ => return None,
    };
    Some(Wire::instead(pieces))
}

/// `429 / retry-after: 1 -- body`.
fn status(rest: &str) -> Vec<u8> {
    let (head, body) = rest.split_once(" -- ").unwrap_or((rest, ""));
    let mut parts = head.split(" / ");
    let code = parts.next().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {code} Status\r\ncontent-length: {}\r\n", body.len());
    for header in parts {
        text.push_str(&format!("{}\r\n", header.replace("{soon}", &soon())));
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// The next second but one, as a date of HTTP.
fn soon() -> String {
    let then = jiff::Timestamp::now() + Duration::from_secs(1);
    jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S GMT", then).unwrap()
}

/// The right answer, broken on its way.
fn broken(name: &str, rest: &str) -> Option<Wire> {
    let place = rest.to_owned();
    let wait = if name.starts_with("slow") { millis(rest) } else { FOR_EVER };
    let upto = move |a: &Answered| match a.method {
        "HEAD" => Vec::new(),
        _ => a.body[..place_of(&place, a.body.len())].to_vec(),
    };
    let head_and = |a: &Answered, body: Vec<u8>| Piece::Bytes([a.head(), body].concat());
    let make: Box<Make> = match name {
        "cut" => Box::new(move |a| vec![head_and(a, upto(a))]),
        "reset-after" => Box::new(move |a| {
            // What was sent must be read before the reset throws it away.
            vec![head_and(a, upto(a)), Piece::Pause(Duration::from_millis(30)), Piece::Reset]
        }),
        "stall-body" => Box::new(move |a| vec![head_and(a, upto(a)), Piece::Pause(FOR_EVER)]),
        "slow-body" => {
            Box::new(move |a| vec![Piece::Bytes(a.head()), Piece::Drip(a.body.clone(), wait)])
        }
        "slow-answer" => Box::new(move |a| vec![Piece::Pause(wait), Piece::Bytes(a.whole())]),
        "interim" => Box::new(|a| {
            let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec();
            vec![Piece::Bytes(interim), Piece::Bytes(a.whole()), Piece::KeepOpen]
        }),
        "smuggle" => Box::new(|a| {
            let second = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong".to_vec();
            // Bytes that come later than the next request cannot be told from its answer.
            vec![Piece::Bytes([a.whole(), second].concat()), Piece::KeepOpen]
        }),
        "endless-body" => Box::new(|a| {
            let mut endless = a.copy();
            endless.set("transfer-encoding", Some("chunked"));
            let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
            vec![Piece::Bytes(endless.head()), Piece::Endless(chunk)]
        }),
        "chunked" | "bad-chunk" | "cut-chunk" | "huge-chunk" => {
            let name = name.to_owned();
            Box::new(move |a| chunks(&name, a))
        }
        _ => return None,
    };
    Some(Wire::after(make))
}

fn chunks(name: &str, answered: &Answered) -> Vec<Piece> {
    let mut chunked = answered.copy();
    chunked.set("transfer-encoding", Some("chunked"));
    let half = answered.body.len() / 2;
    let chunk =
        |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, &b"\r\n"[..]].concat();
    let (first, second) = answered.body.split_at(half);
    let mut bytes = chunked.head();
    if answered.method == "HEAD" {
        return vec![Piece::Bytes(bytes), Piece::KeepOpen];
    }
    bytes.extend(chunk(first));
    match name {
        "chunked" => bytes.extend([chunk(second), b"0\r\n\r\n".to_vec()].concat()),
        "bad-chunk" => bytes.extend(b"zz\r\n"),
        "huge-chunk" => bytes.extend([b"ffffffffffffffff\r\n", second].concat()),
        _ => bytes.extend(chunk(second)),
    }
    vec![Piece::Bytes(bytes)]
}

/// Another answer than the right one, whole and well-formed.
fn changed(name: &str, rest: &str) -> Option<Wire> {
    let (name, rest) = (name.to_owned(), rest.to_owned());
    let mut known = false;
    for word in CHANGES {
        known |= *word == name;
    }
    known.then(|| {
        Wire::after(move |answered| {
            let mut other = answered.copy();
            change(&name, &rest, &mut other);
            // A length that is not true leaves nothing behind that could follow.
            let keeps = other.headers.iter().all(|(name, _)| name != "content-length");
            let end = keeps.then_some(Piece::KeepOpen);
            [Piece::Bytes(other.whole())].into_iter().chain(end).collect()
        })
    })
}

const CHANGES: &[&str] = &[
    "flip",
    "short",
    "long",
    "empty",
    "body",
    "html",
    "gzip",
    "header",
    "no-header",
    "two-headers",
    "replace",
    "huge-json",
    "deep-json",
    "range-from",
    "range-total",
    "range-none",
    "range-whole",
];

fn change(name: &str, rest: &str, answer: &mut Answered) {
    let header = |text: &str| {
        let (name, value) = text.split_once(": ").unwrap_or_else(|| panic!("no header: {text}"));
        (name.to_owned(), value.to_owned())
    };
    match name {
        "flip" => {
            let at = answer.body.len() / 2;
            answer.body.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
        }
        "short" => drop(answer.body.pop()),
        "long" => answer.body.push(b' '),
        "empty" => answer.body.clear(),
        "body" => answer.body = rest.as_bytes().to_vec(),
        "html" => {
            answer.set("content-type", Some("text/html"));
            answer.set("docker-content-digest", None);
            answer.body = b"<!DOCTYPE html><html><body>Please sign in</body></html>".to_vec();
        }
        "gzip" => {
            answer.set("content-encoding", Some("gzip"));
            answer.body = gzip(&answer.body);
        }
        "header" => {
            let (name, value) = header(rest);
            answer.set(&name, Some(&value));
        }
        "two-headers" => {
            for one in rest.split(" / ") {
                answer.headers.push(header(one));
            }
        }
        "no-header" => answer.set(rest, None),
        "replace" => {
            let (from, to) = rest.split_once(" => ").expect("A => B");
            let text = String::from_utf8(answer.body.clone()).expect("text");
            assert!(text.contains(from), "{from} is not in {text}");
            answer.body = text.replacen(from, to, 1).into_bytes();
        }
        "huge-json" => {
            let pad = vec![b' '; 5 << 20];
            answer.body.splice(1..1, pad);
        }
        "deep-json" => {
            answer.set("docker-content-digest", None);
            let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
            answer.body = [&b"{\"schemaVersion\":2,\"deep\":"[..], &deep, b"}"].concat();
        }
        _ => change_range(name, rest, answer),
    }
}

/// Lies about the part that was asked for. The right answer is a part, or becomes one.
fn change_range(name: &str, rest: &str, answer: &mut Answered) {
    let said = answer.headers.iter().find(|(name, _)| name == "content-range");
    let said = said.map_or("bytes 0-0/1".to_owned(), |(_, value)| value.clone());
    let (range, total) = said.trim_start_matches("bytes ").split_once('/').expect("a range");
    let (first, last) = range.split_once('-').expect("a range");
    let (first, last, total) = (first.to_owned(), last.to_owned(), total.to_owned());
    match name {
        "range-from" => {
            answer.set("content-range", Some(&format!("bytes {rest}-{last}/{total}")));
        }
        "range-total" => {
            answer.set("content-range", Some(&format!("bytes {first}-{last}/{rest}")));
        }
        "range-none" => answer.set("content-range", None),
        // The whole is sent, and said to be the part.
        _ => {
            let before: usize = first.parse().expect("a number");
            answer.body.splice(0..0, std::iter::repeat_n(b'x', before));
        }
    }
}

/// `middle`, `last` (all but one byte) or a number.
fn place_of(text: &str, length: usize) -> usize {
    match text {
        "middle" => length / 2,
        "last" => length.saturating_sub(1),
        number => number.parse::<usize>().expect("a place in a body").min(length),
    }
}

fn millis(text: &str) -> Duration {
    Duration::from_millis(text.parse().expect("milliseconds"))
}
