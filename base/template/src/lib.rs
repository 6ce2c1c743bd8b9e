//! Templates of `--format` with the language of Go's text/template and docker's functions.
//!
//! Owns syntax, evaluation, what values look like as text and as JSON, and the wording of errors, by which people
//! search. Refuses to know images, tables and terminals: it gets a [`Value`] and gives text.
//!
//! Left out on purpose: `define`, `template` and `block` (a format is one template), `call`, `html`, `js`, `urlquery`,
//! complex numbers, and methods. What a template may cost is limited: its depth, its steps and its output.

#![forbid(unsafe_code)]

mod compare;
mod exec;
mod functions;
mod lex;
mod node;
mod parse;
mod printf;
mod text;
mod value;

pub use value::{Field, Struct, Value};

/// A template that was understood.
#[derive(Debug)]
pub struct Template {
    text: String,
    nodes: Vec<node::Node>,
}

/// A template is wrong, or does not fit its data. The text is Go's: `template: :1:2: executing "" at <.X>: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub(crate) String);

/// How a template is filled in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// A key that a map does not have is an error; otherwise it gives `<no value>`.
    pub missing_is_error: bool,
    /// The data are headings: functions on texts leave them as they are.
    pub is_heading: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is not well-formed, names a function that there is not, or is nested too deeply.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        Ok(Template { text: text.to_owned(), nodes: parse::parse(text)? })
    }

    /// Fills it in.
    ///
    /// # Errors
    /// A part of it does not fit the data, or it goes on for too long.
    pub fn render(&self, data: &Value, rules: Rules) -> Result<String, TemplateError> {
        exec::render(&self.text, &self.nodes, data, rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Result<String, TemplateError> {
        let data = serde_json::json!({"A": {"b": [1, "x"]}, "N": null});
        Template::parse(text)?.render(&Value::from_json(&data), Rules::default())
    }

    // What docker makes of templates is in testdata/templates, which the end-to-end tests try.
    #[test]
    fn a_template_is_filled_in() {
        let text = "{{range $i, $x := .A.b}}{{$i}}={{$x}};{{end}}{{.N}}{{.Z.y}}{{- \"!\" -}}  ";
        assert_eq!(render(text).as_deref(), Ok("0=1;1=x;<no value><no value>!"));
        let error = render("a\n {{.N.x}}").expect_err("null has no fields").to_string();
        let want =
            "template: :2:5: executing \"\" at <.N.x>: nil pointer evaluating interface {}.x";
        assert_eq!(error, want);
    }

    #[test]
    fn what_templates_cost_is_limited() {
        let deep = format!("{}1{}", "{{".to_owned() + &"(".repeat(5001), ")".repeat(5001) + "}}");
        assert!(Template::parse(&deep).is_err());
        let nested = format!("{}{}", "{{if 1}}".repeat(5000), "{{end}}".repeat(5000));
        assert!(Template::parse(&nested).is_err());
        for endless in [
            "{{range 1000000}}{{range 1000000}}{{end}}{{end}}",
            "{{range 99999999999}}{{end}}",
            "{{$x := \"ab\"}}{{range 64}}{{$x = print $x $x}}{{end}}",
            "{{range 1000}}{{printf \"%999999d\" 1}}{{end}}",
        ] {
            assert!(render(endless).is_err(), "{endless}");
        }
        assert_eq!(render("{{printf \"%9999999d\" 1}}").as_deref(), Ok("%!(BADWIDTH)1"));
    }

    #[test]
    fn no_text_makes_it_panic() {
        let parts = [
            "{{", "}}", " -}}", "{{- ", ".A", ".", "$", "$x", ":=", "|", "(", ")", "\"", "`", "'",
            "range", "if", "else", "end", "/*", "*/", "é", "index", "slice", "printf", "-", "1",
            " ", "%", "\\",
        ];
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let mut text = String::from("{{");
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(parts[(seed >> 33) as usize % parts.len()]);
            }
            let _ = render(&text);
            let _ = render(&(text + "}}{{end}}"));
        }
    }
}
