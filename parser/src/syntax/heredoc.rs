//! Heredoc words and their bodies (LEX-100 to LEX-124).
//!
//! Heredocs are looked for in the whole joined line with rules of their own, which are in `scan`.

mod scan;

use std::ops::Range;

use super::json_form;
use crate::Span;
use crate::ast::Heredoc;
use crate::lines::Body;

/// A heredoc announced on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeredocWord {
    pub(crate) name: String,
    fd: u32,
    pub(crate) chomp: bool,
    expand: bool,
    /// Where it stands in the line.
    pub(crate) range: Range<usize>,
}

/// A heredoc with the lines that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct FoundHeredoc<'s> {
    pub(crate) word: HeredocWord,
    pub(crate) body: Body<'s>,
}

/// The heredocs of a line with these arguments.
pub(super) fn find(line: &str, args: &str) -> Vec<HeredocWord> {
    if !args.contains("<<") || json_form::array(args).is_some() {
        return Vec::new();
    }
    // A quote or a brace without an end, a substitution that is none: no heredoc at all (LEX-109).
    let words = scan::words(line).unwrap_or_default();
    let found = words.into_iter().filter_map(|range| {
        let mut word = word(&line[range.clone()])?;
        word.range = range;
        Some(word)
    });
    found.collect()
}

/// A word that is a heredoc as a whole: digits, `<<`, perhaps `-`, a name (LEX-102, LEX-103).
pub(super) fn word(text: &str) -> Option<HeredocWord> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text[digits..].strip_prefix("<<")?;
    let (rest, chomp) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    if rest.contains('<') || scan::words(rest).is_none() {
        return None;
    }
    let (name, is_quoted) = unquote(rest.trim())?;
    let fd = text[..digits].parse().unwrap_or(0);
    let range = 0..text.len();
    (!name.is_empty()).then_some(HeredocWord { name, fd, chomp, expand: !is_quoted, range })
}

/// A name without quotes and escapes, and whether it had quotes (LEX-104). `None` when it is more
/// than one word.
fn unquote(text: &str) -> Option<(String, bool)> {
    let mut name = String::with_capacity(text.len());
    let mut is_quoted = false;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                is_quoted = true;
            }
            (Some(open), c) if open == c => quote = None,
            (None, '\\') => name.extend(chars.next()),
            (Some('"'), '\\') if chars.peek().is_some_and(|c| matches!(c, '"' | '$' | '\\')) => {
                name.extend(chars.next());
            }
            (None, c) if c.is_whitespace() => return None,
            (_, c) => name.push(c),
        }
    }
    quote.is_none().then_some((name, is_quoted))
}

impl FoundHeredoc<'_> {
    /// As the tree has it.
    pub(super) fn to_ast(&self, place: impl Fn(&Range<usize>) -> Span) -> Heredoc {
        let text = self.body.text;
        let body = if self.word.chomp { strip_tabs(text) } else { text.to_owned() };
        self.word.to_ast(body, place(&self.word.range))
    }
}

impl HeredocWord {
    /// As the tree has it, with this body.
    pub(super) fn to_ast(&self, body: String, span: Span) -> Heredoc {
        let HeredocWord { fd, chomp, expand, .. } = *self;
        Heredoc { name: self.name.clone(), fd, expand, chomp, body, span }
    }
}

/// A line and the bodies of its heredocs, put together again (LEX-117).
pub(super) fn script(line: &str, heredocs: &[FoundHeredoc<'_>]) -> String {
    let mut script = line.to_owned();
    for heredoc in heredocs {
        script.push('\n');
        script.push_str(heredoc.body.text);
        script.push_str(&heredoc.word.name);
    }
    script
}

/// The body without the tabs at the start of its lines (LEX-105).
fn strip_tabs(body: &str) -> String {
    body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints each heredoc as `fd name flags`.
    fn check(args: &str, expect: &[&str]) {
        let print = |word: &HeredocWord| {
            let expand = if word.expand { "" } else { " quoted" };
            let chomp = if word.chomp { " chomp" } else { "" };
            format!("{} {}{expand}{chomp}", word.fd, word.name)
        };
        let found: Vec<String> = find(args, args).iter().map(print).collect();
        assert_eq!(found, expect, "{args}");
    }

    #[test]
    fn heredoc_words() {
        check("<<EOF", &["0 EOF"]);
        check("cat 3<<A <<-B >x", &["3 A", "0 B chomp"]);
        check("<<'E' <<\"F\" <<G'H'I", &["0 E quoted", "0 F quoted", "0 GHI quoted"]);
        check("<<$V <<a.b <<E\\OF", &["0 $V", "0 a.b", "0 EOF"]);
        check("cat << EOF", &["0 EOF"]);
        check("cat <<\"a b\"", &["0 a b quoted"]);
        check("<< -EOF", &["0 -EOF"]);
        check("<<${V} ${a:-\"'\"} $((x)) <<B", &["0 ${V}", "0 B"]);
    }

    #[test]
    fn no_heredoc_words() {
        for text in [
            "<<<x",
            "cat <<< x",
            "\"<<X\"",
            "'<<X'",
            "\\<<X",
            "$((1<<2))",
            "B<<C",
            "<<",
            "<<''",
            "a <<",
            "it's <<X",
            "<<\"EOF /x",
            "[\"<<X\"]",
            "<<- EOF",
            "<<${V:-x}",
            "<<\"${V:-x}\"",
            "${x:-y}<<EOF",
            "${x^^} <<EOF",
            "\"${#x}\" <<EOF",
            "${x:-'} <<EOF",
            "${x <<EOF",
        ] {
            check(text, &[]);
        }
    }
}
