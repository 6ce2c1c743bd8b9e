//! The distribution API.

use std::sync::Arc;

use oci::Digest;

use super::{Shared, State, auth};
use crate::http::{Request, Response};

/// Answers a request.
pub(super) fn answer(shared: &Shared, request: &Request) -> Response {
    let path = request.path();
    if path == "/token" {
        return auth::token(shared, request);
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return Response::error(404, "NOT_FOUND");
    };
    if rest.is_empty() {
        return auth::refuse(shared, request, &[]).unwrap_or_else(|| Response::new(200));
    }
    let Some((repository, kind, name)) = split(rest) else {
        return Response::error(404, "NAME_UNKNOWN");
    };
    if let Some(refusal) = auth::refuse(shared, request, &needed(request, repository)) {
        return refusal;
    }
    match (request.method.as_str(), kind) {
        ("GET" | "HEAD", "manifests") => get_manifest(shared, repository, name),
        ("PUT", "manifests") => put_manifest(shared, repository, name, request),
        ("GET" | "HEAD", "blobs") => get_blob(shared, repository, name, request),
        ("GET", "uploads") => upload_status(shared, repository, name),
        ("POST", "uploads") => open_upload(shared, repository, request),
        ("PATCH", "uploads") => patch_upload(shared, repository, name, request),
        ("PUT", "uploads") => close_upload(shared, repository, name, request),
        ("GET", "tags") => tags(shared, repository, request),
        ("GET", "referrers") if shared.settings.referrers => referrers(shared, repository, name),
        _ => Response::error(405, "UNSUPPORTED"),
    }
}

/// `a/b/manifests/tag` into repository, kind and name.
fn split(rest: &str) -> Option<(&str, &str, &str)> {
    for (marker, kind) in [
        ("/manifests/", "manifests"),
        ("/blobs/uploads/", "uploads"),
        ("/blobs/", "blobs"),
        ("/referrers/", "referrers"),
    ] {
        if let Some((repository, name)) = rest.split_once(marker) {
            return Some((repository, kind, name));
        }
    }
    rest.strip_suffix("/tags/list").map(|repository| (repository, "tags", ""))
}

/// Actions that a request needs, as `repository:name:action`.
fn needed(request: &Request, repository: &str) -> Vec<String> {
    let scope = |name: &str, action: &str| format!("repository:{name}:{action}");
    let mut needed = vec![scope(repository, "pull")];
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        needed.push(scope(repository, "push"));
    }
    needed.extend(request.query("from").iter().map(|from| scope(from, "pull")));
    needed
}

fn get_manifest(shared: &Shared, repository: &str, name: &str) -> Response {
    let state = shared.state();
    match state.manifests.get(&(repository.to_owned(), name.to_owned())) {
        Some((media_type, bytes)) => Response::new(200)
            .with("content-type", media_type)
            .with("docker-content-digest", Digest::of(bytes))
            .body(bytes.clone()),
        None => Response::error(404, "MANIFEST_UNKNOWN"),
    }
}

fn put_manifest(shared: &Shared, repository: &str, name: &str, request: &Request) -> Response {
    let digest = Digest::of(&request.body);
    if name.contains(':') && name != digest.to_string() {
        return Response::error(400, "DIGEST_INVALID");
    }
    let mut state = shared.state();
    let parts: serde_json::Value = match serde_json::from_slice(&request.body) {
        Ok(value) => value,
        Err(_) => return Response::error(400, "MANIFEST_INVALID"),
    };
    let layers = parts["layers"].as_array().cloned().unwrap_or_default();
    for part in layers.iter().chain([&parts["config"]]).filter(|p| !p.is_null()) {
        let digest = part["digest"].as_str().and_then(|d| d.parse().ok());
        let is_there =
            digest.is_some_and(|d| state.blobs.contains_key(&(repository.to_owned(), d)));
        if !is_there {
            return Response::error(400, "MANIFEST_BLOB_UNKNOWN");
        }
    }
    let media_type = request.header("content-type").unwrap_or_default().to_owned();
    let bytes: Arc<[u8]> = request.body.clone().into();
    for name in [name.to_owned(), digest.to_string()] {
        let value = (media_type.clone(), bytes.clone());
        state.manifests.insert((repository.to_owned(), name), value);
    }
    let response = Response::new(201)
        .with("location", format!("/v2/{repository}/manifests/{digest}"))
        .with("docker-content-digest", digest);
    match parts["subject"]["digest"].as_str() {
        Some(subject) if shared.settings.referrers => response.with("oci-subject", subject),
        _ => response,
    }
}

fn get_blob(shared: &Shared, repository: &str, name: &str, request: &Request) -> Response {
    let digest = name.parse::<Digest>().ok();
    let blob = digest.and_then(|d| shared.state().blobs.get(&(repository.to_owned(), d)).cloned());
    let Some(bytes) = blob else { return Response::error(404, "BLOB_UNKNOWN") };
    let length = bytes.len();
    let first = request
        .header("range")
        .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let response = match first {
        Some(first) if first < length => Response::new(206)
            .with("content-range", format!("bytes {first}-{}/{length}", length - 1))
            .body(&bytes[first..]),
        Some(_) => return Response::error(416, "RANGE_INVALID"),
        None => Response::new(200).body(bytes),
    };
    response.with("content-type", "application/octet-stream").with("docker-content-digest", name)
}

