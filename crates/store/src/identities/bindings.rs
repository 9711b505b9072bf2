//! Bindings of identities to accounts (P28): changes to an identity's history, and look-ups in it.
//! The functions are pure and shared by all databases; their input was read under the lock of the
//! bindings.
//!
//! The key of a row is the canonical spelling of its identity ([`key_of`]). An older release stored
//! the spelling that was typed; its rows keep that spelling and are found by the same key.

use std::collections::{HashMap, HashSet};

use turnpike_mutants::{Check, off};
use turnpike_types::limits::{IDENTITY_BINDINGS_MAX, IDENTITY_RELEASES_MAX};
use turnpike_types::{Identity, PrefixLengths, Timestamp};

use super::first::{KeyRows, first_holders};
use super::row::{BindingRow, key_of};
use crate::{BindOutcome, Binding, IdentityHistory, RebindOutcome, Rebinding};

/// The rows of identities by key.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    /// Each sorted by `from`.
    in_force: HashMap<String, Vec<BindingRow>>,
    /// The number of rows that were withdrawn.
    withdrawn: HashMap<String, usize>,
}

impl Histories {
    /// Of all rows of the identities, in force and withdrawn.
    pub(crate) fn of(rows: impl Iterator<Item = BindingRow>) -> Self {
        let mut histories = Self::default();
        for row in rows {
            let key = key_of(&row.identity);
            if row.is_in_force() {
                histories.in_force.entry(key).or_default().push(row);
            } else {
                *histories.withdrawn.entry(key).or_default() += 1;
            }
        }
        for history in histories.in_force.values_mut() {
            history.sort_by(|a, b| by_from(a).cmp(&by_from(b)));
        }
        histories
    }

    fn history(&mut self, key: &str) -> &mut Vec<BindingRow> {
        self.in_force.entry(key.to_owned()).or_default()
    }

    /// Applies `changes` to the rows of `key`, and returns whether there is room for them: afterwards
    /// there are at most `most` rows, or no more than before.
    fn carry_out(&mut self, key: &str, changes: &[RowChange], most: usize) -> bool {
        let count = |counted: fn(&RowChange) -> bool| changes.iter().filter(|c| counted(c)).count();
        let withdrawn = count(|change| matches!(change, RowChange::Withdraw(_)));
        let added = withdrawn + count(|change| matches!(change, RowChange::Insert(_)));
        let deleted = count(|change| matches!(change, RowChange::Delete { .. }));
        let rows = self.history(key).len() + self.withdrawn.get(key).copied().unwrap_or(0);
        if added > deleted && rows + added - deleted > most {
            return false;
        }
        for change in changes {
            carry_out(self.history(key), change);
        }
        *self.withdrawn.entry(key.to_owned()).or_default() += withdrawn;
        true
    }
}

/// The instant at which a change of bindings is recorded: `now`, but after `last`, the instant of
/// the last change, so that the order of the changes is known, and not before `mark`
/// ([`BindingsMark::guided_through`](crate::BindingsMark::guided_through)). The clock may have been
/// set back, so `now` may be earlier than both.
pub(crate) fn recording_instant(last: Timestamp, now: Timestamp, mark: Timestamp) -> Timestamp {
    let now = now.max(last.saturating_add(1));
    if !off(Check::RecordedAtMark) { now.max(mark) } else { now }
}

fn by_from(binding: &Binding) -> (Timestamp, &str) {
    (binding.from, &binding.identity)
}

/// The keys of `identities`, sorted, without duplicates.
pub(crate) fn keys_of<'a>(identities: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut keys: Vec<String> = identities.map(key_of).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The outcome of adding one binding to the history of its identity.
fn judge_binding(history: &[BindingRow], asked: &Binding) -> BindOutcome {
    if is_held(history, asked) {
        return BindOutcome::Already;
    }
    history
        .iter()
        .find(|old| old.account != asked.account && overlap(old, asked))
        .filter(|_| !off(Check::BindingsDisjoint))
        .map_or(BindOutcome::Bound, |old| BindOutcome::Taken(old.binding.clone()))
}

/// The parts of `asked` that its account does not hold yet. The rows of one identity stay disjoint.
fn missing(history: &[BindingRow], asked: &Binding) -> Vec<Binding> {
    let mut missing = Vec::new();
    let mut from = asked.from;
    let own = history.iter().filter(|old| old.account == asked.account && overlap(old, asked));
    for old in own {
        if from < old.from {
            missing.push(Binding { from, until: old.from, ..asked.clone() });
        }
        from = from.max(old.until);
    }
    if from < asked.until {
        missing.push(Binding { from, ..asked.clone() });
    }
    missing
}

