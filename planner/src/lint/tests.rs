//! Files and what the rules say of them: what each rule fires for, and what it must leave alone.

use parser::{Severity, SourceText};

use super::Findings;
use crate::lower::tests::{FakeSources, request, with_args, with_platforms, with_target};
use crate::{LowerRequest, lower, outline};

/// What became of a file.
struct Outcome {
    /// `line Rule: message`.
    findings: Vec<String>,
    error: Option<String>,
    violation: Option<String>,
}

fn run(text: &str, request: &LowerRequest) -> Outcome {
    let source = SourceText::new("Dockerfile", text);
    let parse = parser::parse(&source);
    let findings = match Findings::new(&parse, &source, request) {
        Ok(findings) => findings,
        Err(errors) => {
            let error = Some(errors[0].message.clone());
            return Outcome { findings: Vec::new(), error, violation: None };
        }
    };
    let lowered = match parse.has_errors() {
        true => Err(parse.diagnostics),
        false => outline(&parse.dockerfile, &source, request, &findings)
            .and_then(|outline| lower(&outline, &FakeSources, &findings).map(|_| ())),
    };
    let is_error = |severity| severity == Severity::Error;
    let errors = lowered.err().into_iter().flatten();
    let error = errors.filter(|e| is_error(e.severity)).map(|e| e.message).next();
    let violation = findings.violation().map(|violation| violation.message);
    let shown = findings.into_list().into_iter().map(|finding| {
        assert_eq!(finding.severity, Severity::Warning);
        let line = source.lines(finding.labels[0].span).first;
        format!("{line} {}: {}", finding.code, finding.message)
    });
    Outcome { findings: shown.collect(), error, violation }
}

#[track_caller]
fn check_with(text: &str, request: &LowerRequest, want: &[&str]) {
    let outcome = run(text, request);
    assert_eq!(outcome.error, None, "{text}");
    assert_eq!(outcome.findings, want, "{text}");
}

/// Findings of a file that can be built.
#[track_caller]
fn check(text: &str, want: &[&str]) {
    check_with(text, &request(), want);
}

#[test]
fn names_of_stages() {
    check(
        "FROM plain AS Foo\nFROM plain AS foo\nFROM plain AS context",
        &[
            "1 StageNameCasing: Stage name 'Foo' should be lowercase", // LINT-20
            "2 DuplicateStageName: Duplicate stage name \"foo\", stage names should be unique", // LINT-24
            concat!(
                "3 ReservedStageName: Stage name should not use the same name as reserved stage ",
                "\"context\"" // LINT-25
            ),
        ],
    );
}

#[test]
fn case_of_keywords() {
    check(
        "from plain AS a\nrun x\ncopy x /",
        &["1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"], // LINT-21
    );
    let want = |line: u32, word: &str, kind: &str| {
        format!(
            "{line} ConsistentInstructionCasing: Command '{word}' should match the case of the \
             command majority ({kind}case)"
        )
    };
    // LINT-23: ARG above FROM has no vote, mixed case has none but is reported, a tie is upper case.
    check("arg X\nFROM plain\ncopy x /", &[&want(3, "copy", "upper")]);
    check(
        "from plain As a\nRun x\nrun y",
        &[
            "1 FromAsCasing: 'As' and 'from' keywords' casing do not match",
            &want(2, "Run", "lower"),
        ],
    );
    check("From plain AS a\nONBUILD run x", &[&want(1, "From", "upper")]);
}

#[test]
fn empty_continuations() {
    check("FROM plain\nRUN x \\\n\n  y", &["4 NoEmptyContinuation: Empty continuation line"]);
    check("# check=skip=NoEmptyContinuation\nFROM plain\nRUN x \\\n\n  y", &[]);
    let asks = with_args(&[("BUILDKIT_DOCKERFILE_CHECK", "skip=Other")]); // LINT-06
    check_with(
        "# check=skip=NoEmptyContinuation\nFROM plain\nRUN x \\\n\n  y",
        &asks,
        &["5 NoEmptyContinuation: Empty continuation line"],
    );
}

