use super::*;

/// The environment of all cases: `e` is set and empty, `u…` are not set.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "e" => "",
        "a" => "one",
        "b" => "two words",
        "path" => "/usr/lib/foo.tar.gz",
        "star" => "*",
        "dollar" => "$a",
        "lines" => "ab\ncd\nab",
        "ключ" => "ok",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expand(escape: char, text: &str) -> String {
    match Expander::new(escape).word(text, &env) {
        Ok(expanded) => expanded.text,
        Err(error) => format!("ERR {}", error.reason()),
    }
}

/// Lines of `word => result`; errors as `ERR reason`.
fn check(table: &[(&str, &str)]) {
    for (text, expect) in table {
        assert_eq!(expand('\\', text), *expect, "{text}");
    }
}

#[test]
fn names() {
    check(&[
        ("$a ${a} x$a-y", "one one xone-y"),           // EXP-01
        ("$ключ ${ключ}", "ok ok"),                    // EXP-01
        ("$ $. a$ $/x", "$ $. a$ $/x"),                // EXP-02
        ("$1x $12x $999", "x x "),                     // EXP-03
        ("[$@$*$#$?$-$$$!$0]", "[]"),                  // EXP-03
        ("[$u${u}]", "[]"),                            // EXP-04
        ("${}", "ERR syntax error: bad substitution"), // EXP-05
        ("${{a}", "ERR syntax error: bad substitution"),
        ("${:a}", "ERR syntax error: bad substitution"),
        ("${a", "ERR syntax error: missing '}'"), // EXP-06
        ("${", "ERR syntax error: missing '}'"),
        ("${a:", "ERR syntax error: missing '}'"),
        ("${a:-x", "ERR syntax error: missing '}'"),
        ("${a@", "ERR syntax error: missing '}'"),
        ("${u:-'x}", "ERR syntax error: missing '}'"),
        ("${a/'x}", "ERR syntax error: missing '/' in ${}"),
        ("${.}", "ERR unsupported modifier (.) in substitution"),
        ("[${+x}${%x}]", "[]"), // no name: never set
        ("$dollar", "$a"),      // EXP-38
    ]);
}

#[test]
fn defaults_alternatives_demands() {
    check(&[
        ("${u:-w} ${e:-w} ${a:-w}", "w w one"), // EXP-10
        ("${u-w} [${e-w}] ${a-w}", "w [] one"),
        ("[${u:+w}${e:+w}${a:+w}]", "[w]"), // EXP-11
        ("[${u+w}${e+v}${a+x}]", "[vx]"),
        ("${a:?}${a?x}${e?x}", "oneone"), // EXP-12
        ("${u:?}", "ERR u: is not allowed to be unset"),
        ("${e:?}", "ERR e: is not allowed to be empty"),
        ("${u?}", "ERR u: is not allowed to be unset"),
        ("${u:?say so}", "ERR u: say so"),
        ("${u:-${e:-$a}}", "one"), // EXP-20
        ("${u:-\"}\"}", "}"),
        ("${u:-\\}}", "}"),
        ("${a:-${u:?x}}", "ERR u: x"), // EXP-23
        ("${a:+${b:-${u:?no}}}", "ERR u: no"),
    ]);
}

#[test]
fn other_modifiers_are_refused() {
    check(&[
        ("${a:=w}", "ERR unsupported modifier (:=) in substitution"), // EXP-21
        ("${a=w}", "ERR unsupported modifier (=) in substitution"),
        ("${a:#w}", "ERR unsupported modifier (:#) in substitution"),
        ("${a:1:2}", "ERR unsupported modifier (:1) in substitution"),
        ("${a:1${u:?no}}", "ERR u: no"),
        ("${a@Q}", "ERR unsupported modifier (@) in substitution"),
        ("${a^}", "ERR unsupported modifier (^) in substitution"),
        ("${a,}", "ERR unsupported modifier (,) in substitution"),
        ("${#a}", "ERR unsupported modifier (a) in substitution"),
    ]);
}

#[test]
fn prefixes_and_suffixes() {
    check(&[
        ("${path#*/}", "usr/lib/foo.tar.gz"), // EXP-13
        ("${path##*/}", "foo.tar.gz"),
        ("${path%.*}", "/usr/lib/foo.tar"), // EXP-14
        ("${path%%.*}", "/usr/lib/foo"),
        ("${path#x}", "/usr/lib/foo.tar.gz"),
        ("${path#}${path%}", "/usr/lib/foo.tar.gz/usr/lib/foo.tar.gz"),
        ("${path#/???/}", "lib/foo.tar.gz"), // EXP-17
        ("${path##$star/}", "foo.tar.gz"),
        ("${u#x}", ""),
        ("${star#\\*}", ""),
        ("${path#\\*}", "/usr/lib/foo.tar.gz"),
        ("${path#\\q}", "ERR invalid pattern (\\q) in substitution: invalid escape '\\q'"),
        ("${lines#*c}", "ab\ncd\nab"), // EXP-18
        ("${lines##*b}", "\ncd\nab"),
    ]);
}

