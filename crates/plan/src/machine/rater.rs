//! The rater: computes charge lines and state changes from an account's plans in force, its state
//! and a record.

use std::sync::Arc;

use turnpike_types::{Currency, Detail, SuspenseReason, Timestamp, UsageView};

use crate::calendar::periods::INSTANTS;
use crate::machine::account::AccountContext;
use crate::machine::code::{Evaluation, ObjectCode};
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::open_if_late;
use crate::machine::evaluation::scratch::Scratch;
use crate::machine::lines::ChargeLine;
use crate::machine::options::{self, OfferId, OptionInForce};
use crate::machine::state::{AccountState, StateEntry};
use crate::machine::tentative;
use crate::machine::watch::{Watch, watched};
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

/// The result of rating a record, or of booking a due event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// Charge lines, in topological order of their primitives, ties by document order, then by
    /// first unit (docs/plan-semantics.md section 3).
    pub lines: Vec<ChargeLine>,
    /// New values of changed variables, sorted by (variable, period), each once.
    pub changes: Vec<StateEntry>,
    /// Whether the record's billing cycle was already closed. If so, the record posts to the open
    /// cycle.
    pub late: bool,
    /// Whether a variable changed that determines the result of [`Rater::next_due`].
    pub moves_dues: bool,
}

/// Rates records. It holds only scratch space, so one rater serves any number of accounts and
/// plans. After the first records it does not allocate.
#[derive(Debug, Default)]
pub struct Rater {
    pub(crate) scratch: Scratch,
    pub(crate) rated: Rated,
}

/// The inputs of an evaluation by one plan, except the plan.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) record: &'a UsageView<'a>,
    pub(crate) event: &'a Event,
    /// As [`Evaluation::held`].
    pub(crate) held: &'a [(i64, i64)],
    pub(crate) now: i64,
}

