//! Puts images into a registry over plain http: the few requests of the distribution API that this takes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::image::sha256;

/// A registry to push to.
pub(super) struct Remote {
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
}

impl Remote {
    /// Uploads a blob; returns its digest.
    pub(super) fn blob(&self, repository: &str, data: &[u8]) -> String {
        let digest = sha256(data);
        let start = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.request("POST", &start, "application/octet-stream", &[]);
        let location = answer.location.expect("an upload has a place");
        let path = location.find("/v2/").map_or(location.as_str(), |at| &location[at..]);
        let sign = if path.contains('?') { '&' } else { '?' };
        let finish = format!("{path}{sign}digest={digest}");
        self.request("PUT", &finish, "application/octet-stream", data);
        digest
    }

    /// Uploads a manifest or index under a tag; returns digest and size.
    pub(super) fn manifest(
        &self,
        repository: &str,
        tag: &str,
        document: &Value,
    ) -> (String, usize) {
        let data = document.to_string().into_bytes();
        let kind = document["mediaType"].as_str().expect("a manifest has a media type");
        self.request("PUT", &format!("/v2/{repository}/manifests/{tag}"), kind, &data);
        (sha256(&data), data.len())
    }

    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with("20"), "{method} {path}: {answer}");
        let location = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        Answer { location }
    }
}

struct Answer {
    location: Option<String>,
}
