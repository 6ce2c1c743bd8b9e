//! Requests to one bucket: each try signed anew, refusals told in the server's own words.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use oci::{Descriptor, Digest};
use registry::{
    BlobReader, RegistryClient, RegistryError, RetryPolicy, Service, ServiceAnswer, ServiceCall,
    ServiceError, percent,
};

use super::answer::{error_code, error_text, http_date};
use super::credentials::Credentials;
use super::sign::{self, ToSign};
use crate::S3Options;

/// Answers that are read whole, besides objects, are not longer than this.
const ANSWER_MAX_BYTES: u64 = 1 << 20;

/// Clocks that differ by less are no reason for a refusal; servers allow 15 minutes.
const SKEW_MAX_S: u64 = 5 * 60;

/// A bucket and the way to it.
pub(super) struct Bucket {
    service: Service,
    /// Scheme, host and port.
    origin: String,
    /// Host and port as the `Host` header has them.
    host: String,
    /// What comes before a key: the endpoint's path, and the bucket where it is not part of the host.
    base_path: String,
    name: String,
    region: String,
    credentials: Credentials,
    /// How far the server's clock is ahead of ours, learnt when it refuses ours, in seconds.
    skew_s: AtomicI64,
}

/// One request about a key.
#[derive(Default)]
pub(super) struct Ask<'a> {
    pub(super) method: &'static str,
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Names in lower case; all of them are signed.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<&'a [u8]>,
}

/// An object that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) size_bytes: u64,
    /// How long ago it was written, by the server's clock.
    pub(super) age: Duration,
}

