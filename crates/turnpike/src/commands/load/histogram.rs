//! A histogram of durations. The width of a bucket is 1/32 of its value.

use std::time::Duration;
use turnpike_types::capped;

/// The number of bits of a value that are kept in addition to its order of magnitude.
const BITS: u32 = 5;

/// Counts of durations; the error of quantiles is about 3 %.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    max: Duration,
}

impl Histogram {
    /// Counts a duration, in whole microseconds.
    pub(super) fn record(&mut self, duration: Duration) {
        let place = bucket_index(capped(duration.as_micros()));
        if place >= self.buckets.len() {
            self.buckets.resize(place + 1, 0);
        }
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.max = self.max.max(duration);
    }

    /// Adds the counts of another histogram.
    pub(super) fn add(&mut self, other: &Self) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.max = self.max.max(other.max);
    }

    /// The quantile for the fraction `part`, from 0 to 1.
    pub(super) fn at(&self, part: f64) -> Duration {
        let total: u64 = self.buckets.iter().sum();
        let wanted = (total as f64 * part).ceil() as u64;
        let mut below = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= wanted && *count > 0 {
                return Duration::from_micros(end(place)).min(self.max);
            }
        }
        self.max
    }
}

/// The index of a value's bucket. Each small value has a bucket of its own; each larger power of
/// two has 32 buckets.
fn bucket_index(value: u64) -> usize {
    let magnitude = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    ((magnitude as usize) << BITS) + (value >> magnitude) as usize
}

/// The largest value of a bucket.
fn end(place: usize) -> u64 {
    let place = place as u64;
    let magnitude = (place >> BITS).saturating_sub(1);
    let top = place - (magnitude << BITS);
    ((top + 1) << magnitude) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut last = 0;
        for value in (0..5_000).chain([1 << 20, (1 << 40) + 12_345]) {
            let place = bucket_index(value);
            assert!(place >= last, "{value}");
            assert!(end(place) >= value && (place == 0 || end(place - 1) < value), "{value}");
            last = place;
        }
    }

    #[test]
    fn quantiles_are_within_a_32nd() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000u64 {
            histogram.record(Duration::from_micros(micros));
        }
        for (part, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.at(part).as_micros() as f64;
            assert!((found - expected).abs() <= expected / 32.0 + 1.0, "{part}: {found}");
        }
        assert_eq!(Histogram::default().at(0.5), Duration::ZERO);
    }
}
