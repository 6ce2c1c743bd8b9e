//! As much XML as object stores speak: the text of the elements with a name. No attributes, no namespaces, no
//! entities of one's own, so nothing can be expanded.

/// The texts of all elements with a local name, in order. An element that holds others gives the text between its
/// tags as it is.
pub(crate) fn texts<'a>(document: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let name = name.to_owned();
    let mut rest = document;
    std::iter::from_fn(move || {
        loop {
            let (tag, after) = next_tag(rest)?;
            rest = after;
            if local_name(tag) != name || tag.starts_with('/') {
                continue;
            }
            if tag.ends_with('/') {
                return Some("");
            }
            let end = end_of(after, &name)?;
            rest = &after[end..];
            return Some(&after[..end]);
        }
    })
}

/// The text of the first element with a local name, entities replaced.
pub(crate) fn text(document: &str, name: &str) -> Option<String> {
    texts(document, name).next().map(unescape)
}

/// Text as it stands between tags.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// The document that has Azure's blob storage put blocks together.
pub(crate) fn block_list(ids: &[String]) -> String {
    let blocks: String = ids.iter().map(|id| format!("<Latest>{}</Latest>", escape(id))).collect();
    format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>")
}

/// The next tag without its brackets, and what follows it.
fn next_tag(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once('<')?;
    rest.split_once('>')
}

/// Where the end tag of an element begins.
fn end_of(text: &str, name: &str) -> Option<usize> {
    let mut rest = text;
    loop {
        let at = text.len() - rest.len() + rest.find('<')?;
        let (tag, after) = next_tag(rest)?;
        if tag.strip_prefix('/').is_some_and(|tag| local_name(tag) == name) {
            return Some(at);
        }
        rest = after;
    }
}

fn local_name(tag: &str) -> &str {
    let name = tag.trim_start_matches('/');
    let name = name.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let known = after.split_once(';').and_then(|(name, tail)| Some((entity(name)?, tail)));
        match known {
            Some((c, tail)) => {
                out.push(c);
                rest = tail;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        number => {
            let number = number.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_local_names() {
        let document = "<?xml version=\"1.0\"?>\n<s3:Error xmlns:s3=\"u\"><Code>SlowDown</Code>\
            <Message>a &lt;b&gt; &amp;amp; &#x41;&#66; &bad; &</Message><Empty/><Code a='1'>x</Code></s3:Error>";
        assert_eq!(text(document, "Code").as_deref(), Some("SlowDown"));
        assert_eq!(text(document, "Message").as_deref(), Some("a <b> &amp; AB &bad; &"));
        assert_eq!(text(document, "Empty").as_deref(), Some(""));
        assert_eq!(text(document, "Other"), None);
        assert_eq!(texts(document, "Code").collect::<Vec<_>>(), ["SlowDown", "x"]);
        assert!(text(document, "Error").expect("the root").starts_with("<Code>"));
    }

    #[test]
    fn whatever_comes_ends() {
        for bad in ["", "<", "<a", "<a>", "<a><b></a>", "</a>", "<>", "<a/></a>", "< >&#xffffffff;"]
        {
            let _ = text(bad, "a");
            let _ = unescape(bad);
        }
        assert_eq!(text("<a><b></a>", "b"), None);
    }

    #[test]
    fn escaped_text_comes_back() {
        let all = "a<b>&\"'c";
        assert_eq!(unescape(&escape(all)), all);
    }
}
