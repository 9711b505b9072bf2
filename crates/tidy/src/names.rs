//! Checks that no two public types of the workspace have the same name, so that a name has one
//! meaning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::workspace::root;

/// The names that several public types may share, each with the reason.
const SHARED: &[(&str, &str)] = &[];

/// The name of the public type that a line declares; `None` for a macro's `$name`.
fn public_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let public = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "))?;
    let (kind, rest) = public.split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "type", "union"].contains(&kind);
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
    name.filter(|name| is_type && !name.is_empty())
}

/// The names of the public types in a source file, except those in its unit tests.
fn public_types(text: &str) -> Vec<&str> {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().filter_map(public_type).collect()
}

/// The source files of the crates, except generated code and tests.
pub(crate) fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[test]
fn public_types_have_names_of_their_own() {
    let root = root();
    let mut files = Vec::new();
    for package in root.join("crates").read_dir().unwrap() {
        let src = package.unwrap().path().join("src");
        if src.is_dir() {
            sources(&src, &mut files);
        }
    }
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for name in public_types(&text) {
            let file = file.strip_prefix(&root).unwrap().display().to_string();
            places.entry(name.to_owned()).or_default().push(file);
        }
    }
    assert!(places.len() > 500, "{} public types were found", places.len());
    places.retain(|_, files| files.len() > 1);
    let mut faults = Vec::new();
    for (name, files) in &places {
        if !SHARED.iter().any(|(shared, _)| shared == name) {
            faults.push(format!(
                "several public types are called {name}: rename all but one, or list it in SHARED \
                 with the reason ({})",
                files.join(", ")
            ));
        }
    }
    for (shared, reason) in SHARED {
        assert!(!reason.is_empty(), "{shared} has no reason");
        if !places.contains_key(*shared) {
            faults.push(format!("only one public type is called {shared}: remove it from SHARED"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn public_types_are_found_in_each_form() {
    let text = "pub struct A;\n    pub(crate) enum B<'a> {\npub trait C: D {\n\
                struct Private;\npub(super) struct Near;\npub fn f() {}\npub type E = u8;\n\
                pub enum $name {\n#[cfg(test)]\nmod tests {\n    pub struct InTests;\n}\n";
    assert_eq!(public_types(text), ["A", "B", "C", "E"]);
}
