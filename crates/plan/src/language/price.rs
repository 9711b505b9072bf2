//! Prices as exact fractions, and the single rounding of each line
//! (docs/plan-semantics.md section 3).

use turnpike_types::Money;

use crate::language::measure::Decimal;

/// A price per unit: `top / bottom` in lowest terms, in multiples of the smallest amount to which
/// the plan rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    top: i128,
    bottom: i128,
    /// The smallest amount to which the plan rounds, in billionths: 10^(9 - digits).
    step_nanos: i128,
    /// `top` and `bottom`, if both fit 64 bits.
    narrow: Option<(u64, u64)>,
}

impl Price {
    /// `amount` per `per` units, rounded to `digits` (0 to 9) decimals; `None` when the fraction
    /// does not fit 128 bits.
    pub(crate) fn new(amount: Decimal, per: i128, digits: u32) -> Option<Self> {
        let step_nanos = 10i128.checked_pow(Money::SCALE.checked_sub(digits)?)?;
        let top =
            amount.digits.checked_mul(10i128.checked_pow(digits.saturating_sub(amount.scale))?)?;
        let bottom = per.checked_mul(10i128.checked_pow(amount.scale.saturating_sub(digits))?)?;
        if bottom <= 0 || top < 0 {
            return None;
        }
        let common = greatest_common_divisor(top, bottom);
        let (top, bottom) = (top / common, bottom / common);
        Some(Self::of_fraction(top, bottom, step_nanos))
    }

    fn of_fraction(top: i128, bottom: i128, step_nanos: i128) -> Self {
        let narrow = u64::try_from(top).ok().zip(u64::try_from(bottom).ok());
        Self { top, bottom, step_nanos, narrow }
    }

    /// The price of a quantity, rounded half to even; `None` when it has more than 38 digits.
    #[inline]
    pub(crate) fn of(&self, quantity: i128) -> Option<Money> {
        if self.top == 0 {
            return Some(Money::ZERO);
        }
        // Fast path: several times faster than 128-bit multiplication and division.
        if let Some((top, bottom)) = self.narrow
            && let Ok(quantity) = u64::try_from(quantity)
            && let Some(product) = quantity.checked_mul(top)
        {
            // Can't overflow: a 64-bit number times at most 10^9.
            return Money::from_nanos(
                i128::from(divide_half_even(product, bottom)) * self.step_nanos,
            );
        }
        let steps = scale_half_even(quantity, self.top, self.bottom)?;
        Money::from_nanos(steps.checked_mul(self.step_nanos)?)
    }

    /// The price of a fraction `top / over` of a unit, rounded half to even once.
    pub(crate) fn of_part(&self, top: i128, over: i128) -> Option<Money> {
        let bottom = self.bottom.checked_mul(over).filter(|&bottom| bottom > 0)?;
        Self::of_fraction(self.top, bottom, self.step_nanos).of(top)
    }

    /// Whether rounding changes the price of a quantity by more than a tenth, for example to zero.
    pub(crate) fn is_coarse_for(&self, quantity: i128) -> bool {
        let exact = quantity.checked_mul(self.top);
        let rounded = scale_half_even(quantity, self.top, self.bottom)
            .and_then(|steps| steps.checked_mul(self.bottom));
        let (Some(exact), Some(rounded)) = (exact, rounded) else {
            // The exact product has more than 128 bits, so rounding the last digit changes little.
            return false;
        };
        rounded.abs_diff(exact) > exact.unsigned_abs() / 10
    }
}

fn greatest_common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// `quantity * top / bottom`, rounded half to even; `None` when the result does not fit. No
/// argument is negative, and `bottom` is positive.
#[inline(never)]
fn scale_half_even(quantity: i128, top: i128, bottom: i128) -> Option<i128> {
    if let (Ok(q), Ok(t), Ok(b)) =
        (u64::try_from(quantity), u64::try_from(top), u64::try_from(bottom))
        && let Some(product) = q.checked_mul(t)
    {
        return Some(divide_half_even(product, b).into());
    }
    let (q, t) = (u128::try_from(quantity).ok()?, u128::try_from(top).ok()?);
    let b = u128::try_from(bottom).ok()?;
    let (whole, part) = match q.checked_mul(t) {
        Some(product) => (product / b, product % b),
        None => divide_wide(multiply_wide(q, t), b)?,
    };
    let up = rounds_up(part, b, whole % 2 == 1);
    i128::try_from(whole).ok()?.checked_add(i128::from(up))
}

/// `product / by`, rounded half to even. Can't overflow: rounding up gives at most `product`.
fn divide_half_even(product: u64, by: u64) -> u64 {
    let (whole, part) = (product / by, product % by);
    let other = by - part;
    whole + u64::from(part > other || (part == other && whole % 2 == 1))
}

fn rounds_up(part: u128, of: u128, odd: bool) -> bool {
    let other = of - part;
    part > other || (part == other && odd)
}

/// The 256-bit product as (high, low).
fn multiply_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a_low * b_low;
    let (middle, carried) = (a_high * b_low).overflowing_add(a_low * b_high);
    let (low, carry) = low.overflowing_add(middle << 64);
    let high = a_high * b_high + (middle >> 64) + (u128::from(carried) << 64) + u128::from(carry);
    (high, low)
}

/// Quotient and remainder of a 256-bit number; `None` when the quotient has more than 128 bits.
/// Bitwise and slow: only extremely large amounts need it.
fn divide_wide((high, low): (u128, u128), by: u128) -> Option<(u128, u128)> {
    if high >= by {
        return None;
    }
    let (mut part, mut whole) = (high, 0u128);
    for bit in (0..128).rev() {
        let carried = part >> 127 == 1;
        part = (part << 1) | (low >> bit & 1);
        whole <<= 1;
        if carried || part >= by {
            part = part.wrapping_sub(by);
            whole |= 1;
        }
    }
    Some((whole, part))
}

