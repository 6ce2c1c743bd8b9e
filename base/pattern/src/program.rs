//! What a rule with `**` means: its regular expression, and running it without backtracking.
//!
//! moby/patternmatcher turns a pattern into an expression of Go's regexp package. The same text is made here, oddities
//! included (IGN-10, IGN-24: brackets and escapes mean what they mean there), and run as a set of states.

use crate::units::{Unit, ascii, units};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// The path itself.
    Exact(Vec<u8>),
    /// All paths that begin so.
    Prefix(Vec<u8>),
    /// All paths that end so; `/x` also matches `x`.
    Suffix(Vec<u8>),
    /// Anything else: whole paths that one of these matches.
    States(Vec<Branch>),
}

/// One side of a `|`.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    states: Vec<State>,
    /// Only the first one begins where the path begins, and only the last one ends where it ends.
    from_start: bool,
    to_end: bool,
}

/// One state; a match begins before the first and ends behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    test: Test,
    repeat: Repeat,
    /// States to go on for the way that leaves out what follows: 1, and 3 at the fork before `(.*/)?`.
    skip: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Once,
    Optional,
    Star,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// Any unit but a newline.
    Any,
    One(Unit),
    Class {
        negated: bool,
        ranges: Vec<(Unit, Unit)>,
    },
    /// The beginning of the path, or its end; takes no unit.
    Start,
    End,
    /// Takes no unit and always passes.
    Fork,
}

