//! What is found in trees, and how much work it is.

use super::look::{FILE_COSTS, Look, WORK_MAX};
use super::testing::{check, files, linked_files};
use super::{scan, walk};

#[test]
fn what_is_installed_is_found_wherever_it_is() {
    let tree = [
        (
            "usr/lib/python3/site-packages/Foo_Bar-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nLicense: MIT\n\nVersion: 2\n",
        ),
        ("opt/x.egg-info", "Name: x\nVersion: 3\nLicense: UNKNOWN\n"),
        ("app/node_modules/left/package.json", r#"{"name":"left","version":"1.2.3"}"#),
        (
            "app/node_modules/@s/right/package.json",
            r#"{"name":"@s/right","version":"4","license":"ISC"}"#,
        ),
        ("app/node_modules/left/lib/package.json", r#"{"name":"inner","version":"1"}"#),
        ("app/node_modules/bad/package.json", "{"),
        ("app/package.json", r#"{"name":"app","version":"0"}"#),
        ("proc/x.egg-info", "Name: kernel\nVersion: 3\n"),
        (
            "srv/vendor/composer/installed.json",
            r#"{"packages":[{"name":"Monolog/monolog","version":"3.5.0","license":["MIT"]}]}"#,
        ),
        ("old/vendor/composer/installed.json", r#"[{"name":"a/b","version":"v1"}]"#),
    ];
    let want = [
        "pkg:composer/a/b@v1",
        "pkg:composer/monolog/monolog@3.5.0",
        "pkg:npm/%40s/right@4",
        "pkg:npm/left@1.2.3",
        "pkg:pypi/foo-bar@1.0",
        "pkg:pypi/x@3",
    ];
    let found = check(&tree, &want);
    assert_eq!(found.unlisted, [""; 0]);
}

#[test]
fn hostile_files_are_no_packages() {
    let long = format!("Name: {}\nVersion: 1\n", "x".repeat(1 << 20));
    let large = " ".repeat(3 << 20);
    let tree = [
        ("a/x.dist-info/METADATA", long.as_str()),
        ("a/y.dist-info/METADATA", "\0\0\n\u{fffd}"),
        ("a/node_modules/x/package.json", large.as_str()),
        ("a/node_modules/y/package.json", large.as_str()),
        ("var/lib/dpkg/status", "Package\nVersion:\n\n:::\n"),
        ("lib/apk/db/installed", "P:\nV:\n"),
        ("var/lib/rpm/rpmdb.sqlite", "x"),
    ];
    let found = check(&tree, &[]);
    let want = [
        "what /a/node_modules/x/package.json and 1 more have: they are larger than what is read",
        "what /a/x.dist-info/METADATA has: it has a name of more than 1000 bytes",
        "what /var/lib/rpm/rpmdb.sqlite has: it cannot be read to its end",
    ];
    assert_eq!(found.unlisted, want);
}

/// The work of a look through files.
fn work(files: &dyn tree::Tree) -> u64 {
    let look = Look::new(files);
    walk::scan(&look).expect("readable");
    look.work()
}

#[test]
fn a_file_with_many_names_is_read_once() {
    let text = format!("Name: {}\nVersion: {}\n", "ü".repeat(30_000), "ü".repeat(30_000));
    let names: Vec<String> = (0..500).map(|number| format!("b/{number}.egg-info")).collect();
    let links: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "a/x.egg-info")).collect();
    let once = work(&*files(&[("a/x.egg-info", &text)]));
    let often = work(&*linked_files(&[("a/x.egg-info", &text)], &links));
    assert!(once > text.len() as u64 && often < once + 501 * 200, "{once} and {often}");
    // Each of them a file of its own: that is work, and it is counted.
    let many: Vec<(&str, &String)> = names.iter().map(|name| (name.as_str(), &text)).collect();
    assert!(work(&*files(&many)) > 500 * (FILE_COSTS + text.len() as u64));

    let found = scan(&*linked_files(
        &[("a.egg-info", "Name: x\nVersion: 1\n")],
        &[("b.egg-info", "a.egg-info")],
    ));
    let found = found.expect("readable");
    let package = found.packages.first().expect("the package");
    assert_eq!((found.packages.len(), package.found_in.as_str()), (1, "a.egg-info"));
}

#[test]
fn links_are_followed_inside_and_end() {
    let list = [("store/x", "Name: x\nVersion: 1\n")];
    let links = [
        ("a/x.dist-info/METADATA", "->../../../store/x"),
        ("b/x.dist-info/METADATA", "->/store/x"),
        ("c/x.dist-info/METADATA", "->METADATA"),
        ("d/x.dist-info/METADATA", "->/proc/self/environ"),
        ("lib/apk/db/installed", "->../../../../../etc/passwd"),
        ("etc/os-release", "->../etc/os-release"),
        ("var/lib/rpm", "->rpm2"),
        ("var/lib/rpm2", "->rpm"),
        ("var/lib/dpkg/status.d", "->."),
    ];
    let found = scan(&*linked_files(&list, &links)).expect("readable");
    let places: Vec<&str> = found.packages.iter().map(|p| p.found_in.as_str()).collect();
    assert_eq!((places, found.unlisted), (vec!["store/x"], Vec::new()));
}

#[test]
fn a_look_ends_when_there_is_too_much_to_read() {
    let tree =
        files(&[("a.egg-info", "Name: x\nVersion: 1\n"), ("b.egg-info", "Name: y\nVersion: 1\n")]);
    let look = Look::new(&*tree);
    assert!(look.spend(WORK_MAX - 2 * FILE_COSTS, b""));
    walk::scan(&look).expect("readable");
    let found = look.finish();
    assert_eq!(found.packages.len(), 1);
    let want = "what comes after /b.egg-info: there is too much to read";
    assert_eq!(found.unlisted, [want]);
}