/// `amount * top / bottom`, rounded half to even to `digits` decimals: a part of an amount, or an
/// amount at a rate. `amount` may be negative; `top` is not, and `bottom` is positive. `None` when
/// the result has more than 38 digits.
pub(crate) fn half_even(amount: i128, top: i128, bottom: i128, digits: u32) -> Option<Money> {
    let step = 10i128.checked_pow(Money::SCALE.checked_sub(digits)?)?;
    let bottom = bottom.checked_mul(step).filter(|&bottom| bottom > 0)?;
    let quantity = i128::try_from(amount.unsigned_abs()).ok()?;
    let steps = if top == 0 { 0 } else { scale_half_even(quantity, top, bottom)? };
    let nanos = steps.checked_mul(step)?;
    // Rounding half to even is symmetric about zero, so the sign is applied last.
    Money::from_nanos(if amount < 0 { -nanos } else { nanos })
}

/// A fixed amount, rounded half to even to the plan's digits; `None` past 38 digits.
pub(crate) fn fixed(amount: Decimal, digits: u32) -> Option<Money> {
    Price::new(amount, 1, digits)?.of(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(amount: &str, per: i128, digits: u32) -> Price {
        Price::new(Decimal::parse(amount).unwrap(), per, digits).unwrap()
    }

    fn nanos(amount: &str, per: i128, digits: u32, quantity: i128) -> Option<i128> {
        price(amount, per, digits).of(quantity).map(Money::nanos)
    }

    /// docs/plan-semantics.md section 3: rounded once, half to even.
    #[test]
    fn halves_round_to_the_even_neighbour() {
        assert_eq!(nanos("0.5", 1, 0, 1), Some(0));
        assert_eq!(nanos("0.5", 1, 0, 3), Some(2_000_000_000));
        assert_eq!(nanos("0.5", 1, 0, 5), Some(2_000_000_000));
        assert_eq!(nanos("0.50", 3_600_000_000, 9, 1_200_000_000), Some(166_666_667));
        assert_eq!(nanos("0.25", 3_600_000_000, 9, 1), Some(0));
    }

    #[test]
    fn a_petabyte_at_a_common_price_is_exact() {
        assert_eq!(nanos("0.05", 1_000_000_000, 9, 10i128.pow(15)), Some(50_000 * 1_000_000_000));
        let odd = 10i128.pow(15) + 1;
        assert_eq!(nanos("0.123456789", 1 << 30, 9, odd), Some(114_978_094_585_240));
    }

    #[test]
    fn a_part_of_a_unit_is_rounded_once() {
        let part = |amount, top, over| price(amount, 1, 9).of_part(top, over).map(Money::nanos);
        assert_eq!(part("9.30", 1, 28), Some(332_142_857));
        assert_eq!(part("0.000000001", 3, 2), Some(2));
        assert_eq!(part("0.000000001", 5, 2), Some(2));
        assert_eq!(part("1", 1, i128::MAX), Some(0));
        assert_eq!(part("0.0000000001", 1, i128::MAX), None);
    }

    #[test]
    fn a_result_that_fits_is_given_although_the_product_does_not_fit() {
        let (quantity, per) = (i128::MAX / 3, 10i128.pow(27) + 9);
        let exact = 70016947849069575228168;
        assert_eq!(nanos("1234.567899876", per, 9, quantity), Some(exact));
        assert_eq!(nanos("1", 1, 9, i128::MAX / 10), None);
    }

    #[test]
    fn more_than_38_digits_of_money_is_an_error_never_zero() {
        assert_eq!(nanos("1", 1, 9, 10i128.pow(29)), None);
        assert_eq!(nanos("1", 1, 9, 10i128.pow(29) - 1), Some(10i128.pow(38) - 10i128.pow(9)));
        assert_eq!(nanos("0", 1, 9, i128::MAX), Some(0));
    }

    #[test]
    fn a_price_is_coarse_where_rounding_takes_more_than_a_tenth_of_it() {
        let minute = 60_000_000;
        assert!(!price("0.25", 3_600_000_000, 9).is_coarse_for(minute));
        assert!(!price("0.60", 3_600_000_000, 2).is_coarse_for(minute));
        assert!(price("0.50", 3_600_000_000, 2).is_coarse_for(minute));
        assert!(price("0.20", 3_600_000_000, 2).is_coarse_for(minute));
        assert!(!price("0", 3_600_000_000, 0).is_coarse_for(minute));
        assert!(price("0.000000000004", 1, 9).is_coarse_for(1));
        assert!(!price("0.000000001", 1, 9).is_coarse_for(1));
        assert!(price("0.000000001", 1, 2).is_coarse_for(1));
        assert!(!price("1", 1, 9).is_coarse_for(i128::MAX / 2));
    }

    proptest! {
        #[test]
        fn wide_arithmetic_agrees_with_128_bits(a: u64, b: u64, c in 1u64.., d: u64) {
            let (a, b, c) = (u128::from(a), u128::from(b), u128::from(c));
            prop_assert_eq!(multiply_wide(a, b), (0, a * b));
            prop_assert_eq!(divide_wide((0, a * b), c), Some((a * b / c, a * b % c)));
            // (x*c + r) / c gives x and r, however wide x*c is.
            let wide = (a << 64 | b, c << 64 | u128::from(d) | 1);
            let r = u128::from(d) % wide.1;
            let (high, low) = multiply_wide(wide.0, wide.1);
            let (low, carry) = low.overflowing_add(r);
            prop_assert_eq!(divide_wide((high + u128::from(carry), low), wide.1), Some((wide.0, r)));
        }
    }
}