/// Compiles a cleaned pattern without its `!`; `None` if Go would refuse the expression, or if its counts ask for more
/// than `room`, from which what they take is taken away.
pub(crate) fn compile(pattern: &[u8], room: &mut usize) -> Option<Program> {
    let text = units(pattern);
    let mut shape = Shape::Exact;
    let mut expression: Vec<Unit> = Vec::new();
    let mut at = 0;
    let mut index = 0;
    while let Some(unit) = text.get(at) {
        at += 1;
        match u8::try_from(*unit) {
            Ok(b'*') if text.get(at) == Some(&ascii(b'*')) => {
                at += 1;
                if text.get(at) == Some(&ascii(b'/')) {
                    at += 1;
                }
                shape = match (at < text.len(), shape) {
                    (false, Shape::Exact) => Shape::Prefix,
                    _ => Shape::Expression,
                };
                push(&mut expression, if at < text.len() { "(.*/)?" } else { ".*" });
                if index == 0 {
                    shape = Shape::Suffix;
                }
            }
            Ok(b'*') => {
                push(&mut expression, "[^/]*");
                shape = Shape::Expression;
            }
            Ok(b'?') => {
                push(&mut expression, "[^/]");
                shape = Shape::Expression;
            }
            // Its list has `|` and braces, too, but they do not get into its table.
            Ok(b'.' | b'+' | b'(' | b')' | b'$') => {
                expression.extend([ascii(b'\\'), *unit]);
            }
            Ok(b'\\') => {
                expression.push(*unit);
                if let Some(escaped) = text.get(at) {
                    at += 1;
                    expression.push(*escaped);
                    shape = Shape::Expression;
                }
            }
            Ok(b'[' | b']') => {
                expression.push(*unit);
                shape = Shape::Expression;
            }
            _ => expression.push(*unit),
        }
        index += 1;
    }
    Some(match shape {
        Shape::Exact => Program::Exact(pattern.to_vec()),
        Shape::Prefix => Program::Prefix(pattern[..pattern.len() - 2].to_vec()),
        Shape::Suffix => Program::Suffix(pattern[2..].to_vec()),
        Shape::Expression => Program::States(parse(&expression, room)?),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Exact,
    Prefix,
    Suffix,
    Expression,
}

fn push(expression: &mut Vec<Unit>, text: &str) {
    expression.extend(text.bytes().map(ascii));
}

/// Reads an expression as it comes from [`compile`]: groups are only ever `(.*/)?`.
fn parse(expression: &[Unit], room: &mut usize) -> Option<Vec<Branch>> {
    let group: Vec<Unit> = "(.*/)?".bytes().map(ascii).collect();
    let mut branches: Vec<Branch> = Vec::new();
    let mut states: Vec<State> = Vec::new();
    let mut rest = expression;
    while let Some((first, tail)) = rest.split_first() {
        if rest.starts_with(&group) {
            rest = &rest[group.len()..];
            if repeat(&mut rest)?.is_some() {
                return None;
            }
            states.push(State { skip: 3, ..State::once(Test::Fork) });
            states.push(State { repeat: Repeat::Star, ..State::once(Test::Any) });
            states.push(State::once(Test::One(ascii(b'/'))));
            continue;
        }
        if *first == ascii(b'|') {
            let states = std::mem::take(&mut states);
            branches.push(Branch { states, from_start: branches.is_empty(), to_end: false });
            rest = tail;
            continue;
        }
        rest = tail;
        let test = match u8::try_from(*first) {
            Ok(b'[') => class(&mut rest)?,
            Ok(b'\\') => escape(&mut rest)?,
            Ok(b'.') => Test::Any,
            Ok(b'^') => Test::Start,
            Ok(b'*' | b'?' | b'+') => return None,
            Ok(b'{') if count(rest)?.is_some() => return None,
            _ => Test::One(*first),
        };
        push_repeated(&mut states, test, repeat(&mut rest)?, room)?;
    }
    branches.push(Branch { states, from_start: branches.is_empty(), to_end: true });
    Some(branches)
}

/// How often what stands before it may come: at least, and at most unless it is open.
type Times = (usize, Option<usize>);

/// An operator behind an atom, if there is one. `None` for a second one, which Go refuses, except the `?` that means
/// lazy.
fn repeat(rest: &mut &[Unit]) -> Option<Option<Times>> {
    let Some(times) = operator(rest)? else { return Some(None) };
    if rest.first() == Some(&ascii(b'?')) {
        *rest = &rest[1..];
    }
    operator(rest)?.is_none().then_some(Some(times))
}

fn operator(rest: &mut &[Unit]) -> Option<Option<Times>> {
    let Some((first, tail)) = rest.split_first() else { return Some(None) };
    let times = match u8::try_from(*first) {
        Ok(b'*') => (0, None),
        Ok(b'+') => (1, None),
        Ok(b'?') => (0, Some(1)),
        Ok(b'{') => match count(tail)? {
            Some((times, after)) => {
                *rest = after;
                return Some(Some(times));
            }
            None => return Some(None),
        },
        _ => return Some(None),
    };
    *rest = tail;
    Some(Some(times))
}

/// `n}`, `n,}` or `n,m}` with what follows; nothing for other text, where the brace stands for itself. `None` when the
/// numbers are refused.
fn count(text: &[Unit]) -> Option<Option<(Times, &[Unit])>> {
    const TIMES_MAX: usize = 1000;
    let mut rest = text;
    let Some(least) = number(&mut rest) else { return Some(None) };
    let mut most = Some(least);
    if rest.first() == Some(&ascii(b',')) {
        rest = &rest[1..];
        most = number(&mut rest);
    }
    if rest.first() != Some(&ascii(b'}')) {
        return Some(None);
    }
    let is_refused = least > TIMES_MAX || most.is_some_and(|most| most > TIMES_MAX || most < least);
    (!is_refused).then_some(Some(((least, most), &rest[1..])))
}

/// Digits without a zero in front.
fn number(rest: &mut &[Unit]) -> Option<usize> {
    let length = rest.iter().take_while(|u| (ascii(b'0')..=ascii(b'9')).contains(u)).count();
    let (digits, tail) = rest.split_at(length);
    if digits.is_empty() || (digits.len() > 1 && digits[0] == ascii(b'0')) {
        return None;
    }
    *rest = tail;
    let value = digits.iter().fold(0usize, |value, digit| {
        value.saturating_mul(10).saturating_add((digit - ascii(b'0')) as usize)
    });
    Some(value)
}

fn push_repeated(
    states: &mut Vec<State>,
    test: Test,
    times: Option<Times>,
    room: &mut usize,
) -> Option<()> {
    let (least, most) = times.unwrap_or((1, Some(1)));
    let count = most.unwrap_or(least + 1);
    if count > 1 {
        let ranges = if let Test::Class { ranges, .. } = &test { ranges.len() } else { 0 };
        *room = room.checked_sub(count * (1 + ranges))?;
    }
    let state = |repeat| State { test: test.clone(), repeat, skip: 1 };
    states.extend(std::iter::repeat_n(state(Repeat::Once), least));
    match most {
        None => states.push(state(Repeat::Star)),
        Some(most) => states.extend(std::iter::repeat_n(state(Repeat::Optional), most - least)),
    }
    Some(())
}

/// A class behind its `[`, by the rules of Go's regexp.
fn class(rest: &mut &[Unit]) -> Option<Test> {
    let negated = rest.first() == Some(&ascii(b'^'));
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let unit = *rest.first()?;
        if unit == ascii(b']') && !first {
            *rest = &rest[1..];
            return Some(Test::Class { negated, ranges });
        }
        // A `-` must stand first, last or between two ends.
        if unit == ascii(b'-') && !first && rest.get(1) != Some(&ascii(b']')) {
            return None;
        }
        first = false;
        *rest = &rest[1..];
        if unit == ascii(b'\\') {
            match escape(rest)? {
                Test::One(low) => ranges.push((low, range_end(low, rest)?)),
                Test::Class { negated: false, ranges: more } => ranges.extend(more),
                _ => return None,
            }
        } else {
            ranges.push((unit, range_end(unit, rest)?));
        }
    }
}

fn range_end(low: Unit, rest: &mut &[Unit]) -> Option<Unit> {
    let is_range = rest.first() == Some(&ascii(b'-')) && rest.get(1) != Some(&ascii(b']'));
    if !is_range {
        return Some(low);
    }
    *rest = &rest[1..];
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    let high = match *first {
        unit if unit == ascii(b'\\') => match escape(rest)? {
            Test::One(high) => high,
            _ => return None,
        },
        unit => unit,
    };
    (high >= low).then_some(high)
}

/// What stands behind a backslash: punctuation is itself, some letters are classes or control characters, the rest is
/// an error (IGN-24).
fn escape(rest: &mut &[Unit]) -> Option<Test> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    let byte = u8::try_from(*first).ok().filter(u8::is_ascii)?;
    let class = |negated, ranges: &[(u8, u8)]| Test::Class {
        negated,
        ranges: ranges.iter().map(|(low, high)| (ascii(*low), ascii(*high))).collect(),
    };
    let digits = [(b'0', b'9')];
    let spaces = [(b'\t', b'\n'), (0x0c, b'\r'), (b' ', b' ')];
    let words = [(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];
    Some(match byte {
        b'd' | b'D' => class(byte == b'D', &digits),
        b's' | b'S' => class(byte == b'S', &spaces),
        b'w' | b'W' => class(byte == b'W', &words),
        b'A' => Test::Start,
        b'z' => Test::End,
        b'a' => Test::One(0x07),
        b'f' => Test::One(0x0c),
        b'n' => Test::One(ascii(b'\n')),
        b'r' => Test::One(ascii(b'\r')),
        b't' => Test::One(ascii(b'\t')),
        b'v' => Test::One(0x0b),
        _ if byte.is_ascii_alphanumeric() => return None,
        _ => Test::One(*first),
    })
}

impl Program {
    /// Whether the whole path matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Program::Exact(exact) => path == exact,
            Program::Prefix(prefix) => path.starts_with(prefix),
            Program::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            Program::States(branches) => {
                let path = units(path);
                branches.iter().any(|branch| branch.matches(&path))
            }
        }
    }
}