#[test]
fn commands() {
    let json = |line: u32, word: &str| {
        format!(
            "{line} JSONArgsRecommended: JSON arguments recommended for {word} to prevent \
             unintended behavior related to OS signals"
        )
    };
    // LINT-26: not after SHELL here, below, or in the base.
    check("FROM plain\nCMD a\nENTRYPOINT b", &[&json(2, "CMD"), &json(3, "ENTRYPOINT")]);
    check("FROM plain AS a\nSHELL [\"x\"]\nFROM a\nCMD a", &[]);
    check("FROM full\nCMD a", &[]);
    check("FROM plain\nCMD [\"a\"]\nRUN x\nHEALTHCHECK CMD x", &[]);
    let many = |line: u32, word: &str| {
        format!(
            "{line} MultipleInstructionsDisallowed: Multiple {word} instructions should not be \
             used in the same stage because only the last one will be used"
        )
    };
    // LINT-31: not across stages.
    check("FROM plain\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]", &[&many(2, "CMD"), &many(3, "CMD")]);
    check(
        "FROM plain\nENTRYPOINT []\nHEALTHCHECK NONE\nENTRYPOINT []\nHEALTHCHECK NONE",
        &[&many(2, "ENTRYPOINT"), &many(3, "HEALTHCHECK")],
    );
    check("FROM plain AS a\nCMD [\"a\"]\nUSER a\nUSER b\nFROM a\nCMD [\"b\"]", &[]);
    // The later one is asked whether it is wanted.
    let skip = "# check=skip=MultipleInstructionsDisallowed";
    check(&format!("FROM plain\nCMD []\n{skip}\nCMD []"), &[]);
    check(&format!("FROM plain\n{skip}\nCMD []\nCMD []"), &[&many(3, "CMD")]);
}

#[test]
fn forms_that_went_out_of_use() {
    check(
        "FROM plain\nMAINTAINER me\nENV a b\nLABEL a b\nENV a=b",
        &[
            "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
            "3 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "4 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ],
    );
}

#[test]
fn arguments_of_from() {
    // LINT-28: a default does not help, an ARG without value does.
    check(
        "ARG A\nFROM ${B:-plain}${A}\nFROM --platform=${TARGETPLATFORN:-linux/amd64} plain",
        &[
            "2 UndefinedArgInFrom: FROM argument 'B' is not declared (did you mean A?)",
            concat!(
                "3 UndefinedArgInFrom: FROM argument 'TARGETPLATFORN' is not declared ",
                "(did you mean TARGETPLATFORM?)"
            ),
        ],
    );
    // LINT-36: what the file says alone.
    let bad = |line: u32, name: &str| {
        format!(
            "{line} InvalidDefaultArgInFrom: Default value for ARG {name} results in empty or \
             invalid base image name"
        )
    };
    let given = with_args(&[("TAG", "v1"), ("BASE", "plain")]);
    check_with(
        "ARG TAG\nARG BASE\nFROM plain:${TAG} AS a\nFROM $BASE\nFROM plain:${TAG:-x} AS b\nFROM plain${TAG:+:$TAG}\n\
         FROM b",
        &given,
        &[&bad(3, "plain:${TAG}"), &bad(4, "$BASE")],
    );
}

#[test]
fn platforms_of_from() {
    let redundant = |line: u32, written: &str| {
        format!(
            "{line} RedundantTargetPlatform: Setting platform to predefined {written} in FROM is \
             redundant as this is the default behavior"
        )
    };
    check(
        "FROM --platform=$TARGETPLATFORM plain\nFROM --platform=${TARGETPLATFORM} plain\n\
         FROM --platform=$TARGETOS/$TARGETARCH plain\nFROM --platform=$BUILDPLATFORM plain",
        &[&redundant(1, "$TARGETPLATFORM"), &redundant(2, "${TARGETPLATFORM}")], // LINT-34
    );
    let constant = "FROM --platform flag should not use constant value \"linux/amd64\"";
    check(
        "FROM --platform=linux/amd64 plain AS a\nFROM --platform=linux/amd64 plain AS for-amd64\n\
         FROM --platform=linux/amd64 plain",
        &[
            &format!("1 FromPlatformFlagConstDisallowed: {constant}"), // LINT-37
            &format!("3 FromPlatformFlagConstDisallowed: {constant}"),
        ],
    );
    // LINT-33, wherever the image is named.
    let arm = |line: u32| {
        format!(
            "{line} InvalidBaseImagePlatform: Base image arm was pulled with platform \
             \"linux/arm64\", expected \"linux/amd64\" for current build"
        )
    };
    check("FROM arm\nCOPY --from=arm a /", &[&arm(1), &arm(2)]);
}

