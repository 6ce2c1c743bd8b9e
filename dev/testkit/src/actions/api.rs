//! Requests of both versions, and those to the blob store.

use serde_json::{Value, json};

use super::{Entry, Shared, State};
use crate::http::{Request, Response};

const TWIRP: &str = "/twirp/github.actions.results.api.v1.CacheService/";
const ARTIFACT: &str = "/_apis/artifactcache/";

pub(super) fn answer(shared: &Shared, request: &Request) -> Response {
    let path = request.path().to_owned();
    if let Some(number) = path.strip_prefix("/store/") {
        return store(shared, request, number);
    }
    let token = request.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let scopes = token.and_then(|token| shared.state().tokens.get(token).cloned());
    let Some(scopes) = scopes else {
        return said(401, &json!({"code": "unauthenticated", "msg": "bad token"}));
    };
    if let Some(method) = path.strip_prefix(TWIRP) {
        return twirp(shared, request, method, &scopes);
    }
    match path.strip_prefix(ARTIFACT) {
        Some(rest) => artifact(shared, request, rest, &scopes),
        None => Response::new(404),
    }
}

fn said(status: u16, body: &Value) -> Response {
    let response = Response::new(status).with("content-type", "application/json");
    response.body(body.to_string().into_bytes())
}

/// Number of the entry that a key finds: equal keys before beginnings, own scope before others, newest first.
fn find(state: &State, key: &str, version: &str, scopes: &[String]) -> Option<usize> {
    let ended = |scope: &str| {
        let scope = scope.to_owned();
        let all = state.entries.iter().enumerate().rev();
        all.filter(move |(_, entry)| {
            entry.content.is_some() && entry.version == version && entry.scope == scope
        })
    };
    scopes.iter().find_map(|scope| {
        let equal = ended(scope).find(|(_, entry)| entry.key == key);
        let found = equal.or_else(|| ended(scope).find(|(_, entry)| entry.key.starts_with(key)));
        found.map(|(number, _)| number)
    })
}

/// Begins an entry; `None` when its key is taken.
fn begin(state: &mut State, key: &str, version: &str, scopes: &[String]) -> Option<usize> {
    let scope = scopes.first()?;
    let same = |e: &Entry| e.key == key && e.version == version && e.scope == *scope;
    if state.entries.iter().any(same) {
        return None;
    }
    state.entries.push(Entry::new(key, version, scope));
    Some(state.entries.len() - 1)
}

fn signed_url(shared: &Shared, state: &State, number: usize) -> String {
    format!("{}/store/{number}?sig=SECRET{}", shared.base, state.signature)
}

fn twirp(shared: &Shared, request: &Request, method: &str, scopes: &[String]) -> Response {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (key, version) = (text("key"), text("version"));
    let mut state = shared.state();
    match method {
        "GetCacheEntryDownloadURL" => match find(&state, &key, &version, scopes) {
            Some(number) => {
                let url = signed_url(shared, &state, number);
                let matched = &state.entries[number].key;
                let answer =
                    json!({"ok": true, "signed_download_url": url, "matched_key": matched});
                said(200, &answer)
            }
            None => said(200, &json!({"ok": false})),
        },
        "CreateCacheEntry" => match begin(&mut state, &key, &version, scopes) {
            Some(number) => {
                let url = signed_url(shared, &state, number);
                said(200, &json!({"ok": true, "signed_upload_url": url}))
            }
            None => {
                said(409, &json!({"code": "already_exists", "msg": "cache entry already exists"}))
            }
        },
        "FinalizeCacheEntryUpload" => {
            let size = body["size_bytes"].as_str().and_then(|text| text.parse().ok());
            let size = size.or_else(|| body["size_bytes"].as_u64());
            let own = |entry: &&mut Entry| entry.key == key && entry.content.is_none();
            match state.entries.iter_mut().find(own) {
                Some(entry) if size == Some(entry.bytes.len() as u64) => {
                    entry.content = Some(std::mem::take(&mut entry.bytes).into());
                    said(200, &json!({"ok": true, "entry_id": "7"}))
                }
                Some(_) => said(400, &json!({"code": "invalid_argument", "msg": "wrong size"})),
                None => said(404, &json!({"code": "not_found", "msg": "no such entry"})),
            }
        }
        _ => said(404, &json!({"code": "bad_route"})),
    }
}

