//! Checks the structure of the workspace: the order of the crates, the order of the folders in a
//! crate, and that the files of a package do not import each other in cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use crate::imports::{Import, imports, named_paths};
use crate::workspace::{Package, dependencies_of_the_program, packages, root};

/// The packages in the order of their dependencies: the product code of a package depends only on
/// packages of earlier lines. Packages of one line do not depend on each other.
const PACKAGES: &[&[&str]] = &[
    &["turnpike-mutants", "turnpike-types", "test-cases"],
    &["turnpike-proto", "turnpike-shares"],
    &["turnpike-plan", "turnpike-client", "turnpike-listen", "test-network"],
    &["turnpike-tariff"],
    &["turnpike-segment"],
    &["turnpike-store"],
    &["turnpike-account", "turnpike-store-conformance"],
    &["turnpike-collect"],
    &["turnpike-trial"],
    &["turnpike-access"],
    &["turnpike-node", "turnpike-front", "turnpike-feed"],
    &["turnpike-harness"],
    &["turnpike-drill"],
    &["turnpike"],
    &["chaos-tests", "protocol-model", "tidy", "fuzz-entries"],
    &["simulation", "attacks"],
];

/// The folders and files in `src` of a package, in an order in which each imports only those before
/// it. `lib.rs` may import all.
const MODULES: &[(&str, &[&str])] = &[
    (
        "turnpike-plan",
        &["calendar", "language", "tables", "machine", "compile", "primitives", "published"],
    ),
    (
        "turnpike-tariff",
        &[
            "settings",
            "notice",
            "codes",
            "profiles",
            "catalogue",
            "lent",
            "tariff",
            "resolve",
            "tariffs",
            "dues",
            "booking",
        ],
    ),
    (
        "turnpike-store",
        &[
            "error",
            "address",
            "clock",
            "failpoint",
            "audit",
            "log",
            "ownership",
            "topology",
            "checkpoints",
            "catalogue",
            "identities",
            "cursors",
            "access",
            "database",
            "interpose",
            "meter",
            "memory",
            "sql",
            "sqlite",
            "postgres",
            "open",
        ],
    ),
    ("turnpike-harness", &["process", "postgres", "proxy", "oracle"]),
    (
        "turnpike-node",
        &[
            "config",
            "gauges",
            "catalogue",
            "shared",
            "replica",
            "owner",
            "membership",
            "serving",
            "takeover",
            "node",
        ],
    ),
    (
        "turnpike-front",
        &["error", "config", "chance", "gauges", "routing", "core", "ingest", "services", "health"],
    ),
];

/// Folders and files whose product code decides without I/O: the package, the path in its `src`, and
/// the least number of its files.
const WITHOUT_IO: &[(&str, &str, usize)] =
    &[("turnpike-node", "owner/core", 15), ("turnpike-tariff", "", 9)];

/// The crates that such code must not name.
const IO_CRATES: &[&str] = &["tokio", "futures", "sqlx", "turnpike_store"];

/// Files that may import each other: two files and the reason.
const CYCLES: &[(&str, &str, &str)] = &[];

/// The packages whose files still import each other in cycles. A package without a cycle must not
/// be listed, and none is to be added.
const CYCLIC_PACKAGES: &[&str] = &[];

/// Groups of files that import each other in a cycle.
fn cycles(imports: &[Import]) -> Vec<BTreeSet<&Path>> {
    let edges = imports.iter().map(|import| (import.from.as_path(), import.to.as_path()));
    let graph: DiGraphMap<&Path, ()> = DiGraphMap::from_edges(edges);
    let groups = tarjan_scc(&graph).into_iter().filter(|group| group.len() > 1);
    groups.map(|group| group.into_iter().collect()).collect()
}

/// The names that the files of a group import from each other, by the pair of files.
fn names_between<'a>(
    imports: &'a [Import],
    group: &BTreeSet<&Path>,
) -> BTreeMap<(&'a Path, &'a Path), Vec<&'a str>> {
    let mut between: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for Import { from, to, name } in imports {
        if group.contains(from.as_path()) && group.contains(to.as_path()) {
            between.entry((from.as_path(), to.as_path())).or_default().push(name);
        }
    }
    between
}

