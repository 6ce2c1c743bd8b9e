//! The stages of a file as a list, for `--call=targets` (CALL-11): what the file says, nothing expanded or looked up.

use parser::ast::{Dockerfile, Instruction, Kind};
use parser::{LineRange, SourceText};

use crate::outline::stage_name;

/// A stage as the file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// Its name in lower case.
    pub name: Option<String>,
    /// It is the one that is built without `--target`.
    pub is_default: bool,
    /// From the comment above it (CALL-14).
    pub description: Option<String>,
    /// The word behind FROM.
    pub base: String,
    /// The value of `--platform`.
    pub platform: Option<String>,
    /// The lines of its FROM.
    pub lines: LineRange,
}

/// Lists the stages in the order of the file; none for a file of ARGs alone.
pub fn targets(file: &Dockerfile, source: &SourceText) -> Vec<TargetFacts> {
    let last = file.stages.len().saturating_sub(1);
    let facts = file.stages.iter().enumerate().filter_map(|(number, stage)| {
        let Kind::From(from) = &stage.from.kind else { return None };
        let name = stage_name(stage);
        Some(TargetFacts {
            is_default: number == last,
            description: name.as_deref().and_then(|name| description(&stage.from.comments, name)),
            name,
            base: from.image.text.clone(),
            platform: from.platform.as_ref().map(|word| word.text.clone()),
            lines: lines(&stage.from, source),
        })
    });
    facts.collect()
}

/// What a comment says of a name: `# NAME TEXT`, the first such line (LEX-25).
pub(crate) fn description(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|line| {
        let text = line.strip_prefix(name)?.strip_prefix(' ')?;
        Some(text.to_owned())
    })
}

fn lines(instruction: &Instruction, source: &SourceText) -> LineRange {
    source.lines(instruction.span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<TargetFacts> {
        let source = SourceText::new("Dockerfile", text);
        targets(&parser::parse(&source).dockerfile, &source)
    }

    #[test]
    fn stages_are_listed_as_written() {
        let text = "ARG V=1\n# Base is what all need\n# base is second\nFROM --platform=$BUILDPLATFORM \
                    \\\n  alpine:$V AS Base\n# about\nFROM base\n";
        let found = listed(text);
        let base = TargetFacts {
            name: Some("base".into()),
            is_default: false,
            description: Some("is second".into()), // the name in lower case
            base: "alpine:$V".into(),
            platform: Some("$BUILDPLATFORM".into()),
            lines: LineRange { first: 4, last: 5 },
        };
        let default = TargetFacts {
            name: None,
            is_default: true,
            description: None,
            base: "base".into(),
            platform: None,
            lines: LineRange { first: 7, last: 7 },
        };
        assert_eq!(found, [base, default]);
        assert_eq!(listed("ARG A\n"), []);
    }
}
