//! The variables that plans keep for an account: accumulators, and variables that record booked
//! charges.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use turnpike_types::{DAY_US, Timestamp};

use crate::calendar::period::Period;
use crate::language::measure::Unit;

/// The key of one variable of a plan, derived from state name, primitive id and unit, so that state
/// carries over between versions of a plan (docs/plan-semantics.md section 6).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct VariableId(pub u64);

/// How long the periods of a variable are retained (docs/plan-semantics.md section 4: the
/// acceptance horizon determines how many periods are needed). The retention is encoded in the two
/// highest bits of the variable's id, so a replay of the log needs no plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keep {
    /// Until records of the period are no longer accepted and its cycle is closed.
    #[default]
    Horizon,
    /// More than a year longer than [`Keep::Horizon`]: for units that roll over.
    Year,
    /// The periods are kept without a limit.
    Ever,
    /// As [`Keep::Horizon`], for periods that are five-minute intervals since 1970.
    Intervals,
}

impl Keep {
    const SHIFT: u32 = 62;

    const fn bits(self) -> u64 {
        (self as u64) << Self::SHIFT
    }

    /// The oldest period to retain when records from `floor` on are accepted.
    #[expect(clippy::disallowed_methods, reason = "before the first floor nothing is too old")]
    fn oldest(self, floor: Timestamp) -> i32 {
        const INTERVAL_US: i64 = 300_000_000;
        // A period of at most 31 days may have begun before the floor; the local date of an instant
        // may be the day before the UTC date; and a cycle stays open past its end.
        const DAYS: i64 = 31 + 2 + 1;
        const YEAR_DAYS: i64 = 13 * 31;
        let days = floor.micros().div_euclid(DAY_US) - DAYS;
        let oldest = match self {
            Self::Horizon => days,
            Self::Year => days - YEAR_DAYS,
            Self::Ever => return i32::MIN,
            Self::Intervals => floor.micros().div_euclid(INTERVAL_US) - DAYS * DAY_US / INTERVAL_US,
        };
        i32::try_from(oldest).unwrap_or(i32::MIN)
    }
}

impl VariableId {
    /// The first eight bytes, little endian, of BLAKE3("turnpike-variable\0" plan id \0 primitive
    /// id \0 unit), with the two highest bits replaced by the retention.
    pub fn derive(plan: &str, primitive: &str, unit: Unit, keep: Keep) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"turnpike-variable\0");
        for part in [plan, "\0", primitive, "\0", unit.as_str()] {
            hasher.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self((u64::from_le_bytes(first) << 2 >> 2) | keep.bits())
    }

    /// A variable derived from this one and a number, with the same retention.
    pub(crate) const fn of(self, number: u64) -> Self {
        // The finalizer of splitmix64: each input bit changes about half of the output bits.
        let mut mixed = (self.0 ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        Self((mixed << 2 >> 2) | self.keep().bits())
    }

    /// A variable that belongs to no plan.
    pub(crate) const fn numbered(number: u64, keep: Keep) -> Self {
        Self((number << 2 >> 2) | keep.bits())
    }

    /// The retention of the variable's periods.
    pub const fn keep(self) -> Keep {
        match self.0 >> Keep::SHIFT {
            0 => Keep::Horizon,
            1 => Keep::Year,
            2 => Keep::Ever,
            _ => Keep::Intervals,
        }
    }
}

/// A number that identifies a plan in a variable's value; never zero.
pub fn plan_number(plan: &str) -> i128 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(plan.as_bytes()).as_bytes()[..8]);
    i128::from(u64::from_le_bytes(first)) + 1
}

/// A variable's value in one period, such as a count of units, or 1 for "charged".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StateEntry {
    /// The key of the variable.
    pub variable: VariableId,
    /// The period for which the value holds.
    pub period: Period,
    /// The value of the variable.
    pub value: i128,
}

impl StateEntry {
    const fn key(&self) -> (VariableId, Period) {
        (self.variable, self.period)
    }
}

/// Up to this many entries, a linear search is faster than a binary one.
const FEW: usize = 12;

/// An account's variables, sorted by (variable, period), each key once, so that equal states have
/// equal entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    entries: SmallVec<[StateEntry; 2]>,
}

