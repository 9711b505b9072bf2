//! Bindings of identities to accounts (P28): what a change of a history comes to, and what a history
//! says. Pure functions of what was read under the lock of bindings, the same for every database.
//!
//! Rows are found by the one spelling of their identity ([`key_of`]). Rows of releases that kept
//! the spelling that was typed keep it, and are found by the same key.

use std::collections::{HashMap, HashSet};

use turnpike_mutants::{Line, off};
use turnpike_types::{Identity, PrefixLengths, Timestamp};

use crate::{BindOutcome, Binding, Guided, RebindOutcome, Rebinding};

/// The key of an identity: its one spelling. Text that is no identity by today's rules is its own
/// key: an older release may have bound it.
pub(crate) fn key_of(identity: &str) -> String {
    Identity::parse(identity).map_or_else(|_| identity.to_owned(), String::from)
}

/// Rows by key, each history sorted by `from`.
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

/// The keys of bindings or changes that are asked for, each once.
pub(crate) fn keys_of<'a>(identities: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut keys: Vec<String> = identities.map(key_of).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What one binding comes to, given the history of its identity.
fn judge_binding(history: &[Binding], asked: &Binding) -> BindOutcome {
    if is_held(history, asked) {
        return BindOutcome::Already;
    }
    history
        .iter()
        .find(|old| overlap(old, asked))
        .filter(|_| !off(Line::BindingsDisjoint))
        .map_or(BindOutcome::Bound, |old| BindOutcome::Taken(old.clone()))
}

fn overlap(old: &Binding, asked: &Binding) -> bool {
    old.from < asked.until && asked.from < old.until
}

/// Does the account hold the identity for the whole interval already?
fn is_held(history: &[Binding], asked: &Binding) -> bool {
    let mut held_until = asked.from;
    for old in history.iter().filter(|old| old.account == asked.account) {
        if old.from <= held_until {
            held_until = held_until.max(old.until);
        }
    }
    held_until >= asked.until
}

/// What each of `asked` comes to, in order, and those that are to be written, spelled as their key.
/// Earlier ones of the same call count.
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

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    /// The row that begins at `from` goes.
    Delete { identity: String, from: Timestamp },
    /// The row that begins at `from` ends earlier.
    End { identity: String, from: Timestamp, until: Timestamp },
    /// A new row.
    Insert(Binding),
}

/// What each change comes to, in order, and what is to be written, in order. Earlier ones of the
/// same call count.
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

/// Does to a history in memory what `change` does to the table.
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

/// A row that would lose an instant before `final_before`.
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

/// An identity that is asked for, with the keys under which it is found.
#[derive(Debug)]
pub(crate) struct Asked {
    own: String,
    /// Prefixes that hold it and may be bound, longest first.
    prefixes: Vec<String>,
}

impl Asked {
    /// The keys of an identity, where prefixes of these lengths were ever bound.
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

/// The keys of all that is asked for, each once.
pub(crate) fn keys_asked(asked: &[Asked]) -> Vec<String> {
    let keys: HashSet<&String> = asked.iter().flat_map(Asked::keys).collect();
    let mut keys: Vec<String> = keys.into_iter().cloned().collect();
    keys.sort_unstable();
    keys
}

/// What is found under the keys of `asked`, in the order asked.
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

/// Intervals of one key overlap only where an older release bound two spellings of it. There the
/// row in the one spelling holds, which is the spelling that records came in from access logs;
/// where there is none and the rows name several accounts, nothing holds: such usage waits in suspense.
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

/// May what was found before be wrong after these bindings went in? A prefix, or an address inside
/// of one, changes what was found for addresses; an identity that was bound to none is asked for
/// again anyway.
pub(crate) fn moves_version(new: &[Binding], lengths: PrefixLengths) -> bool {
    new.iter()
        .filter_map(|binding| Identity::parse(&binding.identity).ok())
        .any(|identity| identity.is_prefix() || !lengths.is_empty_for(&identity))
}

/// The lengths of prefixes among identities: whether of IPv4, and how long.
pub(crate) fn prefix_lengths<'a>(identities: impl Iterator<Item = &'a str>) -> Vec<(bool, u8)> {
    let lengths = identities.filter_map(|text| Identity::parse(text).ok()?.prefix_length());
    let mut lengths: Vec<(bool, u8)> = lengths.collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// The rows that a write inserts.
pub(crate) fn inserted(writes: &[RowChange]) -> impl Iterator<Item = &Binding> {
    writes.iter().filter_map(|write| match write {
        RowChange::Insert(binding) => Some(binding),
        RowChange::Delete { .. } | RowChange::End { .. } => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
