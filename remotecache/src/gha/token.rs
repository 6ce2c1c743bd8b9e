//! What a job's token says of the scopes that it may read and write. The token is not checked: that is the server's
//! business, and it is only ever sent to the server that the user named.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// A branch's or tag's part of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Scope {
    scope: String,
    permission: u32,
}

const READ: u32 = 1;
const WRITE: u32 = 2;

/// The scopes of a token, as it lists them: none when it is of another kind.
pub(super) fn scopes(token: &str) -> Vec<Scope> {
    #[derive(Deserialize)]
    struct Claims {
        ac: String,
    }
    let payload = token.split('.').nth(1).unwrap_or_default().trim_end_matches('=');
    let claims = URL_SAFE_NO_PAD.decode(payload).ok();
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Claims>(&bytes).ok());
    claims.and_then(|claims| serde_json::from_str(&claims.ac).ok()).unwrap_or_default()
}

/// Names of the scopes to read, the job's own first. A token without any has one without a name.
pub(super) fn readable(scopes: &[Scope]) -> Vec<String> {
    let names = scopes.iter().filter(|scope| scope.permission & READ != 0);
    let names: Vec<String> = names.map(|scope| scope.scope.clone()).collect();
    if names.is_empty() { vec![String::new()] } else { names }
}

/// Name of the scope to write.
pub(super) fn writable(scopes: &[Scope]) -> String {
    let names = scopes.iter().filter(|scope| scope.permission & WRITE != 0);
    names.map(|scope| scope.scope.clone()).next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_jobs_scopes_are_in_its_token() {
        let ac = r#"[{"Scope":"refs/heads/topic","Permission":3},{"Scope":"refs/heads/main","Permission":1}]"#;
        let claims = serde_json::json!({"ac": ac, "exp": 1, "other": [1]}).to_string();
        let scopes = scopes(&token(&claims));
        assert_eq!(readable(&scopes), ["refs/heads/topic", "refs/heads/main"]);
        assert_eq!(writable(&scopes), "refs/heads/topic");
    }

    #[test]
    fn tokens_of_other_kinds_have_one_scope_without_a_name() {
        for text in
            ["", "abc", "a.b.c", "a.!!.c", &token("{}"), &token(r#"{"ac":"x"}"#), &token("[]")]
        {
            let scopes = scopes(text);
            assert_eq!(
                (readable(&scopes), writable(&scopes)),
                (vec![String::new()], String::new())
            );
        }
    }
}
