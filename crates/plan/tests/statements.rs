//! Checks the table in README.md, which assigns tests to the statements of docs/plan-semantics.md:
//! it names existing tests only, and covers every primitive.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

const TABLE: &str = include_str!("README.md");

/// The tests that the table names, each as file and function name.
fn named() -> Vec<(&'static str, &'static str)> {
    TABLE
        .split('`')
        .filter_map(|text| text.split_once(".rs::").map(|_| text.split_once("::")))
        .flatten()
        .collect()
}

/// The functions of a file that directly follow a test attribute.
fn tests_in(text: &str) -> Vec<&str> {
    let (mut tests, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        let function = line.split_once("fn ").map(|(before, rest)| (before.trim(), rest));
        match function {
            Some(("" | "async", rest)) => {
                if is_test {
                    tests.push(rest.split('(').next().unwrap());
                }
                is_test = false;
            }
            _ if line.starts_with("#[") => is_test |= line.contains("test"),
            _ => is_test &= line.starts_with("//"),
        }
    }
    tests
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let named = named();
    assert!(named.len() > 150, "{}", named.len());
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (file, name) in named {
        let text = std::fs::read_to_string(here.join(file)).unwrap_or_else(|_| panic!("{file}"));
        assert!(tests_in(&text).contains(&name), "{file} has no test {name}");
    }
}

#[test]
fn every_row_names_a_test_or_says_why_there_is_none() {
    let rows = TABLE.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Tests |"));
    for row in rows {
        assert!(row.contains(".rs::") || row.contains("| no test: "), "{row}");
    }
}

#[test]
fn every_primitive_has_a_row() {
    let rows: Vec<&str> = TABLE.lines().filter_map(|line| line.strip_prefix("| ")).collect();
    for primitive in turnpike_plan::primitive_types() {
        let is_of = |row: &&str| row.split([' ', ':']).next() == Some(primitive.name);
        assert!(rows.iter().any(is_of), "{}", primitive.name);
    }
}
