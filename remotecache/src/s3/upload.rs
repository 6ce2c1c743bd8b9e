//! How objects get into a bucket: whole when they are small, else in parts; and how they stay young.

use std::io::Read;

use oci::Descriptor;
use registry::percent;

use super::bucket::{Ask, Bucket};
use crate::parts::{Slots, part_size, read_whole, send_parts};
use crate::{RemoteError, RemoteErrorKind, xml};

/// Objects up to this size are sent in one request; parts are at least so long (servers want 5 MiB).
const PART_BYTES: u64 = 8 << 20;
/// A server takes no more parts of one object.
const PARTS_MAX: u64 = 10_000;
/// A copy takes no larger source.
const COPY_MAX_BYTES: u64 = 5 << 30;

/// Sends a blob to a key.
pub(super) fn send(
    bucket: &Bucket,
    key: &str,
    blob: &Descriptor,
    source: Box<dyn Read + Send>,
    slots: &Slots,
) -> Result<(), RemoteError> {
    if blob.size_bytes <= PART_BYTES {
        let _slot = slots.take();
        return put(bucket, key, &read_whole(blob, source)?);
    }
    let upload = Upload::begin(bucket, key)?;
    let part_bytes = part_size(blob.size_bytes, PART_BYTES, PARTS_MAX);
    let sent = send_parts(blob, source, part_bytes, slots, &|part| {
        upload.part(part.number + 1, Some(&part.bytes), Vec::new())
    });
    upload.end(sent)
}

/// Writes a small object, whatever was there.
pub(super) fn put(bucket: &Bucket, key: &str, bytes: &[u8]) -> Result<(), RemoteError> {
    let what = format!("put {key}");
    let ask = Ask { method: "PUT", key, body: Some(bytes), ..Ask::default() };
    bucket.run(&what, &ask).map(drop).map_err(|error| super::not_written(bucket, error))
}

/// Copies an object onto itself, so that it is as young as if it had been sent now. `stamp` is any text that is new
/// each time: a copy that changes nothing is refused.
pub(super) fn touch(
    bucket: &Bucket,
    key: &str,
    size_bytes: u64,
    stamp: &str,
) -> Result<(), RemoteError> {
    let what = format!("touch {key}");
    let source = format!("{}/{}", bucket.name(), percent::encode_path(key));
    if size_bytes < COPY_MAX_BYTES {
        let headers = vec![
            ("x-amz-copy-source", source),
            ("x-amz-meta-updated-at", stamp.to_owned()),
            ("x-amz-metadata-directive", "REPLACE".to_owned()),
        ];
        let ask = Ask { method: "PUT", key, headers, body: Some(&[]), ..Ask::default() };
        let touched = bucket.run(&what, &ask);
        return touched.map(drop).map_err(|error| super::not_written(bucket, error));
    }
    let upload = Upload::begin(bucket, key)?;
    let copies = (0..size_bytes.div_ceil(COPY_MAX_BYTES)).map(|number| {
        let first = number * COPY_MAX_BYTES;
        let last = (first + COPY_MAX_BYTES).min(size_bytes) - 1;
        let headers = vec![
            ("x-amz-copy-source", source.clone()),
            ("x-amz-copy-source-range", format!("bytes={first}-{last}")),
        ];
        upload.part(usize::try_from(number).unwrap_or(usize::MAX) + 1, None, headers)
    });
    upload.end(copies.collect())
}

/// An upload in parts that has begun.
struct Upload<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    id: String,
}

impl<'a> Upload<'a> {
    fn begin(bucket: &'a Bucket, key: &'a str) -> Result<Upload<'a>, RemoteError> {
        let what = format!("begin to put {key}");
        let ask = Ask {
            method: "POST",
            key,
            query: &[("uploads", "")],
            body: Some(&[]),
            ..Ask::default()
        };
        let (_, body) =
            bucket.run(&what, &ask).map_err(|error| super::not_written(bucket, error))?;
        let id = xml::text(&String::from_utf8_lossy(&body), "UploadId").filter(|id| !id.is_empty());
        match id {
            Some(id) => Ok(Upload { bucket, key, id }),
            None => Err(RemoteError::new(RemoteErrorKind::Damaged, what)
                .because("the answer has no UploadId")),
        }
    }

    /// Sends a part, or lets the server copy it; gives its ETag.
    fn part(
        &self,
        number: usize,
        bytes: Option<&[u8]>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<String, RemoteError> {
        let what = format!("put part {number} of {}", self.key);
        let text = number.to_string();
        let query = [("partNumber", text.as_str()), ("uploadId", &self.id)];
        let body = Some(bytes.unwrap_or_default());
        let ask = Ask { method: "PUT", key: self.key, query: &query, headers, body };
        let (headers, answer) = (self.bucket.run(&what, &ask))
            .map_err(|error| super::not_written(self.bucket, error))?;
        let copied = || xml::text(&String::from_utf8_lossy(&answer), "ETag");
        headers.etag.or_else(copied).ok_or_else(|| {
            RemoteError::new(RemoteErrorKind::Damaged, what).because("the answer has no ETag")
        })
    }

    /// Puts the parts together, or removes them when one is missing.
    fn end(&self, parts: Result<Vec<String>, RemoteError>) -> Result<(), RemoteError> {
        let done = parts.and_then(|etags| self.complete(&etags));
        if done.is_err() {
            let query = [("uploadId", self.id.as_str())];
            let ask = Ask { method: "DELETE", key: self.key, query: &query, ..Ask::default() };
            // The first failure is the one that counts; what is left ends by the bucket's own rules.
            let _ = self.bucket.run("remove parts", &ask);
        }
        done
    }

    fn complete(&self, etags: &[String]) -> Result<(), RemoteError> {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (at, etag) in etags.iter().enumerate() {
            let etag = xml::escape(etag);
            body += &format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", at + 1);
        }
        body += "</CompleteMultipartUpload>";
        let what = format!("put {} together", self.key);
        let query = [("uploadId", self.id.as_str())];
        let body = Some(body.as_bytes());
        let ask = Ask { method: "POST", key: self.key, query: &query, headers: Vec::new(), body };
        let done = self.bucket.run(&what, &ask);
        done.map(drop).map_err(|error| super::not_written(self.bucket, error))
    }
}
