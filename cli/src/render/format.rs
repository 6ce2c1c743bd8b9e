//! `--format`: rows by a template, with headings or without, as docker writes them.
//!
//! Owns the forms `table`, `json`, `raw` and `table TEMPLATE`, and the columns. Refuses to know what the rows are.

use template::{Field, Rules, Struct, Template, TemplateError, Value};
use unicode_width::UnicodeWidthStr as _;

use super::plain_text;

/// Narrowest column with its gap, and the gap.
const COLUMN_MIN: usize = 10;
const GAP: usize = 3;
/// Tabs behind so many make no column: texts of images may be full of them.
const COLUMNS_MAX: usize = 200;

/// What the rows of a list are written with.
pub(crate) struct Format {
    template: Template,
    is_table: bool,
}

impl Format {
    /// Reads what was typed; `table` and `raw` stand for what the list has for them.
    pub(crate) fn new(
        typed: Option<&str>,
        table: &str,
        raw: &str,
    ) -> Result<Format, TemplateError> {
        let text = match typed {
            None | Some("" | "table") => table,
            Some("raw") => raw,
            Some("json") => "{{json .}}",
            Some(other) => other,
        };
        let (text, is_table) = match text.strip_prefix("table") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok(Format { template: Template::parse(&text)?, is_table })
    }

    /// Writes the rows; `headings` are those of all fields, for tables.
    pub(crate) fn write(
        &self,
        headings: &[(&'static str, &str)],
        rows: &[Value],
    ) -> Result<String, TemplateError> {
        let mut text = String::new();
        for row in rows {
            text.push_str(&self.template.render(row, Rules::default())?);
            text.push('\n');
        }
        if !self.is_table {
            return Ok(text);
        }
        let headings =
            row("map[string]string", headings.iter().map(|(name, text)| (*name, (*text).into())));
        let rules = Rules { is_heading: true, ..Rules::default() };
        // What has no meaning for headings leaves them out.
        let headings = self.template.render(&headings, rules).unwrap_or_default();
        Ok(columns(&format!("{headings}\n{text}")))
    }
}

/// A row of a list; in JSON its fields stand in the order of their names.
pub(crate) fn row(
    type_name: &'static str,
    fields: impl IntoIterator<Item = (&'static str, Value)>,
) -> Value {
    let mut fields: Vec<Field> =
        fields.into_iter().map(|(name, value)| Field::new(name, value)).collect();
    fields.sort_by_key(|field| field.name);
    Value::Struct(Struct { type_name, fields, escapes_html: true })
}

/// Makes all texts of a value safe to show on a terminal.
pub(crate) fn plain_values(value: &mut Value) {
    match value {
        Value::Text(text) => *text = plain_lines(text),
        Value::List(items) => items.iter_mut().for_each(plain_values),
        Value::Map(entries) => {
            for (key, mut value) in std::mem::take(entries) {
                plain_values(&mut value);
                entries.insert(plain_lines(&key), value);
            }
        }
        Value::Texts(entries) => {
            let plain = |(key, text): (String, String)| (plain_lines(&key), plain_lines(&text));
            *entries = std::mem::take(entries).into_iter().map(plain).collect();
        }
        Value::Struct(fields) => {
            fields.fields.iter_mut().for_each(|field| plain_values(&mut field.value));
        }
        _ => {}
    }
}

fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain_text).collect::<Vec<_>>().join("\n")
}

/// Makes columns of what stands before tabs. A column reaches over all lines, one below the other, that have it.
pub(crate) fn columns(text: &str) -> String {
    let ends_line = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len()]).collect();
    block(&lines, &mut widths, 0, 0..lines.len());
    let mut out = String::new();
    for (at, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            out.push_str(cell);
            out.push_str(&" ".repeat(width.saturating_sub(cell.width())));
        }
        if at + 1 < lines.len() || ends_line {
            out.push('\n');
        }
    }
    out
}

/// Finds the widths of one column and those behind it. The last cell of a line is in no column.
fn block(
    lines: &[Vec<&str>],
    widths: &mut [Vec<usize>],
    column: usize,
    range: std::ops::Range<usize>,
) {
    if column >= COLUMNS_MAX {
        return;
    }
    let mut at = range.start;
    while at < range.end {
        if lines[at].len() <= column + 1 {
            at += 1;
            continue;
        }
        let begin = at;
        while at < range.end && lines[at].len() > column + 1 {
            at += 1;
        }
        let cells = lines[begin..at].iter().map(|line| line[column].width());
        let widest = cells.max().unwrap_or(0);
        // A column with nothing in it takes no room.
        let width =
            if widest == 0 && column > 0 { COLUMN_MIN } else { (widest + GAP).max(COLUMN_MIN) };
        for line in &mut widths[begin..at] {
            line[column] = width;
        }
        block(lines, widths, column + 1, begin..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(format: &str, rows: &[(&str, &str)]) -> String {
        let format = Format::new(Some(format), "table {{.Name}}\t{{.Size}}", "{{.Name}}\n");
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, size)| row("*test", [("Size", (*size).into()), ("Name", (*name).into())]))
            .collect();
        let headings = [("Name", "NAME"), ("Size", "SIZE")];
        format.and_then(|format| format.write(&headings, &rows)).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn formats_are_docker_s() {
        let rows = [("a<b", "1B"), ("a-long-name", "20B")];
        let check = |format: &str, want: &str| assert_eq!(write(format, &rows), want, "{format}");
        check("table", "NAME          SIZE\na<b           1B\na-long-name   20B\n");
        check(
            "table {{upper .Size}}\\t{{.Name}}",
            "SIZE      NAME\n1B        a<b\n20B       a-long-name\n",
        );
        check("{{.Name}}", "a<b\na-long-name\n");
        check(
            "json",
            "{\"Name\":\"a\\u003cb\",\"Size\":\"1B\"}\n{\"Name\":\"a-long-name\",\"Size\":\"20B\"}\n",
        );
        check("raw", "a<b\n\na-long-name\n\n");
        check(
            "{{.Nope}}",
            "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *test",
        );
        assert_eq!(write("table", &[]), "NAME      SIZE\n");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let labels = [("a\u{1b}[2J".to_owned(), "b\u{9b}1m\nc".to_owned())];
        let mut value = Value::List(vec![Value::Texts(labels.into()), "\u{7}".into()]);
        plain_values(&mut value);
        let labels = [("a\\x1b[2J".to_owned(), "b\\u{9b}1m\nc".to_owned())];
        assert_eq!(value, Value::List(vec![Value::Texts(labels.into()), "\\x07".into()]));
    }

    #[test]
    fn columns_end_where_a_line_has_none() {
        let text = "A\tB\nlonger than ten\tx\nalone\nc\td\te\n";
        let want = "A                 B\nlonger than ten   x\nalone\nc         d         e\n";
        assert_eq!(columns(text), want);
        // As from an image whose texts are full of tabs.
        assert_eq!(columns(&"\t".repeat(1_000_000)).len(), COLUMNS_MAX * COLUMN_MIN);
        assert_eq!(columns("a\t字\tb\nx\ty\tz"), "a         字        b\nx         y         z");
    }
}
