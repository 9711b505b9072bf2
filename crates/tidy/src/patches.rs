//! Checks the patches that `scripts/patches` applies to the program: each still applies, names tests
//! that exist, and has its row in the table of `chaos-tests/README.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::root;

const DIR: &str = "chaos-tests/patches";
const README: &str = "chaos-tests/README.md";

struct Patch {
    name: String,
    file: PathBuf,
    /// The names of the tests that fail with the patch.
    tests: Vec<String>,
}

/// The patches in `dir`.
fn patches(dir: &Path) -> Vec<Patch> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|file| patch(&file)).collect()
}

fn patch(file: &Path) -> Patch {
    let at = file.display();
    let name = file.file_name().unwrap().to_string_lossy();
    let Some(name) = name.strip_suffix(".patch") else { panic!("{at} is not named NAME.patch") };
    let text = fs::read_to_string(file).unwrap();
    let (head, _) = text.split_once("\ndiff --git ").expect("a patch has a diff");
    let field = |name: &str| -> Vec<&str> {
        head.lines().filter_map(|line| line.strip_prefix(name)).collect()
    };
    let (commands, texts) = (field("Test: "), field("Fails with: "));
    assert!(!commands.is_empty(), "{at} needs a line `Test: COMMAND`");
    assert_eq!(commands.len(), texts.len(), "{at}: each `Test:` needs its `Fails with:`");
    assert!(texts.iter().all(|text| text.trim().len() > 3), "{at}: a text that any failure has");
    assert!(commands.iter().all(|command| command.contains("cargo test -p ")), "{at}");
    let tests = commands.iter().filter_map(|command| command.split([' ', ':']).next_back());
    Patch {
        name: name.to_owned(),
        file: file.to_owned(),
        tests: tests.map(str::to_owned).collect(),
    }
}

/// Whether the patch can be applied to the sources in `dir`; otherwise why not.
fn applies(patch: &Path, dir: &Path) -> Result<(), String> {
    let mut git = Command::new("git");
    // Without a repository, git takes the paths of the patch as relative to `dir`.
    git.args(["apply", "--check"]).arg(patch).current_dir(dir).env("GIT_DIR", dir.join(".no-git"));
    let output = git.output().expect("git can be started");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_patch_applies_to_the_present_sources() {
    let patches = patches(&root().join(DIR));
    assert!(patches.len() > 20, "{} patches in {DIR}", patches.len());
    let mut faults = Vec::new();
    for Patch { name, file, .. } in patches {
        if let Err(why) = applies(&file, &root()) {
            faults.push(format!(
                "{name} no longer applies; make the same change to the present code, and write its \
                 diff to {DIR}/{name}.patch:\n{why}"
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_patch_of_another_text_is_reported() {
    let dir = std::env::temp_dir().join(format!("turnpike-tidy-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let patch = dir.join("Two.patch");
    let diff = "a\n\ndiff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-two\n+three\n";
    fs::write(&patch, diff).unwrap();
    fs::write(dir.join("f"), "two\n").unwrap();
    assert_eq!(applies(&patch, &dir), Ok(()));
    fs::write(dir.join("f"), "four\n").unwrap();
    let refused = applies(&patch, &dir).unwrap_err();
    fs::remove_dir_all(&dir).unwrap();
    assert!(refused.contains("patch does not apply"), "{refused}");
}

/// The rows of the table of patches, by the first column.
fn rows(readme: &str) -> Vec<(&str, &str)> {
    let (_, after) = readme.split_once("\n| patch |").expect("the table of patches");
    let rows = after.lines().skip(2).take_while(|row| row.starts_with('|'));
    rows.map(|row| (row.split('`').nth(1).unwrap_or(row), row)).collect()
}

#[test]
fn every_patch_is_in_the_table_with_tests_that_exist() {
    let readme = fs::read_to_string(root().join(README)).unwrap();
    let rows = rows(&readme);
    let patches = patches(&root().join(DIR));
    let names: BTreeSet<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
    for (name, _) in &rows {
        assert!(names.contains(name), "{README}: there is no patch {name}");
    }
    assert_eq!(rows.len(), patches.len(), "{README}: each patch has one row");
    for Patch { name, tests, .. } in &patches {
        let row = rows.iter().find(|(row, _)| row == name);
        let (_, row) = row.unwrap_or_else(|| panic!("{README}: {name} has no row"));
        let files = row.split('`').filter(|quoted| quoted.ends_with(".rs"));
        let sources: Vec<String> = files
            .map(|file| fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file}")))
            .collect();
        for test in tests {
            let function = format!("fn {test}(");
            assert!(row.contains(test.as_str()), "{README}: the row of {name} lacks {test}");
            assert!(sources.iter().any(|text| text.contains(&function)), "{name}: no test {test}");
        }
    }
}
