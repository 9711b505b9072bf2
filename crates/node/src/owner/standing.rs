//! How options stand: what each alternative comes to in the cycles that are open (PLANS section 6).

use std::collections::BTreeSet;

use turnpike_account::Account;
use turnpike_plan::{
    AccountState, Comparison, Period, PlanInForce, comparison, is_cycle_closed, option_choice,
    plan_number, winner,
};
use turnpike_proto::account::v1::{Alternative, OptionStanding};
use turnpike_types::Money;

use super::Owner;
use super::accounts::date_of;

/// Cycles shown of one option; an account has two or three that are open.
const CYCLES_MAX: usize = 24;

impl Owner {
    /// How the account's options stand in each open cycle of which anything is known.
    pub(super) fn standings(&mut self, account: u64) -> Vec<OptionStanding> {
        let account = turnpike_types::AccountNumber(account);
        let Some(Account { profile, state }) = self.state.account(account) else {
            return Vec::new();
        };
        let now = self.open.time.now;
        let alive = || super::tick(&self.ticks, self.in_flight.as_ref(), &self.shared.config);
        let stretches = self.tariffs.due_stretches(self.state.profiles(), *profile, &alive);
        let mut shown: BTreeSet<&str> = BTreeSet::new();
        let mut standings = Vec::new();
        // An option's alternatives are those that were offered last.
        for stretch in stretches.iter().rev().filter(|stretch| stretch.from <= now) {
            let plans = stretch.tariff.in_force();
            let day = stretch.tariff.context.cycle_day;
            let names = stretch.tariff.plans.iter().filter_map(|plan| plan.option_name());
            let fresh: BTreeSet<&str> = names.filter(|name| !shown.contains(name)).collect();
            for &name in &fresh {
                standings.extend(of_option(name, &plans, state, day));
            }
            shown.extend(fresh);
        }
        standings.sort_by(|a, b| (&a.option, &a.cycle).cmp(&(&b.option, &b.cycle)));
        standings
    }
}

fn of_option<'a>(
    name: &'a str,
    plans: &'a [PlanInForce<'a>],
    state: &'a AccountState,
    cycle_day: u8,
) -> impl Iterator<Item = OptionStanding> {
    let is_one = move |plan: &PlanInForce<'_>| plan.option.is_some_and(|other| other.name == name);
    let alternatives: Vec<(usize, &PlanInForce<'_>)> =
        plans.iter().enumerate().filter(|(_, plan)| is_one(plan)).collect();
    let periods: BTreeSet<Period> = state.iter().map(|entry| entry.period).collect();
    let standing = move |cycle: Period| {
        let picked = state.get(option_choice(name), cycle);
        let shown = |&(_, plan): &(usize, &PlanInForce<'_>)| {
            let Comparison { running, once } = comparison(plan, state, cycle);
            Alternative {
                plan_id: plan.code.plan_id().to_owned(),
                running: running.to_string(),
                once: once.to_string(),
                picked: picked == Some(plan_number(plan.code.plan_id())),
            }
        };
        let is_known = |&(_, plan): &(usize, &PlanInForce<'_>)| {
            let Comparison { running, once } = comparison(plan, state, cycle);
            running != Money::ZERO || once != Money::ZERO
        };
        if picked.is_none() && !alternatives.iter().any(is_known) {
            return None;
        }
        let billed = winner(name, &alternatives, state, cycle);
        let billed = billed.and_then(|place| plans.get(place));
        Some(OptionStanding {
            option: name.to_owned(),
            cycle: date_of(cycle),
            alternatives: alternatives.iter().map(shown).collect(),
            winner: billed.map(|plan| plan.code.plan_id().to_owned()).unwrap_or_default(),
        })
    };
    let is_open = move |period: &Period| {
        *period != Period::EVER && !is_cycle_closed(name, state, cycle_day, *period)
    };
    periods.into_iter().rev().filter(is_open).filter_map(standing).take(CYCLES_MAX)
}
