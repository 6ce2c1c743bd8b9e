//! The tables: one line for each case, with `|` between its columns. testdata/registry-faults/README.md explains them.

/// A line of a table.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    /// How the registry wants to be spoken to.
    pub(super) who: String,
    /// What goes wrong, as `testkit::faults` reads it.
    pub(super) faults: String,
    pub(super) outcome: Outcome,
    /// How often the home got requests, or `cdn` any.
    pub(super) seen: Vec<(String, usize)>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The bytes that were asked for.
    Right,
    /// An error of this kind that says these words.
    Error { kind: String, words: Vec<String> },
}

/// Reads a table.
pub(super) fn read(text: &str) -> Vec<Case> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases: Vec<Case> = lines.map(read_one).collect();
    for (at, case) in cases.iter().enumerate() {
        assert!(cases[..at].iter().all(|other| other.name != case.name), "{} twice", case.name);
    }
    cases
}

fn read_one(line: &str) -> Case {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, who, faults, outcome, seen] = columns[..] else { panic!("not 5 columns: {line}") };
    let outcome = match outcome {
        "right" => Outcome::Right,
        error => {
            let (kind, words) = error.split_once(": ").unwrap_or((error, ""));
            let words = words.split("; ").filter(|word| !word.is_empty());
            let words = words.map(str::to_owned).collect();
            Outcome::Error { kind: kind.to_owned(), words }
        }
    };
    let seen = seen.split("; ").filter(|one| !one.is_empty()).map(|one| {
        let (which, count) = one.rsplit_once(" = ").unwrap_or_else(|| panic!("no count: {line}"));
        (which.to_owned(), count.parse().expect("a number"))
    });
    Case {
        name: name.to_owned(),
        who: who.to_owned(),
        faults: faults.to_owned(),
        outcome,
        seen: seen.collect(),
    }
}
