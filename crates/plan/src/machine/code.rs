//! Object code: the compiled form of a plan, which a node runs for every record, and the evaluation
//! in which its operations run.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use turnpike_types::{Currency, LineKind, SuspenseReason, Timestamp, UsageView};

use crate::calendar::period::Period;
use crate::calendar::zone::{Zone, first_instant_of};
use crate::language::measure::Unit;
use crate::language::spec::Role;
use crate::language::table_name::TableName;
use crate::machine::account::AccountContext;
use crate::machine::evaluation::event::{DueQuery, Event};
use crate::machine::evaluation::places::UsageInput;
use crate::machine::evaluation::scratch::{BufferCounts, Scratch};
use crate::machine::lines::ChargeLine;
use crate::machine::meaning::Meaning;
use crate::machine::slots::Slots;
use crate::machine::state::{AccountState, StateEntry, VariableId};
use crate::tables::Table;

/// A compiled plan version: immutable, shared between tasks.
pub struct ObjectCode {
    pub(crate) plan_id: String,
    pub(crate) version: u32,
    pub(crate) starts: Date,
    pub(crate) currency: Currency,
    /// The currency posted to the account; without a converter the currency of the plan.
    pub(crate) posts: Currency,
    pub(crate) components: Vec<Component>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) accepts: Accepts,
    /// The measures that the plan reads. Measure `n` feeds stream `n`; higher stream numbers belong
    /// to outputs of primitives.
    pub(crate) measures: Vec<Measure>,
    /// The operations of the primitives, in topological order.
    pub(crate) ops: Vec<Placed>,
    pub(crate) buffers: BufferCounts,
    /// The attributes that primitives derive from a record, by primitive index.
    pub(crate) derived: Vec<Option<Box<dyn DerivedAttribute>>>,
    /// The reference tables that the plan reads.
    pub(crate) tables: Vec<TableName>,
    /// Whether the plan has charges that fall due without usage.
    pub(crate) is_swept: bool,
    /// The variables that determine when the next charge falls due.
    pub(crate) due_by: Vec<VariableId>,
    /// Whether any primitive acts when a billing cycle closes.
    pub(crate) closes: bool,
    /// The primitives in document order, for traces of a record through the plan.
    pub(crate) nodes: Vec<NodeInfo>,
    /// Variables and components for a comparison of alternatives, see [`crate::machine::options`].
    pub(crate) tentative: TentativeParts,
    /// Components for bonus offsets, see [`crate::machine::offset`].
    pub(crate) bonus: BonusParts,
}

/// An operation, the index of its primitive in [`ObjectCode::nodes`], and its streams.
pub(crate) struct Placed {
    pub(crate) node: usize,
    pub(crate) op: Box<dyn Op>,
    /// The streams that the operation reads. If all of them are empty, the operation is skipped for
    /// a usage record. [`Slots::ALL`] for an operation that does not depend on usage alone.
    pub(crate) reads: Slots,
    /// The streams that the operation may fill.
    pub(crate) fills: Slots,
}

/// The code of one primitive. It reads its input streams, and writes output streams, lines and
/// state changes.
pub(crate) trait Op: Send + Sync {
    /// Runs for one record, or for an event without usage ([`Evaluation::event`]).
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason>;

    /// The next instant at which a charge of this primitive falls due without usage, within the
    /// bounds of the query; `None` if no charge does.
    fn next_due(&self, _query: &mut DueQuery<'_>) -> Option<i64> {
        None
    }
}

/// An attribute that a primitive derives from a record; the same for all units of the record.
pub(crate) trait DerivedAttribute: Send + Sync {
    /// The value of the attribute for the record that is evaluated.
    fn value<'a>(&'a self, run: &Evaluation<'a>) -> Result<&'a str, SuspenseReason>;
}

/// The evaluation of one record, or of one due event, by one plan.
pub(crate) struct Evaluation<'a> {
    /// The rated record. For a due charge or a close, an empty record at the instant of that event.
    pub(crate) record: &'a UsageView<'a>,
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) code: &'a ObjectCode,
    pub(crate) tables: &'a [Option<Arc<Table>>],
    pub(crate) event: &'a Event,
    /// The start of the subscription. `cancelled` is its exclusive end.
    pub(crate) since: i64,
    pub(crate) cancelled: i64,
    /// When a cycle closes: the start and exclusive end of each of the account's subscriptions to
    /// the plan, in order. Empty for other events.
    pub(crate) held: &'a [(i64, i64)],
    /// Logged time, in microseconds.
    pub(crate) now: i64,
    pub(crate) plan: u16,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) lines: &'a mut Vec<ChargeLine>,
    pub(crate) changes: &'a mut Vec<StateEntry>,
}

/// A measure of a record.
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

