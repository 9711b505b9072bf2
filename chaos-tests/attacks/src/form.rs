//! The short form of the attacks, for the gate, and the long one, for scripts/nightly.

use std::time::Duration;

use anyhow::{Result, ensure};

/// The form of a run, by the environment variable `ATTACKS`: `long`, otherwise short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A few seconds for each attack, and nothing that is measured has to hold.
    Short,
    /// As many requests as the attacks were found with. The other client may wait at most
    /// [`Form::RATIO_MAX`] times as long as alone, see [`Form::check`].
    Long,
}

impl Form {
    /// By how much the p99 of the other client may grow.
    pub const RATIO_MAX: f64 = 2.0;
    /// A p99 below this is not compared: it says more about the machine than about the attack.
    const COMPARED_MIN: Duration = Duration::from_millis(20);
    /// The p99 of the other client while a client sends all that the machine can rate. The processes, the
    /// database and both clients then share the machine's processors, and the wait for a processor is
    /// many times as long as that for a node.
    const SATURATED_MAX: Duration = Duration::from_millis(500);

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

    /// In the long form: the other client waited at most twice as long as alone, or half a second
    /// while the machine `is_saturated`.
    ///
    /// # Errors
    /// It waited longer.
    pub fn check(self, alone: Duration, attacked: Duration, is_saturated: bool) -> Result<()> {
        let limit = match is_saturated {
            true => Self::SATURATED_MAX,
            false => alone.max(Self::COMPARED_MIN).mul_f64(Self::RATIO_MAX),
        };
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
        for (alone, attacked, saturated, holds) in [
            (50, 100, false, true),
            (50, 101, false, false),
            (1, 40, false, true),
            (1, 500, true, true),
            (1, 501, true, false),
        ] {
            let of = |form: Form| form.check(ms(alone), ms(attacked), saturated).is_ok();
            assert_eq!(of(Form::Long), holds, "{attacked}");
            assert!(of(Form::Short));
        }
    }
}
