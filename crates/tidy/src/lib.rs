//! Checks of the workspace itself, as tests: every source file, and so every test, is compiled
//! (files.rs), commands in scripts and pages name existing test programs (references.rs), no two
//! public types share a name (names.rs), and crates, modules and files import each other in one
//! direction (structure.rs, with imports.rs).
//!
//! ```text
//!   cargo metadata -> packages -> targets -> `mod` declarations -> files that are compiled
//!                                            .rs files on disk  -> each must be among these
//! ```
//!
//! Every package keeps its integration tests in one program, `tests/suite.rs`, because each further
//! program has to be linked with all dependencies. Therefore a file in `tests/` is compiled only if
//! `suite.rs` declares it; the tests here fail for a file that no module declares.

#[cfg(test)]
mod files;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod names;
#[cfg(test)]
mod references;
#[cfg(test)]
mod structure;
#[cfg(test)]
mod workspace;
