//! `--chmod`: octal and symbolic modes (COPY-61 to COPY-64).

use graph::{Mode, ModeChange, ModeSource};

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

/// `[ugoa]*` and then one or more of `[+-=][rwxXstugo]*`.
fn parse_clause(clause: &str, changes: &mut Vec<ModeChange>) -> Option<()> {
    let classes_end = clause.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let (classes, mut rest) = clause.split_at(classes_end);
    let who = match classes.chars().fold(0, |who, class| who | class_bits(class)) {
        0 => 7, // The umask counts as 0.
        who => who,
    };
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

fn parse_letters(
    who: u8,
    operator: char,
    letters: &str,
    changes: &mut Vec<ModeChange>,
) -> Option<()> {
    let (mut rwx, mut conditional_execute, mut set_id, mut sticky) = (0, false, false, false);
    let mut copied = Vec::new();
    for letter in letters.chars() {
        match letter {
            'r' => rwx |= 4,
            'w' => rwx |= 2,
            'x' => rwx |= 1,
            'X' => conditional_execute = true,
            's' => set_id = true,
            't' => sticky = true,
            'u' | 'g' | 'o' => copied.push(class_bits(letter)),
            _ => return None,
        }
    }
    let only_classes = copied.len() == letters.len() && !copied.is_empty();
    if !only_classes {
        let source = ModeSource::Bits { rwx, conditional_execute, set_id, sticky };
        changes.push(ModeChange { who, operator, source });
    }
    for (at, class) in copied.into_iter().enumerate() {
        // Further sources of one `=` are added to what it gave.
        let adds = operator == '=' && (at > 0 || !only_classes);
        let operator = if adds { '+' } else { operator };
        changes.push(ModeChange { who, operator, source: ModeSource::Class(class) });
    }
    Some(())
}

fn class_bits(class: char) -> u8 {
    match class {
        'u' => 4,
        'g' => 2,
        'o' => 1,
        _ => 7,
    }
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
        let source = match change.source {
            ModeSource::Class(class) => format!("class{class}"),
            ModeSource::Bits { rwx, conditional_execute, set_id, sticky } => {
                let mut out = rwx.to_string();
                for (letter, on) in [("X", conditional_execute), ("s", set_id), ("t", sticky)] {
                    out += if on { letter } else { "" };
                }
                out
            }
        };
        format!("{}{}{source}", change.who, change.operator)
    }

    #[test]
    fn modes() {
        let check = |text: &str, want: &str| assert_eq!(dump(text), want, "{text}");
        check("755", "0755"); // COPY-61
        check("07777", "7777");
        check("u+x", "4+1"); // COPY-63
        check("a=rX,go-w", "7=4X 3-2");
        check("+x", "7+1");
        check("u=rwx,g+s,+t", "4=7 2+0s 7+0t");
        check("g=u", "2=class4");
        check("u+r-w", "4+4 4-2");
        check("u=", "4=0");
        let octal = "it should be octal string and between 0 and 07777";
        for bad in ["8", "10000", "0o7", "7a"] {
            check(bad, &format!("invalid chmod parameter: '{bad}'. {octal}")); // COPY-62
        }
        check("u+z", "invalid chmod parameter: 'u+z': invalid syntax in 'u+z'"); // COPY-64
        check("x", "invalid chmod parameter: 'x': invalid syntax in 'x'");
        check("u", "invalid chmod parameter: 'u': invalid syntax in 'u'");
    }
}
