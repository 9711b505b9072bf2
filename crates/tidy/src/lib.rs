//! Checks of the workspace itself, as tests: nothing that was written as a test stays outside the build.
//!
//! ```text
//!   cargo metadata -> packages -> targets -> `mod` declarations -> files that are compiled
//!                                            .rs files on disk  -> all of them have to be among these
//! ```
//!
//! Every package keeps its integration tests in one program, `tests/suite.rs`, because each further
//! program is linked with all dependencies. The price is that a file in `tests/` is compiled only when
//! `suite.rs` declares it; the tests here fail for a file that nothing declares.

#[cfg(test)]
mod files;
#[cfg(test)]
mod references;
#[cfg(test)]
mod workspace;
