//! Tokens and passwords for one registry. Owns to whom a credential may go and when a token is asked for anew;
//! refuses to know where credentials are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::address::are_related;
use crate::agents::lock;
use crate::challenge::{Challenge, Realm};
use crate::credentials::{Credential, Secret};
use crate::error::Cause;
use crate::percent;
use crate::transport::{Call, Content, Transport};
use crate::url::Url;

/// Token answers may be this long (spec/security.md C7).
const TOKEN_MAX_BYTES: u64 = 1 << 20;
/// A token is renewed when less than this is left of it.
const MARGIN: Duration = Duration::from_secs(10);
/// Life of a token that does not say (distribution's token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// What a request needs: repositories with their actions, `pull` or `pull,push`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<&'static str>>);

impl Scopes {
    pub(crate) fn none() -> Scopes {
        Scopes(BTreeMap::new())
    }

    pub(crate) fn pull(repository: &str) -> Scopes {
        Scopes::none().and(repository, &["pull"])
    }

    pub(crate) fn push(repository: &str) -> Scopes {
        Scopes::none().and(repository, &["pull", "push"])
    }

    /// The list of all repositories; no repository has the empty name.
    pub(crate) fn catalog() -> Scopes {
        Scopes::none().and("", &["*"])
    }

    /// Adds actions, merged with those that the repository has.
    pub(crate) fn and(mut self, repository: &str, actions: &[&'static str]) -> Scopes {
        self.0.entry(repository.to_owned()).or_default().extend(actions);
        self
    }

    fn texts(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(repository, actions)| {
                let actions: Vec<&str> = actions.iter().copied().collect();
                match repository.as_str() {
                    "" => "registry:catalog:*".to_owned(),
                    name => format!("repository:{name}:{}", actions.join(",")),
                }
            })
            .collect()
    }
}

/// What is known of a registry's wishes, and the tokens it gave.
#[derive(Default)]
pub(crate) struct AuthState {
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<BTreeMap<Scopes, Token>>,
}

struct Token {
    header: String,
    good_until: Instant,
}

impl AuthState {
    /// Remembers a registry's challenge and forgets the token that it was the answer to.
    pub(crate) fn challenged(&self, challenge: Challenge, scopes: &Scopes) {
        *lock(&self.challenge) = Some(challenge);
        lock(&self.tokens).remove(scopes);
    }

    /// Whether the registry has said that it wants to be authenticated to.
    pub(crate) fn is_known(&self) -> bool {
        lock(&self.challenge).is_some()
    }

    /// Value of the `Authorization` header for a request, if one is to be sent.
    pub(crate) fn authorization(
        &self,
        transport: &Transport,
        registry: &str,
        credential: &Credential,
        scopes: &Scopes,
    ) -> Result<Option<String>, Cause> {
        let challenge = lock(&self.challenge).clone();
        match (challenge, credential) {
            (None, _) => Ok(None),
            (Some(_), Credential::RegistryToken(token)) => {
                Ok(Some(format!("Bearer {}", token.reveal())))
            }
            (Some(Challenge::Basic), Credential::Basic { user, password }) => {
                Ok(Some(basic(user, password)))
            }
            (Some(Challenge::Basic), _) => Ok(None),
            (Some(Challenge::Unknown(name)), _) => Err(Cause::UnknownChallenge(name)),
            (Some(Challenge::Bearer(realm)), credential) => {
                self.bearer(transport, registry, &realm, credential, scopes).map(Some)
            }
        }
    }

    /// The token that stands for a password from now on, where the token server gives one.
    pub(crate) fn identity_token(
        &self,
        transport: &Transport,
        registry: &str,
        credential: &Credential,
    ) -> Result<Option<Secret>, Cause> {
        let challenge = lock(&self.challenge).clone();
        let (Some(Challenge::Bearer(realm)), Credential::Basic { user, password }) =
            (challenge, credential)
        else {
            return Ok(None);
        };
        let url = check_realm(transport, &realm, registry, credential)?;
        let url = token_query(url, &realm, &Scopes::none())
            .with_query("offline_token", "true")
            .with_query("client_id", "shale")
            .with_query("account", user);
        let authorization = Some(basic(user, password));
        let call = Call { method: "GET", url, headers: vec![], authorization, body: Content::None };
        let answer = transport.send_directly(&call)?;
        if answer.status != 200 {
            // The password is good, as the registry has shown; this was a wish.
            return Ok(None);
        }
        #[derive(serde::Deserialize)]
        struct Members {
            refresh_token: Option<String>,
        }
        let body = answer.read("the token answer", TOKEN_MAX_BYTES)?;
        let members = serde_json::from_slice::<Members>(&body).ok();
        let token = members.and_then(|m| m.refresh_token).filter(|token| !token.is_empty());
        Ok(token.map(Secret::new))
    }

    fn bearer(
        &self,
        transport: &Transport,
        registry: &str,
        realm: &Realm,
        credential: &Credential,
        scopes: &Scopes,
    ) -> Result<String, Cause> {
        if let Some(token) = lock(&self.tokens).get(scopes)
            && token.good_until > Instant::now()
        {
            return Ok(token.header.clone());
        }
        let url = check_realm(transport, realm, registry, credential)?;
        let origin = url.origin().to_string();
        let asked = Instant::now();
        let answer = request_token(transport, url, realm, credential, scopes)
            .map_err(|cause| Cause::Token { origin, cause: Box::new(cause) })?;
        let life = answer.life().saturating_sub(MARGIN);
        let header = format!("Bearer {}", answer.token.reveal());
        let token = Token { header: header.clone(), good_until: asked + life };
        lock(&self.tokens).insert(scopes.clone(), token);
        Ok(header)
    }
}

