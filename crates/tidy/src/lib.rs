//! Checks of the workspace itself, as tests. The crate has no other code.
//!
//! ```text
//!   cargo metadata -> packages, targets (workspace.rs)
//!                        |
//!     files.rs           +-> `mod` declarations -> the files that are compiled
//!                        |   .rs files on disk  -> each must be among these
//!     references.rs      +-> test programs; each `--test NAME` in scripts and pages must be one
//!     structure.rs       +-> imports (imports.rs); crates, modules and files must import each
//!                            other in one direction
//!     duplicates.rs      cargo tree -> no package in two versions
//!     names.rs           crates/*/src -> public types; no two may have the same name
//!     checks.rs          crates/*/src -> calls of `off`; each must leave a check out, and add no code
//!     patches.rs         chaos-tests/patches -> each applies, and is in the table with its tests
//!     defaults.rs        crates/*/src -> dropped errors and answers; each needs a reason
//! ```
//!
//! Every package keeps its integration tests in one program, `tests/suite.rs`, because each further
//! program has to be linked with all dependencies. Therefore a file in `tests/` is compiled only if
//! `suite.rs` declares it; the tests here fail for a file that no module declares.
//!
//! Not checked: that a filter in a command matches a test, and the names of anything but types.

#[cfg(test)]
mod checks;
#[cfg(test)]
mod defaults;
#[cfg(test)]
mod duplicates;
#[cfg(test)]
mod files;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod names;
#[cfg(test)]
mod patches;
#[cfg(test)]
mod references;
#[cfg(test)]
mod structure;
#[cfg(test)]
mod workspace;
