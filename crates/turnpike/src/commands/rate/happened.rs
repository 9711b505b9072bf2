//! The check that usage is not in the future. A cluster refuses records that end in the future
//! (P26); locally, plans may also be tried with usage that lies entirely in the future.

use turnpike_types::{Timestamp, UsageRecord, limits};

use crate::{ui, values};

/// Checks the ends of records against the present time.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    now: Timestamp,
    /// Whether the caller specified `now`. Then the check is the same as in a cluster.
    is_given: bool,
    /// The number of records that lie entirely in the future.
    to_come: u64,
}

/// Maximum duration of a record in the future. A longer one is most likely an input error, and
/// would fill the output with lines for years.
const TO_COME_MAX_US: i64 = 400 * 86_400 * 1_000_000;

impl Happened {
    /// Checks against this machine's clock; usage entirely in the future passes.
    pub(crate) fn by_the_clock() -> Self {
        Self { now: Timestamp(values::now_us()), is_given: false, to_come: 0 }
    }

    /// Checks against `now`, like a cluster.
    pub(crate) const fn by(now: Timestamp) -> Self {
        Self { now, is_given: true, to_come: 0 }
    }

    /// The present time.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Checks that the usage of `record` has ended; the error says why it is not rated.
    pub(crate) fn check(&mut self, record: &UsageRecord) -> Result<(), String> {
        let latest = self.now.saturating_add(limits::AHEAD_MAX_US);
        let end = record.start.saturating_add(record.duration_us);
        if end <= latest {
            return Ok(());
        }
        let is_to_come = record.start > latest && record.duration_us <= TO_COME_MAX_US;
        if is_to_come && !self.is_given {
            self.to_come += 1;
            return Ok(());
        }
        let shown = |at: Timestamp| match jiff::Timestamp::from_microsecond(at.0) {
            Ok(instant) => instant.to_string(),
            Err(_) => "the end of time".to_owned(),
        };
        let [end, now] = [end, self.now].map(shown);
        Err(format!(
            "rejected, in-the-future: it ends at {end}, and now is {now}. Correct its end or \
             duration; to try a plan with future usage, give --now with a later time"
        ))
    }

    /// Warns of the number of rated records that a cluster would reject now.
    pub(crate) fn warn(&self) {
        if self.to_come > 0 {
            ui::print_stderr(format_args!(
                "warning: {} records lie in the future; a cluster rejects them as in-the-future \
                 until they are over",
                ui::count(self.to_come)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn record(start_us: i64, duration_us: i64) -> UsageRecord {
        UsageRecord { start: Timestamp(start_us), duration_us, ..UsageRecord::default() }
    }

    #[test]
    fn usage_that_ends_after_now_is_refused_unless_all_of_it_is_in_the_future() {
        let mut clock = Happened { now: Timestamp(0), is_given: false, to_come: 0 };
        assert!(clock.check(&record(-HOUR_US, HOUR_US)).is_ok());
        assert!(clock.check(&record(-HOUR_US, HOUR_US + limits::AHEAD_MAX_US)).is_ok());
        assert!(clock.check(&record(-HOUR_US, HOUR_US + limits::AHEAD_MAX_US + 1)).is_err());
        assert!(clock.check(&record(-HOUR_US, i64::MAX)).is_err());
        assert_eq!(clock.to_come, 0);
        assert!(clock.check(&record(HOUR_US, HOUR_US)).is_ok());
        assert_eq!(clock.to_come, 1);
        assert!(clock.check(&record(HOUR_US, TO_COME_MAX_US + 1)).is_err());
        let mut given = Happened::by(Timestamp(HOUR_US * 2));
        assert!(given.check(&record(HOUR_US, HOUR_US)).is_ok());
        assert!(given.check(&record(HOUR_US * 3, 0)).is_err());
    }
}