fn open_upload(shared: &Shared, repository: &str, request: &Request) -> Response {
    let mut state = shared.state();
    let mount = request.query("mount").first().and_then(|d| d.parse::<Digest>().ok());
    if let (Some(digest), Some(from)) = (mount, request.query("from").first())
        && let Some(bytes) = state.blobs.get(&(from.clone(), digest)).cloned()
    {
        state.blobs.insert((repository.to_owned(), digest), bytes);
        return Response::new(201)
            .with("location", format!("/v2/{repository}/blobs/{digest}"))
            .with("docker-content-digest", digest);
    }
    let id = format!("upload-{}", state.number());
    state.uploads.insert(id.clone(), Vec::new());
    let base = shared.settings.upload_base.clone().unwrap_or_default();
    let response = Response::new(202)
        .with("location", format!("{base}/v2/{repository}/blobs/uploads/{id}?_state=secret"))
        .with("range", "0-0");
    match shared.settings.piece_min_bytes {
        Some(bytes) => response.with("oci-chunk-min-length", bytes),
        None => response,
    }
}

fn upload_status(shared: &Shared, repository: &str, id: &str) -> Response {
    match shared.state().uploads.get(id) {
        Some(upload) => at_upload(Response::new(204), repository, id, upload.len()),
        None => Response::error(404, "BLOB_UPLOAD_UNKNOWN"),
    }
}

fn at_upload(response: Response, repository: &str, id: &str, length: usize) -> Response {
    response
        .with("location", format!("/v2/{repository}/blobs/uploads/{id}?_state=secret"))
        .with("range", format!("0-{}", length.saturating_sub(1)))
}

/// The answer to a body that is not taken as it is: too long, or cut on its way as a test wanted it.
fn spoilt(shared: &Shared, state: &mut State, id: &str, request: &Request) -> Option<Response> {
    if shared.settings.body_max_bytes.is_some_and(|max| request.body.len() > max) {
        return Some(Response::error(413, "SIZE_INVALID"));
    }
    let kept = state.next_upload_keeps.take()?;
    if let Some(upload) = state.uploads.get_mut(id) {
        upload.extend(&request.body[..kept.min(request.body.len())]);
    }
    Some(Response::error(500, "UNKNOWN"))
}

fn patch_upload(shared: &Shared, repository: &str, id: &str, request: &Request) -> Response {
    let mut state = shared.state();
    if let Some(spoilt) = spoilt(shared, &mut state, id, request) {
        return spoilt;
    }
    let Some(upload) = state.uploads.get_mut(id) else {
        return Response::error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    let first = request.header("content-range").and_then(|range| range.split('-').next());
    if first.is_some_and(|first| first.parse() != Ok(upload.len())) {
        return Response::error(416, "BLOB_UPLOAD_INVALID");
    }
    upload.extend(&request.body);
    at_upload(Response::new(202), repository, id, upload.len())
}

fn close_upload(shared: &Shared, repository: &str, id: &str, request: &Request) -> Response {
    let mut state = shared.state();
    if let Some(spoilt) = spoilt(shared, &mut state, id, request) {
        return spoilt;
    }
    let Some(mut bytes) = state.uploads.remove(id) else {
        return Response::error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    bytes.extend(&request.body);
    let digest = Digest::of(&bytes);
    if request.query("digest") != [digest.to_string()] {
        return Response::error(400, "DIGEST_INVALID");
    }
    state.blobs.insert((repository.to_owned(), digest), bytes.into());
    Response::new(201)
        .with("location", format!("/v2/{repository}/blobs/{digest}"))
        .with("docker-content-digest", digest)
}

fn tags(shared: &Shared, repository: &str, request: &Request) -> Response {
    let state = shared.state();
    let last = request.query("last").first().cloned().unwrap_or_default();
    let mut tags: Vec<&str> = state
        .manifests
        .keys()
        .filter(|(name, tag)| name == repository && !tag.contains(':') && *tag > last)
        .map(|(_, tag)| tag.as_str())
        .collect();
    let page = shared.settings.tags_in_page.unwrap_or(usize::MAX);
    let is_last = tags.len() <= page;
    tags.truncate(page);
    let body = serde_json::json!({"name": repository, "tags": tags});
    let response = Response::new(200).with("content-type", "application/json");
    let response = match tags.last() {
        Some(last) if !is_last => response.with(
            "link",
            format!("</v2/{repository}/tags/list?n={page}&last={last}>; rel=\"next\""),
        ),
        _ => response,
    };
    response.body(body.to_string().into_bytes())
}

fn referrers(shared: &Shared, repository: &str, subject: &str) -> Response {
    let state = shared.state();
    let mut listed = Vec::new();
    for ((name, tag), (media_type, bytes)) in &state.manifests {
        let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        if name == repository && tag.contains(':') && value["subject"]["digest"] == subject {
            listed.push(serde_json::json!({
                "mediaType": media_type,
                "digest": tag,
                "size": bytes.len(),
                "artifactType": value["artifactType"],
            }));
        }
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let body = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "manifests": listed,
    });
    Response::new(200).with("content-type", media_type).body(body.to_string().into_bytes())
}
