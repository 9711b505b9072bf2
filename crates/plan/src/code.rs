//! Object code: the form of a plan that a node runs for every record.

use std::fmt;

use jiff::civil::Date;
use turnpike_types::{Currency, Timestamp, UsageView};

use crate::measure::Unit;
use crate::remembered::Meaning;
use crate::run::{Input, Op, Tell};
use crate::state::VariableId;
use crate::tables::TableKind;
use crate::zone::{Zone, first_instant_of};

/// A compiled plan version: immutable, shared between tasks.
pub struct ObjectCode {
    pub(crate) plan_id: String,
    pub(crate) version: u32,
    pub(crate) starts: Date,
    pub(crate) currency: Currency,
    /// What the account is posted in; the plan's own currency without a converter.
    pub(crate) posts: Currency,
    pub(crate) components: Vec<Component>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) accepts: Accepts,
    /// The streams of the same places are fed by them.
    pub(crate) measures: Vec<Measure>,
    /// Counts of units: the measures, and those that primitives made anew.
    pub(crate) counts: usize,
    /// In topological order.
    pub(crate) ops: Vec<Placed>,
    pub(crate) streams: usize,
    pub(crate) traces: usize,
    /// Places for charges that something downstream looks at.
    pub(crate) charges: usize,
    /// What primitives tell about a record, by their places.
    pub(crate) told: Vec<Option<Box<dyn Tell>>>,
    /// The reference tables that it reads.
    pub(crate) tables: Vec<TableName>,
    /// Some of its charges fall due without usage.
    pub(crate) is_swept: bool,
    /// Those of the variables that its primitives read to say what falls due next.
    pub(crate) due_by: Vec<VariableId>,
    /// Some of its primitives do something when a billing cycle closes.
    pub(crate) closes: bool,
    /// The primitives in document order, for whoever watches a record go through.
    pub(crate) nodes: Vec<NodeInfo>,
    /// What an alternative comes to, see [`crate::options`].
    pub(crate) trial: TrialParts,
    /// What it may grant, see [`crate::offset`].
    pub(crate) bonus: BonusParts,
}

/// An operation, its primitive's place in [`ObjectCode::nodes`], and when it has work.
pub(crate) struct Placed {
    pub(crate) node: usize,
    pub(crate) op: Box<dyn Op>,
    /// The streams that it reads: while all are empty, a record of usage passes it by. All, when
    /// it does not live on usage alone.
    pub(crate) reads: Slots,
    /// The streams that it may fill.
    pub(crate) fills: Slots,
}

/// What of a record is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Duration,
    Quantity,
    Named(Box<str>),
}

impl Measure {
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "duration" => Self::Duration,
            "quantity" => Self::Quantity,
            name => Self::Named(name.into()),
        }
    }

    pub(crate) fn of(&self, record: &UsageView<'_>) -> Option<i64> {
        match self {
            Self::Duration => record.measure("duration"),
            Self::Quantity => record.quantity,
            Self::Named(name) => record.measure(name),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duration => "duration",
            Self::Quantity => "quantity",
            Self::Named(name) => name,
        })
    }
}

/// A set of streams. Those past the first 63 share a place, so that in a large plan some
/// operations run in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(u64);

impl Slots {
    /// Every stream.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// The first streams.
    pub(crate) const fn first(count: usize) -> Self {
        if count > 63 { Self::ALL } else { Self((1 << count) - 1) }
    }

    #[inline]
    pub(crate) fn add(&mut self, slot: usize) {
        self.0 |= 1 << slot.min(63);
    }

    /// Calls `with` for each stream of the set, of `count` streams.
    pub(crate) fn for_each(self, count: usize, mut with: impl FnMut(usize)) {
        let mut left = self.0 << 1 >> 1;
        while left != 0 {
            let slot = left.trailing_zeros() as usize;
            if slot >= count {
                return;
            }
            with(slot);
            left &= left - 1;
        }
        if self.0 >> 63 == 1 {
            (63..count).for_each(with);
        }
    }

    #[inline]
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds those of `other` that `hold` says yes to; of the place that many share, always.
    #[inline]
    pub(crate) fn add_those(&mut self, other: Self, hold: impl Fn(usize) -> bool) {
        let mut left = other.0 & !self.0;
        while left != 0 {
            let slot = left.trailing_zeros();
            left &= left - 1;
            if slot == 63 || hold(slot as usize) {
                self.0 |= 1 << slot;
            }
        }
    }
}

/// A primitive as it is shown to whoever watches.
#[derive(Debug)]
pub(crate) struct NodeInfo {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) line: u32,
    /// Usage inputs: name, streams, count.
    pub(crate) inputs: Vec<(&'static str, Input)>,
    /// Usage outputs that something takes: name, stream.
    pub(crate) outputs: Vec<(&'static str, usize)>,
}

/// A reference table as a plan names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// What sort of table.
    pub kind: TableKind,
    /// Its id.
    pub id: String,
}