impl AccountState {
    /// The state with these entries, in any order; of entries with the same key, the last is used.
    pub fn from_entries(entries: impl IntoIterator<Item = StateEntry>) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.set(entry);
        }
        state
    }

    /// The state with entries sorted by (variable, period), each once; `None` when they are not.
    pub fn from_sorted(entries: &[StateEntry]) -> Option<Self> {
        let sorted = entries.is_sorted_by(|left, right| left.key() < right.key());
        sorted.then(|| Self { entries: SmallVec::from_slice(entries) })
    }

    /// The variable's value in the period; `None` when it was never set.
    #[inline]
    pub fn get(&self, variable: VariableId, period: Period) -> Option<i128> {
        let entries = self.entries();
        if entries.len() <= FEW {
            let found = entries.iter().find(|e| e.variable == variable && e.period == period);
            return found.map(|entry| entry.value);
        }
        let found = self.find((variable, period)).ok()?;
        self.entries.get(found).map(|entry| entry.value)
    }

    /// A variable's entries in periods `from <= period < to`, in order.
    pub fn between(&self, variable: VariableId, from: Period, to: Period) -> &[StateEntry] {
        let place = |period| self.entries.partition_point(|held| held.key() < (variable, period));
        self.entries.get(place(from)..place(to)).unwrap_or_default()
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

    /// Sets a variable's value in a period. If the period is new, removes earlier periods of the
    /// variable that are past their retention when records from `floor` on are accepted.
    pub fn set_and_trim(&mut self, entry: StateEntry, floor: Timestamp) {
        match self.find(entry.key()) {
            Ok(found) => {
                if let Some(held) = self.entries.get_mut(found) {
                    held.value = entry.value;
                }
            }
            Err(place) => {
                self.entries.insert(place, entry);
                let oldest = Period(entry.variable.keep().oldest(floor));
                let first =
                    self.find((entry.variable, Period::EVER)).map_or_else(|at| at, |at| at + 1);
                let end =
                    self.entries.partition_point(|held| held.key() < (entry.variable, oldest));
                // Keeps the entry that was just set, whatever its age, because the caller expects
                // to read it.
                if first < end.min(place) {
                    self.entries.drain(first..end.min(place));
                }
            }
        }
    }

    /// Sets every entry of `changes`, as [`Rated::changes`](crate::Rated::changes) gives them.
    pub fn apply(&mut self, changes: &[StateEntry]) {
        for &change in changes {
            self.set(change);
        }
    }

    /// Removes the entries for which `keep` returns false.
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
    fn entries_between_two_periods_are_those_of_one_variable_from_the_first_to_before_the_last() {
        let state: AccountState =
            [entry(1, 9, 1), entry(2, 1, 2), entry(2, 3, 3), entry(2, 5, 4), entry(3, 2, 5)]
                .into_iter()
                .collect();
        let between = |from, to| state.between(VariableId(2), Period(from), Period(to));
        assert_eq!(between(1, 5), [entry(2, 1, 2), entry(2, 3, 3)]);
        assert_eq!(between(i32::MIN, i32::MAX).len(), 3);
        assert_eq!(between(4, 5), []);
        assert_eq!(between(5, 1), []);
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
        let derive = |plan, unit| VariableId::derive(plan, "hours", unit, Keep::Year);
        let id = derive("p", Unit::Microsecond);
        assert_eq!(id, derive("p", Unit::Microsecond));
        assert_ne!(id, derive("p", Unit::One));
        assert_ne!(id, derive("q", Unit::Microsecond));
        assert_eq!(id.keep(), Keep::Year);
        // The derivation is part of the persisted format: it must not change.
        let bytes = blake3::hash(b"turnpike-variable\0p\0hours\0us");
        assert_eq!(id.0.to_le_bytes()[..7], bytes.as_bytes()[..7]);
        assert_eq!(id.0.to_le_bytes()[7], bytes.as_bytes()[7] & 0x3f | 0x40);
    }

    /// docs/plan-semantics.md section 4: as many periods are kept as the acceptance horizon can
    /// still reach.
    #[test]
    fn unneeded_periods_are_dropped_when_a_new_one_begins() {
        let floor = Timestamp(20_000 * 86_400_000_000);
        let day = |keep, period, value| StateEntry {
            variable: VariableId::derive("p", "hours", Unit::One, keep),
            period: Period(period),
            value,
        };
        let mut state = AccountState::default();
        for keep in [Keep::Horizon, Keep::Year, Keep::Ever] {
            for period in [i32::MIN, 19_000, 19_940, 19_970, 20_001] {
                state.set(day(keep, period, 1));
            }
            state.set_and_trim(day(keep, 20_032, 1), floor);
        }
        let left = |state: &AccountState, keep| {
            let of_it = |entry: &&StateEntry| entry.variable.keep() == keep;
            state.iter().filter(of_it).map(|entry| entry.period.0).collect::<Vec<_>>()
        };
        assert_eq!(left(&state, Keep::Horizon), [i32::MIN, 19_970, 20_001, 20_032]);
        assert_eq!(left(&state, Keep::Year), [i32::MIN, 19_940, 19_970, 20_001, 20_032]);
        assert_eq!(left(&state, Keep::Ever), [i32::MIN, 19_000, 19_940, 19_970, 20_001, 20_032]);
        // A period that is already stored is overwritten, and no entry is removed.
        state.set_and_trim(day(Keep::Ever, 20_032, 5), Timestamp(i64::MAX));
        assert_eq!(left(&state, Keep::Ever).len(), 6);
    }
}
