//! The number of cases that a property test runs: the number that the test names, unless an
//! environment variable changes it for all property tests.
//!
//! ```text
//!   proptest! {
//!       #![proptest_config(test_cases::cases(64))]      64 in scripts/test
//!                                                       640 with CASES_TIMES=10 (scripts/nightly)
//!                                                       1000 with PROPTEST_CASES=1000, if
//!                                                       CASES_TIMES is not set
//! ```
//!
//! Invariants: a value of `CASES_TIMES` that is not a whole number above zero fails the test, so
//! that no test runs without a case. A failing case is printed and not written to a file.
//!
//! The usual number of cases is drawn from a fixed seed, so that `scripts/test` gives one result for
//! one commit. With either variable set, and so in `scripts/nightly`, each run draws other cases.

use proptest::test_runner::{Config, RngSeed};

/// The environment variable that multiplies the cases of every property test.
pub const TIMES: &str = "CASES_TIMES";
/// The seed of the usual cases, unless `PROPTEST_RNG_SEED` is set.
const SEED: u64 = 1;

/// Returns a proptest configuration with `usual` cases, times the value of [`TIMES`]. If [`TIMES`]
/// is not set, `PROPTEST_CASES` replaces the number, if it is set. A failing case is printed and
/// not written to a file; add it as a test of its own.
///
/// If neither variable is set, the cases are the same in each run.
///
/// # Panics
/// When [`TIMES`] is no whole number above zero.
pub fn cases(usual: u32) -> Config {
    let default = Config::default();
    let times = std::env::var(TIMES).ok();
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = match &times {
        Some(text) => usual.saturating_mul(times_of(text)),
        None if is_set => default.cases,
        None => usual,
    };
    let is_usual = times.is_none() && !is_set;
    let rng_seed = match default.rng_seed {
        RngSeed::Random if is_usual => RngSeed::Fixed(SEED),
        given => given,
    };
    Config { cases, failure_persistence: None, rng_seed, ..default }
}

fn times_of(text: &str) -> u32 {
    let times = text.parse().ok().filter(|times| *times > 0);
    times.unwrap_or_else(|| panic!("{TIMES}={text}: write a whole number above zero"))
}

#[cfg(test)]
mod tests {
    use super::times_of;

    #[test]
    fn a_factor_is_a_whole_number_above_zero() {
        assert_eq!(times_of("10"), 10);
        for wrong in ["0", "", "-1", "ten"] {
            assert!(std::panic::catch_unwind(|| times_of(wrong)).is_err(), "{wrong}");
        }
    }
}
