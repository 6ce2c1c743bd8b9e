//! What a step was in earlier builds of the same Dockerfile and context.
//!
//! Owns which step of an earlier build is the predecessor of which one now: equal ones first, what was edited by its
//! place between them. Refuses to know what is made of it.

use std::collections::{HashMap, HashSet};

use graph::VertexId;

use super::document::{BuildLog, LoggedStep, StepOutcome};

/// A step of this build.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) id: VertexId,
    pub(crate) stage: String,
    pub(crate) platform: String,
    pub(crate) text: String,
    pub(crate) instruction: String,
}

/// A step of an earlier build.
#[derive(Clone, Debug)]
pub(crate) struct Predecessor {
    pub(crate) step: LoggedStep,
    /// When its build began.
    pub(crate) started: String,
}

/// What earlier builds say of the steps of this one.
#[derive(Default)]
pub(crate) struct History {
    predecessors: HashMap<VertexId, Predecessor>,
    new: HashSet<VertexId>,
}

impl History {
    /// What a step was in the last build that came to it.
    pub(crate) fn predecessor(&self, id: VertexId) -> Option<&Predecessor> {
        self.predecessors.get(&id)
    }

    /// Whether its stage is in earlier builds, and the step in none of them.
    pub(crate) fn is_new(&self, id: VertexId) -> bool {
        self.new.contains(&id)
    }
}

/// What earlier builds, of which the newest comes first, say of steps. A build that ended before a step says nothing of
/// it: the one before it does. `stages_of_file` are the names of all stages, also of those that are not built now.
pub(crate) fn history(now: &[Step], stages_of_file: &[String], logs: &[BuildLog]) -> History {
    let mut found = HashMap::new();
    let (mut in_known_stages, mut paired) = (HashSet::new(), HashSet::new());
    let ran = by_result(logs);
    let now_stages = in_order(now, |step| (&step.stage, &step.platform));
    for log in logs {
        if now.iter().all(|step| found.contains_key(&step.id)) {
            break;
        }
        let then_stages = in_order(&log.steps, |step| (&step.stage, &step.platform));
        for (now, then) in stages(&now_stages, &then_stages, stages_of_file) {
            in_known_stages.extend(now.iter().map(|step| step.id));
            for (at, from) in pair(now, then) {
                paired.insert(now[at].id);
                let step = then[from];
                if !matches!(step.outcome, StepOutcome::NotReached | StepOutcome::Refused) {
                    found.entry(now[at].id).or_insert_with(|| Predecessor {
                        step: with_inputs(step, &ran),
                        started: log.started.clone(),
                    });
                }
            }
        }
    }
    let new = in_known_stages.difference(&paired).copied().collect();
    History { predecessors: found, new }
}

/// Steps that ran, by the layer that they have made.
fn by_result(logs: &[BuildLog]) -> HashMap<&str, &LoggedStep> {
    let mut ran = HashMap::new();
    for step in logs.iter().flat_map(|log| &log.steps).filter(|step| !step.inputs.is_empty()) {
        if let Some(result) = &step.result {
            ran.entry(result.as_str()).or_insert(step);
        }
    }
    ran
}

/// A step with what it read: of one that was cached that stands where it ran.
fn with_inputs(step: &LoggedStep, ran: &HashMap<&str, &LoggedStep>) -> LoggedStep {
    let own = step.result.as_deref().filter(|_| step.inputs.is_empty());
    let inputs = own.and_then(|result| ran.get(result)).map_or(&step.inputs, |ran| &ran.inputs);
    LoggedStep { inputs: inputs.clone(), comparison: None, ..step.clone() }
}

/// A stage and its platform.
type Stage<'a> = (&'a str, &'a str);

/// The stages in the order in which they come, each with its steps.
struct Stages<'a, T> {
    order: Vec<Stage<'a>>,
    steps: HashMap<Stage<'a>, Vec<&'a T>>,
}

fn in_order<'a, T>(
    steps: &'a [T],
    stage_of: impl Fn(&'a T) -> (&'a String, &'a String),
) -> Stages<'a, T> {
    let mut stages = Stages { order: Vec::new(), steps: HashMap::new() };
    for step in steps {
        let (stage, platform) = stage_of(step);
        let stage = (stage.as_str(), platform.as_str());
        let own: &mut Vec<&T> = stages.steps.entry(stage).or_default();
        if own.is_empty() {
            stages.order.push(stage);
        }
        own.push(step);
    }
    stages
}