/// A primitive as shown in a trace.
#[derive(Debug)]
pub(crate) struct NodeInfo {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) role: Role,
    pub(crate) line: u32,
    /// The usage inputs: the name, and the streams and the measure that the input reads.
    pub(crate) inputs: Vec<(&'static str, UsageInput)>,
    /// The usage outputs that another primitive consumes: the name and the stream.
    pub(crate) outputs: Vec<(&'static str, usize)>,
}

/// The variables and components by which alternatives of an option are compared and billed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TentativeParts {
    /// Sum of usage and recurring charges, by cycle.
    pub(crate) running: VariableId,
    /// Sum of one-time charges, by cycle.
    pub(crate) once: VariableId,
    /// An id derived from the name of the plan's state, to compare whether two plans share state.
    /// No variable has this id.
    pub(crate) state: VariableId,
    /// The first date of the oldest cycle that is not closed.
    pub(crate) closed: VariableId,
    /// The components of the lines that bill the chosen alternative: the sum, the one-time charges,
    /// the option's fee.
    pub(crate) sum: u16,
    pub(crate) one_time: u16,
    pub(crate) fee: u16,
}

/// The components by which bonuses are granted and carried into the next cycle.
#[derive(Clone, Debug)]
pub(crate) struct BonusParts {
    /// The components by which the plan grants bonuses to any account.
    pub(crate) credits: Vec<u16>,
    /// Whether the plan may grant bonuses to its own account.
    pub(crate) is_own: bool,
    /// Components of carried bonuses: the amount carried out of a cycle, the amount carried into
    /// the next cycle, and the amount that lapses when no cycle follows.
    pub(crate) forward: u16,
    pub(crate) brought: u16,
    pub(crate) lapsed: u16,
}

/// The subject of charge lines: a step of a rater, or a fixed charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The primitive's id.
    pub primitive: String,
    /// The step's id, or the charge's name.
    pub component: String,
    /// The kind of charge.
    pub kind: LineKind,
    /// The price as written, with parameters filled in: `0.05 per 1 GB`, `10.00 once`, `20.00 per
    /// month`.
    pub price: String,
    /// The unit of a line's quantity.
    pub unit: Unit,
    /// The accumulator whose totals before and after the priced units are on the lines.
    pub level: Option<VariableId>,
    /// The currency of the component's lines.
    pub currency: Currency,
}

/// A variable that a plan keeps for each account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The variable's key in the account's state.
    pub id: VariableId,
    /// The primitive's id; for a step's constant `rater/step`.
    pub primitive: String,
    /// The unit that the variable counts; [`Unit::One`] for a variable that records that a charge
    /// was made.
    pub unit: Unit,
    pub(crate) meaning: Meaning,
}

/// The usage types that a plan accepts (docs/plan-semantics.md section 2).
#[derive(Clone, Debug)]
pub(crate) enum Accepts {
    /// Every type, because a primitive that accepts every type is linked to the record.
    Everything,
    /// Only the listed types, which are sorted.
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

    /// The first local date that this version rates.
    pub fn starts(&self) -> Date {
        self.starts
    }

    /// The first instant of [`ObjectCode::starts`] in an account's zone.
    pub fn starts_at(&self, zone: &Zone) -> Timestamp {
        first_instant_of(zone, self.starts)
    }

    /// The currency of the plan's prices.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The currency posted to the account: the plan's own, unless a CurrencyConverter precedes the
    /// finalizer. An account billed in another currency can't be rated by this plan.
    pub fn posts(&self) -> Currency {
        self.posts
    }

    /// The reference tables that the plan reads, in the order of
    /// [`PlanInForce::tables`](crate::PlanInForce::tables).
    pub fn tables(&self) -> &[TableName] {
        &self.tables
    }

    /// Whether any charges fall due without usage (docs/plan-semantics.md section 5).
    pub fn is_swept(&self) -> bool {
        self.is_swept
    }

    /// The variables that determine when the next charge falls due without usage.
    pub fn due_by(&self) -> &[VariableId] {
        &self.due_by
    }

    /// Whether a charge without usage is booked for the subscription of this period.
    pub fn is_booked(&self, state: &AccountState, subscription: Period) -> bool {
        self.due_by.iter().any(|&variable| state.get(variable, subscription).is_some())
    }

    /// Whether the plan acts when a billing cycle closes (docs/plan-semantics.md section 5).
    pub fn closes(&self) -> bool {
        self.closes || !self.bonus.credits.is_empty()
    }

    /// The components; [`ChargeLine::component`](crate::ChargeLine::component) is an index into
    /// this slice.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The variables that the plan keeps for each account.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Whether both plans use the same state. Such plans can succeed each other. They can't be
    /// alternatives of one option, since each plan would read the charges and counts of the other
    /// plan as its own.
    pub fn shares_state_with(&self, other: &Self) -> bool {
        self.tentative.state == other.tentative.state
    }

    /// Whether the plan accepts records of this usage type. Records of other types are offered to
    /// the account's next subscription.
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

    /// All owner tasks of a node share one compiled plan.
    #[test]
    fn object_code_is_shared_between_tasks() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<ObjectCode>();
        fn moved<T: Send + 'static>() {}
        moved::<crate::Rater>();
    }
}
