//! Account numbers, account ranges and partition ids.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an account. Zero means "unknown": the record names an identity instead.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct AccountNumber(pub u64);

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition, unique in a cluster and never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The accounts from `first` to `last`, both inclusive; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountRange {
    first: AccountNumber,
    last: AccountNumber,
}

/// A range that ends before it begins, or contains the number zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("accounts {first}-{last} are not a range: write FIRST-LAST with 1 <= FIRST <= LAST")]
pub struct EmptyRange {
    /// The first number given.
    pub first: u64,
    /// The last number given.
    pub last: u64,
}

impl AccountRange {
    /// The range from `first` to `last`, both inclusive.
    ///
    /// # Errors
    /// [`EmptyRange`] when `last < first`, or when `first` is zero.
    pub const fn new(first: u64, last: u64) -> Result<Self, EmptyRange> {
        if first == 0 || last < first {
            return Err(EmptyRange { first, last });
        }
        Ok(Self { first: AccountNumber(first), last: AccountNumber(last) })
    }

    /// The lowest number in the range.
    pub const fn first(self) -> AccountNumber {
        self.first
    }

    /// The highest number in the range.
    pub const fn last(self) -> AccountNumber {
        self.last
    }

    /// Whether the range contains `account`.
    pub const fn contains(self, account: AccountNumber) -> bool {
        self.first.0 <= account.0 && account.0 <= self.last.0
    }

    /// The lowest number in the range that is in none of `ranges`, each given by its first and last
    /// number; `None` if all are.
    pub fn first_outside(self, ranges: &[(u64, u64)]) -> Option<AccountNumber> {
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable();
        let mut next = self.first.0;
        for (first, last) in sorted {
            if first > next {
                break;
            }
            if last >= self.last.0 {
                return None;
            }
            next = next.max(last + 1);
        }
        Some(AccountNumber(next))
    }

    /// Whether the two ranges have an account in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first.0 <= other.last.0 && other.first.0 <= self.last.0
    }
}

impl fmt::Display for AccountRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_account_in_no_range_is_found_up_to_the_largest_number() {
        let of = |first, last, ranges: &[(u64, u64)]| {
            AccountRange::new(first, last).unwrap().first_outside(ranges).map(|number| number.0)
        };
        assert_eq!(of(5, 9, &[]), Some(5));
        assert_eq!(of(5, 9, &[(1, 4), (10, 20)]), Some(5));
        assert_eq!(of(5, 9, &[(8, 20), (1, 6)]), Some(7));
        assert_eq!(of(5, 9, &[(1, 8)]), Some(9));
        assert_eq!(of(5, 9, &[(7, 9), (1, 6)]), None);
        assert_eq!(of(u64::MAX - 1, u64::MAX, &[(1, u64::MAX - 1)]), Some(u64::MAX));
        assert_eq!(of(1, u64::MAX, &[(1, u64::MAX)]), None);
    }
}