/// Variables and components by which a plan takes part in a comparison of alternatives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrialParts {
    /// Sums by cycle: what recurs and what was used; what is charged once.
    pub(crate) running: VariableId,
    pub(crate) once: VariableId,
    /// Not a variable, but a name for the state that the plan carries on.
    pub(crate) state: VariableId,
    /// The first date of the first cycle that is not closed.
    pub(crate) closed: VariableId,
    /// Components of the winner's lines: the sum, what is charged once, the option's fee.
    pub(crate) sum: u16,
    pub(crate) one_time: u16,
    pub(crate) fee: u16,
}

/// How a plan takes part in bonus offsets.
#[derive(Clone, Debug)]
pub(crate) struct BonusParts {
    /// The components by which it grants bonuses, to whomever.
    pub(crate) credits: Vec<u16>,
    /// Its own account may be granted some.
    pub(crate) is_own: bool,
    /// Components of what is carried on: out of a cycle, into the next, and what finds no next one.
    pub(crate) forward: u16,
    pub(crate) brought: u16,
    pub(crate) lapsed: u16,
}

/// Something that charge lines can be for: a step of a rater, or a fixed charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The primitive's id.
    pub primitive: String,
    /// The step's id, or the charge's own.
    pub component: String,
    /// What sort of charge.
    pub kind: ComponentKind,
    /// The price as written, parameters filled in: `0.05 per 1 GB`, `10.00 once`,
    /// `20.00 per month`.
    pub price: String,
    /// What a line's quantity counts.
    pub unit: Unit,
    /// The accumulator whose total before and after the lines show.
    pub level: Option<VariableId>,
    /// What its lines are in.
    pub currency: Currency,
}

/// Sorts of charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// For units used (and a step's constant).
    Usage,
    /// Once per subscription.
    OneTime,
    /// Once per period.
    Recurring,
    /// A tax on other lines.
    Tax,
    /// A part of other lines, off or on top.
    Discount,
    /// A party's share of another line.
    Share,
    /// Another line in another currency.
    Conversion,
    /// What makes lines come to what was agreed: a volume's price, a cap, a minimum, a commitment,
    /// the unused days of a charge.
    Adjustment,
    /// A credit that one party grants another.
    Bonus,
    /// Something that happened, at no charge.
    Event,
    /// What the alternative that won comes to, and the fee for choosing.
    Option,
}

impl ComponentKind {
    /// The word on receipts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::OneTime => "one-time",
            Self::Recurring => "recurring",
            Self::Tax => "tax",
            Self::Discount => "discount",
            Self::Share => "share",
            Self::Conversion => "conversion",
            Self::Adjustment => "adjustment",
            Self::Bonus => "bonus",
            Self::Event => "event",
            Self::Option => "option",
        }
    }
}

/// Something that a plan remembers about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name in the account's state.
    pub id: VariableId,
    /// The primitive's id; for a step's constant `rater/step`.
    pub primitive: String,
    /// What it counts; [`Unit::One`] for "charged already".
    pub unit: Unit,
    pub(crate) meaning: Meaning,
}

/// Which usage types a plan takes (docs/plan-semantics.md section 2).
#[derive(Clone, Debug)]
pub(crate) enum Accepts {
    /// Something other than a selector with an open rest stands at the source.
    Everything,
    /// Sorted.
    Types(Vec<Box<str>>),
}

impl ObjectCode {
    /// The plan's id.
    pub fn plan_id(&self) -> &str {
        &self.plan_id
    }

    /// The plan's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The first local date it rates.
    pub fn starts(&self) -> Date {
        self.starts
    }

    /// The first instant of [`ObjectCode::starts`] in an account's zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.starts)
    }

    /// The currency of all its lines.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The currency in which it posts to the account: the plan's own, unless a CurrencyConverter
    /// stands before the finalizer. An account billed in another one can't be rated by it.
    pub fn posts(&self) -> Currency {
        self.posts
    }

    /// The reference tables that it reads; [`PlanInForce::tables`](crate::PlanInForce::tables)
    /// holds them in this order.
    pub fn tables(&self) -> &[TableName] {
        &self.tables
    }

    /// Do some of its charges fall due without usage (docs/plan-semantics.md section 5)?
    pub fn is_swept(&self) -> bool {
        self.is_swept
    }

    /// Does something happen when a billing cycle closes (docs/plan-semantics.md section 5)?
    pub fn closes(&self) -> bool {
        self.closes || !self.bonus.credits.is_empty()
    }

    /// What lines can be for; [`Line::component`](crate::Line::component) is an index into it.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// What it remembers about an account.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Does it carry on the same state as another plan? Such plans can follow each other; they can't
    /// be alternatives of one option, since each would take the other's charges and counts for its
    /// own.
    pub fn shares_state_with(&self, other: &Self) -> bool {
        self.trial.state == other.trial.state
    }

    /// Does it take records of this usage type? What it does not take passes to the account's
    /// next subscription.
    pub fn accepts(&self, usage_type: &str) -> bool {
        match &self.accepts {
            Accepts::Everything => true,
            Accepts::Types(types) => types.iter().any(|known| **known == *usage_type),
        }
    }
}

impl fmt::Debug for ObjectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectCode({} version {})", self.plan_id, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One compiled plan serves every owner task of a node.
    #[test]
    fn object_code_is_shared_between_tasks() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<ObjectCode>();
        fn moved<T: Send + 'static>() {}
        moved::<crate::Rater>();
    }
}
