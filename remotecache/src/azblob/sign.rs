//! Signatures of requests with an account's key ("Shared Key" of Azure's storage services).
//!
//! Pure: the time comes in as a header. Nothing here is ever printed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hmac::hmac;

/// What is signed.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    pub(super) account: &'a str,
    /// Percent-encoded path, the account's part of it included where the address has one.
    pub(super) path: &'a str,
    /// Names in lower case and values of the query, not encoded, in any order.
    pub(super) query: &'a [(&'a str, &'a str)],
    /// Headers whose names begin with `x-ms-`, in lower case, in any order.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) content_type: &'a str,
    pub(super) content_bytes: usize,
}

/// The value of `Authorization`.
pub(super) fn authorization(request: &ToSign<'_>, key: &[u8]) -> String {
    let signature = STANDARD.encode(hmac(key, text(request).as_bytes()));
    format!("SharedKey {}:{signature}", request.account)
}

fn text(request: &ToSign<'_>) -> String {
    // Nothing is signed as an empty line, a length of zero too.
    let length = match request.content_bytes {
        0 => String::new(),
        bytes => bytes.to_string(),
    };
    // Encoding, language, length, MD5, type, date, the four conditions, range: what is not sent is empty. The date
    // and ranges go in headers of the service's own.
    let (method, kind) = (request.method, request.content_type);
    let mut text = format!("{method}\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n");
    let mut headers = request.headers.to_vec();
    headers.sort_unstable();
    for (name, value) in headers {
        text += &format!("{name}:{}\n", value.trim());
    }
    text += &format!("/{}{}", request.account, request.path);
    let mut query = request.query.to_vec();
    query.sort_unstable();
    for (name, value) in query {
        text += &format!("\n{name}:{value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the service's documentation, with its date in the header that we use.
    #[test]
    fn the_text_has_every_line() {
        let request = ToSign {
            method: "GET",
            account: "myaccount",
            path: "/mycontainer",
            query: &[("restype", "container"), ("comp", "metadata"), ("timeout", "20")],
            headers: &[
                ("x-ms-version", "2015-02-21"),
                ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
            ],
            content_type: "",
            content_bytes: 0,
        };
        let want = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n\
                    x-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\n\
                    restype:container\ntimeout:20";
        assert_eq!(text(&request), want);
        let put = ToSign { method: "PUT", content_type: "a/b", content_bytes: 5, ..request };
        assert!(text(&put).starts_with("PUT\n\n\n5\n\na/b\n\n\n\n\n\n\nx-ms-date"));
        assert!(authorization(&put, b"key").starts_with("SharedKey myaccount:"));
    }
}
