//! The short form of the attacks, for the gate, and the long one, for scripts/nightly.

use std::time::Duration;

use anyhow::{Result, ensure};

/// The form of a run, by the environment variable `ATTACKS`: `long`, otherwise short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A few seconds for each attack, and nothing that is measured has to hold.
    Short,
    /// As many requests as the attacks were found with. The other client may wait at most
    /// [`Form::RATIO_MAX`] times as long as alone.
    Long,
}

impl Form {
    /// By how much the p99 of the other client may grow.
    pub const RATIO_MAX: f64 = 2.0;
    /// A p99 below this is not compared: it says more about the machine than about the attack.
    const COMPARED_MIN: Duration = Duration::from_millis(20);

    /// The form of this run.
    pub fn of_this_run() -> Self {
        match std::env::var("ATTACKS").as_deref() {
            Ok("long") => Self::Long,
            _ => Self::Short,
        }
    }

    /// `short` or `long`.
    pub const fn pick(self, short: usize, long: usize) -> usize {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }

    /// In the long form: the other client waited at most twice as long as alone.
    ///
    /// # Errors
    /// It waited longer.
    pub fn check(self, alone: Duration, attacked: Duration) -> Result<()> {
        let limit = alone.max(Self::COMPARED_MIN).mul_f64(Self::RATIO_MAX);
        ensure!(
            self == Self::Short || attacked <= limit,
            "the other client's p99 rose from {alone:?} to {attacked:?}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_long_form_compares_times() {
        let ms = Duration::from_millis;
        for (alone, attacked, holds) in [(50, 100, true), (50, 101, false), (1, 40, true)] {
            assert_eq!(Form::Long.check(ms(alone), ms(attacked)).is_ok(), holds, "{attacked}");
            assert!(Form::Short.check(ms(alone), ms(attacked)).is_ok());
        }
    }
}
