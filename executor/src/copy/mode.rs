//! `--chmod` (COPY-60 to COPY-63).

use graph::{Mode, ModeChange};

/// The mode that a thing gets: its own, the octal one, or its own changed.
pub(super) fn of(chmod: Option<&Mode>, own: u32, is_dir: bool) -> u32 {
    match chmod {
        None => own,
        Some(Mode::Octal(mode)) => mode & 0o7777,
        Some(Mode::Symbolic(changes)) => {
            // Changes before it do not count for `X`.
            let executable = is_dir || own & 0o111 != 0;
            changes.iter().fold(own, |mode, change| apply(mode, change, executable))
        }
    }
}

fn apply(mode: u32, change: &ModeChange, executable: bool) -> u32 {
    match *change {
        ModeChange::Clear(bits) => mode & !bits,
        ModeChange::SetExecute(_) if !executable => mode,
        ModeChange::Set(bits) | ModeChange::SetExecute(bits) => mode | bits,
        ModeChange::Class { from, to, operator } => {
            let bits = spread(to, class_bits(mode, from));
            match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !spread(to, 0o7) | bits,
            }
        }
    }
}

/// Three bits for each class: 4 user, 2 group, 1 others.
fn spread(classes: u8, rwx: u32) -> u32 {
    let class = |bit: u8, shift: u32| if classes & bit != 0 { rwx << shift } else { 0 };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_in_order() {
        use ModeChange::{Clear, Set, SetExecute};
        let check = |changes: &[ModeChange], own: u32, is_dir: bool, want: u32| {
            let got = of(Some(&Mode::Symbolic(changes.to_vec())), own, is_dir);
            assert_eq!(got, want, "{changes:?} on {own:o}: {got:o}");
        };
        let class = |to, operator, from| ModeChange::Class { from, to, operator };
        check(&[Set(0o100)], 0o644, false, 0o744); // COPY-63
        check(&[Clear(0o044)], 0o644, false, 0o600);
        check(&[Clear(0o6777), Set(0o444)], 0o4755, false, 0o444);
        check(&[SetExecute(0o111)], 0o644, false, 0o644);
        check(&[SetExecute(0o011)], 0o700, false, 0o711);
        check(&[SetExecute(0o111)], 0o600, true, 0o711);
        check(&[Clear(0o111), SetExecute(0o111)], 0o700, false, 0o711);
        check(&[Set(0o100), SetExecute(0o011)], 0o600, false, 0o700);
        check(&[class(1, '=', 4)], 0o4752, false, 0o4757);
        check(&[class(1, '=', 4)], 0o457, false, 0o454);
        check(&[class(3, '+', 4)], 0o421, false, 0o465);
        check(&[class(7, '-', 1)], 0o4753, false, 0o4440);
        check(&[class(4, '=', 2), class(2, '=', 4)], 0o640, false, 0o440);
        assert_eq!(of(Some(&Mode::Octal(0o4711)), 0o644, false), 0o4711); // COPY-61
        assert_eq!(of(None, 0o2755, true), 0o2755); // COPY-60
    }
}
