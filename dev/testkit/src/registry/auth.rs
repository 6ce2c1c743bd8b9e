//! Who may do what at a test registry.

use super::Shared;
use crate::http::{Request, Response};

/// Kinds of authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// None.
    #[default]
    Open,
    /// `Authorization: Basic` with this value after the word.
    Basic(String),
    /// Tokens from `/token`.
    Token {
        /// `Authorization: Basic` value that a token request must have for more than `anonymous`.
        basic: Option<String>,
        /// Refresh token that may be used instead.
        identity: Option<String>,
        /// Actions that anybody gets, `pull` or nothing.
        anonymous: &'static str,
        /// Life of a token in seconds, as told.
        expires_in_secs: u64,
    },
}

/// An answer that refuses a request, or `None` when it is allowed.
pub(super) fn refuse(shared: &Shared, request: &Request, needed: &[String]) -> Option<Response> {
    let given = request.header("authorization").unwrap_or_default();
    match &shared.settings.auth {
        Auth::Open => None,
        Auth::Basic(value) if given == format!("Basic {value}") => None,
        Auth::Basic(_) => Some(
            Response::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=\"test\""),
        ),
        Auth::Token { .. } => {
            let state = shared.state();
            let granted = given.strip_prefix("Bearer ").and_then(|t| state.tokens.get(t));
            if granted.is_some_and(|granted| needed.iter().all(|n| granted.contains(n))) {
                return None;
            }
            let own = format!("{}/token", shared.base());
            let realm = match shared.settings.realm.as_str() {
                "" => own.as_str(),
                realm => realm,
            };
            let challenge =
                format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"{}\"", needed.join(" "));
            Some(Response::error(401, "UNAUTHORIZED").with("www-authenticate", challenge))
        }
    }
}

/// Answers a token request.
pub(super) fn token(shared: &Shared, request: &Request) -> Response {
    let Auth::Token { basic, identity, anonymous, expires_in_secs } = &shared.settings.auth else {
        return Response::error(404, "NOT_FOUND");
    };
    let given = request.header("authorization").and_then(|a| a.strip_prefix("Basic "));
    let refresh = request.form("refresh_token").pop();
    let is_known = (basic.is_some() && given == basic.as_deref())
        || (identity.is_some() && refresh == *identity);
    if !is_known && (given.is_some() || refresh.is_some()) {
        return Response::new(401)
            .body(br#"{"details":"incorrect username or password"}"#.to_vec());
    }
    let mut scopes = request.query("scope");
    let form: Vec<String> = request.form("scope");
    scopes.extend(form.iter().flat_map(|s| s.split(' ')).map(str::to_owned));
    let mut granted = Vec::new();
    for scope in scopes {
        let Some((name, actions)) = scope.rsplit_once(':') else { continue };
        for action in actions.split(',').filter(|a| is_known || *a == *anonymous) {
            granted.push(format!("{name}:{action}"));
        }
    }
    let mut state = shared.state();
    let token = format!("token-{}", state.number());
    state.tokens.insert(token.clone(), granted);
    let body = serde_json::json!({"token": token, "expires_in": expires_in_secs});
    Response::new(200).body(body.to_string().into_bytes())
}
