//! Signatures of requests: AWS's signature version 4, over HMAC.
//!
//! Pure: time and credentials come in as values. Nothing here is ever printed.

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use oci::Digest;
use registry::{Secret, percent};

use crate::hmac::hmac;

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwsCredential {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: Secret,
    pub(crate) session_token: Option<Secret>,
    /// When it ends, if it does.
    pub(crate) expires: Option<Timestamp>,
}

/// What is signed. Header names are in lower case.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    /// Percent-encoded path.
    pub(super) path: &'a str,
    /// Names and values of the query, not encoded, in any order.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// All headers that are to be signed, `host` and `x-amz-date` too, in any order.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// Digest of the content in hexadecimal.
    pub(super) payload: &'a str,
    /// `20130524T000000Z`.
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// The value of `Authorization`.
pub(super) fn authorization(request: &ToSign<'_>, credential: &AwsCredential) -> String {
    let day = &request.date[..request.date.len().min(8)];
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let (canonical, signed) = canonical_request(request);
    let digest = Digest::of(canonical.as_bytes()).hex();
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", request.date);
    let secret = format!("AWS4{}", credential.secret_access_key.reveal());
    let mut key = hmac(secret.as_bytes(), day.as_bytes());
    for part in [request.region, request.service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = Digest::from_bytes(hmac(&key, text.as_bytes())).hex();
    let id = &credential.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={signed},Signature={signature}")
}

/// The request in the form that both sides hash, and the list of its signed headers.
fn canonical_request(request: &ToSign<'_>) -> (String, String) {
    let mut headers = request.headers.to_vec();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed = names.join(";");
    let mut out = format!("{}\n{}\n{}\n", request.method, request.path, query(request.query));
    for (name, value) in &headers {
        // Runs of spaces count as one.
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "{name}:{value}");
    }
    let _ = write!(out, "\n{signed}\n{}", request.payload);
    (out, signed)
}

/// A query as it is signed and sent: encoded, sorted.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut all: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", percent::encode(name), percent::encode(value)))
        .collect();
    all.sort_unstable();
    all.join("&")
}

/// A time as signatures want it: `20130524T000000Z`.
pub(super) fn amz_date(now: SystemTime) -> String {
    let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let t = now.to_zoned(TimeZone::UTC).datetime();
    let (year, month, day) = (t.year(), t.month(), t.day());
    let (hour, minute, second) = (t.hour(), t.minute(), t.second());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The example credential of Amazon's documentation of signatures for S3.
    fn example() -> AwsCredential {
        AwsCredential {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
            expires: None,
        }
    }

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

    fn signature(
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        payload: &str,
    ) -> String {
        let (date, region, service) = (DATE.1, "us-east-1", "s3");
        let request = ToSign { method, path, query, headers, payload, date, region, service };
        let value = authorization(&request, &example());
        value.rsplit_once('=').expect("a signature").1.to_owned()
    }

    #[test]
    fn signatures_are_those_of_amazons_documentation() {
        let empty = ("x-amz-content-sha256", EMPTY);
        let headers = [HOST, ("range", "bytes=0-9"), empty, DATE];
        assert_eq!(
            signature("GET", "/test.txt", &[], &headers, EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let content = Digest::of(b"Welcome to Amazon S3.").hex();
        let headers = [
            HOST,
            DATE,
            ("x-amz-content-sha256", &content),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        assert_eq!(
            signature("PUT", &percent::encode_path("/test$file.text"), &[], &headers, &content),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        let headers = [HOST, empty, DATE];
        assert_eq!(
            signature("GET", "/", &[("lifecycle", "")], &headers, EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("GET", "/", &[("prefix", "J"), ("max-keys", "2")], &headers, EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn dates_are_in_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        assert_eq!(amz_date(time), "20130524T000000Z");
    }

    #[test]
    fn secrets_are_silent() {
        assert!(!format!("{:?}", example()).contains("wJalr"));
    }
}
