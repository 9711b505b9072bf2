//! Bonus offsets: when bonuses exceed the charges of a billing cycle, the excess is carried into
//! the next one (docs/plan-semantics.md section 5).
//!
//! ```text
//!  a line is posted --> totals of its billing cycle:  all amounts | amounts granted as bonuses
//!                                                                 |
//!  the cycle closes, after its charges, commitments and options   v
//!     total < 0:  x = min(-total, granted)   carried-forward  +x  in this cycle
//!                                            brought-forward  -x  in the next, as granted
//! ```
//!
//! Totals are variables of the account, not of a plan, since a bonus of one plan is offset against
//! the charges of all plans. They exist only for accounts that can have a bonus: while a plan in
//! force may grant one, and permanently from the first bonus on, including a bonus that another
//! account posts. The ids of totals are lower than all other ids, so the first variable of an
//! account shows whether the account has totals.
//!
//! A cycle has an offset to close when bonuses were granted in it, whichever plan is in force. The
//! close sets the totals to zero, so it happens once, and no further variable records it.

use turnpike_types::limits::CLOSE_GRACE_US;
use turnpike_types::{Currency, Money, Posting, SuspenseReason, Timestamp};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendared, PeriodSpan};
use crate::machine::account::AccountContext;
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::open_if_late;
use crate::machine::in_force::{DueInterval, PlanInForce};
use crate::machine::lines::{ChargeLine, posted};
use crate::machine::rater::{Occasion, Rated, Rater};
use crate::machine::state::{AccountState, Keep, StateEntry, VariableId};
use crate::machine::sweep::due::{Due, DueKind};

/// Upper bound of the ids of all totals: two ids for each currency code of three letters.
const IDS_END: u64 = 1 << 25;

/// The variables of an account's totals in one currency, per billing cycle, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Totals {
    /// The sum of all amounts posted to the account.
    all: VariableId,
    /// The sum of bonuses granted to the account, including carried ones, as a positive amount.
    granted: VariableId,
}

impl Totals {
    fn of(currency: Currency) -> Self {
        let [first, second, third] = currency.bytes();
        let number = u64::from(u32::from_be_bytes([0, first, second, third])) << 1;
        let id = |number| VariableId::numbered(number, Keep::Horizon);
        Self { all: id(number), granted: id(number | 1) }
    }
}

/// The currency of a variable that is an account's total, and whether it is the total of granted
/// bonuses; `None` for any other variable.
pub(crate) fn total_of(variable: VariableId) -> Option<(Currency, bool)> {
    let number = u32::try_from(variable.0).ok().filter(|number| u64::from(*number) < IDS_END)?;
    let [zero, letters @ ..] = (number >> 1).to_be_bytes();
    let currency = std::str::from_utf8(&letters).ok()?.parse().ok()?;
    (zero == 0).then_some((currency, number & 1 == 1))
}

/// The account's totals of all cycles and currencies.
fn held(state: &AccountState) -> impl Iterator<Item = &StateEntry> {
    state.iter().take_while(|entry| entry.variable.0 < IDS_END)
}

impl AccountState {
    /// Whether the state holds totals, by which bonuses are offset against charges when a cycle
    /// closes (docs/plan-semantics.md section 5).
    #[inline]
    pub fn keeps_totals(&self) -> bool {
        self.entries().first().is_some_and(|entry| entry.variable.0 < IDS_END)
    }
}

/// An amount that another account's line posts to this account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostedAmount {
    /// The start of the record that the line belongs to.
    pub start: Timestamp,
    /// The posted amount.
    pub amount: Money,
    /// The currency of the amount, which is the currency in which the account is billed.
    pub currency: Currency,
    /// Whether the amount is a bonus granted to the account.
    pub is_bonus: bool,
}

/// Sums of lines, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    all: i128,
    granted: i128,
}

impl Sums {
    fn add(&mut self, amount: Money, is_granted: bool) -> Result<(), SuspenseReason> {
        let nanos = amount.nanos();
        self.all = self.all.checked_add(nanos).ok_or(SuspenseReason::Overflow)?;
        if is_granted {
            self.granted = self.granted.checked_sub(nanos).ok_or(SuspenseReason::Overflow)?;
        }
        Ok(())
    }
}

/// Whether the line is a bonus granted to its receiver, or derived from one. A converted bonus
/// counts, and so does the tax on a bonus.
fn is_granted<'l>(
    plans: &[PlanInForce<'_>],
    lines: &'l [ChargeLine],
    mut line: &'l ChargeLine,
) -> bool {
    loop {
        let plan = plans.get(usize::from(line.plan));
        if plan.is_some_and(|plan| plan.code.bonus.credits.contains(&line.component)) {
            return true;
        }
        // Each line derives from an earlier one, so the loop ends.
        match line.of.and_then(|of| lines.get(of as usize)) {
            Some(made_of) => line = made_of,
            None => return false,
        }
    }
}