type Paired<'a> = (&'a [&'a Step], &'a [&'a LoggedStep]);

/// Stages of now with those of then: by name, and those that got another name or platform.
fn stages<'a>(
    now: &'a Stages<'a, Step>,
    then: &'a Stages<'a, LoggedStep>,
    stages_of_file: &[String],
) -> Vec<Paired<'a>> {
    let is_in_file = |name: &str| stages_of_file.iter().any(|own| own.eq_ignore_ascii_case(name));
    let both = now.order.iter().filter(|stage| then.steps.contains_key(*stage));
    let new: Vec<&Stage<'_>> =
        now.order.iter().filter(|stage| !then.steps.contains_key(*stage)).collect();
    // One that is in the file under its name, and only not built now, has no other name.
    let may_be =
        |(name, _): &Stage<'_>| !is_in_file(name) || new.iter().any(|(other, _)| other == name);
    let old = then.order.iter().filter(|stage| !now.steps.contains_key(*stage));
    let old: Vec<&Stage<'_>> = old.filter(|stage| may_be(stage)).collect();
    let alike = |new: &Stage<'_>, old: &Stage<'_>| {
        let then: HashSet<&str> =
            then.steps[old].iter().map(|step| step.instruction.as_str()).collect();
        let is_there = |step: &&&Step| then.contains(step.instruction.as_str());
        let own = now.steps[new].iter().filter(|step| !step.instruction.is_empty());
        usize::from(new.0 == old.0) + own.filter(is_there).count()
    };
    let pairs = both.map(|stage| (stage, stage)).chain(renamed(&new, old, alike));
    pairs.map(|(new, old)| (&now.steps[new][..], &then.steps[old][..])).collect()
}

/// Pairs of what is most alike. What is left is paired by its order, if it is as much on both sides.
fn renamed<'a>(
    new: &[&'a Stage<'a>],
    mut old: Vec<&'a Stage<'a>>,
    alike: impl Fn(&Stage<'_>, &Stage<'_>) -> usize,
) -> Vec<(&'a Stage<'a>, &'a Stage<'a>)> {
    let (mut pairs, mut rest) = (Vec::new(), Vec::new());
    for stage in new {
        let scores = old.iter().map(|old| alike(stage, old)).enumerate().rev();
        match scores.max_by_key(|(_, score)| *score).filter(|(_, score)| *score > 0) {
            Some((at, _)) => pairs.push((*stage, old.remove(at))),
            None => rest.push(*stage),
        }
    }
    if rest.len() == old.len() {
        pairs.extend(rest.into_iter().zip(old));
    }
    pairs
}

/// More steps than this are paired by their place alone.
const STEPS_MAX: usize = 2000;

/// Pairs of indices: steps with equal instructions in their order, then what lies between these.
fn pair(now: &[&Step], then: &[&LoggedStep]) -> Vec<(usize, usize)> {
    if now.len().max(then.len()) > STEPS_MAX {
        return (0..now.len().min(then.len())).map(|at| (at, at)).collect();
    }
    let equal = best(now.len(), then.len(), |a, b| {
        u32::from(!now[a].instruction.is_empty() && now[a].instruction == then[b].instruction)
    });
    let mut pairs = Vec::new();
    let (mut a, mut b) = (0, 0);
    let end = (now.len(), then.len());
    for (next_a, next_b) in equal.iter().copied().chain([end]) {
        let (new, old) = (&now[a..next_a], &then[b..next_b]);
        let between = match new.len() == old.len() {
            true => (0..new.len()).map(|at| (at, at)).collect(),
            false => best(new.len(), old.len(), |a, b| likeness(&new[a].text, &old[b].text)),
        };
        pairs.extend(between.into_iter().map(|(x, y)| (a + x, b + y)));
        (a, b) = (next_a + 1, next_b + 1);
    }
    pairs.extend(equal);
    pairs
}