fn overlap(old: &Binding, asked: &Binding) -> bool {
    old.from < asked.until && asked.from < old.until
}

/// Whether the account already holds the identity for the whole interval.
fn is_held(history: &[BindingRow], asked: &Binding) -> bool {
    let mut held_until = asked.from;
    for old in history.iter().filter(|old| old.account == asked.account) {
        if old.from <= held_until {
            held_until = held_until.max(old.until);
        }
    }
    held_until >= asked.until
}

/// The outcome of each binding in `asked`, in order, and the changes to write. Each binding is
/// checked against the result of the earlier ones. `recorded` is the instant of the changes.
pub(crate) fn judge_bindings(
    histories: &mut Histories,
    asked: &[Binding],
    recorded: Timestamp,
) -> (Vec<BindOutcome>, Vec<RowChange>) {
    let mut writes = Vec::new();
    let mut judge = |binding: &Binding| {
        let key = key_of(&binding.identity);
        let history = histories.history(&key);
        let outcome = judge_binding(history, binding);
        if outcome == BindOutcome::Bound {
            let parts = missing(history, binding);
            let changes: Vec<RowChange> =
                parts.iter().map(|part| RowChange::insert(&key, part, recorded)).collect();
            if !histories.carry_out(&key, &changes, IDENTITY_BINDINGS_MAX) {
                return BindOutcome::Full;
            }
            writes.extend(changes);
        }
        outcome
    };
    let outcomes = asked.iter().map(&mut judge).collect();
    (outcomes, writes)
}

/// A change of the tables of bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    /// Delete the row of `identity` that begins at `from`.
    Delete { identity: String, from: Timestamp },
    /// Set the end of the row of `identity` that begins at `from` to the earlier instant `until`.
    End { identity: String, from: Timestamp, until: Timestamp },
    /// Insert a row in force.
    Insert(BindingRow),
    /// Record the part of a row that a change took from its account.
    Withdraw(BindingRow),
}

impl RowChange {
    fn insert(key: &str, binding: &Binding, recorded: Timestamp) -> Self {
        let binding = Binding { identity: key.to_owned(), ..binding.clone() };
        Self::Insert(BindingRow::recorded(binding, recorded))
    }
}

/// The outcome of each change in `asked`, in order, and the changes to write, in order. Each change
/// is checked against the result of the earlier ones. `recorded` is the instant of the changes.
pub(crate) fn judge_rebindings(
    histories: &mut Histories,
    asked: &[Rebinding],
    recorded: Timestamp,
) -> (Vec<RebindOutcome>, Vec<RowChange>) {
    let mut writes = Vec::new();
    let mut judge = |asked: &Rebinding| {
        let key = key_of(&asked.binding().identity);
        let (outcome, changes) = judge_rebinding(histories.history(&key), asked, &key, recorded);
        // An identity must not stay with an account because its history is full.
        let most = match asked {
            Rebinding::Release { .. } => IDENTITY_BINDINGS_MAX + IDENTITY_RELEASES_MAX,
            Rebinding::Bind(_) | Rebinding::Move { .. } => IDENTITY_BINDINGS_MAX,
        };
        if !histories.carry_out(&key, &changes, most) {
            return RebindOutcome::Full;
        }
        writes.extend(changes);
        outcome
    };
    let outcomes = asked.iter().map(&mut judge).collect();
    (outcomes, writes)
}

/// Applies `change` to the rows in memory that are in force. The caller writes it to the tables.
pub(crate) fn carry_out(history: &mut Vec<BindingRow>, change: &RowChange) {
    match change {
        RowChange::Delete { identity, from } => {
            history.retain(|row| (&row.identity, row.from) != (identity, *from));
        }
        RowChange::End { identity, from, until } => {
            let mut rows = history.iter_mut();
            if let Some(row) = rows.find(|row| (&row.identity, row.from) == (identity, *from)) {
                row.binding.until = *until;
            }
        }
        RowChange::Insert(new) => {
            let place = history.partition_point(|old| by_from(old) < by_from(new));
            history.insert(place, new.clone());
        }
        RowChange::Withdraw(_) => {}
    }
}

