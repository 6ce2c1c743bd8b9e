use super::*;
use crate::memory::memory_tree;
use crate::walk;

const TREE: &str = "f=f g=g d/a=a d/.hid=h d/sub/b=b e/a=x arr[0].txt=1 la->d/a ld->d lx->none \
                    d/l->nothing d/x/y/b=deep";

fn selection(path: &str) -> Selection {
    Selection { path: path.to_owned(), wildcards: true, ..Selection::default() }
}

/// Names and paths of what is picked, `name=path`; an error as its text.
fn picks(selection: &Selection) -> String {
    let tree = memory_tree(TREE);
    let text = |p: &Picked| {
        format!("{}={}", String::from_utf8_lossy(&p.name), String::from_utf8_lossy(&p.path))
    };
    match select(&tree, selection) {
        Ok(picked) => picked.iter().map(text).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

/// What is copied out of a selection, `+` for directories made on the way.
fn insides(selection: &Selection) -> String {
    let tree = memory_tree(TREE);
    let mut seen = Vec::new();
    for picked in select(&tree, selection).expect("selection") {
        let done = walk::<TreeError>(&tree, &picked, &mut |item| {
            let mark = if item.implied { "+" } else { "" };
            seen.push(format!("{mark}{}", String::from_utf8_lossy(&item.relative)));
            Ok(())
        });
        done.expect("walk");
    }
    seen.join(" ")
}

#[test]
fn named_paths_are_resolved_in_the_root() {
    let check = |path: &str, want: &str| assert_eq!(picks(&selection(path)), want, "{path}");
    check("f", "f=f");
    check("../../f", "f=f"); // COPY-10
    check("la", "la=d/a"); // COPY-12, COPY-15
    check("ld/a", "a=d/a");
    check("f/", "f=f");
    for root in ["", ".", "./", "/"] {
        check(root, "="); // COPY-16, COPY-17
    }
    check("d/.", "d=d");
    check("gone", "\"/gone\": not found"); // COPY-05
    check("d/../none/x", "\"/none/x\": not found");
    check("lx", "\"/lx\": not found"); // COPY-13
}

#[test]
fn wildcards_match_component_by_component() {
    let check = |path: &str, want: &str| assert_eq!(picks(&selection(path)), want, "{path}");
    check("?", "d=d e=e f=f g=g"); // COPY-20, COPY-27
    check("*/a", "a=d/a a=e/a");
    check("**/a", "a=d/a a=e/a"); // COPY-21
    check("d/*b", "sub=d/sub");
    check("d/.h*", ".hid=d/.hid"); // COPY-22
    check("none*", ""); // COPY-23
    check("none/*", "");
    check("la*", "la=d/a"); // COPY-24
    check("l?/a", ""); // links on the way are not followed
    check("ld/a*", "a=d/a"); // but before the first wildcard they are
    check("arr[[]0].txt", "arr[0].txt=arr[0].txt"); // COPY-26
    check("[a-f]*/", "arr[0].txt=arr[0].txt d=d e=e f=f");
    check("l*", "\"/lx\": not found");
}

#[test]
fn bad_patterns_are_refused() {
    assert_eq!(picks(&selection("[a")), "read a source pattern"); // COPY-25
    let exclude = Selection { exclude: vec!["[".into()], ..selection("d") };
    assert_eq!(picks(&exclude), "read a source pattern");
    let literal = Selection { wildcards: false, ..selection("arr[0].txt") };
    assert_eq!(picks(&literal), "arr[0].txt=arr[0].txt");
}

#[test]
fn excludes_count_from_the_copied_directory() {
    let check = |path: &str, exclude: &[&str], want: &str| {
        let exclude = exclude.iter().map(|e| (*e).to_owned()).collect();
        assert_eq!(insides(&Selection { exclude, ..selection(path) }), want, "{path}");
    };
    check("d", &[], ".hid a l sub sub/b x x/y x/y/b");
    check("d", &["sub", "x"], ".hid a l"); // COPY-101
    check("d", &["b"], ".hid a l sub sub/b x x/y x/y/b");
    check("d", &["**/b", "/a"], ".hid a l sub x x/y");
    check("d", &["*", "!x/y"], "+x x/y x/y/b"); // COPY-104
    check("f", &["f"], ""); // a file is itself, COPY-103
    assert_eq!(picks(&Selection { exclude: vec!["f".into()], ..selection("f*") }), "f=f");
}

#[test]
fn parents_keep_their_directories() {
    let parents = |path: &str| Selection { parents: true, ..selection(path) };
    let check = |path: &str, want: &str| assert_eq!(insides(&parents(path)), want, "{path}");
    check("d/sub/b", "+d +d/sub d/sub/b"); // COPY-90
    check("./d/./sub", "sub sub/b"); // COPY-91, COPY-95
    check("**/a", "+d d/a +e e/a"); // COPY-92
    check("d/**/b", "+d +d/sub d/sub/b +d/x +d/x/y d/x/y/b");
    check("./d/./**", ".hid a l sub sub/b x x/y x/y/b");
    check("*/sub/*", "+d +d/sub d/sub/b");
    check("l*", "la ld lx"); // COPY-96
    check("none*", ""); // COPY-93
    assert_eq!(picks(&parents("d/none")), "\"/d/none\": not found");
    assert_eq!(picks(&parents("ld/a")), "\"/ld/a\": not found");
    let exclude = Selection { exclude: vec!["d/sub".into()], ..parents("d") };
    assert_eq!(insides(&exclude), "d d/.hid d/a d/l d/x d/x/y d/x/y/b"); // COPY-102
}

#[test]
fn a_missing_path_names_its_neighbours() {
    let tree = memory_tree("package.json=1 src/main.rs=2 README.md=3");
    let check = |path: &str, want: &[&str]| match select(&tree, &selection(path)) {
        Err(SelectError::NotFound { nearest, .. }) => assert_eq!(nearest, want, "{path}"),
        other => panic!("{path}: {other:?}"),
    };
    check("pakage.json", &["package.json"]);
    check("readme.md", &["README.md"]);
    check("src/mian.rs", &["src/main.rs"]);
    check("scr/main.rs", &["src"]);
    check("quite-else", &[]);
    let tree = memory_tree("link->gone lint=1 b=2");
    match select(&tree, &selection("a")) {
        Err(SelectError::NotFound { nearest, .. }) => assert_eq!(nearest, [""; 0]),
        other => panic!("{other:?}"),
    }
    match select(&tree, &selection("link")) {
        Err(SelectError::NotFound { nearest, .. }) => assert_eq!(nearest, ["lint"]),
        other => panic!("{other:?}"),
    }
}
