//! The project's own rules, kept by a program (`cargo xtask tidy`).

#[test]
fn the_source_is_tidy() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let findings = xtask::tidy(&top).unwrap();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}
