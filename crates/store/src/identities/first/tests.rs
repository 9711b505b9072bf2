use std::ops::Range;

use turnpike_store_conformance::Dice;

use super::*;

const KEYS: [&str; 3] = ["ip:192.0.2.9", "ip:192.0.2.8/29", "ip:192.0.2.0/24"];

fn at(micros: i64) -> Timestamp {
    Timestamp(micros)
}

fn row(identity: &str, account: u64, held: Range<i64>, seen: Range<i64>) -> BindingRow {
    let binding = Binding {
        identity: identity.to_owned(),
        account: AccountNumber(account),
        from: at(held.start),
        until: at(held.end),
    };
    BindingRow { binding, recorded: at(seen.start), withdrawn: at(seen.end) }
}

/// The first holders that follow from the rows of each key, as (from, until, account).
fn found(levels: &HashMap<String, KeyRows>) -> Vec<(i64, i64, u64)> {
    let keys = KEYS.map(str::to_owned);
    let found = first_holders(keys.iter(), levels);
    found.iter().map(|row| (row.from.0, row.until.0, row.account.0)).collect()
}

fn of(rows: Vec<BindingRow>) -> HashMap<String, KeyRows> {
    HashMap::from([(KEYS[0].to_owned(), rows)])
}

const EVER: i64 = i64::MIN;
const OPEN: i64 = i64::MAX;

/// The account of a record that starts `SETTLES_US` after a move, or later, was not looked up
/// before the move.
#[test]
fn a_move_concerns_the_records_that_start_before_it_has_settled() {
    let moved = 1_000;
    let rows = vec![row(KEYS[0], 1, 0..OPEN, EVER..moved), row(KEYS[0], 2, 0..OPEN, moved..OPEN)];
    assert_eq!(found(&of(rows)), [(0, moved + SETTLES_US, 1)]);
}

/// A record that starts `SETTLES_US` after the first move, or later, has the account of that move
/// as its first holder.
#[test]
fn after_a_move_has_settled_its_account_is_the_first_holder() {
    let again = 1_000 + SETTLES_US / 2;
    let rows = vec![
        row(KEYS[0], 1, 0..OPEN, EVER..1_000),
        row(KEYS[0], 2, 0..OPEN, 1_000..again),
        row(KEYS[0], 3, 0..OPEN, again..OPEN),
    ];
    let expected = [(0, 1_000 + SETTLES_US, 1), (1_000 + SETTLES_US, again + SETTLES_US, 2)];
    assert_eq!(found(&of(rows)), expected);
}

/// Look-ups found nothing at first, then an account, then nothing again.
#[test]
fn a_released_account_is_the_first_holder_until_the_release_has_settled() {
    let rows = vec![row(KEYS[0], 1, 0..OPEN, 10..20)];
    assert_eq!(found(&of(rows)), [(0, 20 + SETTLES_US, 1)]);
}

/// Look-ups found the account of the prefix first. It stays the first holder of records that start
/// less than `SETTLES_US` after the binding of the address.
#[test]
fn the_account_of_a_prefix_is_the_first_holder_until_the_longer_binding_has_settled() {
    let levels = HashMap::from([
        (KEYS[0].to_owned(), vec![row(KEYS[0], 1, 5..OPEN, 30..OPEN)]),
        (KEYS[1].to_owned(), vec![row(KEYS[1], 2, 0..OPEN, 20..OPEN)]),
    ]);
    assert_eq!(found(&levels), [(5, 30 + SETTLES_US, 2)]);
}

fn naive(levels: &HashMap<String, KeyRows>) -> Vec<(i64, i64, u64)> {
    let keys = KEYS.map(str::to_owned);
    let found = model::first_holders(keys.iter(), levels);
    found.iter().map(|row| (row.from.0, row.until.0, row.account.0)).collect()
}

/// The earliest or latest instant, or an instant near 0, near `SETTLES_US` or near twice that time.
/// A change at 0 concerns only records that start before `SETTLES_US`.
fn instant(dice: &mut Dice) -> i64 {
    let near = i64::try_from(dice.below(6)).unwrap();
    match dice.below(8) {
        0 => EVER,
        1 => OPEN,
        2 => 2 * SETTLES_US + near - 3,
        3 | 4 => SETTLES_US + near - 3,
        _ => near,
    }
}

/// Rows of one to three keys. Most are histories that the present release can write; the others
/// overlap.
fn random_levels(dice: &mut Dice) -> HashMap<String, KeyRows> {
    let mut levels = HashMap::new();
    for key in KEYS.iter().take(1 + usize::try_from(dice.below(3)).unwrap()) {
        let mut level = KeyRows::new();
        for _ in 0..dice.below(9) {
            let identity = if dice.below(3) == 0 { "another spelling" } else { key };
            let account = 1 + dice.below(3);
            let held = instant(dice)..instant(dice);
            let recorded = instant(dice);
            let withdrawn = if dice.below(2) == 0 { OPEN } else { instant(dice) };
            level.push(row(identity, account, held, recorded..withdrawn));
        }
        level.sort_by(|a, b| (a.from, &a.identity).cmp(&(b.from, &b.identity)));
        if !level.is_empty() {
            levels.insert((*key).to_owned(), level);
        }
    }
    levels
}