/// Whether tokens may be asked for there, with these credentials (spec/security.md C1, C2).
fn check_realm(
    transport: &Transport,
    realm: &Realm,
    registry: &str,
    credential: &Credential,
) -> Result<Url, Cause> {
    let url = Url::parse(&realm.realm).map_err(|reason| Cause::Unsafe {
        target: format!("token server `{}`", crate::error::printable(&realm.realm)),
        reason,
    })?;
    if !url.https && transport.home.https {
        let target = format!("token server {}", url.redacted());
        return Err(Cause::Unsafe { target, reason: "the registry speaks https, it does not" });
    }
    let trusted = are_related(&url.host, &transport.home.host)
        || transport.options.trusted_realms.iter().any(|host| host.eq_ignore_ascii_case(&url.host));
    if !trusted && !matches!(credential, Credential::Anonymous) {
        let realm = url.origin().to_string();
        return Err(Cause::ForeignRealm { realm, registry: registry.to_owned() });
    }
    Ok(url)
}

/// A token server's answer.
struct TokenAnswer {
    token: Secret,
    expires_in_secs: Option<u64>,
}

impl TokenAnswer {
    fn life(&self) -> Duration {
        let life = self.expires_in_secs.map_or(DEFAULT_LIFE, Duration::from_secs);
        // A day is enough for every build, and keeps the sum with a clock's reading small.
        life.clamp(DEFAULT_LIFE, Duration::from_secs(86_400))
    }
}

fn request_token(
    transport: &Transport,
    url: Url,
    realm: &Realm,
    credential: &Credential,
    scopes: &Scopes,
) -> Result<TokenAnswer, Cause> {
    let form;
    let call = match credential {
        Credential::IdentityToken(token) => {
            form = token_form(realm, token, scopes);
            Call {
                method: "POST",
                url,
                headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
                authorization: None,
                body: Content::Bytes(form.as_bytes()),
            }
        }
        Credential::Basic { .. } | Credential::RegistryToken(_) | Credential::Anonymous => {
            let authorization = match credential {
                Credential::Basic { user, password } => Some(basic(user, password)),
                _ => None,
            };
            let url = token_query(url, realm, scopes);
            Call { method: "GET", url, headers: vec![], authorization, body: Content::None }
        }
    };
    // Token servers must not redirect: the next one would get what the credential is worth (C2). Tries are
    // repeated by the request that needs the token.
    let mut answer = transport.send_directly(&call)?;
    if let Credential::IdentityToken(token) = credential {
        answer = answer.hiding(token);
    }
    match answer.status {
        200 => parse_token(&answer.read("the token answer", TOKEN_MAX_BYTES)?),
        300..=399 => Err(Cause::Unsafe {
            target: format!("redirect by {}", call.url.redacted()),
            reason: "token servers must answer themselves",
        }),
        _ => Err(answer.into_cause()),
    }
}

fn token_query(mut url: Url, realm: &Realm, scopes: &Scopes) -> Url {
    if let Some(service) = &realm.service {
        url = url.with_query("service", service);
    }
    for scope in requested(realm, scopes) {
        url = url.with_query("scope", &scope);
    }
    url
}

fn token_form(realm: &Realm, token: &Secret, scopes: &Scopes) -> String {
    let mut pairs = vec![
        ("grant_type", "refresh_token".to_owned()),
        ("client_id", "shale".to_owned()),
        ("scope", requested(realm, scopes).join(" ")),
        ("refresh_token", token.reveal().to_owned()),
    ];
    if let Some(service) = &realm.service {
        pairs.push(("service", service.clone()));
    }
    let encoded: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", percent::encode(value))).collect();
    encoded.join("&")
}

/// Our scopes; what the registry itself proposed when we have none.
fn requested(realm: &Realm, scopes: &Scopes) -> Vec<String> {
    let texts = scopes.texts();
    if texts.is_empty() { realm.scope.iter().cloned().collect() } else { texts }
}

fn parse_token(body: &[u8]) -> Result<TokenAnswer, Cause> {
    #[derive(serde::Deserialize)]
    struct Members {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let malformed = |reason: &str| Cause::Malformed("token answer".to_owned(), reason.to_owned());
    // The parser's message could quote the token, so it is not passed on.
    let members: Members =
        serde_json::from_slice(body).map_err(|_| malformed("it is not what it should be"))?;
    let full = |text: Option<String>| text.filter(|t| !t.is_empty());
    let token = full(members.token)
        .or_else(|| full(members.access_token))
        .ok_or_else(|| malformed("it has no token"))?;
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(malformed("the token has characters that a header cannot have"));
    }
    Ok(TokenAnswer { token: Secret::new(token), expires_in_secs: members.expires_in })
}

fn basic(user: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_merged_and_sorted() {
        let scopes = Scopes::push("b").and("a", &["pull"]).and("b", &["pull"]);
        assert_eq!(scopes.texts(), ["repository:a:pull", "repository:b:pull,push"]);
    }

    #[test]
    fn token_answers() {
        let token =
            |text: &str| parse_token(text.as_bytes()).ok().map(|t| t.token.reveal().to_owned());
        assert_eq!(token(r#"{"token":"t"}"#), Some("t".to_owned()));
        assert_eq!(token(r#"{"token":"","access_token":"a"}"#), Some("a".to_owned()));
        assert_eq!(token("{}"), None);
        assert_eq!(token(r#"{"token":"a\r\nX-Evil: 1"}"#), None);
        let life = |text: &str| parse_token(text.as_bytes()).expect("valid").life().as_secs();
        assert_eq!(life(r#"{"token":"t","expires_in":300}"#), 300);
        assert_eq!(life(r#"{"token":"t"}"#), 60);
    }
}
