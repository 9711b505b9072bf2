//! The rater: an account's plans in force, its state, a record -> lines and state changes.

use std::collections::BTreeMap;

use turnpike_types::{Currency, Money, SuspenseReason, UsageView};

use crate::calendar::INSTANTS;
use crate::code::ObjectCode;
use crate::run::{Run, Scratch};
use crate::state::{AccountState, Period, StateEntry};
use crate::zone::Zone;

/// An account's settings in force at the record's start (PLANS section 6).
#[derive(Clone, Debug)]
pub struct AccountContext {
    /// The zone of its days and months.
    pub zone: Zone,
    /// The day of the month on which its billing cycles start, 1 to 31.
    pub cycle_day: u8,
    /// The currency it is billed in.
    pub currency: Currency,
    /// What plans may decide by, read as `account.NAME`.
    pub attributes: BTreeMap<String, String>,
}

/// A plan version that one of the account's subscriptions has in force at the record's start.
#[derive(Clone, Copy, Debug)]
pub struct PlanInForce<'a> {
    /// Its compiled form.
    pub code: &'a ObjectCode,
}

/// What a record comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// Charge lines: topological order of their primitives, ties by document order, then by
    /// first unit (PLANS section 3).
    pub lines: Vec<Line>,
    /// New values of what changed, sorted by (variable, period).
    pub changes: Vec<StateEntry>,
}

/// One priced portion of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Index into the plans given to [`Rater::rate`].
    pub plan: u16,
    /// Index into that plan's [`ObjectCode::components`].
    pub component: u16,
    /// Units, in the component's unit; 0 for fixed charges.
    pub quantity: i128,
    /// The record's unit, from 0, with which the portion begins.
    pub first_unit: i64,
    /// The accumulator's or charge's period; [`Period::EVER`] without one.
    pub period: Period,
    /// Total of the component's accumulator before the portion's first unit; 0 without one.
    pub level_before: i128,
    /// Total after its last unit; 0 without one.
    pub level_after: i128,
    /// The amount, rounded once.
    pub amount: Money,
}

/// Rates records. Holds scratch space only, so one serves any number of accounts and plans; once
/// warm it does not allocate.
#[derive(Debug, Default)]
pub struct Rater {
    scratch: Scratch,
    rated: Rated,
}

impl Rater {
    /// A rater with nothing warmed up yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rates a record by the first plan that accepts it, `plans` being ordered by the
    /// subscriptions' priority, highest first. Reads `state` and does not change it.
    ///
    /// # Errors
    /// The reason the record must wait in suspense; nothing of it is rated then.
    /// `NoPlan` without plans, `NotAccepted` when none takes its usage type, `CurrencyMismatch`,
    /// `MissingInput` without a measure or attribute that the plan reads, `NoWeight`, and
    /// `Overflow` when a number outgrows 128 bits, an instant the calendar, or a filter splits
    /// the record into more than 65,536 portions.
    pub fn rate(
        &mut self,
        plans: &[PlanInForce<'_>],
        account: &AccountContext,
        state: &AccountState,
        record: &UsageView<'_>,
    ) -> Result<&Rated, SuspenseReason> {
        self.rated.lines.clear();
        self.rated.changes.clear();
        let outcome = self.run(plans, account, state, record);
        if let Err(reason) = outcome {
            self.rated.lines.clear();
            self.rated.changes.clear();
            return Err(reason);
        }
        self.rated.changes.sort_unstable_by_key(|change| (change.variable, change.period));
        Ok(&self.rated)
    }

    fn run(
        &mut self,
        plans: &[PlanInForce<'_>],
        account: &AccountContext,
        state: &AccountState,
        record: &UsageView<'_>,
    ) -> Result<(), SuspenseReason> {
        if plans.is_empty() {
            return Err(SuspenseReason::NoPlan);
        }
        let taker = plans.iter().position(|plan| plan.code.accepts(record.usage_type));
        let taker = taker.ok_or(SuspenseReason::NotAccepted)?;
        let code = plans[taker].code;
        if code.currency != account.currency {
            return Err(SuspenseReason::CurrencyMismatch);
        }
        if record.duration_us < 0 {
            // Refused at the door; here it is only kept from running backwards.
            return Err(SuspenseReason::MissingInput);
        }
        let start = record.start.micros();
        let end = start.checked_add(record.duration_us).ok_or(SuspenseReason::Overflow)?;
        if !INSTANTS.contains(&start) || !INSTANTS.contains(&end) {
            return Err(SuspenseReason::Overflow);
        }
        self.scratch.prepare(code);
        self.scratch.calendar.enter(&account.zone);
        let mut run = Run {
            record,
            account,
            state,
            code,
            plan: u16::try_from(taker).map_err(|_| SuspenseReason::Overflow)?,
            scratch: &mut self.scratch,
            lines: &mut self.rated.lines,
            changes: &mut self.rated.changes,
        };
        code.ops.iter().try_for_each(|op| op.run(&mut run))
    }
}
