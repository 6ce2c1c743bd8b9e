//! A token server that real registries believe: its tokens are signed (distribution's token specification, ES256), and
//! carry the certificate by which a registry that trusts [`crate::tls::ROOT_PEM`] checks them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::http::{self, Hooks, Request, Response, Server, Service};
use crate::tls;

/// Who signs.
pub const ISSUER: &str = "testkit";
/// For whom.
pub const SERVICE: &str = "registry of a test";
/// Life of a token.
const LIFE_SECS: u64 = 300;

/// A running token server; it ends with this value.
pub struct TokenServer(Server<Tokens>);

struct Tokens {
    /// Value of `Authorization` that gets everything.
    known: String,
    /// Others get `pull`.
    anybody_pulls: bool,
    key: EcdsaKeyPair,
}

impl TokenServer {
    /// Starts a server that gives one user whatever is asked for, and all others nothing, or `pull`.
    pub fn start(user: &str, password: &str, anybody_pulls: bool) -> TokenServer {
        let known = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        TokenServer(Server::start(false, move |_: SocketAddr| {
            let random = SystemRandom::new();
            let pkcs8 = tls::server_key();
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)
                .unwrap();
            Tokens { known, anybody_pulls, key }
        }))
    }

    /// Where tokens are to be had.
    pub fn realm(&self) -> String {
        format!("{}/token", http::base(false, self.0.address()))
    }

    /// The scopes of all requests so far.
    pub fn scopes(&self) -> Vec<String> {
        let queries = self.log().into_iter().map(|logged| logged.path);
        let scopes = |path: String| {
            http::pairs(path.split_once('?').map_or("", |(_, query)| query), "scope")
        };
        queries.flat_map(scopes).collect()
    }
}

impl Deref for TokenServer {
    type Target = Hooks;

    fn deref(&self) -> &Hooks {
        self.0.hooks()
    }
}

impl Service for Tokens {
    fn answer(&self, request: &Request) -> Response {
        if request.path() != "/token" || request.method != "GET" {
            return Response::error(404, "NOT_FOUND");
        }
        let given = request.header("authorization");
        let is_known = given == Some(&self.known);
        if given.is_some() && !is_known {
            return Response::error(401, "UNAUTHORIZED");
        }
        let scopes = request.query("scope");
        let access = scopes.iter().flat_map(|scope| scope.split(' '));
        let access: Vec<Value> = access.filter_map(|scope| self.access(scope, is_known)).collect();
        let body = json!({"token": self.token(&access), "expires_in": LIFE_SECS});
        Response::new(200).body(body.to_string().into_bytes())
    }
}

impl Tokens {
    /// What of a scope is granted.
    fn access(&self, scope: &str, is_known: bool) -> Option<Value> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let may = |action: &&str| is_known || (self.anybody_pulls && *action == "pull");
        let actions: Vec<&str> = actions.split(',').filter(may).collect();
        (!actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
    }

    fn token(&self, access: &[Value]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let certificate = STANDARD.encode(tls::server_certificate());
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
        let claims = json!({
            "iss": ISSUER,
            "sub": "somebody",
            "aud": SERVICE,
            "exp": now + LIFE_SECS,
            "nbf": now - 10,
            "iat": now,
            "jti": now.to_string(),
            "access": access,
        });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
