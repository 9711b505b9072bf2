//! The packages of the workspace and their targets, from `cargo metadata`.

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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 15, "the packages of the workspace: {}", packages.len());
    packages.iter().map(package).collect()
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
