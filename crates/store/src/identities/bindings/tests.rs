use turnpike_types::AccountNumber;

use super::*;

fn row(identity: &str, account: u64, from: i64, until: i64) -> BindingRow {
    let binding = Binding {
        identity: identity.to_owned(),
        account: AccountNumber(account),
        from: Timestamp(from),
        until: Timestamp(until),
    };
    BindingRow::recorded(binding, Timestamp::MIN)
}

/// The history found under the key of `identity`, as (from, until, account).
fn found(identity: &str, rows: &[BindingRow]) -> Vec<(i64, i64, u64)> {
    let asked = [Asked::of(identity, PrefixLengths::NONE)];
    let found = guided(&asked, rows.iter().cloned()).remove(0).bindings;
    found.iter().map(|row| (row.from.0, row.until.0, row.account.0)).collect()
}

#[test]
fn where_an_older_release_bound_two_spellings_the_canonical_one_holds() {
    let (plain, shouted) = ("ip:2001:db8::99", "ip:2001:DB8:0::99");
    let rows = [row(shouted, 2, 0, 100), row(plain, 1, 50, 70)];
    assert_eq!(found(plain, &rows), [(0, 50, 2), (50, 70, 1), (70, 100, 2)]);
    assert_eq!(found(shouted, &rows), found(plain, &rows));
}

#[test]
fn where_neither_spelling_is_canonical_usage_is_suspended_unless_both_name_one_account() {
    let (first, second) = ("ip:2001:DB8::99", "ip:2001:DB8:0::99");
    let rows = [row(first, 1, 0, 100), row(second, 2, 50, 150)];
    assert_eq!(found("ip:2001:db8::99", &rows), [(0, 50, 1), (100, 150, 2)]);
    let rows = [row(first, 1, 0, 100), row(second, 1, 50, 150)];
    assert_eq!(found("ip:2001:db8::99", &rows), [(0, 150, 1)]);
}

#[test]
fn a_move_settles_overlaps_of_an_older_release() {
    let rows = [row("ip:2001:DB8::99", 1, 0, 100), row("ip:2001:DB8:0::99", 2, 50, 150)];
    let mut histories = Histories::of(rows.iter().cloned());
    let binding = row("ip:2001:db8::99", 3, 60, i64::MAX).binding;
    let asked = [Rebinding::Move { binding, final_before: Timestamp(0) }];
    let (outcomes, _) = judge_rebindings(&mut histories, &asked, Timestamp(1));
    assert!(matches!(&outcomes[0], RebindOutcome::Changed(taken) if taken.len() == 2));
    let after = histories.history("ip:2001:db8::99").clone();
    assert_eq!(found("ip:2001:db8::99", &after), [(0, 50, 1), (60, i64::MAX, 3)]);
}

/// Account 1 holds the identity in one spelling, account 2 in another one.
#[test]
fn a_move_to_an_account_that_shares_the_identity_takes_the_other_spelling_away() {
    let rows = [row("ip:2001:DB8::99", 1, 0, i64::MAX), row("ip:2001:DB8:0::99", 2, 0, i64::MAX)];
    let mut histories = Histories::of(rows.iter().cloned());
    let binding = row("ip:2001:db8::99", 1, 0, i64::MAX).binding;
    let asked = [Rebinding::Move { binding, final_before: Timestamp(0) }];
    let (outcomes, _) = judge_rebindings(&mut histories, &asked, Timestamp(1));
    assert_eq!(outcomes, [RebindOutcome::Changed(vec![rows[1].binding.clone()])]);
    let after = histories.history("ip:2001:db8::99").clone();
    assert_eq!(found("ip:2001:db8::99", &after), [(0, i64::MAX, 1)]);
    let (outcomes, writes) = judge_rebindings(&mut histories, &asked, Timestamp(2));
    assert_eq!((outcomes, writes), (vec![RebindOutcome::Already], Vec::new()));
}

