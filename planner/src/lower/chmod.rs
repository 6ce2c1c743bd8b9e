//! `--chmod`: octal and symbolic modes (COPY-61 to COPY-64).

use graph::{Mode, ModeChange};

/// Reads a mode that is not empty.
///
/// # Errors
/// What to tell people.
pub(super) fn parse(text: &str) -> Result<Mode, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let parsed = u32::from_str_radix(text, 8).ok().filter(|mode| plain && *mode <= 0o7777);
        return parsed.map(Mode::Octal).ok_or_else(|| {
            format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and \
                 07777"
            )
        });
    }
    let mut changes = Vec::new();
    for clause in text.split(',') {
        if parse_clause(clause, &mut changes).is_none() {
            return Err(format!("invalid chmod parameter: '{text}': invalid syntax in '{clause}'"));
        }
    }
    Ok(Mode::Symbolic(changes))
}

/// What classes may have: permissions, and set-id bits where they have some.
const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o0007;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;

/// `[ugoa]*` and then one or more of `[+-=][rwxXstugo]*`.
fn parse_clause(clause: &str, changes: &mut Vec<ModeChange>) -> Option<()> {
    let classes_end = clause.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let (classes, mut rest) = clause.split_at(classes_end);
    let who = classes.chars().fold(0, |who, class| {
        who | match class {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHERS,
            _ => USER | GROUP | OTHERS,
        }
    });
    while let Some(operator) = rest.chars().next() {
        if !matches!(operator, '+' | '-' | '=') {
            return None;
        }
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        parse_letters(who, operator, &rest[1..end], changes)?;
        rest = &rest[end..];
    }
    Some(())
}

/// What is right of an operator. `who` are the bits that the classes left of it may have; none were named when it is 0,
/// and everything is meant, for the umask counts as 0.
fn parse_letters(
    mut who: u32,
    operator: char,
    letters: &str,
    changes: &mut Vec<ModeChange>,
) -> Option<()> {
    let (mut bits, mut execute, mut copied) = (0, 0, false);
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' if operator == '-' => bits |= 0o111,
            'X' => execute = 0o111,
            's' | 't' if who == OTHERS => {}
            's' => bits |= SET_ID,
            't' => {
                // Also without a class: the others of `+rt` are lost, as in the reference.
                who |= STICKY;
                bits |= STICKY;
            }
            'u' | 'g' | 'o' => {
                give_bits(who, operator, std::mem::take(&mut bits), changes);
                give_execute(who, std::mem::take(&mut execute), changes);
                changes.push(ModeChange::Class { from: class(letter), to: classes(who), operator });
                copied = true;
            }
            _ => return None,
        }
    }
    if operator == '=' && bits == 0 && !copied {
        changes.push(ModeChange::Clear(masked(who, USER | GROUP | OTHERS)));
    }
    give_bits(who, operator, bits, changes);
    give_execute(who, execute, changes);
    Some(())
}

fn give_bits(who: u32, operator: char, bits: u32, changes: &mut Vec<ModeChange>) {
    if bits == 0 {
        return;
    }
    match operator {
        '-' => changes.push(ModeChange::Clear(masked(who, bits))),
        '+' => changes.push(ModeChange::Set(masked(who, bits))),
        _ => {
            let all = if who == 0 { USER | GROUP | OTHERS } else { who };
            changes.extend([ModeChange::Clear(all), ModeChange::Set(masked(who, bits))]);
        }
    }
}

fn give_execute(who: u32, bits: u32, changes: &mut Vec<ModeChange>) {
    if bits != 0 {
        changes.push(ModeChange::SetExecute(masked(who, bits)));
    }
}

fn masked(who: u32, bits: u32) -> u32 {
    if who == 0 { bits } else { who & bits }
}

fn class(letter: char) -> u8 {
    match letter {
        'u' => 4,
        'g' => 2,
        _ => 1,
    }
}

fn classes(who: u32) -> u8 {
    let has = |class: u32, number: u8| if who == 0 || who & class != 0 { number } else { 0 };
    has(0o400, 4) | has(0o040, 2) | has(0o004, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str) -> String {
        match parse(text) {
            Err(error) => error,
            Ok(Mode::Octal(mode)) => format!("{mode:04o}"),
            Ok(Mode::Symbolic(changes)) => {
                let parts: Vec<String> = changes.iter().map(dump_change).collect();
                parts.join(" ")
            }
        }
    }

    fn dump_change(change: &ModeChange) -> String {
        match change {
            ModeChange::Clear(bits) => format!("-{bits:o}"),
            ModeChange::Set(bits) => format!("+{bits:o}"),
            ModeChange::SetExecute(bits) => format!("X{bits:o}"),
            ModeChange::Class { from, to, operator } => format!("{to}{operator}{from}"),
        }
    }

    #[test]
    fn modes() {
        let check = |text: &str, want: &str| assert_eq!(dump(text), want, "{text}");
        check("755", "0755"); // COPY-61
        check("07777", "7777");
        check("u+x", "+100"); // COPY-63
        check("a=rX,go-w", "-6777 +444 X111 -22");
        check("+x", "+111");
        check("-X", "-111");
        check("u=rwx,g+s,+t", "-4700 +700 +2000 +1000");
        check("g=u", "2=4");
        check("u+r-w", "+400 -200");
        check("u=", "-4700");
        check("=", "-6777");
        check("o=wg,o+s", "-7 +2 1=2");
        check("ug=uw", "6=4 -6770 +220");
        check("u=tr", "-5700 +1400");
        check("+rt", "+1000");
        let octal = "it should be octal string and between 0 and 07777";
        for bad in ["8", "10000", "0o7", "7a"] {
            check(bad, &format!("invalid chmod parameter: '{bad}'. {octal}")); // COPY-62
        }
        check("u+z", "invalid chmod parameter: 'u+z': invalid syntax in 'u+z'"); // COPY-64
        check("x", "invalid chmod parameter: 'x': invalid syntax in 'x'");
        check("u", "invalid chmod parameter: 'u': invalid syntax in 'u'");
    }
}
