//! Shares of money by whole weights, with the largest-remainder method
//! (docs/plan-semantics.md section 1).

use smallvec::SmallVec;

use crate::language::measure::Decimal;
use crate::language::spec::{Value, ValueType};

/// The maximum weight. It keeps products of money and sums of weights within 128 bits.
const WEIGHT_MAX: i128 = 1_000_000_000;
/// The maximum number of parties of one row.
const PARTIES_MAX: usize = 64;
/// The word in a row for charges that no party pays.
const NOBODY: &str = "nobody";

/// The syntax of shares: `provider=60 advertiser=40`, or `nobody`.
pub(crate) const SHARES: Value =
    Value::Of(&ValueType { name: "shares", check: |text| read(text).map(drop) });

/// Parties and their weights in the order of the text; empty if no party pays.
pub(crate) fn read(text: &str) -> Result<Vec<(&str, i128)>, String> {
    if text.trim() == NOBODY {
        return Ok(Vec::new());
    }
    let mut shares: Vec<(&str, i128)> = Vec::new();
    for word in text.split_whitespace() {
        let shape = || {
            format!(
                "\"{word}\" is not a share: write PARTY=WEIGHT, separated by spaces, such as provider=60 advertiser=40"
            )
        };
        let (party, weight) = word.split_once('=').ok_or_else(shape)?;
        let weight = Decimal::parse(weight).ok().filter(|weight| weight.scale == 0);
        let weight = weight.ok_or_else(shape)?.digits;
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(format!(
                "\"{word}\" has no weight: write 1 to {WEIGHT_MAX}, or leave the party out"
            ));
        }
        if shares.iter().any(|(known, _)| *known == party) {
            return Err(format!("{party} has two shares: write one"));
        }
        shares.push((party, weight));
    }
    match shares.len() {
        0 => Err(format!("it names no party: write shares, or {NOBODY}")),
        1..=PARTIES_MAX => Ok(shares),
        _ => Err(format!("more than {PARTIES_MAX} parties share: write fewer")),
    }
}

/// Splits an amount into shares that add up to it, each a multiple of `step`. The exact quotas are
/// rounded down, and the remaining steps go to the largest remainders; among equal remainders, to
/// the first. A negative amount is split like the positive amount. `None` on overflow or without
/// weights.
pub(crate) fn apportion(
    amount: i128,
    step: i128,
    weights: impl Iterator<Item = i128> + Clone,
) -> Option<SmallVec<[i128; 4]>> {
    // An amount that is not a multiple of the plan's step is split in billionths.
    let step = if step > 0 && amount % step == 0 { step } else { 1 };
    let steps = amount.checked_abs()? / step;
    let whole: i128 = weights.clone().sum();
    if whole <= 0 {
        return None;
    }
    // Weights are small, so no intermediate value overflows.
    let (times, part) = (steps / whole, steps % whole);
    let mut shares: SmallVec<[i128; 4]> =
        weights.clone().map(|weight| times * weight + part * weight / whole).collect();
    let left = steps - shares.iter().sum::<i128>();
    let mut order: SmallVec<[(i128, usize); 4]> =
        weights.enumerate().map(|(place, weight)| (-(part * weight % whole), place)).collect();
    order.sort_unstable();
    for &(_, place) in order.iter().take(usize::try_from(left).ok()?) {
        shares[place] += 1;
    }
    let sign = if amount < 0 { -step } else { step };
    shares.iter_mut().for_each(|share| *share *= sign);
    Some(shares)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apportioned(amount: i128, step: i128, weights: &[i128]) -> Vec<i128> {
        apportion(amount, step, weights.iter().copied()).unwrap().to_vec()
    }

    /// docs/plan-semantics.md section 1: the rest goes to the largest remainders, and of equal
    /// remainders to the first in document order.
    #[test]
    fn the_rest_goes_to_the_largest_remainder_and_of_equal_ones_to_the_first() {
        assert_eq!(apportioned(100, 1, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(apportioned(5, 1, &[1, 1, 2]), [1, 1, 3]);
        assert_eq!(apportioned(-100, 1, &[1, 1, 1]), [-34, -33, -33]);
        assert_eq!(apportioned(1000, 10, &[1, 1, 1]), [340, 330, 330]);
        assert_eq!(apportioned(1001, 10, &[1, 1]), [501, 500]);
        assert_eq!(apportioned(0, 1, &[7, 1]), [0, 0]);
        assert_eq!(apportioned(1, 1, &[1, 1_000_000_000]), [0, 1]);
    }

    #[test]
    fn empty_and_invalid_shares_are_refused() {
        for wrong in
            ["", " ", "a", "a=", "a=0", "a=-1", "a=1.5", "a=1 a=2", "a=2000000000", "nobody a=1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read("a=60 b=40"), Ok(vec![("a", 60), ("b", 40)]));
        assert_eq!(read("nobody"), Ok(vec![]));
    }

    proptest! {
        /// The largest-remainder method: each quota is rounded down, and the quotas with the
        /// largest remainders get one unit more.
        #[test]
        fn shares_add_up_and_are_within_one_of_their_quota(
            amount in -10i128.pow(20)..10i128.pow(20),
            weights in proptest::collection::vec(1i128..1000, 1..9),
        ) {
            let shares = apportioned(amount, 1, &weights);
            prop_assert_eq!(shares.iter().sum::<i128>(), amount);
            let whole: i128 = weights.iter().sum();
            let remainder = |place: usize| amount.abs() * weights[place] % whole;
            for (place, share) in shares.iter().enumerate() {
                let more = share.abs() - amount.abs() * weights[place] / whole;
                prop_assert!(more == 0 || more == 1);
                for other in 0..shares.len() {
                    let theirs = shares[other].abs() - amount.abs() * weights[other] / whole;
                    let before = (remainder(place), other) > (remainder(other), place);
                    prop_assert!(!(before && more < theirs), "{place} comes before {other}");
                }
            }
        }

        #[test]
        fn the_largest_amounts_are_shared_without_overflow(
            amount in -(10i128.pow(38) - 1)..10i128.pow(38),
            weights in proptest::collection::vec(1i128..=WEIGHT_MAX, 1..=PARTIES_MAX),
        ) {
            prop_assert_eq!(apportioned(amount, 1, &weights).iter().sum::<i128>(), amount);
        }
    }
}
