//! Package URLs: one line that names a package of any kind.

use oci::{Platform, Reference};

/// The package URL of an image: `pkg:docker/alpine@3.20?platform=linux%2Famd64`. `kind` is `docker`, or `oci` for an
/// image of a layout on disk.
pub fn image_purl(kind: &str, reference: &Reference, platform: Option<&Platform>) -> String {
    let name = reference.familiar_name();
    let (namespace, name) = name.rsplit_once('/').unwrap_or(("", &name));
    let digest = reference.digest().map(|digest| digest.to_string());
    let platform = platform.map(ToString::to_string);
    let mut qualifiers = Vec::new();
    qualifiers.extend(digest.as_deref().map(|digest| ("digest", digest)));
    qualifiers.extend(platform.as_deref().map(|platform| ("platform", platform)));
    purl(kind, namespace, name, reference.tag().unwrap_or_default(), &qualifiers)
}

/// A package URL. Empty parts and qualifiers are left out.
pub fn purl(
    kind: &str,
    namespace: &str,
    name: &str,
    version: &str,
    qualifiers: &[(&str, &str)],
) -> String {
    let mut out = format!("pkg:{kind}");
    for part in namespace.split('/').filter(|part| !part.is_empty()) {
        out.push('/');
        encode(part, &mut out);
    }
    out.push('/');
    encode(name, &mut out);
    if !version.is_empty() {
        out.push('@');
        encode(version, &mut out);
    }
    let mut sorted: Vec<_> = qualifiers.iter().filter(|(_, value)| !value.is_empty()).collect();
    sorted.sort();
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

/// Everything but letters, digits and `.-_~:` in percents.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            other => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(DIGITS[usize::from(other >> 4)]));
                out.push(char::from(DIGITS[usize::from(other & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_familiar_names() {
        let check = |text: &str, platform: Option<&str>, want: &str| {
            let platform = platform.map(|p| p.parse().expect(p));
            let reference = text.parse().expect(text);
            assert_eq!(image_purl("docker", &reference, platform.as_ref()), want, "{text}");
        };
        check("alpine", None, "pkg:docker/alpine@latest");
        check("docker.io/library/alpine:3.15", None, "pkg:docker/alpine@3.15");
        check("user/test:v2", None, "pkg:docker/user/test@v2");
        check("ghcr.io/foo/bar", None, "pkg:docker/ghcr.io/foo/bar@latest");
        let linux = Some("linux/amd64");
        check("busybox", linux, "pkg:docker/busybox@latest?platform=linux%2Famd64");
        let digest = oci::Digest::of(b"x");
        let text = format!("busybox@{digest}");
        check(&text, linux, &format!("pkg:docker/busybox?digest={digest}&platform=linux%2Famd64"));
        check("h:5000/a", None, "pkg:docker/h:5000/a@latest");
    }

    #[test]
    fn other_packages() {
        let got = purl("npm", "@scope", "name", "1.0.0+x", &[("b", "2"), ("a", "1 2"), ("c", "")]);
        assert_eq!(got, "pkg:npm/%40scope/name@1.0.0%2Bx?a=1%202&b=2");
    }
}
