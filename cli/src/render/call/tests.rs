//! Layouts as docker buildx has them.

use parser::Span;
use planner::{Access, Argument};

use super::*;

fn lines(first: u32, last: u32) -> LineRange {
    LineRange { first, last }
}

fn parameters() -> Parameters {
    let argument = |name: &str, value: &str, about: Option<&str>, line| Argument {
        name: name.into(),
        value: value.into(),
        description: about.map(str::to_owned),
        lines: lines(line, line),
    };
    let access = |id: &str, is_required, line| Access {
        id: id.into(),
        is_required,
        lines: lines(line, line + 1),
    };
    Parameters {
        target: Some("app".into()),
        description: Some("is what runs".into()),
        arguments: vec![
            argument("GO", "1.22", Some("version"), 1),
            argument("NOTHING\u{7}", "", None, 3),
        ],
        secrets: vec![access("token", true, 5), access("other", false, 5)],
        agents: vec![access("default", false, 7)],
        caches: vec![access("/root/.cache", false, 9)],
    }
}

#[test]
fn outlines_are_tables() {
    let want = "TARGET:      app\nDESCRIPTION: is what runs\n\n\
                BUILD ARG     VALUE   DESCRIPTION\nGO            1.22    version\n\
                NOTHING\\x07           \n\n\
                SECRET   REQUIRED\ntoken    true\nother    \n\nSSH       REQUIRED\ndefault   \n\n";
    assert_eq!(outline_text(&parameters()), want); // CALL-08
    assert_eq!(outline_text(&Parameters::default()), "");
    let about = Parameters { description: Some("x".into()), ..Parameters::default() };
    assert_eq!(outline_text(&about), "TARGET:      (default)\nDESCRIPTION: x\n\n");
}

#[test]
fn outlines_are_documents() {
    let source = SourceText::new("Dockerfile", "FROM a\n");
    let place = |line: u32| format!(r#"{{"start":{{"line":{line}}},"end":{{"line":{line}}}}}"#);
    let two =
        |line: u32| format!(r#""location":{{"ranges":[{},{}]}}"#, place(line), place(line + 1));
    let want = [
        r#"{"name":"app","description":"is what runs","args":["#.to_owned(),
        format!(
            r#"{{"name":"GO","description":"version","value":"1.22","location":{{"ranges":[{}]}}}},"#,
            place(1)
        ),
        format!(r#"{{"name":"NOTHING\u0007","location":{{"ranges":[{}]}}}}],"#, place(3)),
        format!(
            r#""secrets":[{{"name":"token","required":true,{}}},{{"name":"other",{}}}],"#,
            two(5),
            two(5)
        ),
        format!(r#""ssh":[{{"name":"default",{}}}],"#, two(7)),
        format!(r#""cache":[{{"ID":"/root/.cache",{}}}],"#, two(9)),
        r#""sources":["RlJPTSBhCg=="]}"#.to_owned(),
    ];
    assert_eq!(compact(&outline_json(&parameters(), &source)), want.concat()); // CALL-10
    let nothing = outline_json(&Parameters::default(), &source);
    assert_eq!(compact(&nothing), r#"{"sources":["RlJPTSBhCg=="]}"#);
}

#[test]
fn targets_are_a_table_and_a_document() {
    let target = |name: Option<&str>, is_default, about: Option<&str>| TargetFacts {
        name: name.map(str::to_owned),
        is_default,
        description: about.map(str::to_owned),
        base: "alpine".into(),
        platform: None,
        lines: lines(2, 2),
    };
    let list = [
        target(Some("base"), false, Some("for all")),
        target(None, false, None),
        target(Some("b"), true, None),
    ];
    // CALL-11
    let want = "TARGET      DESCRIPTION\nbase        for all\n            \nb (default) \n";
    assert_eq!(targets_text(&list), want);
    assert_eq!(targets_text(&[target(None, true, None)]), "TARGET    DESCRIPTION\n(default) \n");
    let source = SourceText::new("Dockerfile", "FROM a\n");
    let place = r#""base":"alpine","location":{"ranges":[{"start":{"line":2},"end":{"line":2}}]}"#;
    let want = format!(
        r#"{{"targets":[{{"name":"base","description":"for all",{place}}},{{{place}}},{{"name":"b","default":true,{place}}}],"sources":["RlJPTSBhCg=="]}}"#
    );
    assert_eq!(compact(&targets_json(&list, &source)), want);
}

#[test]
fn findings_are_a_document() {
    let source = SourceText::new("app.Dockerfile", "FROM a\nCMD \\\n x\n");
    let finding = Diagnostic::error("JSONArgsRecommended", "use it", &source, Span::new(7, 15));
    let error = Diagnostic::error("other", "no", &source, Span::new(0, 6));
    let found = check_json(&[finding], Some(("no", &[error])), Some(&source));
    let place = |line: u32| format!(r#"{{"start":{{"line":{line}}},"end":{{"line":{line}}}}}"#);
    let rule = Rule::JsonArgsRecommended;
    let want = [
        r#"{"warnings":[{"ruleName":"JSONArgsRecommended","description":""#.to_owned(),
        rule.description().to_owned(),
        format!(r#"","url":"{}","detail":"use it","#, rule.url().expect("it has one")),
        format!(r#""location":{{"ranges":[{},{}]}}}}],"#, place(2), place(3)),
        r#""sources":[{"filename":"app.Dockerfile","data":"RlJPTSBhCkNNRCBcCiB4Cg==","language":"Dockerfile"}],"#
            .to_owned(),
        format!(r#""buildError":{{"message":"no","location":{{"ranges":[{}]}}}}}}"#, place(1)),
    ];
    assert_eq!(compact(&found), want.concat()); // CALL-06
    let nowhere = check_json(&[], Some(("no", &[])), None);
    assert_eq!(
        compact(&nowhere),
        r#"{"warnings":null,"sources":[],"buildError":{"message":"no","location":{}}}"#
    );
}

#[test]
fn methods_are_listed() {
    let want = "NAME                 VERSION DESCRIPTION\n\
                outline              1.0.0   List all parameters current build target supports\n\
                targets              1.0.0   List all targets current build supports\n\
                subrequests.describe 1.0.0   List available subrequest types\n";
    assert_eq!(describe_text(), want); // CALL-13
    let list: serde_json::Value = serde_json::from_str(&describe_json()).expect("it is JSON");
    assert_eq!(list[0]["name"], "frontend.outline");
    assert_eq!(list[0]["opts"][0]["name"], "target");
    assert_eq!(list[1]["opts"], serde_json::json!([]));
    assert_eq!(list[2]["opts"], serde_json::Value::Null);
}

/// Without the blanks of the layout.
fn compact(document: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(document).expect("it is JSON");
    value.to_string()
}
