//! Due events, and the order in which they are booked.

use std::cmp::Reverse;

use turnpike_types::Timestamp;

use crate::calendar::periods::PeriodSpan;

/// The usage type of the empty record under which due charges are logged.
pub const DUE_USAGE_TYPE: &str = "turnpike.due";

/// A due event: a charge, or the close of a billing cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The instant at which the event falls due.
    pub at: Timestamp,
    /// The index of the interval whose plans book the event;
    /// [`ChargeLine::plan`](crate::ChargeLine::plan) is an index into the plans of this interval.
    pub interval: usize,
    /// The index of the plan in [`DueInterval::plans`](crate::DueInterval::plans) of that interval.
    pub plan: usize,
    pub(crate) what: DueKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub(crate) enum DueKind {
    Charge,
    Close(PeriodSpan),
    Option(PeriodSpan),
    /// Sums that an option's alternatives have in a cycle in which the option was not in force. A
    /// late record, or a backdated command, can leave such sums.
    #[strum(serialize = "option")]
    Leftover(PeriodSpan),
    /// The offset of bonuses against the cycle's charges, after all these charges are booked.
    Offset(PeriodSpan),
}

impl Due {
    /// The kind in words: `charge`, `close`, `option` or `offset`.
    pub const fn word(&self) -> &'static str {
        self.what.into_str()
    }

    /// The instant that determines the versions of tables, in an interval with these bounds: for a
    /// charge the instant at which it falls due, for a cycle its last instant in the interval.
    pub fn tables_at(&self, from: Timestamp, until: Timestamp) -> Timestamp {
        let at = match self.what {
            DueKind::Charge => self.at.micros(),
            DueKind::Close(cycle)
            | DueKind::Option(cycle)
            | DueKind::Leftover(cycle)
            | DueKind::Offset(cycle) => cycle.to.saturating_sub(1),
        };
        Timestamp(at.min(until.micros().saturating_sub(1)).max(from.micros()))
    }

    /// The booking order. At equal instants: charges, then closes, then comparisons of
    /// alternatives, then offsets of bonuses. If several intervals overlap a cycle, the last one
    /// closes it.
    pub(super) const fn rank(&self) -> (Timestamp, u8, Reverse<usize>, usize, usize) {
        let (rank, last) = match self.what {
            DueKind::Charge => (0, Reverse(0)),
            DueKind::Close(_) => (1, Reverse(self.interval)),
            DueKind::Option(_) => (2, Reverse(self.interval)),
            DueKind::Leftover(_) => (3, Reverse(self.interval)),
            DueKind::Offset(_) => (4, Reverse(self.interval)),
        };
        (self.at, rank, last, self.interval, self.plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::period::Period;

    #[test]
    fn a_due_event_is_named_by_what_the_account_sees() {
        let cycle = PeriodSpan { from: 0, to: 1, period: Period(0) };
        for (what, word) in [
            (DueKind::Charge, "charge"),
            (DueKind::Close(cycle), "close"),
            (DueKind::Option(cycle), "option"),
            (DueKind::Leftover(cycle), "option"),
            (DueKind::Offset(cycle), "offset"),
        ] {
            let due = Due { at: Timestamp(0), interval: 0, plan: 0, what };
            assert_eq!(due.word(), word, "{what:?}");
        }
    }
}
