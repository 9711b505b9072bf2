//! Where operations find what they read, and put what they make.

use crate::calendar::Calendared;
use crate::state::{Period, VariableId};
use crate::stream::Span;

/// Where an operation's units come from: one or several streams.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) slots: Box<[usize]>,
    /// The count that all of them carry.
    pub(crate) flow: usize,
}

/// Where an operation's charges go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChargeOut {
    /// To the account: nothing between here and the finalizer looks at them.
    Account,
    /// To a place where others find them.
    Slot(usize),
}

/// Where a text of a record, its account, or one that a primitive tells, stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Record(Box<str>),
    Account(Box<str>),
    /// By the place of the primitive.
    Told(usize),
}

/// Who says what the usage type of units is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeOf {
    Record,
    /// By the place of the primitive.
    Told(usize),
}

/// A table by its place in [`ObjectCode::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableRef(pub(crate) usize);

/// Where to read an accumulator's running total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    /// The trace it leaves.
    pub(crate) trace: usize,
    pub(crate) variable: VariableId,
    pub(crate) calendared: Calendared,
    /// The stream that it counts; `None` when it counts several that meet.
    pub(crate) counts: Option<usize>,
}

impl Total {
    /// Does the accumulator count just what comes in there?
    pub(crate) fn counts_just(&self, input: &Input) -> bool {
        matches!(*input.slots, [slot] if self.counts == Some(slot))
    }
}

/// Units an accumulator counted, all in one period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) span: Span,
    /// The total before the first of them.
    pub(crate) level: i128,
    pub(crate) period: Period,
}

/// One portion of a record at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) step: usize,
    pub(crate) period: Period,
    pub(crate) quantity: i128,
    pub(crate) first_unit: i64,
    pub(crate) before: i128,
    pub(crate) after: i128,
}
