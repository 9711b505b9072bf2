//! Finds the imports between the source files of a package, from the syntax trees of the files. If
//! a module only re-exports a name, the import is of the file that defines the name.
//!
//! ```text
//!  root file -> `mod` declarations -> modules, each with its file
//!                                        |  `use` trees, paths in code, paths in macro arguments
//!                                        v
//!                            Import: from file, to file, name
//! ```
//!
//! Not found: calls of methods, and implementations of traits, because they name no path. Items
//! under `#[cfg(test)]` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The path of a module below the crate's root; empty for the root.
type ModulePath = Vec<String>;

/// The maximum number of re-exports between a name and its definition.
const REEXPORTS_MAX: usize = 8;

/// A name that one file takes from another file of the same package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) name: String,
}

struct Module {
    file: PathBuf,
    /// The paths that the module's code names.
    paths: BTreeSet<Vec<String>>,
    /// The names that `use` brings into the module, each with its path.
    used: BTreeMap<String, Vec<String>>,
}

/// All imports between files of the package whose library or program has this root file.
pub(crate) fn imports(root: &Path) -> Vec<Import> {
    let mut modules = BTreeMap::new();
    read(root, root.parent().unwrap(), Vec::new(), &mut modules);
    let mut imports = BTreeSet::new();
    for (path, module) in &modules {
        for named in &module.paths {
            let Some((to, name)) = resolve(&modules, path, named, REEXPORTS_MAX) else { continue };
            let to = &modules[&to].file;
            if *to != module.file {
                imports.insert(Import { from: module.file.clone(), to: to.clone(), name });
            }
        }
    }
    imports.into_iter().collect()
}

/// The paths that each file of the package with this root file names, with their first word: a crate,
/// `crate`, `self`, `super`, or a name in scope.
pub(crate) fn named_paths(root: &Path) -> BTreeMap<PathBuf, BTreeSet<Vec<String>>> {
    let mut modules = BTreeMap::new();
    read(root, root.parent().unwrap(), Vec::new(), &mut modules);
    let mut named: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for module in modules.into_values() {
        named.entry(module.file).or_default().extend(module.paths);
    }
    named
}

/// Reads a file and the files that it declares as modules.
fn read(
    file: &Path,
    children_in: &Path,
    path: ModulePath,
    modules: &mut BTreeMap<ModulePath, Module>,
) {
    let text = fs::read_to_string(file).unwrap();
    let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_items(file, children_in, path, &tree.items, modules);
}

fn read_items(
    file: &Path,
    children_in: &Path,
    path: ModulePath,
    items: &[syn::Item],
    modules: &mut BTreeMap<ModulePath, Module>,
) {
    let mut paths = Paths::default();
    for item in items.iter().filter(|item| !is_test(item)) {
        let syn::Item::Mod(module) = item else {
            paths.visit_item(item);
            continue;
        };
        let name = module.ident.to_string();
        let mut below = path.clone();
        below.push(name.clone());
        let dir = children_in.join(&name);
        match &module.content {
            Some((_, items)) => read_items(file, &dir, below, items, modules),
            None => {
                let candidates = [children_in.join(format!("{name}.rs")), dir.join("mod.rs")];
                // A module with `#[path]` or in generated code is not part of the structure.
                if let Some(child) = candidates.iter().find(|child| child.exists()) {
                    read(child, &dir, below, modules);
                }
            }
        }
    }
    let module = Module { file: file.to_owned(), paths: paths.named, used: paths.used };
    modules.insert(path, module);
}

fn is_test(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// The paths in a module's code, except in its child modules.
#[derive(Default)]
struct Paths {
    named: BTreeSet<Vec<String>>,
    used: BTreeMap<String, Vec<String>>,
}

impl Paths {
    fn use_tree(&mut self, above: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = above.to_vec();
            if name != "self" || above.is_empty() {
                path.push(name.to_string());
            }
            path
        };
        let (path, name) = match tree {
            syn::UseTree::Path(tree) => return self.use_tree(&with(&tree.ident), &tree.tree),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.use_tree(above, tree));
            }
            syn::UseTree::Glob(_) => {
                let mut path = above.to_vec();
                path.push("*".to_owned());
                (path, None)
            }
            syn::UseTree::Name(tree) => (with(&tree.ident), with(&tree.ident).last().cloned()),
            syn::UseTree::Rename(tree) => (with(&tree.ident), Some(tree.rename.to_string())),
        };
        if let Some(name) = name {
            self.used.insert(name, path.clone());
        }
        self.named.insert(path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.named.insert(vec![item.ident.to_string()]);
    }

    /// A visibility such as `pub(crate)` holds a path that is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.named.insert(segments.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string().replace(" :: ", "::");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        for word in words.filter(|word| word.contains("::")) {
            self.named.insert(word.split("::").map(str::to_owned).collect());
        }
        visit::visit_macro(self, item);
    }
}

/// The module that defines what `named` means in the module `here`, and the name there.
fn resolve(
    modules: &BTreeMap<ModulePath, Module>,
    here: &[String],
    named: &[String],
    reexports: usize,
) -> Option<(ModulePath, String)> {
    let mut at = here.to_vec();
    let mut rest = named.iter();
    let first = rest.next()?;
    match first.as_str() {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop()?;
        }
        name => {
            at.push(name.to_owned());
            if !modules.contains_key(&at) {
                let mut whole =
                    modules.get(here)?.used.get(name).filter(|_| reexports > 0)?.clone();
                if whole.first() == named.first() {
                    return None;
                }
                whole.extend(rest.cloned());
                return resolve(modules, here, &whole, reexports - 1);
            }
        }
    }
    for name in rest {
        if name == "super" {
            at.pop()?;
            continue;
        }
        at.push(name.clone());
        if modules.contains_key(&at) {
            continue;
        }
        at.pop();
        let reexported = modules.get(&at)?.used.get(name).filter(|_| reexports > 0);
        let origin = reexported.and_then(|path| resolve(modules, &at, path, reexports - 1));
        return Some(origin.unwrap_or_else(|| (at, name.clone())));
    }
    // The path names a module. Only what is taken from the module is an import.
    None
}
