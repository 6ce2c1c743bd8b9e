//! testdata/COVERAGE.md: the behaviours of testdata/ids.txt, and the cases that prove them.
//!
//! Owns reading both and writing the table. Knows of a case its name and its `ids:` alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::Finding;

const IDS: &str = "testdata/ids.txt";
const CASES: &str = "testdata/cases";
const TABLE: &str = "testdata/COVERAGE.md";

/// A behaviour.
#[derive(Debug, PartialEq, Eq)]
struct Behaviour {
    line: usize,
    /// `3.14 COPY`.
    section: String,
    id: String,
    title: String,
    /// Why no case can prove it.
    cannot: Option<String>,
}

/// Cases by the behaviours that they prove.
type Proofs = BTreeMap<String, Vec<String>>;

/// Writes the table anew. Returns one line on what is in it.
///
/// # Errors
/// When the files cannot be read or written.
pub fn write(top: &Path) -> io::Result<String> {
    let (behaviours, proofs) = read(top)?;
    std::fs::write(top.join(TABLE), table(&behaviours, &proofs))?;
    Ok(format!("{TABLE}: {}", summary(&behaviours, &proofs)))
}

/// Whether the table is as it would be written, and nothing is missing that must be there.
pub(crate) fn check(top: &Path) -> io::Result<Vec<Finding>> {
    let (behaviours, proofs) = read(top)?;
    let mut findings = misfits(&behaviours, &proofs);
    let written = std::fs::read_to_string(top.join(TABLE)).unwrap_or_default();
    if written != table(&behaviours, &proofs) {
        let message = "not up to date: cargo xtask coverage".to_owned();
        findings.push(Finding { path: TABLE.to_owned(), line: 0, message });
    }
    findings.extend(missing(&behaviours, &proofs));
    Ok(findings)
}

fn read(top: &Path) -> io::Result<(Vec<Behaviour>, Proofs)> {
    let ids = std::fs::read_to_string(top.join(IDS))?;
    let mut proofs = Proofs::new();
    let mut pending = vec![top.join(CASES)];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "case") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                for id in ids_of(&std::fs::read_to_string(&path)?) {
                    proofs.entry(id.to_owned()).or_default().push(name.clone().into_owned());
                }
            }
        }
    }
    proofs.values_mut().for_each(|names| names.sort());
    Ok((behaviours(&ids), proofs))
}

/// The words of the `ids:` lines in a case's head.
fn ids_of(case: &str) -> impl Iterator<Item = &str> {
    let head = case.lines().take_while(|line| !line.starts_with("=== "));
    let ids = head.filter_map(|line| line.strip_prefix("ids:"));
    ids.flat_map(|line| line.split([' ', ',', '\t'])).filter(|id| !id.is_empty())
}

/// Lines `ID title [cannot: reason]` below headings `# 3.14 COPY`.
fn behaviours(text: &str) -> Vec<Behaviour> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix('#') {
            heading.trim().clone_into(&mut section);
        } else if let Some((id, title)) = line.split_once(' ') {
            let (title, cannot) = match title.split_once("[cannot:") {
                Some((title, reason)) => {
                    (title.trim(), Some(reason.trim_end_matches(']').trim().to_owned()))
                }
                None => (title.trim(), None),
            };
            let (id, title, section) = (id.to_owned(), title.to_owned(), section.clone());
            found.push(Behaviour { line: index + 1, section, id, title, cannot });
        }
    }
    found
}

impl Behaviour {
    fn is_missing(&self, proofs: &Proofs) -> bool {
        self.cannot.is_none() && !proofs.contains_key(&self.id)
    }
}

/// Behaviours that have neither a case nor a reason why they cannot have one.
fn missing(behaviours: &[Behaviour], proofs: &Proofs) -> Vec<Finding> {
    let missing = behaviours.iter().filter(|b| b.is_missing(proofs));
    let finding = |behaviour: &Behaviour| Finding {
        path: IDS.to_owned(),
        line: behaviour.line,
        message: format!("{} has no case: {}", behaviour.id, behaviour.title),
    };
    missing.map(finding).collect()
}

/// Ids that stand twice, and ids of cases that stand nowhere.
fn misfits(behaviours: &[Behaviour], proofs: &Proofs) -> Vec<Finding> {
    let mut known = BTreeMap::new();
    let mut findings = Vec::new();
    for behaviour in behaviours {
        if known.insert(&behaviour.id, behaviour.line).is_some() {
            let message = format!("{} stands here a second time", behaviour.id);
            findings.push(Finding { path: IDS.to_owned(), line: behaviour.line, message });
        }
    }
    for (id, names) in proofs.iter().filter(|(id, _)| !known.contains_key(id)) {
        let message = format!("{id} is not in {IDS}; it is named by {}", names.join(", "));
        findings.push(Finding { path: CASES.to_owned(), line: 0, message });
    }
    findings
}