#[test]
fn replacements() {
    check(&[
        ("${path/o/0}", "/usr/lib/f0o.tar.gz"), // EXP-15
        ("${path//o/0}", "/usr/lib/f00.tar.gz"),
        ("${path/l*./X}", "/usr/Xgz"),
        ("${path//\\//-}", "-usr-lib-foo.tar.gz"),
        ("${path/.tar.gz/}", "/usr/lib/foo"),
        ("${a/y}", "ERR syntax error: missing '/' in ${}"), // EXP-16
        ("${a/n/x", "ERR syntax error: missing '}'"),
        ("${a/[n]/x}", "one"),                // EXP-17
        ("${lines//b*/_}", "a_\ncd\na_"),     // EXP-18
        ("${a//o/$0}${a//e/[$1]}", "neon[]"), // EXP-19: unset names, not match groups
        ("${a//n/'$0'}", "o$0e"),
        ("${a//n/\\$0}", "o\\$0e"),
        ("${a///x}", "xoxnxex"), // EXP-24
        ("${a//*/x}", "x"),
        ("${a/#o/x}", "one"), // EXP-25
        ("${a/%e/x}", "one"),
    ]);
}

#[test]
fn quotes_and_escapes() {
    check(&[
        ("'$a \\' x", "$a \\ x"),                            // EXP-30
        ("\"$a \\\" \\$ \\\\ \\n '\"", "one \" $ \\ \\n '"), // EXP-31
        ("\\$a \\t \\\\ \\'", "$a t \\ '"),                  // EXP-32
        ("x\\", "x"),                                        // EXP-33
        // EXP-35
        ("\"x", "ERR unexpected end of statement while looking for matching double-quote"),
        ("x'y", "ERR unexpected end of statement while looking for matching single-quote"),
        ("a\"b c\"d'e f'", "ab cde f"), // EXP-36
        ("$b", "two words"),            // EXP-37
    ]);
    // EXP-34
    assert_eq!(expand('`', "`$a c:\\x \"`\"`n\""), "$a c:\\x \"`n");
    // EXP-17: in patterns it is a backslash all the same.
    assert_eq!(expand('`', "${star#`*}|${star#\\*}"), "*|");
}

#[test]
fn words_split_unless_quoted() {
    // EXP-45
    let cases: [(&str, &[&str]); 7] = [
        ("$b", &["two", "words"]),
        ("x$b-y", &["xtwo", "words-y"]),
        ("\"$b\" 'c d' e\\ f", &["two words", "c d", "e f"]),
        ("$u ${e} \"\"", &[]),
        ("${u:-1 2}", &["1", "2"]),
        (" 80\t443\u{a0}8080 ", &["80", "443", "8080"]),
        ("''80''", &["80"]),
    ];
    for (text, expect) in cases {
        assert_eq!(Expander::new('\\').words(text, &env).unwrap().words, expect, "{text}");
    }
}

#[test]
fn heredoc_bodies() {
    let cases = [
        ("\"$a\" '${a}'\n", "\"one\" 'one'\n"),     // EXP-60
        ("${u:-\"x\"} it's", "\"x\" it's"),         // EXP-60
        ("\\$a \\\\ a\\nb \\\nc", "$a \\ anb \nc"), // EXP-61
        ("`$a", "`one"),                            // EXP-62
    ];
    for (text, expect) in cases {
        assert_eq!(heredoc_body(text, &env).unwrap().text, expect, "{text}");
    }
}

#[test]
fn names_are_reported_once_and_in_order() {
    let expanded = Expander::new('\\').word("$u1 ${u2:-$a} $u1 ${a:-$u3} '$no'", &env).unwrap();
    assert_eq!(expanded.unset, ["u1", "u2", "u3"]); // LINT-30
    assert_eq!(expanded.used, ["a"]);
}

#[test]
fn errors_print_like_buildkit() {
    let error = Expander::new('\\').word("\"x", &env).unwrap_err();
    let expect = "failed to process \"\\\"x\": unexpected end of statement while looking for \
                  matching double-quote";
    assert_eq!(error.to_string(), expect); // EXP-07, ERR-21
    let error = Expander::new('\\').word("ab${X:?msg}", &env).unwrap_err();
    assert_eq!(error.to_string(), "failed to process \"ab${X:?msg}\": X: msg"); // ERR-22
    assert_eq!(error.offset(), 2);
}

#[test]
fn hostile_words_end_soon() {
    let deep = "${a:-".repeat(100_000);
    assert_eq!(expand('\\', &deep), "ERR substitutions are nested too deep");
    let nested = "${u:-".repeat(DEPTH_MAX) + "x" + &"}".repeat(DEPTH_MAX);
    assert_eq!(expand('\\', &nested), "x");
    let doubling = |name: &str| Some(name.repeat(1 << 20));
    let bomb = "$a".repeat(1000);
    let error = Expander::new('\\').word(&bomb, &doubling).unwrap_err();
    assert_eq!(error.reason(), "result is too long");
    // Parts that are not used count as well.
    let bomb = "${a:+}".repeat(10_000);
    let error = Expander::new('\\').word(&bomb, &doubling).unwrap_err();
    assert_eq!(error.reason(), "result is too long");
    let growing = "${a///".repeat(20) + &"x}".repeat(20);
    let wide = |_: &str| Some("a".repeat(500));
    assert!(Expander::new('\\').word(&growing, &wide).is_err());
    let slow = |_: &str| Some("a".repeat(2_000_000));
    let pattern = format!("${{x//{}b/c}}", "a".repeat(2000));
    let error = Expander::new('\\').word(&pattern, &slow).unwrap_err();
    assert_eq!(error.reason(), "pattern and value are too long to match");
    let stars = format!("${{x##{}b}}", "a*".repeat(1000));
    assert!(Expander::new('\\').word(&stars, &slow).is_ok());
}
