//! Bindings of identities to accounts (P28): changes to an identity's history, and look-ups in it.
//! The functions are pure and shared by all databases; their input was read under the lock of the
//! bindings.
//!
//! The key of a row is the canonical spelling of its identity ([`key_of`]). An older release stored
//! the spelling that was typed; its rows keep that spelling and are found by the same key.

use std::collections::{HashMap, HashSet};

use turnpike_mutants::{Check, off};
use turnpike_types::{Identity, PrefixLengths, Timestamp};

use crate::{BindOutcome, Binding, Guided, RebindOutcome, Rebinding};

/// The key of an identity: its canonical spelling. Text that the present rules do not accept as an
/// identity is its own key, because an older release may have bound it.
pub(crate) fn key_of(identity: &str) -> String {
    Identity::parse(identity).map_or_else(|_| identity.to_owned(), String::from)
}

/// Rows by the key of their identity; each history is sorted by `from`.
#[derive(Debug, Default)]
pub(crate) struct Histories(HashMap<String, Vec<Binding>>);

impl Histories {
    pub(crate) fn of(rows: impl Iterator<Item = Binding>) -> Self {
        let mut histories: HashMap<String, Vec<Binding>> = HashMap::new();
        for row in rows {
            histories.entry(key_of(&row.identity)).or_default().push(row);
        }
        for history in histories.values_mut() {
            history.sort_by(|a, b| by_from(a).cmp(&by_from(b)));
        }
        Self(histories)
    }

    fn history(&mut self, key: &str) -> &mut Vec<Binding> {
        self.0.entry(key.to_owned()).or_default()
    }

    fn insert(&mut self, key: &str, binding: Binding) {
        let history = self.history(key);
        let place = history.partition_point(|old| by_from(old) < by_from(&binding));
        history.insert(place, binding);
    }
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
fn judge_binding(history: &[Binding], asked: &Binding) -> BindOutcome {
    if is_held(history, asked) {
        return BindOutcome::Already;
    }
    history
        .iter()
        .find(|old| overlap(old, asked))
        .filter(|_| !off(Check::BindingsDisjoint))
        .map_or(BindOutcome::Bound, |old| BindOutcome::Taken(old.clone()))
}

fn overlap(old: &Binding, asked: &Binding) -> bool {
    old.from < asked.until && asked.from < old.until
}

/// Whether the account already holds the identity for the whole interval.
fn is_held(history: &[Binding], asked: &Binding) -> bool {
    let mut held_until = asked.from;
    for old in history.iter().filter(|old| old.account == asked.account) {
        if old.from <= held_until {
            held_until = held_until.max(old.until);
        }
    }
    held_until >= asked.until
}

/// The outcome of each binding in `asked`, in order, and the rows to insert, with the key as their
/// identity. Each binding sees the effect of the earlier ones.
pub(crate) fn judge_bindings(
    histories: &mut Histories,
    asked: &[Binding],
) -> (Vec<BindOutcome>, Vec<Binding>) {
    let mut new = Vec::new();
    let mut judge = |binding: &Binding| {
        let key = key_of(&binding.identity);
        let outcome = judge_binding(histories.history(&key), binding);
        if outcome == BindOutcome::Bound {
            let binding = Binding { identity: key.clone(), ..binding.clone() };
            new.push(binding.clone());
            histories.insert(&key, binding);
        }
        outcome
    };
    let outcomes = asked.iter().map(&mut judge).collect();
    (outcomes, new)
}

/// A change of the table of bindings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    /// Delete the row of `identity` that begins at `from`.
    Delete { identity: String, from: Timestamp },
    /// Set the end of the row of `identity` that begins at `from` to the earlier instant `until`.
    End { identity: String, from: Timestamp, until: Timestamp },
    /// Insert a row.
    Insert(Binding),
}

/// The outcome of each change in `asked`, in order, and the changes to write, in order. Each change
/// sees the effect of the earlier ones.
pub(crate) fn judge_rebindings(
    histories: &mut Histories,
    asked: &[Rebinding],
) -> (Vec<RebindOutcome>, Vec<RowChange>) {
    let mut writes = Vec::new();
    let mut judge = |asked: &Rebinding| {
        let key = key_of(&asked.binding().identity);
        let (outcome, changes) = judge_rebinding(histories.history(&key), asked, &key);
        for change in &changes {
            carry_out(histories.history(&key), change);
        }
        writes.extend(changes);
        outcome
    };
    let outcomes = asked.iter().map(&mut judge).collect();
    (outcomes, writes)
}

/// Applies `change`, which is to be written to the table, to a history in memory.
pub(crate) fn carry_out(history: &mut Vec<Binding>, change: &RowChange) {
    match change {
        RowChange::Delete { identity, from } => {
            history.retain(|row| (&row.identity, row.from) != (identity, *from));
        }
        RowChange::End { identity, from, until } => {
            let mut rows = history.iter_mut();
            if let Some(row) = rows.find(|row| (&row.identity, row.from) == (identity, *from)) {
                row.until = *until;
            }
        }
        RowChange::Insert(binding) => {
            let place = history.partition_point(|old| by_from(old) < by_from(binding));
            history.insert(place, binding.clone());
        }
    }
}

