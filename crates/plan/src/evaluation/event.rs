//! The causes of an evaluation: usage, a due charge, the close of a cycle.

use jiff::civil::Date;

use crate::calendar::{Calendar, PeriodSpan};
use crate::state::AccountState;

/// The cause of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A record of usage.
    Usage,
    /// A charge falls due at instant `at`, in the interval `from <= t < until` in which this
    /// version is in force. There are no units. `reached` as in [`DueQuery`].
    Due { at: i64, from: i64, until: i64, reached: Option<Date> },
    /// A billing cycle closes. There are no units.
    Close(PeriodSpan),
}

/// A query for the next instant at which a primitive's charges fall due.
pub(crate) struct DueQuery<'a> {
    pub(crate) calendar: &'a mut Calendar,
    pub(crate) state: &'a AccountState,
    /// Start of the subscription, and its exclusive end in `cancelled`.
    pub(crate) since: i64,
    pub(crate) cancelled: i64,
    /// The interval in which this version is in force: `from <= t < until`.
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// The last local date that began before `from`, if another zone was in force then: in the new
    /// zone that date, or the next, may begin at another instant.
    pub(crate) reached: Option<Date>,
}

impl DueQuery<'_> {
    /// Did a local date begin before this interval?
    pub(crate) fn begun_before(&self, date: Date) -> bool {
        match self.reached {
            Some(reached) => date <= reached,
            None => self.calendar.first_instant(date) < self.from,
        }
    }
}
