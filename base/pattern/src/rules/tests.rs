use super::*;

/// `hidden` and `seen` are lists of paths, separated by blanks.
fn check(file: &str, hidden: &str, seen: &str) {
    let rules = IgnoreFile::parse(file.as_bytes()).expect(file);
    for path in hidden.split_whitespace() {
        assert!(rules.is_ignored(path.as_bytes()), "{file:?} must hide {path}");
    }
    for path in seen.split_whitespace() {
        assert!(!rules.is_ignored(path.as_bytes()), "{file:?} must not hide {path}");
    }
}

#[test]
fn lines_are_read() {
    check("\u{feff}a\r\n\r\n  b  \r\nc", "a b c", "x"); // IGN-04
    check("#a\n #b\n\\#h", "#h #b", "#a a b"); // IGN-05
    check("./a\n/b\nc/\nd//e\nf/../g", "a b c d/e g c/x", "f d"); // IGN-06
    check("b", "b b/x", "a/b"); // IGN-07
    check(".\n..\n/\n../a", "", "a b/c"); // IGN-17
    assert_eq!(IgnoreFile::parse(b"!").map(drop), Err(PatternError::EmptyException)); // IGN-16
    assert_eq!(IgnoreFile::parse(b"! ").map(drop), Err(PatternError::EmptyException));
    assert!(IgnoreFile::parse(b"#\n\n \n").expect("only comments").is_empty());
}

#[test]
fn wildcards_stop_at_slashes() {
    check("*.txt\n?b\n[x-z]1\n[^a]2", "a.txt ab x1 b2", "d/a.txt abb w1 a2"); // IGN-08
    check("[!f]oo", "!oo foo", "boo");
    check("gr*\n世?\n世界", "grüße 世界", "世"); // IGN-19
    check("A", "A", "a");
    check("a.b\n*.c", "a.b x.c", "axb xyc");
    check("a+b*\n(x)*\n$?", "a+bc (x) $1", "aab x");
}

