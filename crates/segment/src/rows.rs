//! The rows of a decoded segment.

use turnpike_proto::record::extra_states_zero_duration;
use turnpike_proto::wire::WireError;
use turnpike_types::{
    AccountNumber, Currency, LineKind, Money, Outcome, Posting, SuspenseReason, Timestamp,
};

/// A component of the table, which is the receipt of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The plan.
    pub plan_id: String,
    /// The version of the plan.
    pub plan_version: u32,
    /// The primitive of the plan.
    pub primitive: String,
    /// The step or charge of the primitive.
    pub component: String,
    /// The kind of the component's lines.
    pub kind: LineKind,
    /// The price as written in the plan.
    pub price: String,
    /// The base unit of quantities.
    pub unit: String,
    /// The currency of the lines.
    pub currency: Currency,
    /// The variable whose level the lines show.
    pub level: Option<u64>,
}

/// A record as it was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRow<'a> {
    /// The account; zero for a suspended record of an unbound identity.
    pub account: AccountNumber,
    /// The record id that the sender gave.
    pub record_id: &'a str,
    /// The usage type, for example `octets`.
    pub usage_type: &'a str,
    /// The instant at which the usage began.
    pub start: Timestamp,
    /// The duration, in microseconds.
    pub duration_us: i64,
    /// The quantity in the usage type's base unit; `None` if the record has none.
    pub quantity: Option<i64>,
    /// Identity, attributes and measures in canonical form, see
    /// [`turnpike_proto::record::encode_extra`].
    pub extra: &'a [u8],
    /// The outcome of the record.
    pub outcome: Outcome,
    /// The detail of the record's suspense reason; empty for none.
    pub detail: &'a str,
}

impl RecordRow<'_> {
    /// The duration that the record states, in microseconds; `None` if it states none, which
    /// differs from zero: a record whose duration was lost must not be priced as an unanswered call.
    ///
    /// # Errors
    /// [`WireError`] when `extra` is not readable.
    pub fn stated_duration_us(&self) -> Result<Option<i64>, WireError> {
        let is_stated = self.duration_us != 0 || extra_states_zero_duration(self.extra)?;
        Ok(is_stated.then_some(self.duration_us))
    }
}

/// A charge line with its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRow<'a> {
    /// The row of the line's record.
    pub record: u32,
    /// The component that produced the line.
    pub component: &'a ComponentInfo,
    /// The priced quantity, in base units.
    pub quantity: i128,
    /// The first unit of the record that the line prices.
    pub first_unit: i64,
    /// The first date of the line's period, in days since 1970-01-01; `i32::MIN` for none.
    pub period: i32,
    /// The accumulator's level before the line.
    pub level_before: i128,
    /// The accumulator's level after the line.
    pub level_after: i128,
    /// The charged amount.
    pub amount: Money,
    /// For a derived line, such as a tax or a share: the row of the line that it was derived from,
    /// which belongs to the same record.
    pub of: Option<u32>,
    /// The account to which the line's amount is posted.
    pub posting: Posting,
    /// The row, counted from 0, of the reference table that the line's price was read from.
    pub row: Option<u32>,
}

/// A new value of a variable, if no line states it as its level after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// The row of the record that caused the change.
    pub record: u32,
    /// The variable's id.
    pub variable: u64,
    /// The period of the value.
    pub period: i32,
    /// The new value.
    pub value: i128,
}

const LATE: u8 = 253;
const FELL_DUE: u8 = 254;
const POSTED: u8 = 255;

/// The number of an outcome in segments: the code of the suspense reason, or for other outcomes a
/// number that is not the code of a reason.
pub(crate) const fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Rated => 0,
        Outcome::RatedLate => LATE,
        Outcome::FellDue => FELL_DUE,
        Outcome::Posted => POSTED,
        Outcome::Suspended(reason) => reason.code(),
    }
}

/// The outcome with this number.
pub(crate) fn outcome(code: u8) -> Option<Outcome> {
    match code {
        0 => Some(Outcome::Rated),
        LATE => Some(Outcome::RatedLate),
        FELL_DUE => Some(Outcome::FellDue),
        POSTED => Some(Outcome::Posted),
        _ => SuspenseReason::from_code(code).map(Outcome::Suspended),
    }
}
