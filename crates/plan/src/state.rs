//! What a plan remembers about an account: accumulators and "charged already" flags.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::measure::Unit;

/// The name of one variable of a plan: derived from plan id, primitive id and unit, so that state
/// carries over between versions of a plan (PLANS section 6).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct VariableId(pub u64);

impl VariableId {
    /// The first eight bytes, little endian, of
    /// BLAKE3("turnpike-variable\0" plan id \0 primitive id \0 unit).
    pub fn derive(plan: &str, primitive: &str, unit: Unit) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"turnpike-variable\0");
        for part in [plan, "\0", primitive, "\0", unit.as_str()] {
            hasher.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }
}

/// One of an account's calendar periods: days from 1970-01-01 to its first local date.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Period(pub i32);

impl Period {
    /// For what has no period: an account's whole life with a plan.
    pub const EVER: Self = Self(i32::MIN);
}

/// A variable's value in one period: units counted, or 1 for "charged".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StateEntry {
    /// Which variable.
    pub variable: VariableId,
    /// In which period.
    pub period: Period,
    /// Its value.
    pub value: i128,
}

impl StateEntry {
    const fn key(&self) -> (VariableId, Period) {
        (self.variable, self.period)
    }
}

/// An account's variables under its plans, sorted by (variable, period), each once: two states
/// that mean the same have equal entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    entries: SmallVec<[StateEntry; 2]>,
}

impl AccountState {
    /// The state of these entries, in whatever order; the last of equal keys counts.
    pub fn from_entries(entries: impl IntoIterator<Item = StateEntry>) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.set(entry);
        }
        state
    }

    /// The state of entries that stand sorted by (variable, period), each once; `None` when they
    /// do not.
    pub fn from_sorted(entries: &[StateEntry]) -> Option<Self> {
        let sorted = entries.is_sorted_by(|left, right| left.key() < right.key());
        sorted.then(|| Self { entries: SmallVec::from_slice(entries) })
    }

    /// The variable's value in the period; `None` when it was never set.
    pub fn get(&self, variable: VariableId, period: Period) -> Option<i128> {
        let found = self.find((variable, period)).ok()?;
        self.entries.get(found).map(|entry| entry.value)
    }

    /// Sets a variable's value in a period.
    pub fn set(&mut self, entry: StateEntry) {
        match self.find(entry.key()) {
            Ok(found) => {
                if let Some(held) = self.entries.get_mut(found) {
                    held.value = entry.value;
                }
            }
            Err(place) => self.entries.insert(place, entry),
        }
    }

    /// Sets every entry of `changes`, as [`Rated::changes`](crate::Rated::changes) gives them.
    pub fn apply(&mut self, changes: &[StateEntry]) {
        for &change in changes {
            self.set(change);
        }
    }

    /// Keeps the entries that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&StateEntry) -> bool) {
        self.entries.retain(|entry| keep(entry));
    }

    /// All entries, sorted by (variable, period).
    pub fn entries(&self) -> &[StateEntry] {
        &self.entries
    }

    /// All entries, sorted by (variable, period).
    pub fn iter(&self) -> std::slice::Iter<'_, StateEntry> {
        self.entries.iter()
    }

    fn find(&self, key: (VariableId, Period)) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, StateEntry::key)
    }
}

impl<'a> IntoIterator for &'a AccountState {
    type Item = &'a StateEntry;
    type IntoIter = std::slice::Iter<'a, StateEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<StateEntry> for AccountState {
    fn from_iter<I: IntoIterator<Item = StateEntry>>(entries: I) -> Self {
        Self::from_entries(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(variable: u64, period: i32, value: i128) -> StateEntry {
        StateEntry { variable: VariableId(variable), period: Period(period), value }
    }

    #[test]
    fn equal_states_have_equal_entries_whatever_the_order_of_setting() {
        let one: AccountState =
            [entry(2, 1, 5), entry(1, 7, 1), entry(1, 3, 2)].into_iter().collect();
        let two: AccountState =
            [entry(1, 3, 9), entry(1, 7, 1), entry(1, 3, 2), entry(2, 1, 5)].into_iter().collect();
        assert_eq!(one, two);
        assert_eq!(one.entries(), [entry(1, 3, 2), entry(1, 7, 1), entry(2, 1, 5)]);
        assert_eq!(one.get(VariableId(1), Period(7)), Some(1));
        assert_eq!(one.get(VariableId(1), Period(8)), None);
    }

    #[test]
    fn entries_out_of_order_or_doubled_are_no_sorted_state() {
        let (low, high) = (entry(1, 1, 0), entry(1, 2, 0));
        assert!(AccountState::from_sorted(&[low, high]).is_some());
        assert!(AccountState::from_sorted(&[high, low]).is_none());
        assert!(AccountState::from_sorted(&[low, low]).is_none());
    }

    #[test]
    fn a_variable_is_named_by_plan_primitive_and_unit() {
        let id = VariableId::derive("p", "hours", Unit::Microsecond);
        assert_eq!(id, VariableId::derive("p", "hours", Unit::Microsecond));
        assert_ne!(id, VariableId::derive("p", "hours", Unit::One));
        assert_ne!(id, VariableId::derive("q", "hours", Unit::Microsecond));
        // Yesterday's state opens tomorrow: the derivation is part of the persisted format.
        let bytes = blake3::hash(b"turnpike-variable\0p\0hours\0us");
        assert_eq!(id.0.to_le_bytes(), bytes.as_bytes()[..8]);
    }
}
