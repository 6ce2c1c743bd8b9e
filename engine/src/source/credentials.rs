//! Secrets that open URLs and repositories without a mount (ADD-38, ADD-60), and for whom they are.

use context::HttpAuth;

use crate::error::{BuildError, BuildErrorKind};
use crate::secrets;
use crate::session::Session;

/// What is sent to the host of a URL, and to no other.
pub(super) fn of_url(session: &Session, url: &str) -> Result<Option<HttpAuth>, BuildError> {
    let Some(host) = host(url) else { return Ok(None) };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    // With both given the token counts.
    match text(session, &format!("HTTP_AUTH_TOKEN_{name}"))? {
        Some(token) => Ok(Some(HttpAuth::bearer(&token))),
        None => {
            let header = text(session, &format!("HTTP_AUTH_HEADER_{name}"))?;
            Ok(header.map(|header| HttpAuth::header(&header)))
        }
    }
}

/// What is sent to an http remote; names with the remote's host and port come first.
pub(super) fn of_remote(session: &Session, remote: &str) -> Result<Option<HttpAuth>, BuildError> {
    let Some(host) = host(remote).filter(|_| remote.starts_with("http")) else { return Ok(None) };
    for suffix in [format!(".{host}"), String::new()] {
        if let Some(header) = text(session, &format!("GIT_AUTH_HEADER{suffix}"))? {
            return Ok(Some(HttpAuth::header(&header)));
        }
        if let Some(token) = text(session, &format!("GIT_AUTH_TOKEN{suffix}"))? {
            return Ok(Some(HttpAuth::basic("x-access-token", token.trim())));
        }
    }
    Ok(None)
}

/// Host and port as written.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

fn text(session: &Session, id: &str) -> Result<Option<String>, BuildError> {
    let Some(bytes) = secrets::read(session, id)? else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) if !text.trim().bytes().any(|b| b.is_ascii_control()) => Ok(Some(text)),
        _ => {
            let text = format!("secret {id} cannot be sent: it has control characters in it");
            Err(BuildError::new(BuildErrorKind::Step, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn hosts_are_found() {
        let check = |url: &str, want: Option<&str>| assert_eq!(host(url), want, "{url}");
        check("https://h/r.git", Some("h"));
        check("http://u:p@h:80?x#y", Some("h:80"));
        check("ssh://git@h/r", Some("h"));
        check("git@h:r", None);
    }
}
