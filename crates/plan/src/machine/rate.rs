//! Rates a usage record: computes charge lines and state changes from an account's plans in force,
//! its state and the record.

use turnpike_types::{SuspenseReason, Timestamp, UsageView};

use crate::calendar::periods::INSTANTS;
use crate::machine::account::AccountContext;
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::open_if_late;
use crate::machine::in_force::{OfferId, OptionInForce, PlanInForce};
use crate::machine::options;
use crate::machine::rater::{Occasion, Rated, Rater};
use crate::machine::state::AccountState;
use crate::machine::watch::Watch;

impl Rater {
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
}
