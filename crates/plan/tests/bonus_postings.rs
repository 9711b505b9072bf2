//! Bonuses that other accounts post are offset against the receiver's charges
//! (docs/plan-semantics.md section 5, P33).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::due::{Booked, Contract, Ledger, Subscription, at, plan_of};
use turnpike_plan::PostedAmount;
use turnpike_types::Money;

const IN_JANUARY: &str = "2026-01-10T12:00:00Z";

/// An account with a monthly fee of 5, under a plan that grants no bonus.
fn contract() -> Contract {
    let graph = r#"<Ignore id="nothing" in="record.quantity"/><MonthlyRecurringCharge id="fee" amount="5"/>
        <AccountFinalizer id="mine" in="fee.charge"/>"#;
    let xml = plan_of("p", 1, "2026-01-01", graph);
    Contract::in_zone("UTC").with(Subscription::to(&xml, "2026-01-01"))
}

/// The lines of bonus offsets, as `DATE component amount`.
fn offsets(ledger: &Ledger) -> Vec<String> {
    let booked = ledger.lines.iter().filter(|line| line.component.starts_with("bonus-"));
    booked.map(Booked::shown).collect()
}

/// Takes an amount that another account posts, as a bonus or not, for a record with this start, at
/// `now`.
fn take(
    ledger: &mut Ledger,
    contract: &Contract,
    is_bonus: bool,
    amount: i64,
    (start, now): (&str, &str),
) {
    let posting = PostedAmount {
        start: at(start),
        amount: Money::from_nanos(i128::from(amount) * 1_000_000_000).unwrap(),
        currency: "USD".parse().unwrap(),
        is_bonus,
    };
    let (account, plans) = contract.in_force(at(start));
    let taken = ledger.rater.take_posting(&plans, account, &ledger.state, &posting, at(now));
    let taken = taken.unwrap().clone();
    assert!(taken.lines.is_empty(), "it was rated elsewhere");
    ledger.state.apply(&taken.changes);
}

#[test]
fn postings_of_other_accounts_count_beside_the_accounts_own_in_their_cycle() {
    let contract = contract();
    let mut ledger = Ledger::new();
    take(&mut ledger, &contract, true, -1, ("2026-01-01", "2026-01-01"));
    ledger.sweep(&contract, "2026-01-02");
    take(&mut ledger, &contract, true, -10, (IN_JANUARY, IN_JANUARY));
    take(&mut ledger, &contract, false, 2, (IN_JANUARY, IN_JANUARY));
    ledger.sweep(&contract, "2026-02-03");
    // The bonuses are 1 + 10, and the charges 5 + 2.
    assert_eq!(
        offsets(&ledger),
        ["2026-02-03 bonus-carried-forward 4", "2026-02-03 bonus-brought-forward -4"]
    );
    // In February, the bonuses are 4 from January and 3 from the late record, and the charge is 5.
    take(&mut ledger, &contract, true, -3, (IN_JANUARY, "2026-02-05"));
    ledger.sweep(&contract, "2026-03-03");
    assert_eq!(
        offsets(&ledger)[2..],
        ["2026-03-03 bonus-carried-forward 2", "2026-03-03 bonus-brought-forward -2"]
    );
}

#[test]
fn only_a_bonus_posting_starts_totals_which_are_then_kept() {
    let contract = contract();
    let mut ledger = Ledger::new();
    take(&mut ledger, &contract, false, -10, (IN_JANUARY, IN_JANUARY));
    assert!(!ledger.state.keeps_totals());
    take(&mut ledger, &contract, true, -10, (IN_JANUARY, IN_JANUARY));
    assert!(ledger.state.keeps_totals());
    ledger.sweep(&contract, "2026-12-31");
    assert!(ledger.state.keeps_totals());
    assert_eq!(
        offsets(&ledger),
        ["2026-02-03 bonus-carried-forward 5", "2026-02-03 bonus-brought-forward -5"],
        "January's fee was booked after it, and February's is all of the rest"
    );
}
