//! Services that give out credentials for a time: Amazon's token service for a web identity, a container's agent, a
//! machine's metadata service (its version 2 alone).

use std::path::Path;

use registry::percent::encode;
use registry::{RegistryClient, Secret, Service, ServiceCall, ServiceError};
use serde::Deserialize;

use super::answer::error_text;
use super::files::read_file;
use super::sign::AwsCredential;
use crate::xml;

/// No answer with a credential is longer than this.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

/// What the issuers are reached with.
pub(super) struct Place<'a> {
    pub(super) client: &'a RegistryClient,
    pub(super) variable: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// A token of somebody else's, exchanged for a credential.
pub(super) struct WebIdentity<'a> {
    pub(super) role: &'a str,
    pub(super) session: &'a str,
    pub(super) token: &'a str,
    pub(super) region: &'a str,
}

/// Asks the token service for the credential of a role.
pub(super) fn assume(
    place: &Place<'_>,
    identity: &WebIdentity<'_>,
) -> Result<AwsCredential, ServiceError> {
    let own = format!("https://sts.{}.amazonaws.com", identity.region);
    let named = (place.variable)("AWS_ENDPOINT_URL_STS").or((place.variable)("AWS_ENDPOINT_URL"));
    let url = format!("{}/", named.unwrap_or(&own).trim_end_matches('/'));
    let service = place.client.service("AWS token service", &url)?;
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", identity.role),
        ("RoleSessionName", identity.session),
        ("Version", "2011-06-15"),
        ("WebIdentityToken", identity.token),
    ];
    let body: Vec<String> =
        form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let body = body.join("&");
    let answer = service.retrying("exchange a web identity", || {
        let answer = service.send(&ServiceCall {
            method: "POST",
            url: &url,
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            authorization: None,
            body: Some(body.as_bytes()),
        })?;
        match answer.status() {
            200 => answer.read("the answer", ANSWER_MAX_BYTES),
            _ => Err(answer.into_error(error_text)),
        }
    })?;
    let text = String::from_utf8_lossy(&answer);
    let member = |name: &str| xml::text(&text, name).filter(|value| !value.is_empty());
    let (Some(id), Some(secret)) = (member("AccessKeyId"), member("SecretAccessKey")) else {
        return Err(ServiceError::malformed(&url, "the answer has no credential"));
    };
    Ok(AwsCredential {
        access_key_id: id,
        secret_access_key: Secret::new(secret),
        session_token: member("SessionToken").map(Secret::new),
        expires: member("Expiration").and_then(|text| text.parse().ok()),
    })
}

/// The credential that a container's agent gives out, if the environment names one.
pub(super) fn container(place: &Place<'_>) -> Result<Option<AwsCredential>, ServiceError> {
    let relative = (place.variable)("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let full = (place.variable)("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let url = match (relative, full) {
        (Some(path), _) => format!("http://169.254.170.2/{}", path.trim_start_matches('/')),
        (None, Some(url)) => url.to_owned(),
        (None, None) => return Ok(None),
    };
    let client = place.client.for_neighbours();
    let service = client.service("AWS container credentials", &url)?;
    let token = match (place.variable)("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => read_file(Path::new(file))?.map(|text| text.trim().to_owned()),
        None => (place.variable)("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
    };
    let answer = get(&service, &url, Vec::new(), token)?;
    parse(&answer, &url).map(Some)
}

/// The credential of the machine's own role, if there is a metadata service and it knows one.
pub(super) fn machine(place: &Place<'_>) -> Result<Option<AwsCredential>, ServiceError> {
    if (place.variable)("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        return Ok(None);
    }
    let named = (place.variable)("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = named.unwrap_or("http://169.254.169.254").trim_end_matches('/');
    let client = place.client.for_neighbours();
    let service = client.service("AWS metadata service", base)?;
    // Most machines have none; that is no failure.
    let Ok(token) = metadata_token(&service, base) else { return Ok(None) };
    let header = || vec![("x-aws-ec2-metadata-token", token.clone())];
    let url = format!("{base}/latest/meta-data/iam/security-credentials/");
    let roles = match get(&service, &url, header(), None) {
        Err(error) if error.status() == Some(404) => return Ok(None),
        roles => roles?,
    };
    let roles = String::from_utf8_lossy(&roles).into_owned();
    let Some(role) = roles.lines().next().map(str::trim).filter(|role| !role.is_empty()) else {
        return Ok(None);
    };
    let url = format!("{url}{}", encode(role));
    parse(&get(&service, &url, header(), None)?, &url).map(Some)
}

fn metadata_token(service: &Service, base: &str) -> Result<String, ServiceError> {
    let answer = service.send(&ServiceCall {
        method: "PUT",
        url: &format!("{base}/latest/api/token"),
        headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "300".to_owned())],
        authorization: None,
        body: Some(&[]),
    })?;
    if answer.status() != 200 {
        return Err(answer.into_error(|_| None));
    }
    let token = answer.read("the token", ANSWER_MAX_BYTES)?;
    Ok(String::from_utf8_lossy(&token).trim().to_owned())
}

fn get(
    service: &Service,
    url: &str,
    headers: Vec<(&'static str, String)>,
    authorization: Option<String>,
) -> Result<Vec<u8>, ServiceError> {
    let attempt = || {
        let (headers, authorization) = (headers.clone(), authorization.clone());
        let body = None;
        let answer =
            service.send(&ServiceCall { method: "GET", url, headers, authorization, body })?;
        match answer.status() {
            200 => answer.read("the answer", ANSWER_MAX_BYTES),
            _ => Err(answer.into_error(|_| None)),
        }
    };
    service.retrying("get a credential", attempt).map_err(ServiceError::from)
}

/// Reads the document that agents and metadata services answer with. Errors never quote it.
fn parse(answer: &[u8], url: &str) -> Result<AwsCredential, ServiceError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
        expiration: Option<String>,
    }
    let place = url.split('?').next().unwrap_or_default();
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|_| ServiceError::malformed(place, "the answer has no credential"))?;
    Ok(AwsCredential {
        access_key_id: answer.access_key_id,
        secret_access_key: Secret::new(answer.secret_access_key),
        session_token: answer.token.map(Secret::new),
        expires: answer.expiration.and_then(|text| text.parse().ok()),
    })
}
