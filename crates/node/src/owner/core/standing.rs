//! Shows options: the amount of each alternative in the open cycles (docs/plan-semantics.md section
//! 6).

use std::collections::BTreeSet;

use turnpike_account::Account;
use turnpike_plan::{
    AccountContext, AccountState, Comparison, Cycle, OfferId, Period, PlanInForce, comparison,
    plan_number, winner,
};
use turnpike_proto::account::v1::{Alternative, OptionStanding};

use super::accounts::date_of;
use super::owner_core::OwnerCore;

/// The most cycles shown of one option. An account has two or three open cycles.
const CYCLES_MAX: usize = 24;

impl OwnerCore {
    /// The account's options, each in every open cycle that has amounts or a picked alternative.
    pub(super) fn standings(&mut self, account: u64) -> Vec<OptionStanding> {
        let account = turnpike_types::AccountNumber(account);
        let Some(Account { profile, state }) = self.log.state().account(account) else {
            return Vec::new();
        };
        let now = self.log.now();
        let alive = || self.pulse.alive();
        let profiles = self.log.state().profiles();
        let intervals = self.view.tariffs.due_intervals(profiles, *profile, &alive);
        let mut shown: BTreeSet<OfferId> = BTreeSet::new();
        let mut standings = Vec::new();
        // The loop begins with the last interval, so that an offer is shown with the alternatives
        // that it had last.
        for interval in intervals.iter().rev().filter(|interval| interval.from <= now) {
            let plans = interval.tariff.in_force();
            let options = plans.iter().filter_map(PlanInForce::alternative);
            let fresh: BTreeSet<(OfferId, &str)> = options
                .map(|option| (option.offer, option.name))
                .filter(|(offer, _)| !shown.contains(offer))
                .collect();
            for &offer in &fresh {
                standings.extend(of_offer(offer, &plans, state, &interval.tariff.context));
            }
            shown.extend(fresh.iter().map(|(offer, _)| *offer));
        }
        standings.sort_by(|a, b| (&a.option, &a.cycle).cmp(&(&b.option, &b.cycle)));
        standings
    }
}

fn of_offer<'a>(
    (offer, name): (OfferId, &'a str),
    plans: &'a [PlanInForce<'a>],
    state: &'a AccountState,
    context: &'a AccountContext,
) -> impl Iterator<Item = OptionStanding> {
    let is_one = move |plan: &PlanInForce<'_>| {
        plan.alternative().is_some_and(|option| option.offer == offer)
    };
    let alternatives: Vec<(usize, &PlanInForce<'_>)> =
        plans.iter().enumerate().filter(|(_, plan)| is_one(plan)).collect();
    let periods: BTreeSet<Period> = state.iter().map(|entry| entry.period).collect();
    let standing = move |cycle: Cycle| {
        let picked = state.get(offer.choice(), cycle.first);
        let shown = |&(_, plan): &(usize, &PlanInForce<'_>)| {
            let Comparison { running, once } = comparison(plan, state, cycle.first);
            Alternative {
                plan_id: plan.code.plan_id().to_owned(),
                running: running.to_string(),
                once: once.to_string(),
                picked: picked == Some(plan_number(plan.code.plan_id())),
            }
        };
        let is_known = |&(_, plan): &(usize, &PlanInForce<'_>)| {
            comparison(plan, state, cycle.first) != Comparison::NOTHING
        };
        if picked.is_none() && !alternatives.iter().any(is_known) {
            return None;
        }
        let billed = winner(&alternatives, state, cycle);
        let billed = billed.and_then(|place| plans.get(place));
        Some(OptionStanding {
            option: name.to_owned(),
            cycle: date_of(cycle.first),
            alternatives: alternatives.iter().map(shown).collect(),
            winner: billed.map(|plan| plan.code.plan_id().to_owned()).unwrap_or_default(),
        })
    };
    let day = context.cycle_day;
    let is_open =
        move |period: &Period| *period != Period::EVER && !offer.is_closed(state, day, *period);
    let cycle = move |period| Cycle::beginning(&context.zone, day, period);
    periods
        .into_iter()
        .rev()
        .filter(is_open)
        .filter_map(cycle)
        .filter_map(standing)
        .take(CYCLES_MAX)
}