impl Rater {
    /// A rater with empty scratch space.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rates a record by the first plan that accepts its usage type; if that plan is an alternative
    /// of an option, by all alternatives of the option. `plans` are ordered by subscription
    /// priority, highest first. `state` is not changed. `now` is logged time, which determines
    /// which cycles are closed.
    ///
    /// Charges that fall due at or before the record's start must be booked first
    /// ([`Rater::next_due`]).
    ///
    /// # Errors
    /// The reason for which the record goes into suspense; then no part of it is rated. `NoPlan`
    /// without plans; `NotAccepted` when no plan accepts its usage type; `CurrencyMismatch`;
    /// `MissingInput` when a measure or attribute that the plan reads is missing; `Overflow` when a
    /// number exceeds 128 bits, an instant is outside the calendar, or the record has too many
    /// portions. Refusals by primitives: `NoWeight`, `NoTable`, `NoRate`, `NoPrefix`, `NoTaxPlace`,
    /// `BadAttribute`, `NoParty`, `OutOfOrder`. Refusals of alternatives: `SharedState`,
    /// `PostsElsewhere`, `AfterClose`.
    pub fn rate(
        &mut self,
        plans: &[PlanInForce<'_>],
        account: &AccountContext,
        state: &AccountState,
        record: &UsageView<'_>,
        now: Timestamp,
    ) -> Result<&Rated, SuspenseReason> {
        let now = now.micros();
        let occasion = Occasion { account, state, record, event: &Event::Usage, held: &[], now };
        self.outcome(|rater| {
            rater.rate_record(plans, occasion, None)?;
            rater.count(plans, &occasion)
        })
    }

    /// The result of the last call; empty when it was refused.
    pub const fn last(&self) -> &Rated {
        &self.rated
    }

    /// The subject of the last refusal, if its reason is `reason`: the measure, attribute, number,
    /// table, type or currencies. [`Detail::NONE`] when the reason needs no detail.
    pub fn detail(&self, reason: SuspenseReason) -> Detail {
        self.scratch.about.detail(reason)
    }

    /// As [`Rater::rate`], and reports each primitive's work to `watch`.
    ///
    /// # Errors
    /// As [`Rater::rate`].
    pub fn rate_watched(
        &mut self,
        plans: &[PlanInForce<'_>],
        account: &AccountContext,
        state: &AccountState,
        record: &UsageView<'_>,
        now: Timestamp,
        watch: &mut dyn Watch,
    ) -> Result<&Rated, SuspenseReason> {
        let now = now.micros();
        let occasion = Occasion { account, state, record, event: &Event::Usage, held: &[], now };
        self.outcome(|rater| {
            rater.rate_record(plans, occasion, Some(watch))?;
            rater.count(plans, &occasion)
        })
    }

    /// Clears the result, calls `rate` to fill it, and sorts the changes.
    #[inline]
    pub(crate) fn outcome(
        &mut self,
        rate: impl FnOnce(&mut Self) -> Result<(), SuspenseReason>,
    ) -> Result<&Rated, SuspenseReason> {
        self.rated.lines.clear();
        self.rated.changes.clear();
        self.rated.late = false;
        self.rated.moves_dues = false;
        self.scratch.about.clear();
        if let Err(reason) = rate(self) {
            self.rated.lines.clear();
            self.rated.changes.clear();
            return Err(reason);
        }
        let key = |change: &StateEntry| (change.variable, change.period);
        match self.rated.changes.as_mut_slice() {
            [] | [_] => {}
            [first, second] => {
                if key(second) < key(first) {
                    std::mem::swap(first, second);
                }
            }
            more => more.sort_unstable_by_key(key),
        }
        Ok(&self.rated)
    }

    #[inline(always)]
    fn rate_record(
        &mut self,
        plans: &[PlanInForce<'_>],
        occasion: Occasion<'_>,
        watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        if plans.is_empty() {
            return Err(SuspenseReason::NoPlan);
        }
        let record = occasion.record;
        let taker = plans.iter().position(|plan| plan.code.accepts(record.usage_type));
        let taker = taker.ok_or_else(|| self.not_accepted(record.usage_type))?;
        if record.duration_us < 0 {
            // The caller checked this already; this check only prevents an end before the start.
            let about = format_args!("record.duration is negative");
            return Err(self.scratch.about.note(SuspenseReason::MissingInput, about));
        }
        let start = record.start.micros();
        let end = start.checked_add(record.duration_us).ok_or(SuspenseReason::Overflow)?;
        if !INSTANTS.contains(&start) || !INSTANTS.contains(&end) {
            return Err(SuspenseReason::Overflow);
        }
        self.scratch.calendar.enter(&occasion.account.zone, occasion.account.cycle_day);
        let open = open_if_late(&mut self.scratch.calendar, start, occasion.now);
        self.rated.late = open.is_some();
        if let Some(option) = plans[taker].alternative() {
            options::check_apart(plans, option.offer)?;
            let ends = options::end_of(plans, option.offer).micros();
            if open.is_some_and(|open| ends <= open.from) {
                return self.rate_after_option(plans, option.offer, occasion, watch);
            }
            return self.rate_by_each(plans, option.offer, occasion, watch);
        }
        self.run_one(&plans[taker], taker, occasion, watch)
    }

    #[cold]
    fn not_accepted(&self, usage_type: &str) -> SuspenseReason {
        let about = format_args!("usage type {usage_type:?}");
        self.scratch.about.note(SuspenseReason::NotAccepted, about)
    }

    #[cold]
    fn other_currency(&self, code: &ObjectCode, account: Currency) -> SuspenseReason {
        let (plan, posts) = (&code.plan_id, code.posts);
        let about = format_args!("plan {plan} posts {posts}, the account is billed in {account}");
        self.scratch.about.note(SuspenseReason::CurrencyMismatch, about)
    }

    /// Rates the record by each alternative that accepts its usage type.
    fn rate_by_each(
        &mut self,
        plans: &[PlanInForce<'_>],
        offer: OfferId,
        occasion: Occasion<'_>,
        mut watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        for (place, plan) in plans.iter().enumerate() {
            if plan.is_of(offer) && plan.code.accepts(occasion.record.usage_type) {
                // `watch` is reborrowed for one iteration.
                let watch = watch.as_mut().map(|watch| &mut **watch as &mut dyn Watch);
                self.run_plan(plans, place, occasion, watch)?;
            }
        }
        Ok(())
    }

    /// Rates a late record of an option that has ended and whose cycles are closed, by the plan
    /// that the client kept.
    #[inline(never)]
    fn rate_after_option(
        &mut self,
        plans: &[PlanInForce<'_>],
        offer: OfferId,
        occasion: Occasion<'_>,
        watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        let is_kept = |plan: &PlanInForce<'_>| {
            plan.is_of(offer)
                && plan.option.is_some_and(|option| option.kept_from < plan.until)
                && plan.code.accepts(occasion.record.usage_type)
        };
        // Without a kept plan the record is refused: its amounts would be added to the sums of a
        // cycle that the option no longer closes.
        let place = plans.iter().position(is_kept).ok_or(SuspenseReason::AfterClose)?;
        let mut kept = plans[place];
        kept.option = kept.option.map(|option| OptionInForce { is_kept: true, ..option });
        self.run_one(&kept, place, occasion, watch)
    }

    /// Evaluates one plan's code.
    pub(crate) fn run_plan(
        &mut self,
        plans: &[PlanInForce<'_>],
        place: usize,
        occasion: Occasion<'_>,
        watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        let plan = plans.get(place).ok_or(SuspenseReason::NoPlan)?;
        self.run_one(plan, place, occasion, watch)
    }

    /// [`Rater::run_plan`] inlined into its callers, for speed.
    #[inline(always)]
    fn run_one(
        &mut self,
        plan: &PlanInForce<'_>,
        place: usize,
        occasion: Occasion<'_>,
        watch: Option<&mut dyn Watch>,
    ) -> Result<(), SuspenseReason> {
        let code = plan.code;
        if code.posts != occasion.account.currency {
            return Err(self.other_currency(code, occasion.account.currency));
        }
        let (first_line, first_change) = (self.rated.lines.len(), self.rated.changes.len());
        self.scratch.prepare(&code.buffers);
        let mut run = Evaluation {
            record: occasion.record,
            account: occasion.account,
            state: occasion.state,
            code,
            tables: plan.tables,
            event: occasion.event,
            since: plan.since.micros(),
            cancelled: plan.until.micros(),
            held: occasion.held,
            now: occasion.now,
            plan: u16::try_from(place).map_err(|_| SuspenseReason::Overflow)?,
            scratch: &mut self.scratch,
            lines: &mut self.rated.lines,
            changes: &mut self.rated.changes,
        };
        match watch {
            None => run.run_all(|placed, run| placed.op.run(run))?,
            Some(watch) => run.run_all(|placed, run| watched(placed, run, watch))?,
        }
        if let Some(option) = plan.option {
            tentative::keep(&mut run, first_line, option)?;
        }
        if !code.due_by.is_empty() {
            let changed = &self.rated.changes[first_change..];
            self.rated.moves_dues |=
                changed.iter().any(|change| code.due_by.contains(&change.variable));
        }
        Ok(())
    }
}
