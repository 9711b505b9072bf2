//! Mutants: each check in the code that protects an invariant can be switched off by its name, so
//! that the test suite can prove that a test fails without the check.
//!
//! ```text
//!   the code      if !off(Check::WaitingKeys) && ...    in a release, off(...) is always false
//!   a test        all_caught(&[(Check::WaitingKeys, "p35_...", "expected text")])
//!                     runs the test p35_... in a separate process with the check off; it must
//!                     fail, and its output must contain "expected text"
//!   by hand       TURNPIKE_MUTANT=Barrier cargo test -p simulation one -- --nocapture
//!
//!   check.rs      the list of the checks          suite.rs   `off`, `all_caught`
//! ```
//!
//! Invariants:
//! - Where a check is off, the code leaves out a condition, a bound or a step, so `off` is negated or
//!   an operand of `||` (a test of `crates/tidy` reads the calls). Code that only a mutant runs is not
//!   in the program: it is a patch in `chaos-tests/patches`.
//! - At most one check is off in a process, from the start of the process to its end.
//! - A release can't switch a check off. The feature `mutants` compiles the switch in, and only
//!   dev-dependencies enable the feature. Without it, [`off`] is a constant.
//! - The table in `chaos-tests/README.md` names the test that fails without each check; a test in
//!   `chaos-tests/simulation` compares the table with [`Check::ALL`].
//!
//! Not shown: that the list is complete. A check that it does not name may have no test.

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