impl State {
    fn once(test: Test) -> State {
        State { test, repeat: Repeat::Once, skip: 1 }
    }

    fn takes(&self, unit: Unit) -> bool {
        match &self.test {
            Test::Any => unit != ascii(b'\n'),
            Test::One(one) => *one == unit,
            Test::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit)) != *negated
            }
            Test::Start | Test::End | Test::Fork => false,
        }
    }
}

impl Branch {
    /// Runs all possible positions in the pattern at once.
    fn matches(&self, path: &[Unit]) -> bool {
        let states = &self.states;
        let mut now = vec![false; states.len() + 1];
        let mut next = now.clone();
        for at in 0..=path.len() {
            now[0] |= at == 0 || !self.from_start;
            step_over(states, &mut now, at == 0, at == path.len());
            if now[states.len()] && (at == path.len() || !self.to_end) {
                return true;
            }
            let Some(unit) = path.get(at) else { break };
            next.fill(false);
            for (index, state) in states.iter().enumerate() {
                if now[index] && state.takes(*unit) {
                    next[index + 1] = true;
                    next[index] |= state.repeat == Repeat::Star;
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        false
    }
}

/// Follows what needs no unit.
fn step_over(states: &[State], now: &mut [bool], at_start: bool, at_end: bool) {
    for (index, state) in states.iter().enumerate() {
        if !now[index] {
            continue;
        }
        let passes = match state.test {
            Test::Start => at_start,
            Test::End => at_end,
            Test::Fork => true,
            _ => matches!(state.repeat, Repeat::Star | Repeat::Optional),
        };
        if passes {
            now[index + 1] = true;
        }
        if state.skip > 1 {
            now[index + state.skip] = true;
        }
    }
}
