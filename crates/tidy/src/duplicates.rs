//! Checks that the program is compiled from one version of each package.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::workspace::root;

/// Packages of which several versions are compiled, and the packages that require another version
/// than the rest.
const DUPLICATES: &[(&[&str], &str)] = &[
    (
        &["sha2", "digest", "block-buffer", "crypto-common", "cpufeatures"],
        "sha2 0.10 for sqlx-core, 0.11 for sqlx-postgres",
    ),
    (&["getrandom"], "0.2 for ring, 0.3 for ahash (arrow), 0.4 for rand"),
    (&["rand", "rand_core"], "0.9 for metrics-util"),
    (&["hashbrown", "foldhash"], "0.16 for sqlx-core and metrics-util, 0.15 for petgraph (prost)"),
    (&["syn"], "2 for the macros of prost, strum, tracing, pin-project and zerocopy"),
    (&["unicode-width"], "0.1 for miette (protox)"),
];

/// The versions of each package that the program is compiled from, build scripts and macros included.
fn versions() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", "turnpike", "--edges", "normal,build", "--prefix", "none"])
        .args(["--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let mut words = line.split(' ').map(str::to_owned);
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    versions
}

#[test]
fn the_program_is_compiled_from_one_version_of_each_package() {
    let versions = versions();
    assert!(versions.len() > 200, "{} packages were found", versions.len());
    let known: BTreeSet<&str> =
        DUPLICATES.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    let several = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let several: BTreeMap<&str, _> = several.map(|(name, all)| (name.as_str(), all)).collect();
    let added = several.iter().filter(|(name, _)| !known.contains(**name)).map(|(name, all)| {
        format!("{name} {all:?}: choose one version (cargo tree --invert {name}), or list it")
    });
    let gone = known.iter().filter(|name| !several.contains_key(**name));
    let gone = gone.map(|name| format!("{name} has one version: remove it from DUPLICATES"));
    let faults: Vec<String> = added.chain(gone).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
