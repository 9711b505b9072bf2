//! The first holder of an identity at an instant: the account that look-ups found first, before any
//! change of the bindings (P28).
//!
//! A record may have been rated for the account that a look-up returned before a change of the
//! bindings, and be sent again after the change. The first holder's partition decides such a
//! record, even if another account holds the identity now, so that it is rated once:
//!
//! ```text
//!   recorded   1       2        3              look-ups for an instant in the interval found
//!   account 5  |-------|                       account 5 until change 2,
//!   account 6          |--------|              then account 6, then none:
//!   none                        |---->         account 5 is the first holder
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use turnpike_types::limits::{AHEAD_MAX_US, GUIDED_MAX_US};
use turnpike_types::{AccountNumber, Timestamp};

use super::row::BindingRow;
use crate::Binding;

/// The account of a record that starts this long after the recording of a change, in microseconds,
/// or later, can't have been looked up before the change. Each look-up has a mark, an instant of
/// the database's clock before it. A node takes a record only if it starts at most
/// [`GUIDED_MAX_US`] and [`AHEAD_MAX_US`] after that mark, and a change is recorded at the last
/// mark or later ([`BindingsMark::guided_through`](crate::BindingsMark::guided_through)).
const SETTLES_US: i64 = GUIDED_MAX_US + AHEAD_MAX_US + 1;

/// All rows of one key, in force and withdrawn.
pub(super) type KeyRows = Vec<BindingRow>;

/// The intervals for which look-ups found one account first, and later another account or none;
/// each with the account that was found first. `keys` are the keys of the identity and of the
/// prefixes that contain it, in order of precedence.
///
/// The instants at which rows begin and end are visited in order. Between two of them, only the
/// rows that cover the interval are evaluated: usually few, however many rows there are.
pub(super) fn first_holders<'a>(
    keys: impl Iterator<Item = &'a String>,
    levels: &HashMap<String, KeyRows>,
) -> Vec<Binding> {
    let levels: Vec<(&String, &KeyRows)> =
        keys.filter_map(|key| Some((key, levels.get(key)?))).collect();
    let Some((own, _)) = levels.first() else { return Vec::new() };
    let rows: Vec<LevelRow<'_>> = levels
        .iter()
        .enumerate()
        .flat_map(|(level, (key, rows))| {
            rows.iter().map(move |row| LevelRow { level, is_spelled: row.identity == **key, row })
        })
        .collect();
    if levels.len() == 1 && rows.iter().all(|row| row.row.is_in_force()) {
        return Vec::new();
    }
    let mut events: Vec<(Timestamp, usize)> = rows
        .iter()
        .enumerate()
        .filter(|(_, LevelRow { row, .. })| row.from < row.until)
        .flat_map(|(n, LevelRow { row, .. })| [(row.from, n), (row.until, n)])
        .collect();
    events.sort_unstable();
    let mut covering: BTreeSet<usize> = BTreeSet::new();
    let mut found: Vec<Binding> = Vec::new();
    for (at, &(from, n)) in events.iter().enumerate() {
        // The first event of a row is its begin, the second its end.
        if !covering.insert(n) {
            covering.remove(&n);
        }
        let until = events.get(at + 1).map_or(from, |(next, _)| *next);
        if until <= from {
            continue;
        }
        let covering: Vec<&LevelRow<'_>> = covering.iter().filter_map(|n| rows.get(*n)).collect();
        for (from, until, account) in first_holders_within(&covering, from, until) {
            match found.last_mut() {
                Some(last) if last.until == from && last.account == account => last.until = until,
                _ => found.push(Binding { identity: (*own).clone(), account, from, until }),
            }
        }
    }
    found
}

/// A row, with the precedence of its key.
struct LevelRow<'a> {
    /// The position of the key in the order of precedence: 0 is the identity itself, then come the
    /// prefixes, longest first.
    level: usize,
    /// Whether the row's identity is spelled like its key, that is canonically.
    is_spelled: bool,
    row: &'a BindingRow,
}