/// The pairs in ascending order whose scores have the greatest sum; those of score 0 are no pairs.
fn best(now: usize, then: usize, score: impl Fn(usize, usize) -> u32) -> Vec<(usize, usize)> {
    let width = then + 1;
    let mut sums = vec![0u32; (now + 1) * width];
    for a in (0..now).rev() {
        for b in (0..then).rev() {
            let both = match score(a, b) {
                0 => 0,
                score => score + sums[(a + 1) * width + b + 1],
            };
            sums[a * width + b] = both.max(sums[(a + 1) * width + b]).max(sums[a * width + b + 1]);
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < now && b < then {
        let here = sums[a * width + b];
        if here == sums[(a + 1) * width + b] {
            a += 1;
        } else if here == sums[a * width + b + 1] {
            b += 1;
        } else {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        }
    }
    pairs
}

/// How much two instructions are alike: by each word that they share, if they are of one kind.
fn likeness(one: &str, other: &str) -> u32 {
    let (mut one, mut other) = (one.split_whitespace(), other.split_whitespace());
    if one.next() != other.next() {
        return 0;
    }
    let other: HashSet<&str> = other.collect();
    one.filter(|word| other.contains(word)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: u32, stage: &str, text: &str) -> Step {
        Step {
            id: VertexId(id),
            stage: stage.to_owned(),
            platform: String::new(),
            text: text.to_owned(),
            instruction: text.to_owned(),
        }
    }

    fn log(started: &str, steps: &[(&str, &str, StepOutcome)]) -> BuildLog {
        let steps = steps.iter().map(|(stage, text, outcome)| LoggedStep {
            name: (*text).to_owned(),
            stage: (*stage).to_owned(),
            number: 1,
            text: (*text).to_owned(),
            line_first: 1,
            line_last: 1,
            platform: String::new(),
            instruction: (*text).to_owned(),
            outcome: *outcome,
            took_ms: 0,
            because: None,
            comparison: None,
            inputs: Vec::new(),
            inputs_partial: false,
            result: None,
        });
        BuildLog {
            format: 1,
            id: String::new(),
            started: started.to_owned(),
            context: String::new(),
            dockerfile: String::new(),
            ok: true,
            steps: steps.collect(),
        }
    }

    /// Steps and logs are lines; `!` before one says that the build did not reach it. The file has one more stage that
    /// is not built.
    fn check(now: &[&str], logs: &[&[&str]], want: &[Option<&str>]) {
        let split = |text: &str| {
            let (stage, text) = text.split_once(": ").expect("stage: text");
            (stage.to_owned(), text.to_owned())
        };
        let steps: Vec<Step> = now
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let (stage, text) = split(text);
                step(at as u32, &stage, &text)
            })
            .collect();
        let logs: Vec<BuildLog> = logs
            .iter()
            .map(|lines| {
                let lines: Vec<(String, String, StepOutcome)> = lines
                    .iter()
                    .map(|line| {
                        let (stage, text) = split(line.trim_start_matches('!'));
                        let outcome = match line.starts_with('!') {
                            true => StepOutcome::NotReached,
                            false => StepOutcome::Ran,
                        };
                        (stage, text, outcome)
                    })
                    .collect();
                let lines: Vec<(&str, &str, StepOutcome)> =
                    lines.iter().map(|(a, b, c)| (&**a, &**b, *c)).collect();
                log("then", &lines)
            })
            .collect();
        let stages: Vec<String> = steps.iter().map(|step| step.stage.clone()).collect();
        let found = history(&steps, &[stages, vec!["left-out".to_owned()]].concat(), &logs);
        let found: Vec<Option<&str>> = steps
            .iter()
            .map(|step| match found.predecessor(step.id) {
                Some(found) => Some(found.step.text.as_str()),
                None if found.is_new(step.id) => Some("new"),
                None => None,
            })
            .collect();
        assert_eq!(found, want, "{now:?}");
    }

    #[test]
    fn an_edited_step_has_the_one_at_its_place() {
        let then: &[&str] = &["a: RUN one", "a: RUN two", "a: COPY x /x"];
        check(
            &["a: RUN one", "a: RUN 2", "a: COPY x /x"],
            &[then],
            &[Some("RUN one"), Some("RUN two"), Some("COPY x /x")],
        );
        // One was put in: what was there is still known by its words.
        check(
            &["a: RUN one", "a: RUN new thing", "a: RUN two again", "a: COPY x /x"],
            &[then],
            &[Some("RUN one"), Some("new"), Some("RUN two"), Some("COPY x /x")],
        );
        // One was taken out.
        check(&["a: RUN one", "a: COPY x /y"], &[then], &[Some("RUN one"), Some("COPY x /x")]);
        check(&["a: WORKDIR /w"], &[then], &[Some("new")]);
    }

    #[test]
    fn stages_are_apart_and_may_get_another_name() {
        let then: &[&str] = &["a: RUN one", "b: RUN two"];
        check(&["b: RUN one", "a: RUN two"], &[then], &[Some("RUN two"), Some("RUN one")]);
        check(&["a: RUN one", "c: RUN 2"], &[then], &[Some("RUN one"), Some("RUN two")]);
        // Another one before it took its name by number.
        check(
            &["a: RUN one", "c: RUN new thing", "d: RUN two"],
            &[then],
            &[Some("RUN one"), None, Some("RUN two")],
        );
        // What is in the file and only not built now has no other name.
        check(&["b: RUN 2"], &[&["left-out: RUN two"]], &[None]);
        check(&["b: RUN two"], &[&["left-out: RUN two"]], &[None]);
    }

    #[test]
    fn a_build_that_ended_early_says_nothing_of_what_it_did_not_reach() {
        let early: &[&str] = &["a: RUN one", "!a: RUN two"];
        let whole: &[&str] = &["a: RUN one", "a: RUN 2"];
        check(&["a: RUN one", "a: RUN zwei"], &[early, whole], &[Some("RUN one"), Some("RUN 2")]);
        check(&["a: RUN one", "a: RUN zwei"], &[early], &[Some("RUN one"), None]);
        check(&["a: RUN one"], &[], &[None]);
    }
}