fn judge_rebinding(
    history: &[BindingRow],
    asked: &Rebinding,
    key: &str,
    recorded: Timestamp,
) -> (RebindOutcome, Vec<RowChange>) {
    match asked {
        Rebinding::Bind(binding) => match judge_binding(history, binding) {
            BindOutcome::Already => (RebindOutcome::Already, Vec::new()),
            BindOutcome::Taken(by) => (RebindOutcome::Taken(by), Vec::new()),
            BindOutcome::Full => (RebindOutcome::Full, Vec::new()),
            BindOutcome::Bound => {
                let missing = missing(history, binding);
                let writes = missing.iter().map(|part| RowChange::insert(key, part, recorded));
                (RebindOutcome::Changed(Vec::new()), writes.collect())
            }
        },
        Rebinding::Move { binding, final_before } => {
            let others: Vec<&BindingRow> =
                history.iter().filter(|old| old.account != binding.account).collect();
            // An older release may have bound another spelling to another account.
            let is_shared = others.iter().any(|old| overlap(old, binding));
            if is_held(history, binding) && !is_shared {
                return (RebindOutcome::Already, Vec::new());
            }
            if let Some(old) = too_early(others.iter().copied(), binding, *final_before) {
                return (RebindOutcome::Final(old), Vec::new());
            }
            let mut writes = take_away(history.iter(), binding, recorded);
            writes.push(RowChange::insert(key, binding, recorded));
            (RebindOutcome::Changed(parts(others.into_iter(), binding)), writes)
        }
        Rebinding::Release { binding, final_before } => {
            let own = || history.iter().filter(|old| old.account == binding.account);
            if !own().any(|old| overlap(old, binding)) {
                if own().any(|old| old.until == binding.from) {
                    return (RebindOutcome::Already, Vec::new());
                }
                let holder = history.iter().find(|old| overlap(old, binding));
                let holder = holder.map(|row| row.binding.clone());
                return (RebindOutcome::NotHeld(holder), Vec::new());
            }
            match too_early(own(), binding, *final_before) {
                Some(old) => (RebindOutcome::Final(old), Vec::new()),
                None => {
                    let taken = parts(own(), binding);
                    (RebindOutcome::Changed(taken), take_away(own(), binding, recorded))
                }
            }
        }
    }
}

/// The binding of the first row that would lose an instant before `final_before` by the change.
fn too_early<'a>(
    mut rows: impl Iterator<Item = &'a BindingRow>,
    asked: &Binding,
    final_before: Timestamp,
) -> Option<Binding> {
    let loses = |old: &&BindingRow| overlap(old, asked) && old.from.max(asked.from) < final_before;
    rows.find(loses).map(|row| row.binding.clone())
}

/// The parts of `rows` that lie in the interval of `asked`.
fn parts<'a>(rows: impl Iterator<Item = &'a BindingRow>, asked: &Binding) -> Vec<Binding> {
    rows.filter(|old| overlap(old, asked)).map(|old| part(old, asked)).collect()
}

fn part(old: &Binding, asked: &Binding) -> Binding {
    Binding { from: old.from.max(asked.from), until: old.until.min(asked.until), ..old.clone() }
}

/// The writes that take the interval of `asked` away from `rows`. Each part that is taken away is
/// kept as a withdrawn row, because records may have been rated by it. A row that was recorded at
/// the instant of this change was never in force, so its part is not kept.
fn take_away<'a>(
    rows: impl Iterator<Item = &'a BindingRow>,
    asked: &Binding,
    recorded: Timestamp,
) -> Vec<RowChange> {
    let mut writes = Vec::new();
    for old in rows.filter(|old| overlap(old, asked)) {
        if old.recorded != recorded && !off(Check::TakenRemembered) {
            let binding = part(old, asked);
            writes.push(RowChange::Withdraw(BindingRow {
                binding,
                withdrawn: recorded,
                ..old.clone()
            }));
        }
        let (identity, from) = (old.identity.clone(), old.from);
        writes.push(if old.from < asked.from {
            RowChange::End { identity, from, until: asked.from }
        } else {
            RowChange::Delete { identity, from }
        });
        if asked.until < old.until {
            let rest = Binding { from: asked.until, ..old.binding.clone() };
            writes.push(RowChange::Insert(BindingRow::recorded(rest, old.recorded)));
        }
    }
    writes
}

/// An identity to look up, with the keys under which its own bindings and those of its prefixes are
/// stored.
#[derive(Debug)]
pub(crate) struct Asked {
    own: String,
    /// For an address or prefix: the prefixes that contain it and may be bound, longest first.
    prefixes: Vec<String>,
}

impl Asked {
    /// The keys of an identity, given the lengths of all prefixes that were ever bound.
    pub(crate) fn of(identity: &str, lengths: PrefixLengths) -> Self {
        match Identity::parse(identity) {
            Ok(identity) => Self {
                prefixes: identity.prefixes(lengths).map(String::from).collect(),
                own: identity.into(),
            },
            Err(_) => Self { own: identity.to_owned(), prefixes: Vec::new() },
        }
    }