#[test]
fn random_rows_have_the_first_holders_of_the_model() {
    let (mut intervals, mut at_settling) = (0, 0);
    let mut dice = Dice(11);
    for turn in 0..20_000 {
        let levels = random_levels(&mut dice);
        let (found, expected) = (found(&levels), naive(&levels));
        assert_eq!(found, expected, "turn {turn}: {levels:#?}");
        intervals += found.len();
        let near_settling = |at: i64| at > SETTLES_US - 10 && at < SETTLES_US + 10;
        at_settling += found.iter().filter(|(from, ..)| near_settling(*from)).count();
    }
    assert!(intervals > 10_000 && at_settling > 2_000, "{intervals} {at_settling}");
}

/// The model would take minutes for these rows, because it evaluates all of them for each interval.
#[test]
fn an_address_with_many_bindings_in_a_bound_prefix_was_held_by_the_prefix_first() {
    let rows = 50_000;
    let own = (0..rows).map(|n| row(KEYS[0], 1, n * 10..n * 10 + 5, n..OPEN));
    let levels = HashMap::from([
        (KEYS[0].to_owned(), own.collect()),
        (KEYS[2].to_owned(), vec![row(KEYS[2], 9, EVER..OPEN, EVER..OPEN)]),
    ]);
    let found = found(&levels);
    assert_eq!(found.len(), usize::try_from(rows).unwrap());
    assert!(found.iter().all(|(_, _, account)| *account == 9), "the prefix was bound first");
}

/// The definition of the first holder, slow and simple: each interval between two bounds is
/// evaluated separately.
mod model {
    use super::super::{KeyRows, SETTLES_US};
    use super::*;

    pub(super) fn first_holders<'a>(
        keys: impl Iterator<Item = &'a String>,
        levels: &HashMap<String, KeyRows>,
    ) -> Vec<Binding> {
        let levels: Vec<(&String, &KeyRows)> =
            keys.filter_map(|key| Some((key, levels.get(key)?))).collect();
        let Some((own, _)) = levels.first() else { return Vec::new() };
        let rows = || levels.iter().flat_map(|(_, level)| level.iter());
        if levels.len() == 1 && rows().all(BindingRow::is_in_force) {
            return Vec::new();
        }
        let settled = |at: Timestamp| at.saturating_add(SETTLES_US);
        let mut bounds: Vec<Timestamp> = rows()
            .flat_map(|row| [row.from, row.until, settled(row.recorded), settled(row.withdrawn)])
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut found: Vec<Binding> = Vec::new();
        for pair in bounds.windows(2) {
            let &[from, until] = pair else { continue };
            let Some(account) = first_holder(&levels, from) else { continue };
            match found.last_mut() {
                Some(last) if last.until == from && last.account == account => last.until = until,
                _ => found.push(Binding { identity: (*own).clone(), account, from, until }),
            }
        }
        found
    }

    /// The account that look-ups for `at` found first; `None` if they always found the same.
    fn first_holder(levels: &[(&String, &KeyRows)], at: Timestamp) -> Option<AccountNumber> {
        let covering: Vec<(&String, Vec<&BindingRow>)> = levels
            .iter()
            .map(|(key, level)| {
                (*key, level.iter().filter(|row| row.from <= at && at < row.until).collect())
            })
            .collect();
        let rows = || covering.iter().flat_map(|(_, rows)| rows);
        let mut changes: Vec<Timestamp> =
            rows().flat_map(|row| [row.recorded, row.withdrawn]).collect();
        changes.retain(|change| *change != Timestamp::MAX);
        changes.sort_unstable();
        changes.dedup();
        // No record with this start arrived before the next change.
        let is_unused = |next: &Timestamp| at >= next.saturating_add(SETTLES_US);
        let mut found = changes
            .iter()
            .enumerate()
            .filter(|(n, _)| !changes.get(n + 1).is_some_and(is_unused))
            .map(|(_, change)| found_after(&covering, *change))
            .skip_while(Option::is_none);
        let first = found.next()??;
        found.any(|later| later != Some(first)).then_some(first)
    }

    /// The account that look-ups found after the change at `change`. An older release may have left
    /// overlapping rows under one key. Then the row in canonical spelling applies, or, without such
    /// a row, the account that all rows name.
    fn found_after(
        covering: &[(&String, Vec<&BindingRow>)],
        change: Timestamp,
    ) -> Option<AccountNumber> {
        covering.iter().find_map(|(key, rows)| {
            let mut visible =
                rows.iter().filter(|row| row.recorded <= change && change < row.withdrawn);
            if let Some(row) = visible.clone().find(|row| row.identity == **key) {
                return Some(row.account);
            }
            let account = visible.next()?.account;
            visible.all(|row| row.account == account).then_some(account)
        })
    }
}
