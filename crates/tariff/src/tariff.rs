//! The tariff of an account in a time interval: its settings, and the compiled plans in force with
//! the tables that they read.

use std::sync::Arc;

use smallvec::SmallVec;
use turnpike_plan::{
    AccountContext, ChargeLine, ObjectCode, OfferId, OptionInForce, PlanInForce, Table, VariableId,
};
use turnpike_types::{Money, SuspenseReason, Suspension, Timestamp};

use crate::catalogue::UnreadTable;

/// The index of a compiled plan in the tables of one [`crate::Tariffs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeSlot(pub u32);

/// The settings and plans that rate an account during a time interval.
#[derive(Clone, Debug)]
pub struct Tariff {
    /// The account's settings.
    pub context: AccountContext,
    /// Highest priority first. Alternatives of an option are adjacent, in the order offered.
    pub plans: Vec<Subscribed>,
}

/// The version of a subscription's plan that is in force.
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// The index of the compiled plan.
    pub slot: CodeSlot,
    /// The compiled plan.
    pub code: Arc<ObjectCode>,
    /// The tables that the compiled plan names, in its order. Empty until they are looked up.
    pub(crate) tables: Box<[Option<Arc<Table>>]>,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) option: Option<Offered>,
}

/// The option of which a subscription is an alternative, or was one until the client opted out and
/// kept the plan.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) name: Box<str>,
    pub(crate) fee: Money,
    pub(crate) offer: OfferId,
    pub(crate) kept_from: Timestamp,
    pub(crate) is_kept: bool,
}

impl Offered {
    #[inline]
    fn in_force(&self) -> OptionInForce<'_> {
        let Self { ref name, fee, offer, kept_from, is_kept } = *self;
        OptionInForce { name, fee, offer, kept_from, is_kept }
    }
}

impl Subscribed {
    /// The plan in the form that the rater takes.
    #[inline]
    pub fn in_force(&self) -> PlanInForce<'_> {
        PlanInForce {
            code: &self.code,
            tables: &self.tables,
            since: self.since,
            until: self.until,
            option: self.option.as_ref().map(Offered::in_force),
        }
    }
}

/// Plans in force. Most accounts have few.
pub type PlansInForce<'a> = SmallVec<[PlanInForce<'a>; 4]>;

impl Tariff {
    /// The plans in the form that the rater takes.
    #[inline]
    pub fn in_force(&self) -> PlansInForce<'_> {
        self.plans.iter().map(Subscribed::in_force).collect()
    }

    /// The variable whose level the charge line shows.
    #[inline]
    pub fn level_of(&self, line: &ChargeLine) -> Option<VariableId> {
        let plan = self.plans.get(usize::from(line.plan))?;
        plan.code.components().get(usize::from(line.component))?.level
    }
}

#[derive(Debug)]
pub(crate) struct TariffInterval {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) tariff: Result<Arc<Tariff>, NoTariff>,
}

/// Why there is no tariff, or not yet.
#[derive(Clone, Debug)]
pub enum NoTariff {
    /// Nothing can be rated at this instant.
    Suspended(Suspension),
    /// A table is needed that is not in memory.
    Unread(UnreadTable),
}

impl NoTariff {
    /// Why nothing can be rated; `None` if a table is not in memory.
    pub fn suspension(self) -> Option<Suspension> {
        match self {
            Self::Suspended(suspension) => Some(suspension),
            Self::Unread(_) => None,
        }
    }
}

impl From<Suspension> for NoTariff {
    fn from(suspension: Suspension) -> Self {
        Self::Suspended(suspension)
    }
}

impl From<SuspenseReason> for NoTariff {
    fn from(reason: SuspenseReason) -> Self {
        Self::Suspended(reason.into())
    }
}

impl From<UnreadTable> for NoTariff {
    fn from(unread: UnreadTable) -> Self {
        Self::Unread(unread)
    }
}

impl TariffInterval {
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// A time interval of an account in which charges may fall due.
#[derive(Debug)]
pub struct DueTariff {
    /// The start of the interval, inclusive.
    pub from: Timestamp,
    /// The end of the interval, exclusive.
    pub until: Timestamp,
    /// The settings and plans, without tables ([`crate::Tariffs::booking`]).
    pub tariff: Arc<Tariff>,
    /// The instant whose tables book the charges, if it is not that of the charge: that of a credit can be
    /// before the first version of a table, and the credit would wait for ever.
    pub(crate) tables_at: Option<Timestamp>,
}

impl DueTariff {
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}
