//! All cases of testdata/cases. `SHALE_CASES=lex-,copy-modes` runs those whose names begin so.

use std::path::Path;

use testkit::need;
use world::{World, cases};

#[test]
#[allow(clippy::print_stdout, reason = "the number of cases is the point")]
fn conformance() {
    need!("busybox", "docker-registry", "git");
    let prefixes = std::env::var("SHALE_CASES").unwrap_or_default();
    let words = prefixes.split([',', ' ']).filter(|word| !word.is_empty());
    let prefixes: Vec<String> = words.map(str::to_owned).collect();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let world = World::new();
    let began = std::time::Instant::now();
    let directory = testdata.join("cases");
    let summary = cases::run_all(&world, &directory, &testdata.join("ids.txt"), &prefixes);
    let skipped = summary.skipped.len();
    if skipped > 0 {
        println!("skipped for what they need: {}", summary.skipped.join(" "));
    }
    let failed = summary.failed.len();
    let tail = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    let line = format!("{} passed, {failed} failed{tail}", summary.passed);
    println!("{line} in {:.0?}", began.elapsed());
    assert!(failed == 0, "\n{}\n{line}", summary.failed.join("\n"));
    assert!(summary.passed + skipped > 0, "no case begins with {prefixes:?}");
}