impl Bucket {
    pub(super) fn new(
        options: &S3Options,
        client: &RegistryClient,
    ) -> Result<Bucket, RegistryError> {
        let variable =
            |name: &str| Some(options.environment.variables.get(name)?.reveal().to_owned());
        let endpoint = (options.endpoint_url.clone())
            .or_else(|| variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .filter(|url| !url.is_empty());
        let Address { scheme, host, path } = address(options, endpoint.as_deref());
        let origin = format!("{scheme}://{host}");
        let service = client.service(&format!("S3 bucket {}", options.bucket), &origin)?;
        let tries = options.retry_max_attempts.unwrap_or(6).max(1);
        let retry = RetryPolicy { tries, ..service.retry().clone() };
        Ok(Bucket {
            service: service.with_retry(retry, None),
            origin,
            host,
            base_path: path,
            name: options.bucket.clone(),
            region: options.region.clone(),
            credentials: Credentials::new(options, client),
            skew_s: AtomicI64::new(0),
        })
    }

    /// The bucket's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The time as a text that is new each time.
    pub(super) fn stamp(&self) -> String {
        sign::amz_date(self.now())
    }

    /// Does a request until it is answered with success; gives the whole answer.
    pub(super) fn run(
        &self,
        what: &str,
        ask: &Ask<'_>,
    ) -> Result<(Headers, Vec<u8>), RegistryError> {
        self.service.retrying(what, || {
            let answer = self.once(ask)?;
            let etag = answer.header("etag").map(str::to_owned);
            let body = answer.read("the answer", ANSWER_MAX_BYTES)?;
            refused_in_spite_of_its_status(&body)?;
            Ok((Headers { etag }, body))
        })
    }

    /// Looks for an object.
    pub(super) fn find(&self, key: &str) -> Result<Option<Found>, RegistryError> {
        let ask = Ask { method: "HEAD", key, ..Ask::default() };
        self.service.retrying(&format!("look for {key}"), || match self.once(&ask) {
            Ok(answer) => Ok(Some(self.found(&answer))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) if error.status().is_some() => Err(self.ask_why(key).unwrap_or(error)),
            Err(error) => Err(error),
        })
    }

    /// A refused HEAD has no words; the same question as a GET has.
    fn ask_why(&self, key: &str) -> Option<ServiceError> {
        let headers = vec![("range", "bytes=0-0".to_owned())];
        self.once(&Ask { method: "GET", key, headers, ..Ask::default() }).err()
    }

    /// Reads a small object whole; `None` when it is not there.
    pub(super) fn get(
        &self,
        key: &str,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let ask = Ask { method: "GET", key, ..Ask::default() };
        self.service.retrying(&format!("get {key}"), || match self.once(&ask) {
            Ok(answer) => answer.read("the object", limit_bytes).map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Opens a blob under a key; reading goes on after a cut.
    pub(super) fn blob(
        self: &std::sync::Arc<Self>,
        key: &str,
        blob: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        let (bucket, key) = (self.clone(), key.to_owned());
        self.service.blob(blob.digest, blob.size_bytes, move |from_byte| {
            let range = (from_byte > 0).then(|| ("range", format!("bytes={from_byte}-")));
            let headers = range.into_iter().collect();
            bucket.once(&Ask { method: "GET", key: &key, headers, ..Ask::default() })
        })
    }

    /// One signed try. Everything but success is an error.
    fn once(&self, ask: &Ask<'_>) -> Result<ServiceAnswer, ServiceError> {
        let now = self.now();
        let credential = self.credentials.get(Timestamp::try_from(now).unwrap_or_default())?;
        let payload = Digest::of(ask.body.unwrap_or_default()).hex();
        let date = sign::amz_date(now);
        let path = format!("{}/{}", self.base_path, percent::encode_path(ask.key));
        let mut headers = ask.headers.clone();
        headers.push(("x-amz-content-sha256", payload.clone()));
        headers.push(("x-amz-date", date.clone()));
        if let Some(token) = &credential.session_token {
            headers.push(("x-amz-security-token", token.reveal().to_owned()));
        }
        let mut signed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        signed.push(("host", &self.host));
        let to_sign = ToSign {
            method: ask.method,
            path: &path,
            query: ask.query,
            headers: &signed,
            payload: &payload,
            date: &date,
            region: &self.region,
            service: "s3",
        };
        let authorization = Some(sign::authorization(&to_sign, &credential));
        let query = sign::query(ask.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{query}", self.origin);
        let body = ask.body;
        let call = ServiceCall { method: ask.method, url: &url, headers, authorization, body };
        let answer = self.service.send(&call)?;
        match answer.status() {
            200..=299 => Ok(answer),
            _ => Err(self.refusal(answer)),
        }
    }

    /// What a refusal means. Those that the next try can do something about are temporary.
    fn refusal(&self, answer: ServiceAnswer) -> ServiceError {
        // A clock that is wrong is refused in several ways, to a HEAD without a word.
        let is_skewed =
            answer.status() == 403 && self.learn_skew(answer.header("date").and_then(http_date));
        let region = answer.header("x-amz-bucket-region").map(str::to_owned);
        let (mut code, mut text) = (String::new(), None);
        let error = answer.into_error(|body| {
            code = error_code(body);
            text = error_text(body);
            let elsewhere = region
                .filter(|region| *region != self.region)
                .map(|region| format!("the bucket is in region {region}, not {}", self.region));
            elsewhere.or(text.clone()).or(Some(String::new()))
        });
        let text = text.unwrap_or_default();
        match code.as_str() {
            _ if is_skewed => ServiceError::temporary(&text),
            "ExpiredToken" | "ExpiredTokenException" => {
                self.credentials.forget();
                ServiceError::temporary(&text)
            }
            "RequestTimeout"
            | "SlowDown"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            | "InternalError"
            | "ServiceUnavailable" => ServiceError::temporary(&text),
            _ => error,
        }
    }

    /// Takes the server's time for ours when they differ by much. False when they do not.
    fn learn_skew(&self, server_time: Option<Timestamp>) -> bool {
        let Some(server_time) = server_time else { return false };
        let second = |time| Timestamp::try_from(time).unwrap_or_default().as_second();
        if second(self.now()).abs_diff(server_time.as_second()) <= SKEW_MAX_S {
            return false;
        }
        let skew_s = server_time.as_second() - second(self.service.now());
        self.skew_s.store(skew_s, Ordering::Relaxed);
        true
    }

    fn now(&self) -> SystemTime {
        let skew_s = self.skew_s.load(Ordering::Relaxed);
        let distance = Duration::from_secs(skew_s.unsigned_abs());
        let own = self.service.now();
        let now = if skew_s < 0 { own.checked_sub(distance) } else { own.checked_add(distance) };
        now.unwrap_or(own)
    }

    fn found(&self, answer: &ServiceAnswer) -> Found {
        let size = answer.header("content-length").and_then(|text| text.parse().ok());
        let written = answer.header("last-modified").and_then(http_date);
        let now = answer.header("date").and_then(http_date);
        let now = now.or_else(|| Timestamp::try_from(self.now()).ok());
        let age_s = match (now, written) {
            (Some(now), Some(written)) => now.as_second() - written.as_second(),
            _ => 0,
        };
        let age = Duration::from_secs(u64::try_from(age_s).unwrap_or(0));
        Found { size_bytes: size.unwrap_or(0), age }
    }
}

/// What is of use of an answer's headers.
pub(super) struct Headers {
    pub(super) etag: Option<String>,
}

/// Where a bucket is reached.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    scheme: &'static str,
    host: String,
    path: String,
}

/// The bucket's name goes into the host, unless the user says otherwise or no certificate or name would fit.
fn address(options: &S3Options, endpoint: Option<&str>) -> Address {
    let bucket = &options.bucket;
    let own = || {
        let china = if options.region.starts_with("cn-") { ".cn" } else { "" };
        format!("https://s3.{}.amazonaws.com{china}", options.region)
    };
    let endpoint = endpoint.map_or_else(own, str::to_owned);
    let (scheme, rest, port) = match endpoint.strip_prefix("http://") {
        Some(rest) => ("http", rest, ":80"),
        None => ("https", endpoint.strip_prefix("https://").unwrap_or(&endpoint), ":443"),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    let is_address = host.starts_with('[')
        || host.split(':').next().is_some_and(|name| name.parse::<std::net::Ipv4Addr>().is_ok());
    let is_label = !bucket.contains('.') && !bucket.contains('_');
    if options.use_path_style || is_address || !is_label {
        let path = format!("{path}/{}", percent::encode(bucket));
        return Address { scheme, host, path };
    }
    Address { scheme, host: format!("{}.{host}", bucket.to_ascii_lowercase()), path }
}

/// Long operations answer 200 before they know, and tell a failure in the body.
fn refused_in_spite_of_its_status(body: &[u8]) -> Result<(), ServiceError> {
    let code = error_code(body);
    if code.is_empty() {
        return Ok(());
    }
    let text = error_text(body).unwrap_or_default();
    Err(match code.as_str() {
        "InternalError" | "SlowDown" | "ServiceUnavailable" => ServiceError::temporary(&text),
        _ => ServiceError::lasting(&text),
    })
}

/// Whether there is no such object, in a bucket that is there.
fn is_absent(error: &ServiceError) -> bool {
    error.status() == Some(404) && !error.to_string().contains("NoSuchBucket")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AwsEnvironment;

    fn options(bucket: &str, region: &str, use_path_style: bool) -> S3Options {
        S3Options {
            bucket: bucket.to_owned(),
            region: region.to_owned(),
            names: Vec::new(),
            prefix: String::new(),
            blobs_prefix: String::new(),
            manifests_prefix: String::new(),
            endpoint_url: None,
            use_path_style,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            touch_refresh_s: 0,
            upload_parallelism: 1,
            retry_max_attempts: None,
            environment: AwsEnvironment::default(),
        }
    }

    #[test]
    fn the_bucket_goes_into_the_host_where_it_can() {
        let check = |bucket, region, path_style, endpoint, expect: &str| {
            let got = address(&options(bucket, region, path_style), endpoint);
            assert_eq!(format!("{}://{}{}", got.scheme, got.host, got.path), expect);
        };
        check("b", "eu-west-1", false, None, "https://b.s3.eu-west-1.amazonaws.com");
        check("b", "cn-north-1", false, None, "https://b.s3.cn-north-1.amazonaws.com.cn");
        check("b", "r", true, None, "https://s3.r.amazonaws.com/b");
        check("a.b", "r", false, None, "https://s3.r.amazonaws.com/a.b");
        check("b", "r", false, Some("https://O.example:443/"), "https://b.o.example");
        check("b", "r", false, Some("http://o.example:9000/x/"), "http://b.o.example:9000/x");
        check("b", "r", true, Some("https://o.example/x"), "https://o.example/x/b");
        check("b", "r", false, Some("http://127.0.0.1:9"), "http://127.0.0.1:9/b");
        check("b", "r", false, Some("http://[::1]:9"), "http://[::1]:9/b");
        check("b", "r", false, Some("http://localhost:80"), "http://b.localhost");
    }

    #[test]
    fn failures_in_a_good_answer_are_failures() {
        let check = |body: &str| refused_in_spite_of_its_status(body.as_bytes()).is_err();
        assert!(check("<Error><Code>InternalError</Code></Error>"));
        assert!(!check(
            "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        ));
        assert!(!check(""));
    }
}
