//! Charge lines.

use turnpike_types::{Money, Posting};

use crate::calendar::period::Period;

/// A priced portion of a record, or a line derived from another line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeLine {
    /// Index into the plans given to [`Rater::rate`](crate::Rater::rate).
    pub plan: u16,
    /// Index into that plan's [`ObjectCode::components`](crate::ObjectCode::components).
    pub component: u16,
    /// Quantity in the component's unit; 0 for fixed charges.
    pub quantity: i128,
    /// The first unit of the portion within the record, from 0.
    pub first_unit: i64,
    /// The period of the accumulator or charge; [`Period::EVER`] without one.
    pub period: Period,
    /// The accumulator's total before the portion's first unit; 0 without an accumulator.
    pub level_before: i128,
    /// The accumulator's total after the portion's last unit; 0 without an accumulator.
    pub level_after: i128,
    /// The amount, rounded once.
    pub amount: Money,
    /// The index of the line from which this line is derived: tax, share, conversion, discount.
    pub of: Option<u32>,
    /// The row, from 0, of the reference table that gave the price or rate.
    pub row: Option<u32>,
    /// The destination of the amount.
    pub posting: Posting,
}

/// A line that the close of a cycle books.
pub(crate) const fn posted(plan: u16, component: u16, period: Period, amount: Money) -> ChargeLine {
    ChargeLine {
        plan,
        component,
        quantity: 0,
        first_unit: 0,
        period,
        level_before: 0,
        level_after: 0,
        amount,
        of: None,
        row: None,
        posting: Posting::Account,
    }
}
