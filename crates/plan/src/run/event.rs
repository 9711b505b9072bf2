//! Why operations run: usage, something that falls due, the close of a cycle.

use jiff::civil::Date;

use crate::calendar::{Calendar, Span as PeriodSpan};
use crate::state::AccountState;

/// Why operations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A record of usage.
    Usage,
    /// Something falls due at an instant, while this version is in force from `from` to before
    /// `until`. No units come. `reached` as in [`DueQuery`].
    Due { at: i64, from: i64, until: i64, reached: Option<Date> },
    /// A billing cycle closes. No units come.
    Close(PeriodSpan),
}

/// What a primitive is asked about what falls due next.
pub(crate) struct DueQuery<'a> {
    pub(crate) calendar: &'a mut Calendar,
    pub(crate) state: &'a AccountState,
    /// The subscription: from, and to before.
    pub(crate) since: i64,
    pub(crate) cancelled: i64,
    /// The stretch of time in which this version is in force.
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// The last local date that began before `from`, where another zone was in force then: by the
    /// new one that date, or the next, may have begun at another instant.
    pub(crate) reached: Option<Date>,
}

impl DueQuery<'_> {
    /// Had a local date begun before this stretch of time?
    pub(crate) fn begun_before(&self, date: Date) -> bool {
        match self.reached {
            Some(reached) => date <= reached,
            None => self.calendar.first_instant(date) < self.from,
        }
    }
}