#[test]
fn relative_directories() {
    let relative = |line: u32, path: &str| {
        format!(
            "{line} WorkdirRelativePath: Relative workdir {path:?} can have unexpected results if \
             the base image changes"
        )
    };
    // LINT-29: once in a stage and what is built on it; the base image's own directory does not count.
    check("FROM full AS a\nWORKDIR a\nWORKDIR b\nFROM a\nWORKDIR c", &[&relative(2, "a")]);
    check("FROM plain AS a\nWORKDIR /a\nWORKDIR b\nFROM a\nWORKDIR c", &[]);
    check("FROM plain\nENV D=d\nWORKDIR $D", &[&relative(3, "d")]);
}

#[test]
fn variables_without_value() {
    check(
        concat!(
            "FROM plain\nARG known\nENV A=$PTH B=${E:-x} C=$known\nWORKDIR /$W\nRUN $r\n",
            "COPY --chown=$o $s /$d\nCMD [\"$c\"]\nARG X=$Y BUILDKIT_SBOM_SCAN_STAGE=1\n",
            "LABEL a=$BUILDKIT_SBOM_SCAN_STAGE\nEXPOSE 80$p\nCOPY <<A <<\"B\" /\n$heredoc\nA\n$no\nB\n",
            "RUN --mount=type=cache,target=/m$mount <<A\n$no\nA\n",
        ),
        &[
            "3 UndefinedVar: Usage of undefined variable '$PTH' (did you mean $PATH?)", // LINT-30
            "3 UndefinedVar: Usage of undefined variable '$E'",
            "4 UndefinedVar: Usage of undefined variable '$W' (did you mean $A?)",
            "6 UndefinedVar: Usage of undefined variable '$s' (did you mean $A?)",
            "6 UndefinedVar: Usage of undefined variable '$d' (did you mean $A?)",
            "6 UndefinedVar: Usage of undefined variable '$o' (did you mean $A?)",
            "8 UndefinedVar: Usage of undefined variable '$Y' (did you mean $A?)",
            "11 UndefinedVar: Usage of undefined variable '$heredoc'",
            "16 UndefinedVar: Usage of undefined variable '$mount'",
        ],
    );
    // A stage knows what was declared below it.
    check("FROM plain AS a\nARG x\nFROM a\nENV y=$x", &[]);
}

#[test]
fn names_that_sound_secret() {
    let secret = |line: u32, kind: &str, key: &str| {
        format!(
            "{line} SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data \
             ({kind} {key:?})"
        )
    };
    check(
        "ARG GLOBAL_TOKEN\nFROM plain\nARG API_KEY\nENV PUBLIC_KEY=1 TOKEN_FILE=1 AUTH=1\n\
         ARG KEYBOARD TOKENS my_Secret_thing=x",
        &[
            &secret(3, "ARG", "API_KEY"), // LINT-35
            &secret(4, "ENV", "AUTH"),
            &secret(5, "ARG", "my_Secret_thing"),
        ],
    );
}

#[test]
fn sources_that_are_ignored() {
    let ignored = |line: u32, verb: &str, path: &str| {
        format!(
            "{line} CopyIgnoredFile: Attempting to {verb} file {path:?} that is excluded by \
             .dockerignore"
        )
    };
    // LINT-38.
    check(
        "FROM plain AS a\nCOPY ./ignored other /\nADD /ignored/x https://h/ignored /\n\
         COPY --from=plain ignored /\nCOPY <<ignored /x\nignored",
        &[&ignored(2, "Copy", "ignored"), &ignored(3, "Add", "ignored/x")],
    );
}

#[test]
fn ports() {
    check(
        "FROM plain\nEXPOSE 53/UDP 80/tcp 8080:90 127.0.0.1::81/Tcp",
        &[
            concat!(
                "2 ExposeProtoCasing: Defined protocol '127.0.0.1::81/Tcp' in EXPOSE instruction ",
                "should be lowercase" // LINT-40
            ),
            concat!(
                "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or ",
                "host-port mapping, found '127.0.0.1::81/Tcp'" // LINT-41
            ),
            "2 ExposeProtoCasing: Defined protocol '53/UDP' in EXPOSE instruction should be lowercase",
            concat!(
                "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or ",
                "host-port mapping, found '8080:90'"
            ),
        ],
    );
}

