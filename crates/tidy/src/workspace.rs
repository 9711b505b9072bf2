//! The packages of the workspace and their targets, from `cargo metadata`, and the packages that the
//! shipped program is built from, from `cargo tree`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// The directory of the package's manifest.
    pub(crate) dir: PathBuf,
    pub(crate) targets: Vec<CargoTarget>,
    /// The names of the packages that the product code of this package depends on.
    pub(crate) dependencies: Vec<String>,
}

impl Package {
    /// The root files of the package's library and programs.
    pub(crate) fn product_roots(&self) -> impl Iterator<Item = &Path> {
        let product = |target: &&CargoTarget| matches!(target.kind.as_str(), "lib" | "bin");
        self.targets.iter().filter(product).map(|target| target.root.as_path())
    }
}

/// A library, program, test, benchmark or build script.
pub(crate) struct CargoTarget {
    pub(crate) name: String,
    /// The kind in cargo's terms: `lib`, `bin`, `test`, `bench`, `custom-build`.
    pub(crate) kind: String,
    /// The root source file.
    pub(crate) root: PathBuf,
}

/// The directory of the workspace's manifest.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap()
}

/// Every package of the workspace.
pub(crate) fn packages() -> Vec<Package> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let metadata: Value = serde_json::from_slice(&cargo(&arguments)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 15, "the packages of the workspace: {}", packages.len());
    packages.iter().map(package).collect()
}

/// The packages that the product code of the program `turnpike` is built from, of this workspace and
/// of others: the name and the features of each. A package is listed once for each user.
pub(crate) fn dependencies_of_the_program() -> Vec<(String, String)> {
    let arguments = ["tree", "--package", "turnpike", "--edges", "normal", "--prefix", "none"];
    let listed = cargo(&[&arguments[..], &["--format", "{p}\t{f}"]].concat());
    let listed = String::from_utf8(listed).unwrap();
    let package = |line: &str| {
        let (package, features) = line.split_once('\t').unwrap();
        let name = package.split(' ').next().unwrap();
        // cargo marks a package whose dependencies it has listed before.
        (name.to_owned(), features.trim_end_matches("(*)").trim_end().to_owned())
    };
    listed.lines().filter(|line| !line.is_empty()).map(package).collect()
}

/// The output of cargo, without access to the network.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let targets = value["targets"].as_array().unwrap().iter().map(|target| CargoTarget {
        name: text(&target["name"]),
        kind: text(&target["kind"][0]),
        root: text(&target["src_path"]).into(),
    });
    let dependencies = value["dependencies"].as_array().unwrap().iter();
    let of_product = dependencies.filter(|dependency| dependency["kind"].is_null());
    Package {
        dependencies: of_product.map(|dependency| text(&dependency["name"])).collect(),
        name: text(&value["name"]),
        dir: manifest.parent().unwrap().to_owned(),
        targets: targets.collect(),
    }
}