/// Whether the state holds totals, or must begin to hold them because of these sums.
fn keeps(plans: &[PlanInForce<'_>], state: &AccountState, sums: Sums) -> bool {
    let may_grant = || plans.iter().any(|plan| plan.code.bonus.is_own);
    state.keeps_totals() || sums.granted != 0 || may_grant()
}

impl Rater {
    /// Adds the lines just booked to the totals of the cycle that they post to, if totals are kept.
    #[inline(always)]
    pub(crate) fn count(
        &mut self,
        plans: &[PlanInForce<'_>],
        occasion: &Occasion<'_>,
    ) -> Result<(), SuspenseReason> {
        let may_grant = || plans.iter().any(|plan| !plan.code.bonus.credits.is_empty());
        if occasion.state.keeps_totals() || may_grant() {
            return self.keep_totals(plans, occasion);
        }
        Ok(())
    }

    #[inline(never)]
    fn keep_totals(
        &mut self,
        plans: &[PlanInForce<'_>],
        occasion: &Occasion<'_>,
    ) -> Result<(), SuspenseReason> {
        let (mut sums, mut currency) = (Sums::default(), None);
        let lines = &self.rated.lines;
        for line in lines.iter().filter(|line| line.posting == Posting::Account) {
            sums.add(line.amount, is_granted(plans, lines, line))?;
            // All lines of one call are posted in one currency.
            currency = plans.get(usize::from(line.plan)).map(|plan| plan.code.posts);
        }
        let Some(currency) = currency else { return Ok(()) };
        if !keeps(plans, occasion.state, sums) {
            return Ok(());
        }
        let cycle = match *occasion.event {
            Event::Close(cycle) => cycle,
            Event::Usage | Event::Due { .. } => {
                self.posting_cycle(occasion.record.start, occasion.now)
            }
        };
        self.add_to_totals((currency, cycle.period), sums, occasion.state)
    }

    /// Adds an amount that another account posts to the totals of its billing cycle, if totals are
    /// kept. Settings and plans are those of this account at the amount's start. The result has no
    /// lines: the amount was rated in the account that posts it.
    ///
    /// # Errors
    /// `Overflow` when a total exceeds 38 digits.
    pub fn take_posting(
        &mut self,
        plans: &[PlanInForce<'_>],
        account: &AccountContext,
        state: &AccountState,
        posting: &PostedAmount,
        now: Timestamp,
    ) -> Result<&Rated, SuspenseReason> {
        let PostedAmount { start, amount, currency, is_bonus } = *posting;
        self.outcome(|rater| {
            let mut sums = Sums::default();
            sums.add(amount, is_bonus)?;
            if !keeps(plans, state, sums) {
                return Ok(());
            }
            rater.scratch.calendar.enter(&account.zone, account.cycle_day);
            let cycle = rater.posting_cycle(start, now.micros());
            rater.add_to_totals((currency, cycle.period), sums, state)
        })
    }

    /// The cycle of a posting: the one that contains `start`, or the open one when that is closed.
    fn posting_cycle(&mut self, start: Timestamp, now: i64) -> PeriodSpan {
        let (calendar, at) = (&mut self.scratch.calendar, start.micros());
        let open = open_if_late(calendar, at, now);
        open.unwrap_or_else(|| calendar.period(Calendared::Cycle, at))
    }

    fn add_to_totals(
        &mut self,
        (currency, cycle): (Currency, Period),
        more: Sums,
        state: &AccountState,
    ) -> Result<(), SuspenseReason> {
        let Totals { all, granted } = Totals::of(currency);
        for (variable, more) in [(all, more.all), (granted, more.granted)] {
            if more == 0 {
                continue;
            }
            let before = state.get(variable, cycle).unwrap_or(0);
            let sum = before.checked_add(more).and_then(Money::from_nanos);
            let value = sum.ok_or(SuspenseReason::Overflow)?.nanos();
            self.rated.changes.push(StateEntry { variable, period: cycle, value });
            // A cycle in which a bonus was granted must be closed, which may move the next due
            // date.
            self.rated.moves_dues |= variable == granted && before == 0;
        }
        Ok(())
    }

    /// The first cycle with granted bonuses whose grace period has ended at `now`.
    pub(crate) fn next_offset(
        &mut self,
        intervals: &[DueInterval<'_>],
        state: &AccountState,
        now: Timestamp,
    ) -> Option<Due> {
        if !state.keeps_totals() {
            return None;
        }
        let mut first: Option<Due> = None;
        for entry in held(state).filter(|entry| entry.variable.0 & 1 == 1 && entry.value != 0) {
            let cycle = self.longest_cycle(intervals, entry.period);
            let at = Timestamp(cycle.to.saturating_add(CLOSE_GRACE_US));
            if at > now {
                continue;
            }
            let Some((interval, plan)) = speaker(intervals, cycle, entry.variable) else {
                continue;
            };
            let due = Due { at, interval, plan, what: DueKind::Offset(cycle) };
            if first.is_none_or(|first| due.at < first.at) {
                first = Some(due);
            }
        }
        first
    }

    /// Carries the excess of bonuses over the charges of a cycle into the next one.
    pub(crate) fn carry_on(
        &mut self,
        intervals: &[DueInterval<'_>],
        due: &Due,
        cycle: PeriodSpan,
        state: &AccountState,
    ) -> Result<(), SuspenseReason> {
        let speaks = intervals.get(due.interval).and_then(|interval| interval.plans.get(due.plan));
        let code = speaks.ok_or(SuspenseReason::NoPlan)?.code;
        let plan = u16::try_from(due.plan).map_err(|_| SuspenseReason::Overflow)?;
        let Totals { all, granted } = Totals::of(code.posts);
        let value = |variable| state.get(variable, cycle.period).unwrap_or(0);
        let below = value(all).checked_neg().ok_or(SuspenseReason::Overflow)?;
        let over = below.min(value(granted)).max(0);
        for variable in [all, granted] {
            if value(variable) != 0 {
                let entry = StateEntry { variable, period: cycle.period, value: 0 };
                self.rated.changes.push(entry);
            }
        }
        self.rated.moves_dues = true;
        let amount = Money::from_nanos(over).ok_or(SuspenseReason::Overflow)?;
        if amount == Money::ZERO {
            return Ok(());
        }
        let less = Money::from_nanos(-over).ok_or(SuspenseReason::Overflow)?;
        let Some(next) = self.cycle_after(intervals, due.interval, cycle.to) else {
            self.rated.lines.push(posted(plan, code.bonus.lapsed, cycle.period, amount));
            return Ok(());
        };
        self.rated.lines.push(posted(plan, code.bonus.forward, cycle.period, amount));
        self.rated.lines.push(posted(plan, code.bonus.brought, next.period, less));
        let more = Sums { all: -over, granted: over };
        self.add_to_totals((code.posts, next.period), more, state)
    }

    /// The cycle that contains the instant `end`, at which another cycle ends; `None` when the
    /// account has no subscription at that time or later.
    fn cycle_after(
        &mut self,
        intervals: &[DueInterval<'_>],
        closing: usize,
        end: i64,
    ) -> Option<PeriodSpan> {
        let lasts = |interval: &&DueInterval<'_>| {
            interval.until.micros() > end && !interval.is_empty() && !interval.plans.is_empty()
        };
        let next = intervals.iter().find(lasts)?;
        // In a gap between subscriptions, the earlier subscription's calendar applies.
        let by = if next.from.micros() <= end { next } else { intervals.get(closing)? };
        self.scratch.calendar.enter(&by.account.zone, by.account.cycle_day);
        Some(self.scratch.calendar.period(Calendared::Cycle, end))
    }
}

/// The plan whose lines carry the offset of a cycle, as (interval, plan) indexes. Only plans that
/// post in the currency of the totals are considered; in an interval, the first plan that grants
/// bonuses is chosen, else the first plan. The interval is the last one with such a plan that
/// begins before the end of the cycle, else the first one with such a plan.
fn speaker(
    intervals: &[DueInterval<'_>],
    cycle: PeriodSpan,
    granted: VariableId,
) -> Option<(usize, usize)> {
    let within = |interval: &DueInterval<'_>| {
        let grants = |plan: &PlanInForce<'_>| !plan.code.bonus.credits.is_empty();
        let in_currency = |plan: &PlanInForce<'_>| Totals::of(plan.code.posts).granted == granted;
        let posts = || interval.plans.iter().enumerate().filter(|(_, plan)| in_currency(plan));
        let place = posts().find(|(_, plan)| grants(plan)).or_else(|| posts().next());
        place.map(|(place, _)| place)
    };
    let in_time = intervals.iter().enumerate().filter(|(_, interval)| !interval.is_empty());
    let mut all = in_time.filter_map(|(at, s)| Some((at, within(s)?)));
    let begun = all.clone().take_while(|(at, _)| intervals[*at].from.micros() < cycle.to);
    begun.last().or_else(|| all.next())
}
