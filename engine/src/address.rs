//! How people name a step: `build:3`, `3`, `build`, `Dockerfile:9`, `all`.
//!
//! Owns what such a text means for a list of steps. Refuses to know where the list comes from: from a build's graph, or
//! from what the store remembers of one.

use std::fmt;
use std::str::FromStr;

use graph::{Graph, Origin, VertexId};
use parser::{LineRange, SourceText, Span};

/// The name of one or more steps, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    meaning: Meaning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning {
    All,
    /// A step of the only stage.
    Number(u32),
    /// All steps of a stage.
    Stage(String),
    /// A step of a stage, or a line of the Dockerfile: what there is decides.
    Part(String, u32),
}

/// A step that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlace {
    /// Name of its stage, `stage-0` for an unnamed one.
    pub stage: String,
    /// Which step of the stage, counted from 1 as in `[build 3/7]`.
    pub number: u32,
    /// The instruction: `RUN make`.
    pub text: String,
    /// The Dockerfile, as people know it.
    pub file: String,
    /// The lines of the instruction.
    pub lines: LineRange,
}

/// No step has the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AddressError {
    message: String,
    hint: Option<String>,
}

impl AddressError {
    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let text = text.trim();
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        let meaning = match text.rsplit_once(':') {
            None if text.eq_ignore_ascii_case("all") => Some(Meaning::All),
            None if text.is_empty() => None,
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                number(text).map(Meaning::Number)
            }
            None => Some(Meaning::Stage(text.to_owned())),
            Some(("", _)) => None,
            Some((name, part)) => number(part).map(|part| Meaning::Part(name.to_owned(), part)),
        };
        match meaning {
            Some(meaning) => Ok(Address { text: text.to_owned(), meaning }),
            None => Err(AddressError {
                message: format!("{text:?} names no step"),
                hint: Some(FORMS.to_owned()),
            }),
        }
    }
}

