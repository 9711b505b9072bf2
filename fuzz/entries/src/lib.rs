//! What the fuzz targets of binary formats do with an input. The targets call these functions, and so
//! does a test that replays the corpora of the repository, with the stable toolchain.
//!
//! ```text
//!  fuzz/fuzz_targets/NAME.rs  --- input ---> NAME(input): decodes, and panics if a property of what
//!  tests/replay.rs: fuzz/corpora/NAME/* -->             is decoded does not hold
//! ```
//!
//! Invariant: an input that is not well formed is an error of the decoder, never a panic.

#![expect(clippy::expect_used, reason = "a property that does not hold has to end the target")]

mod stored;
mod token;
mod wire;

pub use stored::{checkpoint, segment};
pub use token::token;
pub use wire::{record, sub_batch};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its file in `fuzz/fuzz_targets`, and of its folder in `fuzz/corpora`.
    pub name: &'static str,
    /// What it does with an input. Returns whether the input was well formed.
    pub run: fn(&[u8]) -> bool,
}

/// All targets of binary formats.
pub const TARGETS: [Target; 5] = [
    Target { name: "sub_batch", run: sub_batch },
    Target { name: "record", run: record },
    Target { name: "segment", run: segment },
    Target { name: "checkpoint", run: checkpoint },
    Target { name: "token", run: token },
];
