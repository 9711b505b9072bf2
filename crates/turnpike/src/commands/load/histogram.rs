//! Quantiles of durations, without keeping each duration.

use std::time::Duration;
use turnpike_types::capped;

use hdrhistogram::Histogram as Counts;

/// The number of decimal digits that are kept of a duration: the error of quantiles is below 1 %.
const DIGITS: u8 = 2;

/// Counts of durations in whole microseconds, and the longest duration exactly.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Counts<u64>,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = Counts::new(DIGITS);
        let Ok(counts) = counts else { unreachable!("{DIGITS} digits are within 0 to 5") };
        Self { counts, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = capped(duration.as_micros());
        let counted = self.counts.record(micros);
        assert!(counted.is_ok(), "a histogram without a limit has no place for {micros} us");
        self.max = self.max.max(duration);
    }

    /// Adds the counts of another histogram.
    pub(super) fn add(&mut self, other: &Self) {
        self.counts += &other.counts;
        self.max = self.max.max(other.max);
    }

    /// The quantile for the fraction `part`, from 0 to 1.
    pub(super) fn at(&self, part: f64) -> Duration {
        Duration::from_micros(self.counts.value_at_quantile(part)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for micros in micros {
            histogram.record(Duration::from_micros(micros));
        }
        histogram
    }

    #[test]
    fn quantiles_are_within_one_percent() {
        let histogram = of(1..=10_000);
        for (part, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.at(part).as_micros() as f64;
            assert!((found - expected).abs() <= expected / 100.0, "{part}: {found}");
        }
        assert_eq!(Histogram::default().at(0.5), Duration::ZERO);
    }

    #[test]
    fn the_longest_duration_is_exact_and_no_duration_is_too_long() {
        let years = Duration::from_secs(1 << 32);
        for longest in [Duration::from_nanos(1_234_567_891), years] {
            let mut histogram = of([0, 17]);
            histogram.record(longest);
            assert_eq!(histogram.at(1.0), longest);
            assert_eq!(histogram.at(0.5), Duration::from_micros(17));
        }
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert!(histogram.at(0.5) > years);
    }

    #[test]
    fn a_sum_has_the_quantiles_of_all_durations() {
        let mut sum = of(1..=5_000);
        sum.add(&Histogram::default());
        sum.add(&of(5_001..=10_000));
        let all = of(1..=10_000);
        for part in [0.0, 0.01, 0.5, 0.75, 0.99, 1.0] {
            assert_eq!(sum.at(part), all.at(part), "{part}");
        }
    }
}
