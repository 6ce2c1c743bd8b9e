//! What holds for any text.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod dump;

use parser::{Expander, SourceText, parse, parse_trigger};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces of which hostile files are made.
const PIECES: [&str; 48] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "ONBUILD",
    "HEALTHCHECK",
    "SHELL",
    "LABEL",
    "CMD",
    "VOLUME",
    "from",
    "AS",
    "NONE",
    " ",
    " ",
    " ",
    "\t",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\\",
    "\\\n",
    "`",
    "#",
    "# escape=`\n",
    "<<",
    "<<-",
    "E",
    "E\n",
    "\"",
    "'",
    "=",
    "--",
    "--mount=",
    "--from=",
    "--interval=1.5s",
    "[",
    "]",
    ",",
    "$",
    "{",
    "}",
    ":-",
    "é",
    "\u{feff}",
];

fn hostile_text() -> impl Strategy<Value = String> {
    prop_oneof![
        vec(select(PIECES.to_vec()), 0..60).prop_map(|pieces| pieces.concat()),
        vec(select(PIECES.to_vec()), 0..60)
            .prop_map(|pieces| format!("FROM a\n{}", pieces.concat())),
        any::<String>(),
    ]
}

/// Instructions without heredocs, of all argument forms.
const LINES: [&str; 12] = [
    "RUN make  all && echo \"a b\"",
    "RUN --mount=type=cache,target=/c --network=none [\"a\", \"b c\"]",
    "COPY --from=x --chown=1:2 a \"b\" /c",
    "ADD [\"a b\", \"/c\"]",
    "ENV a=b c=\"d e\" f='g'",
    "ENV key old  form",
    "LABEL a=b",
    "ARG x=1 y",
    "WORKDIR /a b/é",
    "HEALTHCHECK --interval=5s CMD curl x",
    "ONBUILD RUN make",
    "EXPOSE 80 81/udp",
];

fn config() -> ProptestConfig {
    ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Nothing panics, and every place can be cut out of the text.
    #[test]
    fn any_text_is_read(text in hostile_text()) {
        let source = SourceText::new("Dockerfile", &text);
        let found = parse(&source);
        dump::dump(&source, &found, true);
        let is_buildable = !found.dockerfile.stages.is_empty();
        prop_assert!(is_buildable || found.has_errors());
        let _ = parse_trigger(&source);
    }

    /// A continuation may stand anywhere in a line and changes nothing (LEX-36).
    #[test]
    fn continuations_change_nothing(
        line in select(LINES.to_vec()),
        cuts in vec(any::<prop::sample::Index>(), 0..5),
        between in select(vec!["", "# comment\n", "  # comment \\\n"]),
    ) {
        let places: Vec<usize> = line.char_indices().map(|(at, _)| at).skip(1).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&places)).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut text = line.to_owned();
        for cut in cuts.into_iter().rev() {
            text.insert_str(cut, &format!("\\ \n{between}"));
        }
        let (plain, cut) = (read(line), read(&text));
        prop_assert_eq!(plain, cut, "{}", text);
    }

    /// Instructions printed from the tree are read back the same.
    #[test]
    fn printed_instructions_read_back(lines in vec(select(LINES.to_vec()), 0..8)) {
        let text = format!("FROM a AS b\n{}\n", lines.join("\n\n# x\n"));
        let first = parse(&SourceText::new("Dockerfile", &text));
        prop_assert!(!first.has_errors());
        let stage = &first.dockerfile.stages[0];
        let instructions = std::iter::once(&stage.from).chain(&stage.instructions);
        let printed: Vec<String> =
            instructions.map(|i| format!("{} {}", i.keyword.text, i.original)).collect();
        prop_assert_eq!(&printed[1..], &lines[..]);
        prop_assert_eq!(read(&printed.join("\n")), read(&text));
    }

    /// Expansion ends for any text; what has nothing special stays as it is (EXP-01 to EXP-36).
    #[test]
    fn any_word_expands_or_is_refused(text in hostile_text(), plain in "[a-z./ é:,=-]*") {
        let env = |name: &str| name.len().is_multiple_of(2).then(|| "value \\ $x".to_owned());
        for escape in ['\\', '`'] {
            let _ = Expander::new(escape).word(&text, &env);
            let _ = Expander::new(escape).words(&text, &env);
        }
        let _ = parser::expand::heredoc_body(&text, &env);
        let expanded = Expander::new('\\').word(&plain, &env).unwrap().text;
        prop_assert_eq!(&expanded, &plain);
        let quoted = Expander::new('\\').word(&format!("'{}'", text.replace('\'', "")), &env);
        prop_assert_eq!(quoted.unwrap().text, text.replace('\'', ""));
    }
}

/// The tree of a line or of lines without places and comments.
fn read(lines: &str) -> String {
    let text =
        if lines.starts_with("FROM") { lines.to_owned() } else { format!("FROM a\n{lines}\n") };
    let source = SourceText::new("Dockerfile", &text);
    dump::dump(&source, &parse(&source), false)
}