/// Bars and braces have the meaning of expressions as soon as there is a wildcard: the peer means to quote them and
/// fails.
#[test]
fn bars_and_braces_are_not_quoted() {
    check("a|b", "a|b a|b/x", "a b");
    check("?a|b", "xa xab zb x/b", "a zbz x/bz");
    check("x{2}?", "xxa", "xa x{2}a xxxa");
    check("x{1,2}[a]", "xa xxa", "xxxa a");
    check("x{1,}[a]", "xa xxxa", "a");
    check("*.{js,ts}\nx{?", "a.{js,ts} x{1", "a.js a.ts");
    for bad in ["?{2}{3}", "*{2}", "**/{2}*", "{2}?", "?{2,1}", "?{1001}"] {
        assert!(IgnoreFile::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    // A small file must not take all memory and time.
    assert!(IgnoreFile::parse("?x{1000}\n".repeat(16).as_bytes()).is_ok());
    assert!(IgnoreFile::parse("?x{1000}\n".repeat(17).as_bytes()).is_err());
    assert!(IgnoreFile::parse(format!("?[{}]{{1000}}", "abcdefgh".repeat(2)).as_bytes()).is_err());
}

#[test]
fn double_stars_span_directories() {
    check("**/x", "x a/x a/b/x x/y", "xx a/xx"); // IGN-09
    check("a/**/x", "a/x a/b/x a/b/c/x", "x b/a/x");
    check("a/**", "a/b a/b/c", "a ab b/a/c"); // IGN-12
    check("**/b/**", "b/x a/b/x", "b a/b");
    check("**", "a a/b", "");
    check("foo**", "foo foobar foo1/x/y", "fo a/foo"); // IGN-10
    check("**oo1", "foo1 oo1 a/foo1", "oo12");
    check("**oo1*", "oo1 oo1x a/oo1", "foo1");
    check("f**y", "fy foo1/x/y", "fooy");
    check("fo**1", "fo1 fox/1", "foo1");
    check("**/*.go", "a.go x/y/a.go", "a.got");
    check("src/**/a.txt\n**/deep/*.go", "src/a.txt src/deep/a.txt src/deep/c.go", "a.txt deep");
}

#[test]
fn exceptions_bring_back() {
    check("*.md\n!README.md", "a.md", "README.md"); // IGN-13
    check("!a.txt\n*.txt\n!src/a.txt\nsrc", "a.txt src src/a.txt", "b.md");
    check("*\n!a/b", "x a a/c", "a/b a/b/c"); // IGN-14, IGN-15
    check("*\n!a\na/b", "x a/b a/b/c", "a a/c");
    check("a\n!a/b\na/b/c", "a a/c a/b/c a/b/c/d", "a/b a/b/d");
    check("**\n!**/*.go", "a x x/y", "a.go x/a.go");
    check("! a", "", "a"); // IGN-16
}

#[test]
fn malformed_patterns_are_refused() {
    for bad in ["[a", "a[", "[]", "[^]", "a\\", "fo\\o1", "[z-a]x", "!["] {
        let error = IgnoreFile::parse(bad.as_bytes()).map(drop).expect_err(bad);
        assert!(error.to_string().contains("syntax error in pattern"), "{bad}: {error}"); // IGN-18
    }
    check("\\*\\[\na\\?", "*[ a?", "x ab"); // IGN-24
    check("\\d\n[\\d]x", "7 7x", "d dx");
}

#[test]
fn exclude_flags_keep_a_leading_slash() {
    let rules = Rules::new(["/a", "b/", "**/c", "!x/c"]).expect("valid");
    for (path, want) in [("a", false), ("b/y", true), ("z/c", true), ("x/c", false)] {
        assert_eq!(rules.is_ignored(path.as_bytes()), want, "{path}"); // COPY-100, COPY-101
    }
}

#[test]
fn directories_without_exceptions_need_no_look() {
    let check = |file: &str, dir: &str, want: bool| {
        let rules = IgnoreFile::parse(file.as_bytes()).expect(file);
        assert_eq!(rules.may_have_exception_below(dir.as_bytes()), want, "{file:?} {dir}");
    };
    check("*", "a", false);
    check("*\n!a/b", "a", true);
    check("*\n!a/b", "b", false);
    check("*\n!a/b", "a/b", false);
    check("*\n!**/x", "node_modules/y", true);
    check("*\n!?/x", "b", true);
    check("*\n!a/*/x", "a/q", true);
    check("*\n!a/*/x", "a/q/r", false);
    check("*\n!x{2}/?", "xx", true);
    check("*\n!?|b", "q/r", true);
    check("*\n!x[^a]y", "x", true);
    check("*\n!?\\S", "q", true);
}

/// Every answer of a rule that may not be asked agrees with a plain search over all small trees.
#[test]
fn exceptions_are_never_missed() {
    let names = ["a", "b", "a/a", "a/b", "b/a", "a/a/b", "a/b/a", "b/a/a"];
    let patterns = ["*", "a", "!a/b", "!**/b", "b/*", "!b/a", "**/a", "!a*", "!?/a/?"];
    for first in patterns {
        for second in patterns {
            let rules = Rules::new([first, second]).expect("valid");
            for dir in ["a", "b", "a/a", "a/b", "b/a"] {
                let below = names.iter().filter(|n| n.starts_with(&format!("{dir}/")));
                let seen = below.filter(|n| !rules.is_ignored(n.as_bytes())).count() > 0;
                let hidden = rules.is_ignored(dir.as_bytes());
                let skipped = hidden && !rules.may_have_exception_below(dir.as_bytes());
                assert!(!(skipped && seen), "{first} {second} {dir}");
            }
        }
    }
}

#[test]
fn hostile_patterns_take_no_time() {
    let pattern = format!("{}b", "**/*a".repeat(300));
    let rules = Rules::new([pattern.as_bytes()]).expect("valid");
    assert!(!rules.is_ignored("a".repeat(3_000).as_bytes()));
}

#[test]
fn rules_on_the_whole() {
    let check = |text: &str, exceptions: bool, everything: bool| {
        let rules = IgnoreFile::parse(text.as_bytes()).expect("good patterns");
        let got = (rules.has_exceptions(), rules.hide_everything());
        assert_eq!(got, (exceptions, everything), "{text}");
    };
    check("*", false, true); // LINT-38
    check("a\n**", false, true);
    check("./**/*", false, true);
    check("*.md\n**/*.txt\n*/*", false, false);
    check("*\n!keep", true, true);
    check("a\n!*", true, false);
    check("", false, false);
}

#[test]
fn the_line_that_hides_a_path() {
    let text = b"\xef\xbb\xbf# all\n\n *.log \n!keep.log\r\n/build\nkeep.log\n";
    let line = |path: &str| {
        let found = IgnoreFile::hiding_line(text, path.as_bytes());
        found.map(|(line, text)| format!("{line} {}", String::from_utf8_lossy(text)))
    };
    assert_eq!(line("a.log").as_deref(), Some("3 *.log"));
    assert_eq!(line("build/x/y").as_deref(), Some("5 /build"));
    assert_eq!(line("keep.log").as_deref(), Some("6 keep.log"));
    assert_eq!(line("a.txt"), None);
    assert_eq!(IgnoreFile::hiding_line(b"[", b"a"), None);
}
