//! `--chmod` (COPY-60 to COPY-63).

use graph::{Mode, ModeChange, ModeSource};

/// The mode that a thing gets: its own, the octal one, or its own changed.
pub(super) fn of(chmod: Option<&Mode>, own: u32, is_dir: bool) -> u32 {
    match chmod {
        None => own,
        Some(Mode::Octal(mode)) => mode & 0o7777,
        Some(Mode::Symbolic(changes)) => {
            changes.iter().fold(own, |mode, change| apply(mode, change, is_dir))
        }
    }
}

fn apply(mode: u32, change: &ModeChange, is_dir: bool) -> u32 {
    let bits = match change.source {
        ModeSource::Class(class) => spread(change.who, class_bits(mode, class)),
        ModeSource::Bits { rwx, conditional_execute, set_id, sticky } => {
            let execute = conditional_execute && (is_dir || mode & 0o111 != 0);
            let rwx = u32::from(rwx) | u32::from(execute);
            let sticky = if sticky { 0o1000 } else { 0 };
            spread(change.who, rwx) | sticky | if set_id { id_bits(change.who) } else { 0 }
        }
    };
    match change.operator {
        '+' => mode | bits,
        '-' => mode & !bits,
        _ => mode & !(spread(change.who, 0o7) | id_bits(change.who)) | bits,
    }
}

/// Three bits for each class of `who`: 4 user, 2 group, 1 others.
fn spread(who: u8, rwx: u32) -> u32 {
    let class = |bit: u8, shift: u32| if who & bit != 0 { rwx << shift } else { 0 };
    class(4, 6) | class(2, 3) | class(1, 0)
}

fn class_bits(mode: u32, class: u8) -> u32 {
    let shift = match class {
        4 => 6,
        2 => 3,
        _ => 0,
    };
    mode >> shift & 0o7
}

fn id_bits(who: u8) -> u32 {
    let user = if who & 4 != 0 { 0o4000 } else { 0 };
    let group = if who & 2 != 0 { 0o2000 } else { 0 };
    user | group
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as much of chmod's language as the table needs.
    fn parse(text: &str) -> Mode {
        let clause = |clause: &str| {
            let at = clause.find(['+', '-', '=']).expect("operator");
            let who = clause[..at].chars().fold(0, |who, c| {
                who | match c {
                    'u' => 4,
                    'g' => 2,
                    'o' => 1,
                    _ => 7,
                }
            });
            let who = if who == 0 { 7 } else { who };
            let letters = &clause[at + 1..];
            let has = |letter: char| letters.contains(letter);
            let rwx = u8::from(has('r')) * 4 + u8::from(has('w')) * 2 + u8::from(has('x'));
            let source = match letters {
                "u" => ModeSource::Class(4),
                "g" => ModeSource::Class(2),
                "o" => ModeSource::Class(1),
                _ => ModeSource::Bits {
                    rwx,
                    conditional_execute: has('X'),
                    set_id: has('s'),
                    sticky: has('t'),
                },
            };
            ModeChange { who, operator: clause.as_bytes()[at] as char, source }
        };
        Mode::Symbolic(text.split(',').map(clause).collect())
    }

    #[test]
    fn modes_change_as_chmod_says() {
        let check = |text: &str, own: u32, is_dir: bool, want: u32| {
            let got = of(Some(&parse(text)), own, is_dir);
            assert_eq!(got, want, "{text} on {own:o}: {got:o}");
        };
        // The recorded case copy-chmod-symbolic (COPY-63).
        check("u+x", 0o644, false, 0o744);
        check("go-r", 0o644, false, 0o600);
        check("a=r", 0o755, false, 0o444);
        check("u=rwX,go=rX", 0o644, false, 0o644);
        check("u=rwX,go=rX", 0o755, false, 0o755);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("u=rwX,go=rX", 0o606, false, 0o644);
        check("g+w,o=", 0o644, false, 0o660);
        check("g+w,o=", 0o700, true, 0o720);
        check("g+w,o=", 0o755, false, 0o770);
        check("+x", 0o644, false, 0o755);
        check("u+s,g+s", 0o755, false, 0o6755);
        check("o=u", 0o755, false, 0o757);
        check("+t", 0o606, false, 0o1606);
        check("u=rw", 0o4755, false, 0o655);
        assert_eq!(of(Some(&Mode::Octal(0o4711)), 0o644, false), 0o4711); // COPY-61
        assert_eq!(of(None, 0o2755, true), 0o2755); // COPY-60
    }
}
