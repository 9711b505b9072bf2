//! The first holder of an identity at an instant: the account that look-ups found first, before any
//! change of the bindings (P28).
//!
//! A record whose account was looked up before a change may have been rated for that account, and
//! may be sent again after the change. The first holder's partition decides such a record, whatever
//! account holds the identity now, so that the record is rated once:
//!
//! ```text
//!   recorded   1       2        3              look-ups for an instant in the interval found
//!   account 5  |-------|                       account 5 until change 2,
//!   account 6          |--------|              then account 6, then none:
//!   none                        |---->         account 5 is the first holder
//! ```

use std::collections::HashMap;

use turnpike_types::limits::{AHEAD_MAX_US, GUIDED_MAX_US};
use turnpike_types::{AccountNumber, Timestamp};

use super::BindingRow;
use crate::Binding;

/// A record that starts later than this after the recording of a change, in microseconds, can't have
/// been guided before the change. A node takes a record only if it starts at most this long after the
/// mark of its look-up, and a change is recorded at the last mark or later
/// ([`BindingsMark::guided_through`](crate::BindingsMark::guided_through)).
const SETTLES_US: i64 = GUIDED_MAX_US + AHEAD_MAX_US;

/// All rows of one key, in force and withdrawn.
pub(super) type KeyRows = Vec<BindingRow>;

/// The intervals for which look-ups found one account first, and later another account or none;
/// each with the account that was found first. `keys` are the keys of the identity and of the
/// prefixes that contain it, in order of precedence.
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
    let settled = |at: Timestamp| at.saturating_add(SETTLES_US + 1);
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

/// The account that look-ups for `at` found first; `None` if no look-up found an account, or if all
/// later ones found the same.
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
    // A record that starts at `at` can't have arrived before the next change, so this change does
    // not count.
    let is_unused = |next: &Timestamp| at > next.saturating_add(SETTLES_US);
    let mut found = changes
        .iter()
        .enumerate()
        .filter(|(n, _)| !changes.get(n + 1).is_some_and(is_unused))
        .map(|(_, change)| found_after(&covering, *change))
        .skip_while(Option::is_none);
    let first = found.next()??;
    found.any(|later| later != Some(first)).then_some(first)
}

/// The account that look-ups found after the change at `change`. Of overlapping rows of one key,
/// which an older release may have left, the row in canonical spelling applies. Without such a row,
/// the rows apply if they all name the same account.
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
