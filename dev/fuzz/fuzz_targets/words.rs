//! Any word is expanded or refused, in time; what is quoted comes out as it went in; words and text agree.

#![no_main]

use fuzz::timed;
use libfuzzer_sys::fuzz_target;
use parser::{Expander, expand::heredoc_body};

/// Values with everything that means something in a word or a pattern; of the rest every second name is unset.
fn value(name: &str) -> Option<String> {
    match name {
        "a" => Some("one".to_owned()),
        "b" => Some("two words\nand 'more' \"$a\" \\".to_owned()),
        "c" => Some("a/b.c*?[é]{}|^$\\".repeat(20)),
        "e" => Some(String::new()),
        name => name.len().is_multiple_of(2).then(|| name.to_owned()),
    }
}

fuzz_target!(|text: &str| {
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape);
        let word = timed(text, || expander.word(text, &value));
        let words = timed(text, || expander.words(text, &value));
        match (&word, &words) {
            (Ok(word), Ok(words)) => {
                assert_eq!((&word.used, &word.unset), (&words.used, &words.unset));
                // The words are the text without the blanks that part them.
                let glued: String = words.words.concat().split_whitespace().collect();
                assert_eq!(glued, word.text.split_whitespace().collect::<String>());
            }
            (Err(one), Err(other)) => {
                assert_eq!(one, other);
                assert!(one.offset() <= text.len() && !one.reason().is_empty());
            }
            _ => panic!("{text:?} is a word or none"),
        }
        let quoted = format!("'{}'", text.replace('\'', ""));
        let plain = expander.word(&quoted, &value).expect("a quoted word has no mistakes");
        assert_eq!(plain.text, quoted[1..quoted.len() - 1]);
        assert!(plain.used.is_empty() && plain.unset.is_empty());
    }
    let _ = timed(text, || heredoc_body(text, &value));
    let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
    let body = heredoc_body(&escaped, &value).expect("all is escaped");
    assert_eq!(body.text, text);
});
