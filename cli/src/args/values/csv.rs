//! Comma-separated values as docker's flags write them: `type=oci,"dest=a,b.tar"`.

use crate::args::UsageError;

/// Splits at commas; a field in double quotes may hold commas, and `""` in it is a quote.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, UsageError> {
    let bad = |what| UsageError::new(format!("invalid value {text:?}: {what}"));
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) =
                quoted_field(quoted).ok_or_else(|| bad("a quote is not closed"))?;
            fields.push(field);
            rest = after;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                return Err(bad("a quote inside an unquoted field"));
            }
            fields.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(bad("text behind a closing quote")),
        }
    }
}

/// Reads up to the closing quote.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_and_quotes_hold_together() {
        let check = |text: &str, want: Option<&[&str]>| {
            let got = fields(text).ok();
            assert_eq!(
                got.as_deref().map(|f| f.iter().map(|s| &**s).collect()),
                want.map(<[_]>::to_vec),
                "{text}"
            );
        };
        check("", Some(&[""]));
        check("type=local,dest=x", Some(&["type=local", "dest=x"]));
        check("a,", Some(&["a", ""]));
        check(r#""dest=a,b",type=oci"#, Some(&["dest=a,b", "type=oci"]));
        check(r#""say ""x""","#, Some(&[r#"say "x""#, ""]));
        check(r#"a="b""#, None);
        check(r#""a"#, None);
        check(r#""a"b"#, None);
    }
}
