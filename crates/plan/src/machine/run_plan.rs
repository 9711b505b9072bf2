//! The evaluation of one plan's code for a record or a due event.

use turnpike_types::{Currency, SuspenseReason};

use crate::machine::code::{Evaluation, ObjectCode};
use crate::machine::in_force::PlanInForce;
use crate::machine::rater::{Occasion, Rater};
use crate::machine::tentative;
use crate::machine::watch::{Watch, watched};

impl Rater {
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
    pub(crate) fn run_one(
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

    #[cold]
    fn other_currency(&self, code: &ObjectCode, account: Currency) -> SuspenseReason {
        let (plan, posts) = (&code.plan_id, code.posts);
        let about = format_args!("plan {plan} posts {posts}, the account is billed in {account}");
        self.scratch.about.note(SuspenseReason::CurrencyMismatch, about)
    }
}