/// The clock was set back between two changes.
#[test]
fn changes_are_recorded_in_their_order_whatever_the_clock_says() {
    let recorded = |last, now, mark| {
        recording_instant(Timestamp(last), Timestamp(now), Timestamp(mark)).micros()
    };
    assert_eq!([recorded(5, 9, 0), recorded(9, 5, 0), recorded(9, 9, 0)], [9, 10, 10]);
    assert_eq!([recorded(5, 9, 20), recorded(30, 9, 20)], [20, 31], "not before the mark");
}

/// The outcome of a bind, and the history after it, as (from, until, account).
fn bound(rows: &[BindingRow], asked: &BindingRow) -> (RebindOutcome, Vec<(i64, i64, u64)>) {
    let mut histories = Histories::of(rows.iter().cloned());
    let change = Rebinding::Bind(asked.binding.clone());
    let (mut outcomes, _) = judge_rebindings(&mut histories, &[change], Timestamp(1));
    let mut opened = Histories::of(rows.iter().cloned());
    let (also, _) = judge_bindings(&mut opened, std::slice::from_ref(&asked.binding), Timestamp(1));
    let after = histories.history("user:anna").clone();
    assert_eq!(&after, opened.history("user:anna"), "bind and open follow one rule: {also:?}");
    let after = after.iter().map(|row| (row.from.0, row.until.0, row.account.0)).collect();
    (outcomes.remove(0), after)
}

#[test]
fn a_refused_bind_names_another_holder_and_never_the_account_itself() {
    let end = i64::MAX;
    let rows =
        [row("user:anna", 21, 3, 5), row("user:anna", 22, 5, 6), row("user:anna", 21, 6, end)];
    let (outcome, after) = bound(&rows, &row("user:anna", 21, 3, end));
    assert_eq!(outcome, RebindOutcome::Taken(rows[1].binding.clone()));
    assert_eq!(after, [(3, 5, 21), (5, 6, 22), (6, end, 21)]);
}

#[test]
fn an_account_extends_its_own_interval_and_the_rows_stay_disjoint() {
    let rows =
        [row("user:anna", 21, 3, 5), row("user:anna", 21, 8, 9), row("user:anna", 22, 12, 13)];
    let (outcome, after) = bound(&rows, &row("user:anna", 21, 1, 12));
    assert_eq!(outcome, RebindOutcome::Changed(Vec::new()));
    let expected = [(1, 3, 21), (3, 5, 21), (5, 8, 21), (8, 9, 21), (9, 12, 21), (12, 13, 22)];
    assert_eq!(after, expected);
    // The requested interval begins within an interval that the account holds already.
    let (outcome, after) = bound(&rows, &row("user:anna", 21, 4, 7));
    assert_eq!(outcome, RebindOutcome::Changed(Vec::new()));
    assert_eq!(after, [(3, 5, 21), (5, 7, 21), (8, 9, 21), (12, 13, 22)]);
}

/// A release of the middle of a binding adds two rows: the part that was taken away, and the rest.
#[test]
fn an_identity_with_a_full_history_is_released_up_to_a_further_limit() {
    let (name, count) = ("user:x", i64::try_from(IDENTITY_BINDINGS_MAX).unwrap());
    let mut rows: Vec<BindingRow> = (1..count)
        .map(|at| BindingRow { withdrawn: Timestamp(at), ..row(name, 1, at, at + 1) })
        .collect();
    rows.push(row(name, 1, 0, i64::MAX));
    let mut histories = Histories::of(rows.into_iter());
    let mut release = |at: i64| {
        let binding = row(name, 1, 2 * at, 2 * at + 1).binding;
        let asked = [Rebinding::Release { binding, final_before: Timestamp(0) }];
        let (mut outcomes, writes) = judge_rebindings(&mut histories, &asked, Timestamp(count));
        assert_eq!(outcomes[0] == RebindOutcome::Full, writes.is_empty());
        outcomes.remove(0)
    };
    let most = i64::try_from(IDENTITY_RELEASES_MAX).unwrap() / 2;
    for at in 1..=most {
        assert!(matches!(release(at), RebindOutcome::Changed(_)), "{at}");
    }
    assert_eq!(release(most + 1), RebindOutcome::Full);
}
