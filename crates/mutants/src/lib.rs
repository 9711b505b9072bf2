//! Mutants: each line of the code that protects an invariant can be switched off by its name, so
//! that the suite proves that it would notice.
//!
//! ```text
//!   the code      if !off(Line::PendingKeys) && ...    a constant, and no code, in a release
//!   a test        all_caught(&[(Line::PendingKeys, "i2_...", "how")])
//!                                                  that test, in a process of its own with the
//!                                                  line off, has to fail, and to say how
//!   by hand       TURNPIKE_MUTANT=PendingKeys cargo test -p simulation one -- --nocapture
//! ```
//!
//! One line is off at a time, for a whole process: what a process protects does not change while
//! it runs. The feature `mutants` compiles the switch in. Only dev-dependencies ask for it, so that
//! `cargo build -p turnpike` leaves it out: there, [`off`] is a constant.
//!
//! The table of what catches which is in `chaos-tests/README.md`; a test there holds it against
//! [`Line::ALL`].

mod line;
#[cfg(feature = "mutants")]
mod suite;

pub use line::Line;
#[cfg(feature = "mutants")]
pub use suite::{MUTANT, all_caught, off};

/// Is this line switched off? Never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn off(_: Line) -> bool {
    false
}
