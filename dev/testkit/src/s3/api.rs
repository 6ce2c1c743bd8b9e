//! The operations on objects.

use oci::Digest;

use super::{Object, Shared, Upload};
use crate::http::{Request, Response, decode};

/// Parts but the last are at least so long.
const PART_MIN_BYTES: usize = 5 << 20;
/// Keys of one page of a list.
const PAGE: usize = 1000;

/// Answers a request whose signature is good.
pub(super) fn answer(shared: &Shared, request: &Request) -> Response {
    let bucket = &shared.settings.bucket;
    let path = decode(&request.path().replace('+', "%2B"));
    let host = request.header("host").unwrap_or_default();
    let key = if host.starts_with(&format!("{bucket}.")) {
        path.trim_start_matches('/').to_owned()
    } else {
        match path.trim_start_matches('/').split_once('/') {
            Some((named, key)) if named == bucket => key.to_owned(),
            None if path.trim_start_matches('/') == bucket => String::new(),
            _ => return error(404, "NoSuchBucket"),
        }
    };
    let upload = request.query("uploadId").into_iter().next();
    let part = request.query("partNumber").first().and_then(|text| text.parse().ok());
    let begins = request.target.contains("?uploads");
    match (request.method.as_str(), upload, part) {
        ("GET", None, None) if key.is_empty() => list(shared, request),
        ("GET" | "HEAD", None, None) => get(shared, request, &key),
        ("PUT", None, None) => put(shared, request, &key),
        ("DELETE", None, None) => {
            shared.state().objects.remove(&key);
            Response::new(204)
        }
        ("POST", None, None) if begins => begin(shared, &key),
        ("PUT", Some(id), Some(number)) => put_part(shared, request, &id, number),
        ("POST", Some(id), None) => complete(shared, request, &id),
        ("DELETE", Some(id), None) => {
            shared.state().uploads.remove(&id);
            Response::new(204)
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

/// An answer with an error document.
pub(super) fn error(status: u16, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>told so by {code}</Message></Error>"
    );
    Response::new(status).with("content-type", "application/xml").body(body.into_bytes())
}

pub(super) fn http_date(time_s: i64) -> String {
    let time = jiff::Timestamp::from_second(time_s).unwrap();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn xml(body: String) -> Response {
    Response::new(200).with("content-type", "application/xml").body(body.into_bytes())
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(bytes).hex()[..32])
}

fn get(shared: &Shared, request: &Request, key: &str) -> Response {
    let Some(object) = shared.state().objects.get(key).cloned() else {
        // A HEAD has no body.
        return if request.method == "HEAD" { Response::new(404) } else { error(404, "NoSuchKey") };
    };
    let Object { bytes, written_s } = object;
    let response = |status| {
        let response = Response::new(status).with("etag", etag(&bytes));
        response.with("last-modified", http_date(written_s)).with("accept-ranges", "bytes")
    };
    let from = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => response(200).body(bytes.clone()),
        Some(from) if from >= bytes.len() => error(416, "InvalidRange"),
        Some(from) => response(206)
            .with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(bytes[from..].to_vec()),
    }
}

fn put(shared: &Shared, request: &Request, key: &str) -> Response {
    let written_s = shared.now_s();
    let mut state = shared.state();
    if request.header("if-none-match") == Some("*") && state.objects.contains_key(key) {
        return error(412, "PreconditionFailed");
    }
    if let Some(source) = request.header("x-amz-copy-source") {
        let source = decode(source);
        let source = source.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let Some(object) = state.objects.get(source).cloned() else {
            return error(404, "NoSuchKey");
        };
        if source == key && request.header("x-amz-metadata-directive") != Some("REPLACE") {
            return error(400, "InvalidRequest");
        }
        let body =
            format!("<CopyObjectResult><ETag>{}</ETag></CopyObjectResult>", etag(&object.bytes));
        state.objects.insert(key.to_owned(), Object { written_s, ..object });
        return xml(body);
    }
    let bytes: std::sync::Arc<[u8]> = request.body.as_slice().into();
    let tag = etag(&bytes);
    state.objects.insert(key.to_owned(), Object { bytes, written_s });
    Response::new(200).with("etag", tag)
}

fn list(shared: &Shared, request: &Request) -> Response {
    let one = |name| request.query(name).into_iter().next().unwrap_or_default();
    let (prefix, after) = (one("prefix"), one("continuation-token"));
    let state = shared.state();
    let mut keys = state.objects.keys().filter(|k| k.starts_with(&prefix) && **k > after);
    let page: Vec<&String> = keys.by_ref().take(PAGE).collect();
    let is_cut = keys.next().is_some();
    let mut body = format!("<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>");
    for key in &page {
        let Object { bytes, written_s } = &state.objects[*key];
        let time = jiff::Timestamp::from_second(*written_s).unwrap();
        let size = bytes.len();
        body += &format!(
            "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><Size>{size}</Size></Contents>"
        );
    }
    if let Some(last) = page.last().filter(|_| is_cut) {
        body += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    xml(body + "</ListBucketResult>")
}

fn begin(shared: &Shared, key: &str) -> Response {
    let mut state = shared.state();
    state.next_number += 1;
    let id = format!("upload&{}", state.next_number);
    state.uploads.insert(id.clone(), Upload { key: key.to_owned(), parts: Default::default() });
    let id = id.replace('&', "&amp;");
    xml(format!(
        "<?xml version=\"1.0\"?><InitiateMultipartUploadResult xmlns=\"u\"><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
    ))
}

fn put_part(shared: &Shared, request: &Request, id: &str, number: u32) -> Response {
    let mut state = shared.state();
    let source = request.header("x-amz-copy-source").map(decode);
    let copied = source.map(|source| {
        let key = source.split_once('/').map_or("", |(_, key)| key).to_owned();
        let range = request.header("x-amz-copy-source-range").unwrap_or_default();
        let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let bytes = &state.objects[&key].bytes;
        bytes[first.parse().unwrap()..=last.parse().unwrap()].to_vec()
    });
    let Some(upload) = state.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
    let is_copy = copied.is_some();
    let bytes = copied.unwrap_or_else(|| request.body.clone());
    let tag = etag(&bytes);
    upload.parts.insert(number, bytes);
    if is_copy {
        return xml(format!("<CopyPartResult><ETag>{tag}</ETag></CopyPartResult>"));
    }
    Response::new(200).with("etag", tag)
}

fn complete(shared: &Shared, request: &Request, id: &str) -> Response {
    let written_s = shared.now_s();
    let mut state = shared.state();
    let Some(upload) = state.uploads.remove(id) else { return error(404, "NoSuchUpload") };
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let listed = body.matches("<PartNumber>").count();
    let all_named = upload.parts.iter().all(|(number, bytes)| {
        let named = format!("<PartNumber>{number}</PartNumber>");
        let tag = etag(bytes).replace('"', "&quot;");
        body.contains(&format!("{named}<ETag>{tag}</ETag>"))
    });
    if listed != upload.parts.len() || !all_named || listed == 0 {
        return error(400, "InvalidPart");
    }
    let sizes: Vec<usize> = upload.parts.values().map(Vec::len).collect();
    if sizes[..sizes.len() - 1].iter().any(|size| *size < PART_MIN_BYTES) {
        return error(400, "EntityTooSmall");
    }
    let bytes: Vec<u8> = upload.parts.into_values().flatten().collect();
    state.objects.insert(upload.key, Object { bytes: bytes.into(), written_s });
    xml("<CompleteMultipartUploadResult/>".to_owned())
}