fn artifact(shared: &Shared, request: &Request, rest: &str, scopes: &[String]) -> Response {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut state = shared.state();
    match (request.method.as_str(), rest) {
        ("GET", "cache") => {
            let one = |name| request.query(name).into_iter().next().unwrap_or_default();
            let (keys, version) = (one("keys"), one("version"));
            let found = keys.split(',').find_map(|key| find(&state, key, &version, scopes));
            let Some(number) = found else { return Response::new(204) };
            let url = signed_url(shared, &state, number);
            let Entry { key, scope, .. } = &state.entries[number];
            said(200, &json!({"cacheKey": key, "scope": scope, "archiveLocation": url}))
        }
        ("POST", "caches") => {
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            match begin(&mut state, &text("key"), &text("version"), scopes) {
                Some(number) => said(201, &json!({"cacheId": number + 1})),
                None => {
                    let key = "ArtifactCacheItemAlreadyExistsException";
                    said(409, &json!({"message": "Cache already exists.", "typeKey": key}))
                }
            }
        }
        (method, path) => {
            let number = path.strip_prefix("caches/").and_then(|text| text.parse::<usize>().ok());
            let entry = number.and_then(|number| state.entries.get_mut(number.wrapping_sub(1)));
            let Some(entry) = entry.filter(|entry| entry.content.is_none()) else {
                return said(404, &json!({"message": "no such cache"}));
            };
            fill(entry, method, request, &body)
        }
    }
}

fn fill(entry: &mut Entry, method: &str, request: &Request, body: &Value) -> Response {
    if method == "PATCH" {
        let range = request.header("content-range").unwrap_or_default();
        let first = range.strip_prefix("bytes ").and_then(|r| r.split('-').next()?.parse().ok());
        let Some(first) = first else { return said(400, &json!({"message": "no range"})) };
        let end: usize = first + request.body.len();
        entry.bytes.resize(entry.bytes.len().max(end), 0);
        entry.bytes[first..end].copy_from_slice(&request.body);
        return Response::new(204);
    }
    if body["size"].as_u64() != Some(entry.bytes.len() as u64) {
        return said(400, &json!({"message": "wrong size"}));
    }
    entry.content = Some(std::mem::take(&mut entry.bytes).into());
    Response::new(204)
}

/// The blob store: the URL is the credential.
fn store(shared: &Shared, request: &Request, number: &str) -> Response {
    let mut state = shared.state();
    let is_good = request.query("sig") == [format!("SECRET{}", state.signature)];
    if !is_good || request.header("authorization").is_some() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>expired</Message></Error>";
        return Response::new(403).body(body.as_bytes().to_vec());
    }
    let entry = number.parse::<usize>().ok().and_then(|number| state.entries.get_mut(number));
    let Some(entry) = entry else { return Response::new(404) };
    let comp = request.query("comp").into_iter().next().unwrap_or_default();
    match (request.method.as_str(), comp.as_str()) {
        ("GET", _) => download(entry, request),
        ("PUT", "block") => {
            let id = request.query("blockid").into_iter().next().unwrap_or_default();
            entry.blocks.insert(id, request.body.clone());
            Response::new(201)
        }
        ("PUT", "blocklist") => {
            let list = String::from_utf8_lossy(&request.body).into_owned();
            let ids = list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next());
            let blocks: Option<Vec<Vec<u8>>> =
                ids.map(|id| entry.blocks.get(id).cloned()).collect();
            match blocks {
                Some(blocks) => entry.bytes = blocks.concat(),
                None => return Response::new(400),
            }
            Response::new(201)
        }
        ("PUT", "") if request.header("x-ms-blob-type") == Some("BlockBlob") => {
            entry.bytes = request.body.clone();
            Response::new(201)
        }
        _ => Response::new(400),
    }
}

fn download(entry: &Entry, request: &Request) -> Response {
    let Some(bytes) = entry.content.clone() else { return Response::new(404) };
    let from = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => Response::new(200).body(bytes),
        Some(from) if from >= bytes.len() => Response::new(416),
        Some(from) => Response::new(206)
            .with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(bytes[from..].to_vec()),
    }
}