fn summary(behaviours: &[Behaviour], proofs: &Proofs) -> String {
    let count = |of: &dyn Fn(&&Behaviour) -> bool| behaviours.iter().filter(of).count();
    let cases: std::collections::BTreeSet<&String> = proofs.values().flatten().collect();
    format!(
        "{} behaviours, {} with cases, {} that cannot have one, {} missing; {} cases",
        behaviours.len(),
        count(&|b| proofs.contains_key(&b.id)),
        count(&|b| b.cannot.is_some() && !proofs.contains_key(&b.id)),
        count(&|b| b.is_missing(proofs)),
        cases.len(),
    )
}

fn table(behaviours: &[Behaviour], proofs: &Proofs) -> String {
    let mut text = String::from(
        "# Coverage\n\nWritten by `cargo xtask coverage` from [ids.txt](ids.txt) and [cases](cases/README.md). Do not edit.\n\n",
    );
    let _ = writeln!(text, "{}.", summary(behaviours, proofs));
    let missing: Vec<&Behaviour> = behaviours.iter().filter(|b| b.is_missing(proofs)).collect();
    if !missing.is_empty() {
        text.push_str("\n## Missing\n");
    }
    let mut section = "";
    for behaviour in missing {
        if section != behaviour.section {
            section = &behaviour.section;
            let _ = writeln!(text, "\n{section}\n");
        }
        let _ = writeln!(text, "- {} {}", behaviour.id, cell(&behaviour.title));
    }
    let mut section = "";
    for behaviour in behaviours {
        if section != behaviour.section {
            section = &behaviour.section;
            let _ = writeln!(text, "\n## {section}\n\n| ID | behaviour | cases |\n|---|---|---|");
        }
        let cases = match (proofs.get(&behaviour.id), &behaviour.cannot) {
            (Some(names), _) => names.join(", "),
            (None, Some(reason)) => format!("cannot: {}", cell(reason)),
            (None, None) => "**missing**".to_owned(),
        };
        let _ = writeln!(text, "| {} | {} | {cases} |", behaviour.id, cell(&behaviour.title));
    }
    text
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# 1.1 Lines\nA-1 one | thing\nA-2 two [cannot: no machine has it]\n\n# 8.1 Other\nB-1 three\n";

    fn proofs(list: &[(&str, &[&str])]) -> Proofs {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        list.iter().map(|(id, names)| ((*id).to_owned(), owned(names))).collect()
    }

    #[test]
    fn heads_are_read() {
        let case = "Shows.\nids: A-1, A-2\nids: B-1\nfrom: spec\n=== file x\nids: C-1\n";
        assert_eq!(ids_of(case).collect::<Vec<_>>(), ["A-1", "A-2", "B-1"]);
        let read = behaviours(TEXT);
        assert_eq!(read.len(), 3);
        assert_eq!(read[1].cannot.as_deref(), Some("no machine has it"));
        assert_eq!((read[1].title.as_str(), read[2].section.as_str()), ("two", "8.1 Other"));
    }

    #[test]
    fn the_table_names_what_is_missing() {
        let read = behaviours(TEXT);
        let table = table(&read, &proofs(&[("B-1", &["x", "y"])]));
        for part in [
            "3 behaviours, 1 with cases, 1 that cannot have one, 1 missing; 2 cases.",
            "\n## Missing\n\n1.1 Lines\n\n- A-1 one \\| thing\n",
            "\n## 1.1 Lines\n\n| ID | behaviour | cases |\n|---|---|---|\n| A-1 | one \\| thing | **missing** |\n",
            "| A-2 | two | cannot: no machine has it |\n",
            "| B-1 | three | x, y |\n",
        ] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        assert!(
            !super::table(&read, &proofs(&[("A-1", &["x"]), ("B-1", &["y"])])).contains("Missing")
        );
    }

    #[test]
    fn what_must_be_there() {
        let read = behaviours(TEXT);
        let found = missing(&read, &Proofs::new());
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].to_string(), "testdata/ids.txt:2: A-1 has no case: one | thing");
        assert!(missing(&read, &proofs(&[("A-1", &["x"]), ("B-1", &["x"])])).is_empty());
        let twice = behaviours("# 1 x\nA-1 a\nA-1 b\n");
        assert_eq!(misfits(&twice, &Proofs::new())[0].line, 3);
        assert_eq!(misfits(&read, &proofs(&[("Z-1", &["x"])])).len(), 1);
    }
}