const FORMS: &str = "write STAGE:N with N as in the progress, `[build 3/7]`; N alone in a file of one stage; \
                     STAGE, Dockerfile:LINE, or all";

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Address {
    /// The indices of the steps that are meant, at least one. Equal addresses, as on several platforms, are all meant.
    ///
    /// # Errors
    /// There is none; the message lists those that there are.
    pub fn find(&self, steps: &[StepPlace]) -> Result<Vec<usize>, AddressError> {
        let which = |wanted: &dyn Fn(&StepPlace) -> bool| -> Vec<usize> {
            (0..steps.len()).filter(|at| wanted(&steps[*at])).collect()
        };
        let found = match &self.meaning {
            Meaning::All => which(&|_| true),
            Meaning::Number(_) if !is_of_one_stage(steps) => Vec::new(),
            Meaning::Number(number) => which(&|step| step.number == *number),
            Meaning::Stage(name) => which(&|step| step.stage.eq_ignore_ascii_case(name)),
            Meaning::Part(name, number) => {
                let is_stage = steps.iter().any(|step| step.stage.eq_ignore_ascii_case(name));
                match is_stage {
                    true => which(&|step| {
                        step.stage.eq_ignore_ascii_case(name) && step.number == *number
                    }),
                    false => which(&|step| {
                        let LineRange { first, last } = step.lines;
                        is_file(&step.file, name) && (first..=last).contains(number)
                    }),
                }
            }
        };
        if found.is_empty() { Err(self.not_found(steps)) } else { Ok(found) }
    }

    /// The name in front of a number, or alone: that of a stage, unless it is a file's.
    pub(crate) fn stage(&self) -> Option<&str> {
        match &self.meaning {
            Meaning::Stage(name) | Meaning::Part(name, _) => Some(name),
            Meaning::All | Meaning::Number(_) => None,
        }
    }

    fn not_found(&self, steps: &[StepPlace]) -> AddressError {
        let by_line = matches!(&self.meaning,
            Meaning::Part(name, _) if steps.iter().any(|step| is_file(&step.file, name)));
        let label = |step: &StepPlace| match by_line {
            true => format!("{}:{}", last_name(&step.file), step.lines.first),
            false => shown(step, steps),
        };
        let width = steps.iter().map(|step| label(step).chars().count()).max().unwrap_or(0);
        let mut lines: Vec<String> = Vec::new();
        for step in steps {
            let line = format!("  {:width$}  {}", label(step), cut(&step.text));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let more = lines.len().saturating_sub(LISTED_MAX);
        lines.truncate(LISTED_MAX);
        if more > 0 {
            lines.push(format!("  … and {more} more"));
        }
        let message = match lines.is_empty() {
            true => format!("no step {self}: this build has none"),
            false => format!("no step {self}; the steps of this build are\n{}", lines.join("\n")),
        };
        let hint = match &self.meaning {
            Meaning::Number(number) if !is_of_one_stage(steps) => {
                Some(format!("the file has several stages: write STAGE:{number}"))
            }
            Meaning::Stage(name) | Meaning::Part(name, _) => {
                let stages = steps.iter().map(|step| step.stage.as_str());
                let best = parser::suggest(&name.to_lowercase(), stages);
                best.filter(|best| !best.eq_ignore_ascii_case(name))
                    .map(|best| format!("did you mean the stage {best}?"))
            }
            Meaning::All | Meaning::Number(_) => None,
        };
        AddressError { message, hint }
    }
}

/// Most steps that a message lists.
const LISTED_MAX: usize = 40;
/// Characters of a step that it shows.
const SHOWN_MAX: usize = 60;

/// The beginning of an instruction, on one line.
fn cut(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The shortest address of a step among others: its number, in a file of one stage.
pub fn shown(step: &StepPlace, steps: &[StepPlace]) -> String {
    match is_of_one_stage(steps) {
        true => step.number.to_string(),
        false => format!("{}:{}", step.stage, step.number),
    }
}

fn is_of_one_stage(steps: &[StepPlace]) -> bool {
    steps.iter().all(|step| step.stage == steps[0].stage)
}

/// A Dockerfile is known by its last name, too.
fn is_file(file: &str, typed: &str) -> bool {
    file == typed || last_name(file) == last_name(typed)
}

fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The steps of a graph in the order of the file, with every place that a step stands at.
pub(crate) fn steps(graph: &Graph, source: &SourceText) -> (Vec<VertexId>, Vec<StepPlace>) {
    let own = graph.vertices.iter().map(|vertex| (vertex.id, &vertex.origin));
    let also = graph.also.iter().map(|(id, origin)| (*id, origin));
    let mut steps: Vec<(VertexId, StepPlace)> =
        own.chain(also).filter_map(|(id, origin)| Some((id, place(origin, source)?))).collect();
    steps.sort_by_key(|(id, step)| (step.lines.first, step.number, *id));
    steps.into_iter().unzip()
}

/// Names of all stages of a file, whether a build needs them or not.
pub(crate) fn stage_names(source: &SourceText) -> Vec<String> {
    let parse = parser::parse(source);
    let targets = planner::targets(&parse.dockerfile, source).into_iter().enumerate();
    targets.map(|(at, target)| target.name.unwrap_or_else(|| format!("stage-{at}"))).collect()
}

fn place(origin: &Origin, source: &SourceText) -> Option<StepPlace> {
    let (start, end) = origin.span?;
    Some(StepPlace {
        stage: origin.stage.clone(),
        number: origin.step?,
        text: origin.text().to_owned(),
        file: source.name.to_string(),
        lines: source.lines(Span { start, end }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(stage: &str, number: u32, text: &str, first: u32, last: u32) -> StepPlace {
        StepPlace {
            stage: stage.to_owned(),
            number,
            text: text.to_owned(),
            file: "docker/Dockerfile".to_owned(),
            lines: LineRange { first, last },
        }
    }

    fn two_stages() -> Vec<StepPlace> {
        vec![
            step("build", 1, "FROM debian", 1, 1),
            step("build", 2, "COPY . .", 2, 2),
            step("build", 3, "RUN make", 3, 5),
            step("stage-1", 1, "COPY --from=build /a /a", 9, 9),
        ]
    }

    fn found(text: &str, steps: &[StepPlace]) -> Result<Vec<usize>, AddressError> {
        text.parse::<Address>()?.find(steps)
    }

    #[test]
    fn every_form_finds_its_steps() {
        let steps = two_stages();
        let check = |text: &str, want: &[usize]| {
            assert_eq!(found(text, &steps).expect(text), want, "{text}");
        };
        check("build:3", &[2]);
        check("BUILD:3", &[2]);
        check("build", &[0, 1, 2]);
        check("stage-1:1", &[3]);
        check("all", &[0, 1, 2, 3]);
        check("Dockerfile:3", &[2]);
        check("Dockerfile:5", &[2]);
        check("docker/Dockerfile:9", &[3]);
        check("/home/u/docker/Dockerfile:9", &[3]);
        assert_eq!(found("2", &steps[..3]).expect("one stage"), [1]);
        // Two platforms have the same step twice.
        let twice = [step("a", 2, "RUN x", 2, 2), step("a", 2, "RUN x", 2, 2)];
        assert_eq!(found("2", &twice).expect("both"), [0, 1]);
    }

    #[test]
    fn what_names_no_step_says_which_there_are() {
        let steps = two_stages();
        let error = found("build:4", &steps).expect_err("three steps");
        let want = "no step build:4; the steps of this build are\n  build:1    FROM debian\n  \
                    build:2    COPY . .\n  build:3    RUN make\n  stage-1:1  COPY --from=build /a /a";
        assert_eq!(error.to_string(), want);
        let error = found("Dockerfile:6", &steps).expect_err("no step there").to_string();
        assert!(error.contains("\n  Dockerfile:3  RUN make\n  Dockerfile:9  COPY"), "{error}");
        let long = [step("a", 1, &format!("RUN  x   {}", "y".repeat(60)), 1, 1)];
        let error = found("2", &long).expect_err("one step").to_string();
        assert!(error.ends_with(&format!("\n  1  RUN x {}…", "y".repeat(54))), "{error}");
        let hint = |text: &str, steps: &[StepPlace]| {
            let error = found(text, steps).expect_err(text);
            error.hint().map(str::to_owned).unwrap_or_default()
        };
        assert_eq!(hint("3", &steps), "the file has several stages: write STAGE:3");
        assert_eq!(hint("biuld:2", &steps), "did you mean the stage build?");
        assert_eq!(hint("Dockerfile:6", &steps), "");
        assert_eq!(hint("9", &steps[..3]), "");
        for text in ["", ":", ":3", "build:", "build:x", "build:0", "0", "99999999999"] {
            assert_eq!(hint(text, &steps), FORMS, "{text}");
        }
        assert!(found("all", &[]).is_err());
    }
}
