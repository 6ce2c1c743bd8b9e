//! Rules that one file at a time can break: sizes and words.

use crate::{Finding, SourceFile};

/// Characters in a line of Rust, at most.
const COLUMNS_MAX: usize = 100;
/// Characters in a comment line, which rustfmt does not break, at most.
const COMMENT_COLUMNS_MAX: usize = 120;
/// Lines in a function, at most.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines in a file, at most.
const FILE_LINES_MAX: usize = 800;
/// The only directory with unsafe code.
const UNSAFE_HOME: &str = "base/sys/";

/// Checks one file.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = host_paths(file);
    if file.is_rust() {
        findings.extend(columns(file));
        findings.extend(long_functions(file));
        findings.extend(long_file(file));
        findings.extend(unfinished(file));
        findings.extend(unsafe_code(file));
        findings.extend(heading(file));
    }
    findings
}

fn finding(file: &SourceFile, index: usize, message: impl Into<String>) -> Finding {
    Finding { path: file.path.clone(), line: index + 1, message: message.into() }
}

fn columns(file: &SourceFile) -> Vec<Finding> {
    let too_wide = |(index, line): (usize, &str)| {
        let comment = line.trim_start().starts_with("//");
        let max = if comment { COMMENT_COLUMNS_MAX } else { COLUMNS_MAX };
        let width = line.chars().count();
        // What cannot be broken (an address, a snapshot's line) has no good place to end.
        let breakable = line.trim().trim_start_matches(['/', '!', '"', ' ']).contains(' ');
        let literal = line.contains('"') || line.contains("https://");
        (width > max && breakable && !literal)
            .then(|| finding(file, index, format!("{width} columns, at most {max}")))
    };
    file.text.lines().enumerate().filter_map(too_wide).collect()
}

fn long_functions(file: &SourceFile) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        // rustfmt puts the closing brace in the column of the first word.
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let ends = |line: &&str| line.starts_with(&closing) || line.trim_end().ends_with(';');
        let body = if line.contains('{') || !line.trim_end().ends_with(';') {
            start + 1
        } else {
            continue;
        };
        let end = lines[body..].iter().position(|l| {
            l.starts_with(&closing) || (l.len() - l.trim_start().len() == indent && ends(l))
        });
        let length = end.map_or(0, |end| end + 2);
        if length > FUNCTION_LINES_MAX {
            let message = format!("fn {name} has {length} lines, at most {FUNCTION_LINES_MAX}");
            findings.push(finding(file, start, message));
        }
    }
    findings
}

/// The name in the first line of a function.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    loop {
        let (word, rest) = words.split_once(' ')?;
        match word {
            "fn" => return rest.split(['(', '<']).next(),
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" => words = rest,
            _ if word.starts_with("pub(") => words = rest,
            _ => return None,
        }
    }
}

fn long_file(file: &SourceFile) -> Option<Finding> {
    let count = file.text.lines().count();
    // A list may be long; the marker gives the reason.
    let exempt = file.text.contains(concat!("// tidy: ", "long because "));
    (count > FILE_LINES_MAX && !exempt)
        .then(|| finding(file, 0, format!("{count} lines, at most {FILE_LINES_MAX}")))
}

fn unfinished(file: &SourceFile) -> Vec<Finding> {
    const WORDS: [&str; 6] = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let found = |(index, line): (usize, &str)| {
        // A test that another one runs in a process of its own is not skipped.
        if line.contains(concat!("#[", "ignore = \"run by ")) {
            return None;
        }
        let word = WORDS.iter().find(|word| line.contains(**word))?;
        Some(finding(file, index, format!("unfinished or skipped: {word}")))
    };
    file.text.lines().enumerate().filter_map(found).collect()
}

fn unsafe_code(file: &SourceFile) -> Vec<Finding> {
    if file.path.starts_with(UNSAFE_HOME) {
        return Vec::new();
    }
    const FORMS: [&str; 5] = [
        concat!("unsafe", " {"),
        concat!("unsafe", " fn"),
        concat!("unsafe", " impl"),
        concat!("unsafe", " extern"),
        concat!("allow(", "unsafe_code"),
    ];
    let found = |(index, line): (usize, &str)| {
        let code = !line.trim_start().starts_with("//");
        (code && FORMS.iter().any(|form| line.contains(form)))
            .then(|| finding(file, index, format!("unsafe code outside {UNSAFE_HOME}")))
    };
    let mut findings: Vec<Finding> = file.text.lines().enumerate().filter_map(found).collect();
    let root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
    if root && !file.text.contains("#![forbid(unsafe_code)]") {
        findings.push(finding(file, 0, "a crate without #![forbid(unsafe_code)]"));
    }
    findings
}

fn heading(file: &SourceFile) -> Option<Finding> {
    let begins = file.text.starts_with("//!") || file.text.is_empty();
    (!begins && !file.is_test())
        .then(|| finding(file, 0, "a module begins with //! and says what it owns"))
}

fn host_paths(file: &SourceFile) -> Vec<Finding> {
    const PLACES: [&str; 3] =
        [concat!("/wo", "rk/"), concat!("/tmp/", "bash_jobs"), concat!("/home/", "runner")];
    let found = |(index, line): (usize, &str)| {
        let place = PLACES.iter().find(|place| line.contains(**place))?;
        Some(finding(file, index, format!("a path of one machine: {place}")))
    };
    file.text.lines().enumerate().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        check(&file).iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
    }

    fn good(path: &str, text: &str) {
        assert_eq!(check_text(path, text), Vec::<String>::new(), "{path}");
    }

    fn bad(path: &str, text: &str, want: &str) {
        let found = check_text(path, text);
        assert!(found.iter().any(|message| message.contains(want)), "{want} not in {found:?}");
    }

    #[test]
    fn sizes_have_limits() {
        let function = |lines: usize| {
            format!("//! x\npub(crate) fn f() {{\n{}}}\n", "    x();\n".repeat(lines - 2))
        };
        good("a.rs", &function(70));
        bad("a.rs", &function(71), "2: fn f has 71 lines, at most 70");
        let method = format!(
            "//! x\nimpl A {{\n    fn long(&self) {{\n{}    }}\n}}\n",
            "        x();\n".repeat(80)
        );
        bad("a.rs", &method, "3: fn long has 82 lines");
        good("a.rs", &format!("//! x\ntrait A {{\n    fn f(&self);\n}}\n{}", "// y\n".repeat(100)));
        good("a.rs", &format!("//! x\n{}", "// y\n".repeat(799)));
        bad("a.rs", &format!("//! x\n{}", "// y\n".repeat(800)), "801 lines, at most 800");
        good(
            "a.rs",
            &format!(
                "//! x\n// {}\n{}",
                concat!("tidy: ", "long because it is a list"),
                "// y\n".repeat(900)
            ),
        );
        bad("a.rs", &format!("//! x\nlet a = {};\n", "b + ".repeat(30)), "columns, at most 100");
        good("a.md", &"word ".repeat(100));
    }

    #[test]
    fn words_are_kept_out() {
        bad("a.rs", concat!("//! x\nfn f() { to", "do!() }\n"), "unfinished");
        bad("a.md", concat!("see /wo", "rk/main\n"), "a path of one machine");
        bad("a.rs", "fn f() {}\n", "begins with //!");
        let block = concat!("//! x\n#![forbid(unsafe_code)]\nfn f() { unsafe", " { g() } }\n");
        bad("a/src/lib.rs", block, "unsafe code outside");
        good("base/sys/src/lib.rs", block);
        bad("a/src/lib.rs", "//! x\n", "without #![forbid(unsafe_code)]");
    }
}
