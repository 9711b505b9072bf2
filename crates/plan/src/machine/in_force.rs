//! What an account is rated by at an instant: plan versions, options, and the intervals in which
//! they are constant.

use std::sync::Arc;

use turnpike_types::{Money, Timestamp};

use crate::calendar::period::Period;
use crate::machine::account::AccountContext;
use crate::machine::code::ObjectCode;
use crate::machine::state::{AccountState, Keep, VariableId};
use crate::tables::Table;

/// A plan version in force at an instant by one of the account's subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct PlanInForce<'a> {
    /// The compiled plan version.
    pub code: &'a ObjectCode,
    /// The versions in force of the tables in [`ObjectCode::tables`], in that order; `None` where
    /// no version is in force, or the table is of another kind.
    pub tables: &'a [Option<Arc<Table>>],
    /// The start of the subscription, or of the plan's first version if that is later;
    /// [`Timestamp::MIN`] if unknown.
    pub since: Timestamp,
    /// The end of the subscription, exclusive; [`Timestamp::MAX`] while it has none.
    pub until: Timestamp,
    /// The option of which the plan is or was an alternative, also after the client has kept the
    /// plan permanently (docs/plan-semantics.md section 6). Alternatives of one option are
    /// adjacent.
    pub option: Option<OptionInForce<'a>>,
}

impl<'a> PlanInForce<'a> {
    /// A plan with an unbounded subscription, no tables and no option.
    pub const fn always(code: &'a ObjectCode) -> Self {
        Self { code, tables: &[], since: Timestamp::MIN, until: Timestamp::MAX, option: None }
    }

    /// The option of which the plan is an alternative, unless the client has kept it permanently.
    pub fn alternative(&self) -> Option<OptionInForce<'a>> {
        self.option.filter(|option| !option.is_kept)
    }

    /// Whether the plan is an alternative of this offer.
    pub(crate) fn is_of(&self, offer: OfferId) -> bool {
        self.alternative().is_some_and(|option| option.offer == offer)
    }
}

/// Identifies an offer within an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub(crate) u64);

const CHOICE: VariableId = VariableId::numbered(1, Keep::Horizon);
const CLOSED: VariableId = VariableId::numbered(2, Keep::Ever);
const BILLED: VariableId = VariableId::numbered(3, Keep::Year);

impl OfferId {
    /// The offer of the option `name` that starts at `from`.
    pub fn of(name: &str, from: Timestamp) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"turnpike-offer\0").update(name.as_bytes()).update(b"\0");
        hasher.update(&from.micros().to_le_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }

    /// The variable that holds the client's choice for each cycle, as the
    /// [`plan_number`](crate::plan_number) of the chosen plan.
    pub const fn choice(self) -> VariableId {
        CHOICE.of(self.0)
    }

    /// The variable that holds the first cycle that is not closed. It has one value for each cycle
    /// day, because a cycle that is cut short by a change of the cycle day ends after the first
    /// cycle of the new day.
    pub const fn closed(self) -> VariableId {
        CLOSED.of(self.0)
    }

    /// The variable that holds, for each closed cycle, the [`plan_number`](crate::plan_number) of
    /// the plan that was billed.
    pub(crate) const fn billed(self) -> VariableId {
        BILLED.of(self.0)
    }

    /// The first cycle that is not closed among the cycles that begin on `cycle_day`; `None` if no
    /// such cycle was closed yet.
    pub fn first_open(self, state: &AccountState, cycle_day: u8) -> Option<Period> {
        let open = state.get(self.closed(), Period(cycle_day.into()))?;
        i32::try_from(open).ok().map(Period)
    }

    /// Whether the cycle whose first date is `cycle` was closed. `cycle_day` is the account's cycle
    /// day in that cycle.
    pub fn is_closed(self, state: &AccountState, cycle_day: u8, cycle: Period) -> bool {
        let is_billed = state.get(self.billed(), cycle).is_some();
        is_billed || self.first_open(state, cycle_day).is_some_and(|open| cycle < open)
    }
}

/// An option: several alternatives, of which the best one is billed when the cycle closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionInForce<'a> {
    /// The name of the option, unique among the options in force.
    pub name: &'a str,
    /// The fee per cycle for the option.
    pub fee: Money,
    /// The identity of the offer.
    pub offer: OfferId,
    /// The instant at which the client opted out of the option and kept this alternative, which is
    /// then also billed for the current cycle; [`Timestamp::MAX`] if the client did not opt out for
    /// it.
    pub kept_from: Timestamp,
    /// Whether `kept_from` has passed. If so, the plan is rated like a plain subscription, and
    /// keeps its state.
    pub is_kept: bool,
}

impl<'a> OptionInForce<'a> {
    /// An option that is offered from `from` on.
    pub fn new(name: &'a str, fee: Money, from: Timestamp) -> Self {
        let offer = OfferId::of(name, from);
        Self { name, fee, offer, kept_from: Timestamp::MAX, is_kept: false }
    }

    /// The option with `kept_from` as the instant from which the client keeps the plan, evaluated
    /// at instant `at`.
    #[must_use]
    pub fn kept(self, kept_from: Timestamp, at: Timestamp) -> Self {
        Self { kept_from, is_kept: kept_from <= at, ..self }
    }

    /// Whether the client chose the alternative permanently for a cycle that ends at `to`.
    pub(crate) fn is_chosen_for(&self, to: i64) -> bool {
        self.kept_from.micros() < to
    }
}

/// An interval in which an account's settings and the plan versions of its subscriptions are
/// constant. A new version of a table need not start a new interval: only
/// [`Rater::fall_due`](crate::Rater::fall_due) reads tables, in the interval of the due charge.
///
/// An empty interval only gives back the by-day charges of a subscription that never began. Such
/// intervals precede all others, so that of equal instants the credit is booked first.
#[derive(Clone, Copy, Debug)]
pub struct DueInterval<'a> {
    /// The start of the interval, inclusive.
    pub from: Timestamp,
    /// The end of the interval, exclusive.
    pub until: Timestamp,
    /// The account's settings in the interval.
    pub account: &'a AccountContext,
    /// The plans in force in the interval, highest priority first.
    pub plans: &'a [PlanInForce<'a>],
}

impl DueInterval<'_> {
    /// Whether the interval contains no instant.
    pub(crate) fn is_empty(&self) -> bool {
        self.until <= self.from
    }
}

/// The instant from which a version is in force: not before the version's first date, even when the
/// interval has no start.
pub(crate) fn begin(interval: &DueInterval<'_>, plan: &PlanInForce<'_>) -> i64 {
    match interval.from {
        Timestamp::MIN => plan.code.starts_at(&interval.account.zone).micros(),
        Timestamp(from) => from,
    }
}