/// The first holders for instants from `from` to `until`, as intervals. `covering` are the rows
/// that cover the whole time, in the order of precedence.
fn first_holders_within(
    covering: &[&LevelRow<'_>],
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, Timestamp, AccountNumber)> {
    let mut changes = changes(covering);
    // Consecutive changes after which look-ups found the same account form one run. A record that
    // starts before `settled` of the next run, and not before `settled` of this run, can't have
    // arrived before this run. So this run is the first in which it may have arrived.
    changes.dedup_by(|next, before| next.found == before.found);
    let runs = changes;
    let mut holders = Vec::new();
    for (n, run) in runs.iter().enumerate() {
        let from = if n == 0 { from } else { run.settled.max(from) };
        let until = runs.get(n + 1).map_or(until, |next| next.settled.min(until));
        let first = if run.found.is_some() { n } else { n + 1 };
        let is_last = first + 1 >= runs.len();
        if let Some(account) = runs.get(first).and_then(|run| run.found)
            && from < until
            && !is_last
        {
            holders.push((from, until, account));
        }
    }
    holders
}

/// The recording or withdrawal of rows that cover an instant.
struct Change {
    at: Timestamp,
    /// The result of [`settled`] for `at`.
    settled: Timestamp,
    /// The account that look-ups found after the change.
    found: Option<AccountNumber>,
}

/// A record that starts at the returned instant or later can't have arrived before the change that
/// was recorded at `change`. A later change never returns an earlier instant.
fn settled(change: Timestamp) -> Timestamp {
    change.saturating_add(SETTLES_US)
}

/// The recordings and withdrawals of the rows `covering`, in the order in which they happened.
fn changes(covering: &[&LevelRow<'_>]) -> Vec<Change> {
    let mut events: Vec<(Timestamp, usize)> = covering
        .iter()
        .enumerate()
        .flat_map(|(n, LevelRow { row, .. })| [(row.recorded, n), (row.withdrawn, n)])
        .filter(|(at, _)| *at != Timestamp::MAX)
        .collect();
    events.sort_unstable();
    let mut visible = Visible::default();
    let mut changes: Vec<Change> = Vec::new();
    for (at, n) in events {
        let Some(row) = covering.get(n) else { continue };
        if row.row.recorded < row.row.withdrawn {
            visible.note(n, row, at == row.row.recorded);
        }
        let found = visible.account();
        match changes.last_mut() {
            Some(last) if last.at == at => last.found = found,
            _ => changes.push(Change { at, settled: settled(at), found }),
        }
    }
    debug_assert!(
        changes.is_sorted_by_key(|change| change.settled),
        "changes settle in their order"
    );
    changes
}

/// The rows that look-ups find after a change, by the precedence of their keys (level).
#[derive(Default)]
struct Visible(BTreeMap<usize, VisibleLevel>);

#[derive(Default)]
struct VisibleLevel {
    /// The accounts of the rows in canonical spelling, by the index of the row.
    spelled: BTreeMap<usize, AccountNumber>,
    /// For each account, the number of its rows in another spelling.
    others: BTreeMap<AccountNumber, usize>,
}

impl Visible {
    /// Notes that row `n` was recorded or, if `is_recorded` is false, withdrawn.
    fn note(&mut self, n: usize, row: &LevelRow<'_>, is_recorded: bool) {
        let LevelRow { level, is_spelled, row } = *row;
        let level = self.0.entry(level).or_default();
        if is_spelled && is_recorded {
            level.spelled.insert(n, row.account);
        } else if is_spelled {
            level.spelled.remove(&n);
        } else if is_recorded {
            *level.others.entry(row.account).or_default() += 1;
        } else {
            if let Some(count) = level.others.get_mut(&row.account) {
                *count -= 1;
            }
            level.others.retain(|_, count| *count > 0);
        }
    }

    /// The account that look-ups find. An older release may have left overlapping rows under one
    /// key. Then the row in canonical spelling applies, or, without such a row, the account that
    /// all rows name.
    fn account(&self) -> Option<AccountNumber> {
        self.0.values().find_map(|level| {
            let spelled = level.spelled.values().next();
            let agreed = || level.others.keys().next().filter(|_| level.others.len() == 1);
            spelled.or_else(agreed).copied()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
