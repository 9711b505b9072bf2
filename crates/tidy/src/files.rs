//! Checks that every source file belongs to a target, and that each package has one test program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::{Package, packages, root};

/// Adds to `found` the file `file` and all files that it declares as modules, directly or
/// indirectly.
fn compiled(file: &Path, is_root: bool, found: &mut BTreeSet<PathBuf>) {
    if !found.insert(file.canonicalize().unwrap()) {
        return;
    }
    let text = fs::read_to_string(file).unwrap();
    let dir = file.parent().unwrap();
    let stem = file.file_stem().unwrap();
    let modules = if is_root || stem == "mod" { dir.to_owned() } else { dir.join(stem) };
    let mut path_above = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path_above = rest.split('"').next();
            continue;
        }
        if let Some(name) = declared(line) {
            let at = match path_above {
                Some(path) => vec![dir.join(path)],
                None => vec![modules.join(format!("{name}.rs")), modules.join(name).join("mod.rs")],
            };
            // A declaration without a file is text within a string: a real one would not compile.
            if let Some(child) = at.iter().find(|child| child.exists()) {
                compiled(child, false, found);
            }
        }
        if !line.starts_with("#[") {
            path_above = None;
        }
    }
}

/// The name of the module that this line declares to be in another file.
fn declared(line: &str) -> Option<&str> {
    let without_visibility = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => line,
    };
    let name = without_visibility.trim_start().strip_prefix("mod ")?.strip_suffix(';')?;
    Some(name.trim())
}

/// Adds to `found` every `.rs` file below `dir`, except those of nested packages.
fn sources(dir: &Path, is_package: bool, found: &mut Vec<PathBuf>) {
    if !is_package && dir.join("Cargo.toml").exists() {
        return;
    }
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with("target") && !name.starts_with('.') {
            sources(&path, false, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.canonicalize().unwrap());
        }
    }
}

/// The source files of a package that no target compiles.
fn forgotten(package: &Package) -> Vec<PathBuf> {
    let (mut in_build, mut on_disk) = (BTreeSet::new(), Vec::new());
    for target in &package.targets {
        compiled(&target.root, true, &mut in_build);
    }
    sources(&package.dir, true, &mut on_disk);
    assert!(on_disk.len() >= package.targets.len(), "{}", package.name);
    on_disk.retain(|file| !in_build.contains(file));
    on_disk
}

#[test]
fn every_source_file_is_compiled_so_that_no_test_is_silently_left_out() {
    let forgotten: Vec<PathBuf> = packages().iter().flat_map(forgotten).collect();
    let shown: Vec<String> = forgotten
        .iter()
        .map(|file| {
            let file = file.strip_prefix(root()).unwrap().display().to_string();
            format!("{file} belongs to no target: declare it with `mod` (tests: in tests/suite.rs)")
        })
        .collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

#[test]
fn the_integration_tests_of_a_package_are_one_program() {
    for package in packages() {
        let tests: Vec<&str> = package
            .targets
            .iter()
            .filter(|target| target.kind == "test")
            .map(|target| target.name.as_str())
            .collect();
        assert!(
            tests.len() < 2,
            "{} has the test programs {tests:?}: make them modules of tests/suite.rs, each program \
             is linked separately",
            package.name
        );
    }
}

#[test]
fn a_file_that_nothing_declares_is_found() {
    let dir = std::env::temp_dir().join(format!("tidy-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("Cargo.toml", "");
    write(
        "tests/suite.rs",
        "mod one;\n#[path = \"other/odd.rs\"]\nmod two;\npub(crate) mod three;\n",
    );
    for file in ["one.rs", "other/odd.rs", "three/mod.rs", "three/below.rs", "left.rs"] {
        write(&format!("tests/{file}"), if file == "three/mod.rs" { "mod below;\n" } else { "" });
    }
    write("nested/Cargo.toml", "");
    write("nested/src/lib.rs", "");
    let target = crate::workspace::CargoTarget {
        name: "suite".to_owned(),
        kind: "test".to_owned(),
        root: dir.join("tests/suite.rs"),
    };
    let package = Package {
        name: "sample".to_owned(),
        dir: dir.clone(),
        targets: vec![target],
        dependencies: Vec::new(),
    };
    let found = forgotten(&package);
    let left = dir.join("tests/left.rs").canonicalize().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(found, [left]);
}
