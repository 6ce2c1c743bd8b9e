//! Asks the ssh agent at SSH_AUTH_SOCK for its keys, has each sign something, and tries to add one: the step's side of
//! tests of `--ssh`. It is static, so that it runs in any image.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic fails the step that runs it")]
#![allow(clippy::print_stdout, reason = "the step's output is what it is for")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use base64::Engine as _;

/// Messages of the agent protocol.
const LIST: u8 = 11;
const KEYS: u8 = 12;
const SIGN: u8 = 13;
const SIGNATURE: u8 = 14;
const ADD: u8 = 17;
const FAILURE: u8 = 5;

fn main() {
    let mut agent = UnixStream::connect(std::env::var_os("SSH_AUTH_SOCK").unwrap()).unwrap();
    let mut keys = ask(&mut agent, LIST, &[]);
    assert_eq!(keys.remove(0), KEYS);
    let mut rest = &keys[4..];
    for _ in 0..u32::from_be_bytes(keys[..4].try_into().unwrap()) {
        let (blob, comment) = (string(&mut rest), string(&mut rest));
        let text = base64::engine::general_purpose::STANDARD.encode(&blob);
        println!("key {text} {}", String::from_utf8(comment).unwrap());
        let mut request = Vec::new();
        [&blob[..], b"something to sign"].iter().for_each(|part| put(&mut request, part));
        request.extend(2u32.to_be_bytes());
        assert_eq!(ask(&mut agent, SIGN, &request)[0], SIGNATURE);
    }
    assert_eq!(ask(&mut agent, ADD, b"anything")[0], FAILURE);
    println!("all asked");
}

fn ask(agent: &mut UnixStream, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put(&mut message, &[&[kind], body].concat());
    agent.write_all(&message).unwrap();
    let mut length = [0; 4];
    agent.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    agent.read_exact(&mut answer).unwrap();
    answer
}

fn string(rest: &mut &[u8]) -> Vec<u8> {
    let (length, after) = rest.split_at(4);
    let (text, after) = after.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize);
    *rest = after;
    text.to_vec()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}