fn judge_rebinding(
    history: &[Binding],
    asked: &Rebinding,
    key: &str,
) -> (RebindOutcome, Vec<RowChange>) {
    match asked {
        Rebinding::Bind(binding) => match judge_binding(history, binding) {
            BindOutcome::Already => (RebindOutcome::Already, Vec::new()),
            BindOutcome::Taken(by) => (RebindOutcome::Taken(by), Vec::new()),
            BindOutcome::Bound => {
                let new = Binding { identity: key.to_owned(), ..binding.clone() };
                (RebindOutcome::Changed(Vec::new()), vec![RowChange::Insert(new)])
            }
        },
        Rebinding::Move { binding, final_before } => {
            if is_held(history, binding) {
                return (RebindOutcome::Already, Vec::new());
            }
            let others = |old: &&Binding| old.account != binding.account;
            if let Some(old) = too_early(history.iter().filter(others), binding, *final_before) {
                return (RebindOutcome::Final(old), Vec::new());
            }
            let mut writes = take_away(history.iter(), binding);
            writes.push(RowChange::Insert(Binding { identity: key.to_owned(), ..binding.clone() }));
            let taken = parts(history.iter().filter(others), binding);
            (RebindOutcome::Changed(taken), writes)
        }
        Rebinding::Release { binding, final_before } => {
            let own = || history.iter().filter(|old| old.account == binding.account);
            if !own().any(|old| overlap(old, binding)) {
                if own().any(|old| old.until == binding.from) {
                    return (RebindOutcome::Already, Vec::new());
                }
                let holder = history.iter().find(|old| overlap(old, binding)).cloned();
                return (RebindOutcome::NotHeld(holder), Vec::new());
            }
            match too_early(own(), binding, *final_before) {
                Some(old) => (RebindOutcome::Final(old), Vec::new()),
                None => (RebindOutcome::Changed(parts(own(), binding)), take_away(own(), binding)),
            }
        }
    }
}

/// The first row that the change would take an instant before `final_before` from.
fn too_early<'a>(
    mut rows: impl Iterator<Item = &'a Binding>,
    asked: &Binding,
    final_before: Timestamp,
) -> Option<Binding> {
    let loses = |old: &&Binding| overlap(old, asked) && old.from.max(asked.from) < final_before;
    rows.find(loses).cloned()
}

/// The parts of `rows` that lie in the interval of `asked`.
fn parts<'a>(rows: impl Iterator<Item = &'a Binding>, asked: &Binding) -> Vec<Binding> {
    let part = |old: &Binding| Binding {
        from: old.from.max(asked.from),
        until: old.until.min(asked.until),
        ..old.clone()
    };
    rows.filter(|old| overlap(old, asked)).map(part).collect()
}

/// The writes that take the interval of `asked` away from `rows`.
fn take_away<'a>(rows: impl Iterator<Item = &'a Binding>, asked: &Binding) -> Vec<RowChange> {
    let mut writes = Vec::new();
    for old in rows.filter(|old| overlap(old, asked)) {
        let (identity, from) = (old.identity.clone(), old.from);
        writes.push(if old.from < asked.from {
            RowChange::End { identity, from, until: asked.from }
        } else {
            RowChange::Delete { identity, from }
        });
        if asked.until < old.until {
            writes.push(RowChange::Insert(Binding { from: asked.until, ..old.clone() }));
        }
    }
    writes
}

/// An identity to look up, with the keys of the rows that may hold it.
#[derive(Debug)]
pub(crate) struct Asked {
    own: String,
    /// The prefixes that contain it and may be bound, longest first.
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

/// The keys of all of `asked`, sorted, without duplicates.
pub(crate) fn keys_asked(asked: &[Asked]) -> Vec<String> {
    let keys: HashSet<&String> = asked.iter().flat_map(Asked::keys).collect();
    let mut keys: Vec<String> = keys.into_iter().cloned().collect();
    keys.sort_unstable();
    keys
}

/// The histories under the keys of `asked`, in that order.
pub(crate) fn guided(asked: &[Asked], rows: impl Iterator<Item = Binding>) -> Vec<Guided> {
    let Histories(mut found) = Histories::of(rows);
    for (key, history) in &mut found {
        settle_overlaps(key, history);
    }
    let history = |key: &String| found.get(key).cloned().unwrap_or_default();
    let of = |asked: &Asked| Guided {
        bindings: history(&asked.own),
        prefixes: asked.prefixes.iter().map(history).filter(|rows| !rows.is_empty()).collect(),
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

/// Whether inserting these bindings may invalidate earlier look-ups: a prefix, or an address within
/// a bound prefix, changes the result for addresses. Other identities need no new version, because
/// a front never caches that an identity is unbound (P28).
pub(crate) fn moves_version(new: &[Binding], lengths: PrefixLengths) -> bool {
    new.iter()
        .filter_map(|binding| Identity::parse(&binding.identity).ok())
        .any(|identity| identity.is_prefix() || !lengths.is_empty_for(&identity))
}

/// The prefix lengths among `identities`, without duplicates: (is it IPv4, length in bits).
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
        RowChange::Insert(binding) => Some(binding),
        RowChange::Delete { .. } | RowChange::End { .. } => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
