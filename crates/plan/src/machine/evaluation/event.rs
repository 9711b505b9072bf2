//! The causes of an evaluation: usage, a due charge, the close of a cycle.

use jiff::civil::Date;

use crate::calendar::periods::{Calendar, PeriodSpan};
use crate::machine::state::AccountState;

/// The cause of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A usage record is rated.
    Usage,
    /// A charge falls due at instant `at`, in the interval `from <= t < until` in which this
    /// version is in force. There are no units. `reached` is [`DueQuery::reached`].
    Due { at: i64, from: i64, until: i64, reached: Option<Date> },
    /// A billing cycle closes. There are no units.
    Close(PeriodSpan),
}

/// A query for the next instant at which a primitive's charges fall due.
pub(crate) struct DueQuery<'a> {
    pub(crate) calendar: &'a mut Calendar,
    pub(crate) state: &'a AccountState,
    /// The start of the subscription. `cancelled` is its exclusive end.
    pub(crate) since: i64,
    pub(crate) cancelled: i64,
    /// The interval in which this version is in force: `from <= t < until`.
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// If another zone was in force until `from`: the last local date that began in that zone
    /// before `from`. In the new zone, this date or the next one may begin at another instant.
    /// Otherwise `None`.
    pub(crate) reached: Option<Date>,
}

impl DueQuery<'_> {
    /// Whether a local date began before this interval.
    pub(crate) fn begun_before(&self, date: Date) -> bool {
        match self.reached {
            Some(reached) => date <= reached,
            None => self.calendar.first_instant(date) < self.from,
        }
    }
}
