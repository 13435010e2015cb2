//! Checks that every promise in `SECURITY.md` names existing tests.

use std::{collections::HashSet, fs, path::Path};

/// Returns the names of all tests: `module::name` for this binary, and `binary::module::name` or
/// `crate::module::name` for others.
fn tests() -> HashSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = HashSet::new();
    collect(&root.join("it"), "", &mut names);
    collect(&root.join("load"), "load::", &mut names);
    for entry in fs::read_dir(root.join("../crates")).unwrap() {
        let path = entry.unwrap().path();
        let prefix = format!("{}::", path.file_name().unwrap().to_str().unwrap());
        let tests = path.join("tests");
        for root in [tests.join("it"), tests] {
            collect(&root, &prefix, &mut names);
        }
    }
    names
}

/// Adds the tests from the files below a directory.
fn collect(root: &Path, prefix: &str, names: &mut HashSet<String>) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let module = module(&path.strip_prefix(root).unwrap().with_extension(""));
                let source = fs::read_to_string(&path).unwrap();
                names.extend(functions(&source).map(|name| format!("{prefix}{module}::{name}")));
            }
        }
    }
}

fn module(path: &Path) -> String {
    let parts = path.iter().map(|part| part.to_str().unwrap());
    let parts: Vec<_> = parts.filter(|&part| part != "mod").collect();
    parts.join("::")
}

/// Returns the names of the functions with a test attribute.
fn functions(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test") || line.starts_with("#[tokio::test");
            return None;
        }
        let is_test = std::mem::take(&mut is_test);
        let (_, rest) = line.split_once("fn ").filter(|_| is_test)?;
        rest.split('(').next()
    })
}

#[test]
fn every_line_of_the_threat_model_names_tests_that_exist() {
    let tests = tests();
    assert!(tests.contains("security::every_line_of_the_threat_model_names_tests_that_exist"));
    assert!(!tests.contains("security::functions"));
    let text = include_str!("../../SECURITY.md");
    let (_, section) = text
        .split_once("## What the crate protects against")
        .unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let table = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut lines = 0;
    for line in table {
        let cells: Vec<_> = line.split(" | ").collect();
        assert_eq!(cells.len(), 3, "{line}");
        let named: Vec<_> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {line}");
        for name in named {
            assert!(tests.contains(name), "there is no test `{name}`");
        }
        lines += 1;
    }
    assert!(lines > 20, "{lines} lines");
}
