//! The first holder of an identity at an instant: the account that look-ups found first, before any
//! change of the bindings (P28).
//!
//! A record that was guided before a change may have been rated by its account, and is sent again
//! after it. The first holder's partition decides such a record, even if another account holds the
//! identity now, so that it is rated once:
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

use super::BindingRow;
use crate::Binding;

/// A record that starts this long after the recording of a change, in microseconds, or later, can't
/// have been guided before the change. A node takes a record only if it starts at most
/// [`GUIDED_MAX_US`] and [`AHEAD_MAX_US`] after the mark of its look-up, and a change is recorded at
/// the last mark or later ([`BindingsMark::guided_through`](crate::BindingsMark::guided_through)).
const SETTLES_US: i64 = GUIDED_MAX_US + AHEAD_MAX_US + 1;

/// All rows of one key, in force and withdrawn.
pub(super) type KeyRows = Vec<BindingRow>;

/// The intervals for which look-ups found one account first, and later another account or none;
/// each with the account that was found first. `keys` are the keys of the identity and of the
/// prefixes that contain it, in order of precedence.
///
/// A sweep over the instants at which rows begin and end. Usually few rows cover an instant, however
/// many rows there are.
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

/// A row of one of the levels.
struct LevelRow<'a> {
    /// The place of its key in the order in which the keys count.
    level: usize,
    /// Whether its identity is spelled like the key.
    is_spelled: bool,
    row: &'a BindingRow,
}

/// The first holders from `from` to `until`, as intervals. `covering` are the rows that cover this
/// time, in the order of their levels.
fn first_holders_within(
    covering: &[&LevelRow<'_>],
    from: Timestamp,
    until: Timestamp,
) -> Vec<(Timestamp, Timestamp, AccountNumber)> {
    let mut changes = changes(covering);
    // Look-ups found the same after the changes of a run. What counts is the first change after
    // which the record may have arrived, so a run counts for the starts from its first change's
    // settling to that of the next run's.
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

/// A change of the rows that cover an instant.
struct Change {
    at: Timestamp,
    /// See [`settled`].
    settled: Timestamp,
    /// The account that look-ups found after the change.
    found: Option<AccountNumber>,
}

/// The instant from which on no record starts that arrived before the change at `change`. Of two
/// changes the later one does not settle before the earlier one.
fn settled(change: Timestamp) -> Timestamp {
    change.saturating_add(SETTLES_US)
}

/// The changes of the rows `covering`, in their order.
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

/// The rows that look-ups find after a change, by level.
#[derive(Default)]
struct Visible(BTreeMap<usize, VisibleLevel>);

#[derive(Default)]
struct VisibleLevel {
    /// The accounts of the rows that are spelled like the key, in the order of the rows.
    spelled: BTreeMap<usize, AccountNumber>,
    /// The number of other rows of each account.
    others: BTreeMap<AccountNumber, usize>,
}

impl Visible {
    /// Row `n` was recorded or withdrawn.
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

    /// The account that look-ups find. Of overlapping rows of one key, which an older release may
    /// have left, the one in canonical spelling counts; without it, the rows count if they agree.
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
