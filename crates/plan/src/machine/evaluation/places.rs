//! References of operations to their inputs and outputs.

use crate::calendar::period::Period;
use crate::calendar::periods::Calendared;
use crate::machine::state::VariableId;
use crate::machine::stream::Span;

/// A usage input of an operation: one or several streams.
#[derive(Clone, Debug)]
pub(crate) struct UsageInput {
    pub(crate) slots: Box<[usize]>,
    /// The index of the measure that all streams of the input carry.
    pub(crate) flow: usize,
}

/// The destination of an operation's charges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChargeOut {
    /// The charges are posted to the account, since no primitive before the finalizer reads them.
    Account,
    /// A charge slot, which other primitives read.
    Slot(usize),
}

/// A reference to an attribute of the record, of its account, or derived by a primitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Record(Box<str>),
    Account(Box<str>),
    /// Derived by the primitive with this index.
    Derived(usize),
}

/// The source of the usage type of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeOf {
    Record,
    /// Derived by the primitive with this index.
    Derived(usize),
}

/// A reference to a table: its index in [`ObjectCode::tables`](crate::ObjectCode::tables).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableRef(pub(crate) usize);

/// A reference to an accumulator's running total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    /// The index of the accumulator's trace: the list of the units of this record that the
    /// accumulator counted.
    pub(crate) trace: usize,
    pub(crate) variable: VariableId,
    pub(crate) calendared: Calendared,
    /// The stream that the accumulator counts; `None` when it counts several streams.
    pub(crate) counts: Option<usize>,
}

impl Total {
    /// Whether the accumulator counts exactly the units of this input.
    pub(crate) fn counts_just(&self, input: &UsageInput) -> bool {
        matches!(*input.slots, [slot] if self.counts == Some(slot))
    }
}

/// Units that an accumulator counted, all in one period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) span: Span,
    /// The total before the first unit of the span.
    pub(crate) level: i128,
    pub(crate) period: Period,
}

/// The units of a record that are priced by one step in one period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepPortion {
    pub(crate) step: usize,
    pub(crate) period: Period,
    pub(crate) quantity: i128,
    pub(crate) first_unit: i64,
    pub(crate) before: i128,
    pub(crate) after: i128,
}
