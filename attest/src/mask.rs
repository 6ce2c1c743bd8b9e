//! Credentials in URLs are nobody's business (ATT-13).

/// What stands in the place of a user or a password.
const MASK: &str = "xxxxx";

/// A URL without its user and password; any other text as it is.
pub fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if scheme.is_empty() || !scheme.chars().all(is_scheme) {
        return text.to_owned();
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else { return text.to_owned() };
    let masked = match user.split_once(':') {
        Some(("", _)) => format!(":{MASK}"),
        Some(_) => format!("{MASK}:{MASK}"),
        None if user.is_empty() => String::new(),
        None => MASK.to_owned(),
    };
    format!("{scheme}://{masked}@{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_go() {
        let check = |text: &str, want: &str| assert_eq!(mask_url(text), want);
        check("https://u:secret@h/p.git#main", "https://xxxxx:xxxxx@h/p.git#main"); // ATT-13
        check("https://token@h/p", "https://xxxxx@h/p");
        check("https://:pw@h/p", "https://:xxxxx@h/p");
        check("https://a:b@c@h", "https://xxxxx:xxxxx@h");
        check("https://h/p@v", "https://h/p@v");
        check("git@github.com:a/b", "git@github.com:a/b");
        check("word", "word");
        check("a b://u:p@h", "a b://u:p@h");
    }
}