/// The imports of all files of a package, with paths relative to the workspace.
fn relative_imports(package: &Package) -> Vec<Import> {
    let root = root();
    // Files that a package includes from elsewhere keep their whole path.
    let short = |file: PathBuf| match file.strip_prefix(&root) {
        Ok(short) => short.to_owned(),
        Err(_) => file,
    };
    let found = package.product_roots().flat_map(imports);
    found.map(|one| Import { from: short(one.from), to: short(one.to), ..one }).collect()
}

#[test]
fn no_files_of_a_package_import_each_other_in_a_cycle() {
    let mut seen = 0;
    let mut faults = Vec::new();
    let mut unused: BTreeSet<_> = CYCLES.iter().collect();
    for package in packages() {
        let imports = relative_imports(&package);
        seen += imports.len();
        let is_allowed = |import: &Import| {
            CYCLES
                .iter()
                .find(|(from, to, _)| import.from == Path::new(from) && import.to == Path::new(to))
        };
        let mut checked = imports.clone();
        for used in imports.iter().filter_map(is_allowed) {
            unused.remove(used);
        }
        checked.retain(|import| is_allowed(import).is_none());
        let groups = cycles(&checked);
        if CYCLIC_PACKAGES.contains(&package.name.as_str()) {
            if groups.is_empty() {
                faults.push(format!("{}: remove it from CYCLIC_PACKAGES", package.name));
            }
            continue;
        }
        for group in groups {
            faults.push(format!("{} files of {} import each other:", group.len(), package.name));
            for ((from, to), names) in names_between(&checked, &group) {
                let (from, to) = (from.display(), to.display());
                faults.push(format!("  {from} -> {to}: {}", names.join(", ")));
            }
        }
    }
    assert!(seen > 1_000, "{seen} imports were found");
    faults.extend(
        unused.iter().map(|(from, to, _)| {
            format!("{from} does not import {to}: remove the pair from CYCLES")
        }),
    );
    assert!(CYCLES.len() < 10, "too many exceptions: {}", CYCLES.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The folder or file directly below `src` that a file belongs to; `None` for the crate's root.
fn module_of(file: &Path, src: &Path) -> Option<String> {
    let first = file.strip_prefix(src).ok()?.components().next()?;
    let name = Path::new(first.as_os_str()).file_stem()?.to_string_lossy().into_owned();
    (name != "lib" && name != "main").then_some(name)
}

#[test]
fn the_modules_of_a_crate_import_only_modules_before_them() {
    let packages = packages();
    let mut faults = Vec::new();
    for (name, order) in MODULES {
        let package = packages.iter().find(|package| package.name == *name).unwrap();
        let src = package.dir.strip_prefix(root()).unwrap().join("src");
        let place = |module: &str| order.iter().position(|known| *known == module);
        let imports = relative_imports(package);
        assert!(imports.len() > 20, "{name}: {} imports", imports.len());
        for import in imports {
            let Some(from) = module_of(&import.from, &src) else { continue };
            let file = import.from.display();
            match module_of(&import.to, &src) {
                None => faults.push(format!("{file} imports {} from the root", import.name)),
                Some(to) if to == from => {}
                Some(to) => match (place(&from), place(&to)) {
                    (Some(from), Some(to)) if to < from => {}
                    (Some(_), Some(_)) => faults.push(format!(
                        "{file} imports {} from {to}, which comes later in the order {order:?}",
                        import.name
                    )),
                    _ => faults.push(format!("{name}: {from} or {to} is not in MODULES")),
                },
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_package_depends_only_on_packages_before_it() {
    let place = |name: &str| PACKAGES.iter().position(|line| line.contains(&name));
    let packages = packages();
    let mut faults = Vec::new();
    for package in &packages {
        let Some(own) = place(&package.name) else {
            faults.push(format!("{}: give it a line in PACKAGES", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            if place(dependency).is_some_and(|line| line >= own) {
                faults.push(format!("{} must not depend on {dependency}", package.name));
            }
        }
    }
    for name in PACKAGES.iter().flat_map(|line| line.iter()) {
        if !packages.iter().any(|package| package.name == *name) {
            faults.push(format!("{name} is no package: remove it from PACKAGES"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The files below `dir` in the package's `src`, each with the crates of [`IO_CRATES`] that it names.
fn io_crates_of(package: &Package, dir: &str) -> BTreeMap<PathBuf, BTreeSet<&'static str>> {
    let below = package.dir.join("src").join(dir);
    let files = package.product_roots().flat_map(named_paths);
    let files = files.filter(|(file, _)| file.starts_with(&below));
    let crates_of = |paths: BTreeSet<Vec<String>>| {
        let is_named = |name: &&&str| paths.iter().any(|path| path[0] == **name);
        IO_CRATES.iter().filter(is_named).copied().collect()
    };
    files.map(|(file, paths)| (file, crates_of(paths))).collect()
}

#[test]
fn the_core_of_an_owner_and_the_tariff_name_no_crate_that_does_io() {
    let packages = packages();
    let package = |name: &str| packages.iter().find(|package| package.name == name).unwrap();
    let mut faults = Vec::new();
    for (name, dir, files_min) in WITHOUT_IO {
        let files = io_crates_of(package(name), dir);
        assert!(files.len() >= *files_min, "{name} {dir}: {} files", files.len());
        for (file, crates) in files {
            let file = file.strip_prefix(root()).unwrap().display().to_string();
            faults.extend(crates.iter().map(|io| format!("{file} names {io}: it must do no I/O")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The search finds these crates where they are used.
    let shell = io_crates_of(package("turnpike-node"), "owner/shell");
    let found: BTreeSet<&str> = shell.into_values().flatten().collect();
    assert!(found.contains("tokio") && found.contains("turnpike_store"), "{found:?}");
}

#[test]
fn the_shipped_program_contains_nothing_that_only_tests_use() {
    let tree = dependencies_of_the_program();
    let names: BTreeSet<&str> = tree.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.len() > 100, "{} packages were found", names.len());
    assert!(names.contains("turnpike-node"), "packages of the workspace are missing");
    let only_tests = |(name, features): &&(String, String)| {
        name.starts_with("test-") || features.split(',').any(|feature| feature == "tests")
    };
    let faults: Vec<_> = tree.iter().filter(only_tests).collect();
    assert!(faults.is_empty(), "crates/turnpike needs these packages (features): {faults:?}");
}

#[test]
fn imports_through_reexports_and_macros_are_found() {
    let dir = std::env::temp_dir().join(format!("tidy-imports-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::deep::Deep;\n");
    write("a.rs", "use crate::Deep;\nuse crate::c;\nfn f(_: Deep) { g!(\"{}\", c::VALUE) }\n");
    write("b/mod.rs", "pub(crate) mod deep;\n#[cfg(test)]\nmod tests { use crate::a::f; }\n");
    write("b/deep.rs", "pub(crate) struct Deep;\nimpl Deep { fn s() { super::super::c::f() } }\n");
    write("c.rs", "pub(crate) const VALUE: u8 = 0;\npub(super) fn f() {}\n");
    let found: Vec<String> = imports(&dir.join("lib.rs"))
        .iter()
        .map(|Import { from, to, name }| {
            let short = |file: &Path| file.strip_prefix(&dir).unwrap().display().to_string();
            format!("{} {} {name}", short(from), short(to))
        })
        .collect();
    std::fs::remove_dir_all(&dir).unwrap();
    let expected =
        ["a.rs b/deep.rs Deep", "a.rs c.rs VALUE", "b/deep.rs c.rs f", "lib.rs b/deep.rs Deep"];
    assert_eq!(found, expected);
}