#[test]
fn descriptions() {
    let text = "# about\nARG a b\n# a is\nARG a\n# wrong\nARG a\n\n# x\n#\n# base is\nFROM plain AS base\n\
                # y\nFROM plain\n";
    check(text, &[]); // Off by default.
    let bad = |line: u32, kind: &str, name: &str| {
        format!(
            "{line} InvalidDefinitionDescription: Comment for {kind} should follow the format: \
             `# {name} <description>`"
        )
    };
    let want = [bad(3, "ARG", "<arg_key>"), bad(7, "ARG", "a")];
    let want = [&*want[0], &*want[1]];
    check(&format!("# check=experimental=all\n{text}"), &want); // LINT-39
    check(&format!("# check=skip=all;experimental=InvalidDefinitionDescription\n{text}"), &want); // LINT-05
    // One instruction can ask for it, none can refuse it.
    let one = "# check=experimental=all\n# x\nARG a\n# x\nARG b\nFROM plain";
    check(&format!("# check=skip=Other\n#\n{one}"), &[&bad(5, "ARG", "a")]);
    let skip = "# check=experimental=all\n#\n# check=skip=all\n# x\nARG a\nFROM plain";
    check(skip, &[&bad(5, "ARG", "a")]);
}

#[test]
fn rules_that_are_not_wanted() {
    let maintainer =
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label";
    let text = "FROM plain AS Big\nMAINTAINER me\nCMD a";
    check(&format!("# check=skip=all\n{text}"), &[]);
    check(
        &format!(
            "# check=skip=StageNameCasing,JSONArgsRecommended,maintainerdeprecated,Other\n{text}"
        ),
        &[&format!("3 {maintainer}")], // LINT-04
    );
    // LEX-56: for one instruction; what cannot be read is an ordinary comment.
    check(
        "FROM plain\n# check=skip=MaintainerDeprecated\nMAINTAINER a\n# check=what\nMAINTAINER b",
        &[&format!("5 {maintainer}")],
    );
    // The first one of several comments counts, even when it cannot be read.
    let two = "FROM plain\n# check=skip=A\n# check=skip=MaintainerDeprecated\nMAINTAINER a";
    check(two, &[&format!("4 {maintainer}")]);
    check(&two.replace("skip=A", "what"), &[&format!("4 {maintainer}")]);
    // What stands behind a blank is a reason.
    check("FROM plain\n# check=skip=MaintainerDeprecated it is old\nMAINTAINER a", &[]);
}

#[test]
fn rules_that_only_the_file_switches_off() {
    let skip = "# check=skip=all\n";
    check(
        &format!(
            "FROM plain AS a\n{skip}FROM plain AS a\n{skip}FROM plain AS scratch\n\
             {skip}run x\n{skip}RUN y \\\n\n  z"
        ),
        &[
            "3 DuplicateStageName: Duplicate stage name \"a\", stage names should be unique",
            "5 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"",
            concat!(
                "7 ConsistentInstructionCasing: Command 'run' should match the case of the command ",
                "majority (uppercase)"
            ),
            "11 NoEmptyContinuation: Empty continuation line",
        ],
    );
    let image = "Base image arm was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for \
                 current build";
    check(&format!("{skip}\n# x\n{skip}FROM arm"), &[]);
    check(&format!("# about\n{skip}FROM arm"), &[&format!("3 InvalidBaseImagePlatform: {image}")]);
    let name = "Default value for ARG plain:$V results in empty or invalid base image name";
    let given = with_args(&[("V", "1")]);
    let text = format!("ARG V\n{skip}FROM plain:$V");
    check_with(&text, &given, &[&format!("3 InvalidDefaultArgInFrom: {name}")]);
}

