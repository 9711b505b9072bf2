//! What the core waits for, and why a record is not rated.

use turnpike_tariff::{NoTariff, Stop, UnreadTable};
use turnpike_types::{SegmentNumber, SuspenseReason, Suspension};

/// What the core needs before it can go on. The shell provides it, and runs the job again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The open segment is full: it must be appended.
    Full,
    /// A segment of the log must be loaded for a comparison.
    Load(SegmentNumber),
    /// A plan is unknown: it may have been published since the last heartbeat, so the newest
    /// catalogue must be read.
    Catalogue,
    /// A table must be read that no plan in force reads any more.
    Table(UnreadTable),
    /// Many charges fell due before the record: other work runs in between.
    Turn,
}

/// Why a job does not end now.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The job goes on once the shell has provided this.
    Wait(Wait),
    /// The log does not fit the state: a record that the state refers to is missing or malformed,
    /// or a cursor does not follow the one before it. The owner must end.
    Damaged(String),
}

impl From<Wait> for Halt {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}

/// Why a record is not rated, or not yet.
#[derive(Debug)]
pub(crate) enum NotRated {
    Suspended(Suspension),
    Wait(Wait),
}

impl From<SuspenseReason> for NotRated {
    fn from(reason: SuspenseReason) -> Self {
        Self::Suspended(reason.into())
    }
}

impl From<Suspension> for NotRated {
    fn from(suspension: Suspension) -> Self {
        Self::Suspended(suspension)
    }
}

impl From<Wait> for NotRated {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}

impl From<NoTariff> for NotRated {
    fn from(why: NoTariff) -> Self {
        match why {
            NoTariff::Suspended(suspension) => Self::Suspended(suspension),
            NoTariff::Unread(unread) => Self::Wait(Wait::Table(unread)),
        }
    }
}

impl From<NotRated> for Stop<Wait> {
    fn from(why: NotRated) -> Self {
        match why {
            NotRated::Suspended(suspension) => Self::Stuck(suspension),
            NotRated::Wait(wait) => Self::Wait(wait),
        }
    }
}

impl From<Stop<Wait>> for NotRated {
    fn from(stop: Stop<Wait>) -> Self {
        match stop {
            Stop::Stuck(suspension) => Self::Suspended(suspension),
            Stop::Wait(wait) => Self::Wait(wait),
            Stop::Turn => Self::Wait(Wait::Turn),
            Stop::Unread(unread) => Self::Wait(Wait::Table(unread)),
        }
    }
}
