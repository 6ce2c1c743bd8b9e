//! Checks a request's signature (AWS signature version 4) the way a server does: from what came over the wire.

use oci::{Digest, Hasher};

use super::S3Settings;
use crate::http::Request;

/// Why a request is refused: status and code.
pub(super) fn refuse(
    settings: &S3Settings,
    request: &Request,
    now_s: i64,
) -> Option<(u16, &'static str)> {
    let Some(parts) = request.header("authorization").and_then(Parts::read) else {
        return Some((403, "AccessDenied"));
    };
    if parts.id != settings.access_key_id {
        return Some((403, "InvalidAccessKeyId"));
    }
    if parts.region != settings.region {
        return Some((400, "AuthorizationHeaderMalformed"));
    }
    if settings.session_token.as_deref() != request.header("x-amz-security-token") {
        return Some((403, "InvalidToken"));
    }
    let date = request.header("x-amz-date")?;
    let time: jiff::civil::DateTime =
        jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    let time_s = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    if (time_s - now_s).abs() > 15 * 60 {
        return Some((403, "RequestTimeTooSkewed"));
    }
    // All that says who, when and what must be signed.
    for name in ["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
        let is_there = request.header(name).is_some();
        if is_there && !parts.signed.iter().any(|signed| signed == name) {
            return Some((403, "AccessDenied"));
        }
    }
    let payload = request.header("x-amz-content-sha256").unwrap_or_default();
    if payload != "UNSIGNED-PAYLOAD" && payload != Digest::of(&request.body).hex() {
        return Some((400, "XAmzContentSHA256Mismatch"));
    }
    let expect = parts.signature_of(request, payload, date, &settings.secret_access_key);
    (expect != parts.signature).then_some((403, "SignatureDoesNotMatch"))
}

struct Parts {
    id: String,
    day: String,
    region: String,
    service: String,
    signed: Vec<String>,
    signature: String,
}

impl Parts {
    fn read(text: &str) -> Option<Parts> {
        let rest = text.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let value = |name: &str| {
            rest.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let credential: Vec<&str> = value("Credential")?.split('/').collect();
        let [id, day, region, service, "aws4_request"] = credential[..] else { return None };
        Some(Parts {
            id: id.to_owned(),
            day: day.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed: value("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: value("Signature")?.to_owned(),
        })
    }

    fn signature_of(&self, request: &Request, payload: &str, date: &str, secret: &str) -> String {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
            .collect();
        pairs.sort();
        let headers: String = self
            .signed
            .iter()
            .map(|name| format!("{name}:{}\n", request.header(name).unwrap_or_default().trim()))
            .collect();
        let canonical = format!(
            "{}\n{path}\n{}\n{headers}\n{}\n{payload}",
            request.method,
            pairs.join("&"),
            self.signed.join(";")
        );
        let scope = format!("{}/{}/{}/aws4_request", self.day, self.region, self.service);
        let digest = Digest::of(canonical.as_bytes()).hex();
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        let mut key = hmac(format!("AWS4{secret}").as_bytes(), &self.day);
        for part in [&self.region, &self.service, "aws4_request"] {
            key = hmac(&key, part);
        }
        Digest::from_bytes(hmac(&key, &text)).hex()
    }
}

/// HMAC-SHA256.
pub(crate) fn hmac(key: &[u8], message: &str) -> [u8; 32] {
    let mut block = [0u8; 64];
    let short = if key.len() > 64 { Digest::of(key).as_bytes().to_vec() } else { key.to_vec() };
    block[..short.len()].copy_from_slice(&short);
    let mut inner = Hasher::new();
    inner.update(&block.map(|b| b ^ 0x36));
    inner.update(message.as_bytes());
    let mut outer = Hasher::new();
    outer.update(&block.map(|b| b ^ 0x5c));
    outer.update(inner.finish().as_bytes());
    *outer.finish().as_bytes()
}
