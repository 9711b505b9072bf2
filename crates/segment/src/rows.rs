//! Rows as they are read.

use turnpike_types::{AccountNumber, Currency, Money, Outcome, Posting, SuspenseReason, Timestamp};

use crate::kind::LineKind;

/// What a component of the table says; a line's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// The plan.
    pub plan_id: String,
    /// Its version.
    pub plan_version: u32,
    /// The primitive.
    pub primitive: String,
    /// Its step or charge.
    pub component: String,
    /// What kind of charge.
    pub kind: LineKind,
    /// As the plan has it.
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
    /// The account; zero in the suspense of an unbound identity.
    pub account: AccountNumber,
    /// The sender's id.
    pub record_id: &'a str,
    /// What was used.
    pub usage_type: &'a str,
    /// When it began.
    pub start: Timestamp,
    /// How long it went on.
    pub duration_us: i64,
    /// How much.
    pub quantity: Option<i64>,
    /// Identity, attributes and measures in canonical form, see
    /// [`turnpike_proto::record::encode_extra`].
    pub extra: &'a [u8],
    /// What became of it.
    pub outcome: Outcome,
    /// What its suspense reason is about; empty for none.
    pub detail: &'a str,
}

/// A charge line with its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRow<'a> {
    /// The row of its record.
    pub record: u32,
    /// Who made it.
    pub component: &'a ComponentInfo,
    /// How many base units it prices.
    pub quantity: i128,
    /// The first unit of the record that it prices.
    pub first_unit: i64,
    /// Days from 1970-01-01 to its period's first date; `i32::MIN` for none.
    pub period: i32,
    /// The accumulator before.
    pub level_before: i128,
    /// The accumulator after.
    pub level_after: i128,
    /// What it costs.
    pub amount: Money,
    /// The row of the line that it was made from, of the same record: a tax's, a share's.
    pub of: Option<u32>,
    /// Where its amount goes.
    pub posting: Posting,
    /// The row, from 0, of the reference table that its price comes from.
    pub row: Option<u32>,
}

/// A variable's new value that no line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// The row of the record that made it.
    pub record: u32,
    /// The variable's id.
    pub variable: u64,
    /// Its period.
    pub period: i32,
    /// Its value from then on.
    pub value: i128,
}

const LATE: u8 = 253;
const FELL_DUE: u8 = 254;
const POSTED: u8 = 255;

/// The number that stands in segments: a suspense reason's own, or one that no reason has.
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
