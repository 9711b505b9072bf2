//! Lists the cases of the conformance suite, so that a new case runs for every store.
//!
//! A case is a function `pub async fn NAME(s: &TestedStore)` in a file of `src/`. The list is the
//! macro `each_conformance_case`, which `src/lib.rs` includes.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new("src");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    sources(folder, &mut files)?;
    files.sort();
    let mut list = String::new();
    for file in &files {
        let module = module_of(file.strip_prefix(folder)?).ok_or("a file without name")?;
        for case in cases(&std::fs::read_to_string(file)?) {
            writeln!(list, "            {module}: {case},")?;
        }
    }
    if list.is_empty() {
        return Err("src has no cases".into());
    }
    let text = format!(
        "/// Every case of the suite; `conformance_tests` makes a test of each.\n\
         #[doc(hidden)]\n\
         #[macro_export]\n\
         macro_rules! each_conformance_case {{\n    \
             ($subject:path) => {{\n        \
                 $crate::conformance_tests! {{\n            $subject;\n{list}        }}\n    \
             }};\n\
         }}\n"
    );
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("conformance_cases.rs"), text)?;
    Ok(())
}

/// The source files in a folder and in the folders below it.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// The path of the module of a file, such as `log::fence`.
fn module_of(file: &Path) -> Option<String> {
    let names = file.with_extension("");
    let names: Option<Vec<&str>> = names.iter().map(|name| name.to_str()).collect();
    Some(names?.join("::"))
}

/// The names of the cases in the text of a file, in order of appearance.
fn cases(text: &str) -> Vec<&str> {
    let functions = text.split("\npub async fn ").skip(1);
    let is_case = |arguments: &str| {
        arguments.split_once(')').is_some_and(|(one, _)| {
            one.trim()
                .trim_end_matches(',')
                .split_once(": &")
                .is_some_and(|(_, of)| of == "TestedStore")
        })
    };
    functions
        .filter_map(|function| function.split_once('('))
        .filter_map(|(name, arguments)| is_case(arguments).then_some(name))
        .collect()
}
