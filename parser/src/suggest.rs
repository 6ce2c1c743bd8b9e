//! "Did you mean" for misspelt words.

/// Hints are given for fewer edits than this (LEX-61).
const DISTANCE_LIMIT: usize = 3;

/// The candidate nearest to a word, if it is near enough to be what was meant. Case is no
/// difference (LEX-61). Nothing for a word that is itself a candidate; of equally near ones the
/// first, so give them in a fixed order.
pub fn suggest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let exact = word;
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == exact {
            return None;
        }
        let name: Vec<char> = candidate.to_lowercase().chars().collect();
        if name.len().abs_diff(word.len()) >= DISTANCE_LIMIT {
            continue;
        }
        let distance = edit_distance(&word, &name);
        if distance < DISTANCE_LIMIT && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// ` (did you mean X?)`, or nothing; to be put behind a message.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    suggest(word, candidates).map(|best| format!(" (did you mean {best}?)")).unwrap_or_default()
}

/// Insertions, deletions and replacements that turn one into the other.
fn edit_distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_candidate_within_two_edits() {
        let names = ["CMD", "COPY", "ENV", "FROM", "RUN"];
        let cases = [
            // Two edits from ENV as from RUN; the first one it is, as BuildKit says (ERR-06).
            ("RNU", Some("ENV")),
            ("copi", Some("COPY")),
            ("FORM", Some("FROM")),
            ("ENTIRELY", None),
            ("RUN", None),
            ("run", Some("RUN")),
            ("X", None),
        ];
        for (word, expect) in cases {
            assert_eq!(suggest(word, names), expect, "{word}");
        }
        assert_eq!(did_you_mean("EVN", names), " (did you mean ENV?)");
        assert_eq!(did_you_mean("nothing", names), "");
    }
}
