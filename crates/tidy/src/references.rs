//! Checks that commands in scripts and docs name only test programs that exist.

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::{packages, root};

/// Adds to `found` every file below `dir`, except build output and git's data.
fn texts(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with("target") && name != ".git" {
                texts(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// The names of test programs in a line, each after `--test`.
fn named(line: &str) -> Vec<&str> {
    line.split("--test ")
        .skip(1)
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_command_that_names_a_test_program_names_one_that_exists() {
    let programs: Vec<String> = packages()
        .iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.kind == "test")
        .map(|target| target.name.clone())
        .collect();
    let (mut files, mut checked) = (Vec::new(), 0);
    texts(&root(), &mut files);
    for file in files {
        if file.starts_with(root().join("crates/tidy")) {
            continue;
        }
        // A file that is not UTF-8 holds no commands.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (line, number) in text.lines().zip(1..) {
            for name in named(line) {
                checked += 1;
                let at = file.strip_prefix(root()).unwrap().display();
                assert!(
                    programs.iter().any(|program| program == name),
                    "{at}:{number}: there is no test program {name}; there are {programs:?}"
                );
            }
        }
    }
    assert!(checked > 3, "commands that name a test program: {checked}");
}

#[test]
fn a_test_program_is_read_out_of_a_command() {
    assert_eq!(named("cargo test -p a --test suite owner:: -- --test-threads 1"), ["suite"]);
    assert!(named("--test $name; --test-threads 1").is_empty());
}