    fn keys(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.own).chain(&self.prefixes)
    }
}

/// The keys of all of `asked`, sorted, without duplicates. A text with a NUL is never bound, and
/// PostgreSQL refuses a statement that names it.
pub(crate) fn keys_asked(asked: &[Asked]) -> Vec<String> {
    let keys: HashSet<&String> =
        asked.iter().flat_map(Asked::keys).filter(|key| !key.contains('\0')).collect();
    let mut keys: Vec<String> = keys.into_iter().cloned().collect();
    keys.sort_unstable();
    keys
}

/// The history of each identity in `asked`, in that order. `rows` are all rows under the keys of
/// `asked`, in force or withdrawn.
pub(crate) fn guided(
    asked: &[Asked],
    rows: impl Iterator<Item = BindingRow>,
) -> Vec<IdentityHistory> {
    let mut levels: HashMap<String, KeyRows> = HashMap::new();
    for row in rows {
        levels.entry(key_of(&row.identity)).or_default().push(row);
    }
    let mut found: HashMap<String, Vec<Binding>> = HashMap::new();
    for (key, level) in &mut levels {
        level.sort_by(|a, b| by_from(a).cmp(&by_from(b)));
        let in_force = level.iter().filter(|row| row.is_in_force());
        let mut history: Vec<Binding> = in_force.map(|row| row.binding.clone()).collect();
        settle_overlaps(key, &mut history);
        found.insert(key.clone(), history);
    }
    // A key without rows, or with withdrawn ones only, has an empty history.
    let history = |key: &String| found.get(key).cloned().unwrap_or_default();
    let of = |asked: &Asked| IdentityHistory {
        bindings: history(&asked.own),
        prefixes: asked.prefixes.iter().map(history).filter(|rows| !rows.is_empty()).collect(),
        first_holders: first_holders(asked.keys(), &levels),
    };
    asked.iter().map(of).collect()
}

/// Resolves overlapping intervals of one key, which exist only where an older release bound two
/// spellings of an identity. In an overlap the row in the canonical spelling applies, because
/// records from access logs carry that spelling. Where there is no such row and the rows name
/// different accounts, no row applies, and the usage waits in suspense.
fn settle_overlaps(key: &str, history: &mut Vec<Binding>) {
    let is_disjoint = history.windows(2).all(|pair| matches!(pair, [a, b] if a.until <= b.from));
    if is_disjoint {
        return;
    }
    let mut bounds: Vec<Timestamp> = history.iter().flat_map(|row| [row.from, row.until]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut settled: Vec<Binding> = Vec::new();
    for pair in bounds.windows(2) {
        let &[from, until] = pair else { continue };
        let in_force = || history.iter().filter(|row| row.from <= from && from < row.until);
        let accounts: HashSet<_> = in_force().map(|row| row.account).collect();
        let holds = in_force().find(|row| row.identity == key);
        let holds = holds.or_else(|| in_force().next().filter(|_| accounts.len() == 1));
        let Some(holds) = holds else { continue };
        match settled.last_mut() {
            Some(last) if last.until == from && last.account == holds.account => last.until = until,
            _ => settled.push(Binding { from, until, ..holds.clone() }),
        }
    }
    *history = settled;
}

/// Whether the changes may invalidate earlier look-ups: a change may take away a binding that was
/// found, and a new prefix, or an address within a bound prefix, changes the result for addresses.
/// Other new identities need no new version, because a front never caches that an identity is
/// unbound (P28).
pub(crate) fn moves_version(writes: &[RowChange], lengths: PrefixLengths) -> bool {
    writes.iter().any(|write| match write {
        RowChange::Delete { .. } | RowChange::End { .. } | RowChange::Withdraw(_) => true,
        RowChange::Insert(row) => Identity::parse(&row.identity)
            .is_ok_and(|identity| identity.is_prefix() || !lengths.is_empty_for(&identity)),
    })
}

/// The prefix lengths among `identities`, without duplicates: (whether IPv4, length in bits).
pub(crate) fn prefix_lengths<'a>(identities: impl Iterator<Item = &'a str>) -> Vec<(bool, u8)> {
    let lengths = identities.filter_map(|text| Identity::parse(text).ok()?.prefix_length());
    let mut lengths: Vec<(bool, u8)> = lengths.collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// The rows that the changes insert.
pub(crate) fn inserted(writes: &[RowChange]) -> impl Iterator<Item = &Binding> {
    writes.iter().filter_map(|write| match write {
        RowChange::Insert(row) => Some(&row.binding),
        RowChange::Delete { .. } | RowChange::End { .. } | RowChange::Withdraw(_) => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
