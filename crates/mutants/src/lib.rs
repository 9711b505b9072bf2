//! Mutants: each check in the code that protects an invariant can be switched off by its name, so
//! that the test suite can prove that a test fails without the check.
//!
//! ```text
//!   the code      if !off(Check::PendingKeys) && ...    in a release, off(...) is always false
//!   a test        all_caught(&[(Check::PendingKeys, "i2_...", "expected text")])
//!                     runs the test i2_... in a separate process with the check off; it must
//!                     fail, and its output must contain "expected text"
//!   by hand       TURNPIKE_MUTANT=PendingKeys cargo test -p simulation one -- --nocapture
//! ```
//!
//! The checks are listed in check.rs. At most one check is off in a process, from its start to its
//! end. The feature `mutants` compiles the switch in. Only dev-dependencies enable the feature, so
//! that `cargo build -p turnpike` leaves the switch out: there, [`off`] is a constant.
//!
//! The table in `chaos-tests/README.md` names the test that catches each mutant; a test in that
//! crate compares the table with [`Check::ALL`].

mod check;
#[cfg(feature = "mutants")]
mod suite;

pub use check::Check;
#[cfg(feature = "mutants")]
pub use suite::{MUTANT, all_caught, off};

/// Whether this check is switched off. Always false in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn off(_: Check) -> bool {
    false
}