#[test]
fn options_that_cannot_be_read() {
    let errors = |text: &str, request: &LowerRequest| {
        let source = SourceText::new("Dockerfile", text);
        let errors = Findings::new(&parser::parse(&source), &source, request).map(|_| ());
        let error = errors.expect_err(text).remove(0);
        let line = error.labels.first().map(|label| source.lines(label.span).first);
        (error.message, line)
    };
    // ERR-10, LEX-54: at the directive; before any mistake in the file.
    let unknown =
        |option: &str| format!("failed to parse check options: invalid check option {option:?}");
    assert_eq!(errors("# escape=`\n# check=foo=bar\nRNU x", &request()), (unknown("foo"), Some(2)));
    assert_eq!(errors("# check=foo\nFROM plain", &request()), (unknown("foo"), Some(1)));
    let (message, line) = errors("# check=error=maybe\nFROM plain", &request());
    let start = "failed to parse check options: failed to parse check option \"error=maybe\": ";
    assert!(message.starts_with(start) && line == Some(1), "{message}");
    let given = with_args(&[("BUILDKIT_DOCKERFILE_CHECK", "x=y")]);
    let want = "failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: invalid check option \"x\"";
    assert_eq!(errors("# check=skip=all\nFROM plain", &given), (want.to_owned(), None));
    // An empty argument takes the directive's place too (LINT-06).
    let empty = with_args(&[("BUILDKIT_DOCKERFILE_CHECK", "")]);
    let outcome = run("# check=foo\nFROM plain AS A", &empty);
    assert_eq!((outcome.error, outcome.findings.len()), (None, 1));
}

#[test]
fn findings_can_be_errors() {
    let text = "FROM plain AS Big\nCMD a\nCMD b";
    let outcome = run(&format!("# check=error=true\n{text}"), &request());
    let want = concat!(
        "lint violation found for rules: JSONArgsRecommended, MultipleInstructionsDisallowed, ",
        "StageNameCasing"
    );
    assert_eq!(outcome.violation.as_deref(), Some(want)); // LINT-01, ERR-11
    assert_eq!(run("# check=error=true\nFROM plain", &request()).violation, None);
    assert_eq!(run(text, &request()).violation, None);
    let skipped = run(&format!("# check=error=true;skip=all\n{text}"), &request());
    assert_eq!(skipped.violation, None);
}

#[test]
fn stages_that_are_looked_at() {
    let json = |line: u32| {
        format!(
            "{line} JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended \
             behavior related to OS signals"
        )
    };
    let casing = |line: u32, name: &str| {
        format!("{line} StageNameCasing: Stage name '{name}' should be lowercase")
    };
    let text = "FROM plain AS A\nCMD a\nFROM plain AS b\nCMD b";
    // LINT-08
    check(text, &[&casing(1, "A"), &json(4)]);
    let all = LowerRequest { all_stages: true, ..request() };
    check_with(text, &all, &[&casing(1, "A"), &json(2), &json(4)]);
    let target = LowerRequest { all_stages: true, ..with_target("a") };
    check_with(text, &target, &[&casing(1, "A"), &json(2)]);
    // LINT-10: once for all platforms, but nothing that only one has is lost.
    let platforms = with_platforms(&["linux/amd64", "linux/arm64"]);
    check_with(text, &platforms, &[&casing(1, "A"), &json(4)]);
    check_with(
        "ARG TARGETARCH\nFROM plain AS amd64\nFROM plain AS arm64\nCMD a\nFROM $TARGETARCH",
        &platforms,
        &[&json(4)],
    );
}

#[test]
fn triggers_have_the_place_of_from() {
    let text = "FROM plain AS parts\nFROM trigger\nENV x=$V";
    check(text, &["3 UndefinedVar: Usage of undefined variable '$V' (did you mean $T?)"]);
    // LINT-11: LEGACY is what the base's trigger says.
    check(
        "FROM legacy",
        &[
            "1 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ],
    );
    // A comment above FROM is not about triggers.
    check(
        "# about\n# check=skip=LegacyKeyValueFormat\nFROM legacy",
        &[
            "3 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ],
    );
}

#[test]
fn findings_before_an_error() {
    let casing = "1 StageNameCasing: Stage name 'Big' should be lowercase";
    let outcome = run("FROM plain AS Big\nFOO\nFROM plain AS Bigger", &request());
    assert_eq!(outcome.findings, [casing]); // LINT-09
    assert!(outcome.error.is_some());
    let outcome = run("FROM plain AS Big\nCMD a\nCOPY http://x /y", &request());
    assert_eq!(outcome.findings.len(), 2, "{:?}", outcome.findings);
    assert_eq!(outcome.error.as_deref(), Some("source can't be a URL for COPY"));
}
