//! The dates of a booking, as the value of a variable.

use crate::calendar::period::Period;

/// The subscription of a booking, and the dates that end it, in days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BookedDates {
    pub(crate) subscription: Period,
    /// The first date after the charged days.
    pub(crate) through: i32,
    /// The first credited date; equal to `through` before the first credit.
    pub(crate) kept: i32,
}

impl BookedDates {
    /// Packs the three values into one to save memory, because an account keeps each of its
    /// bookings forever.
    pub(crate) fn packed(self) -> i128 {
        let low = |days: i32| i128::from(days.cast_unsigned());
        i128::from(self.subscription.0) << 64 | low(self.through) << 32 | low(self.kept)
    }

    /// The dates that a value holds; `None` if the value is not a booking.
    pub(crate) fn unpacked(value: i128) -> Option<Self> {
        let low = |shift: u32| u32::try_from(value >> shift & i128::from(u32::MAX)).ok();
        Some(Self {
            subscription: Period(i32::try_from(value >> 64).ok()?),
            through: low(32)?.cast_signed(),
            kept: low(0)?.cast_signed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_dates_are_unpacked_unchanged() {
        for subscription in [i32::MIN, -1, 0, 29_000_000, i32::MAX] {
            for (through, kept) in [(20_000, 19_990), (-3, -40), (0, -1), (i32::MAX, i32::MIN)] {
                let dates = BookedDates { subscription: Period(subscription), through, kept };
                assert_eq!(BookedDates::unpacked(dates.packed()), Some(dates));
            }
        }
        assert_eq!(BookedDates::unpacked(i128::MAX), None);
    }
}
