//! Stores for each period the booking of a prorated charge. From the bookings, a backdated
//! cancellation credits the unused days of every period exactly, and once
//! (docs/plan-semantics.md section 5).
//!
//! The booked amount never changes. Beside it, the date up to which the charge is kept after a
//! cancellation is stored; the amount credited so far follows from both values. So a later
//! cancellation with an earlier date credits only the difference, and several credits add up to the
//! amount of a single one.

use turnpike_types::{Money, SuspenseReason};

use crate::compile::build::Builder;
use crate::language::measure::Unit;
use crate::language::price::half_even;
use crate::language::spec::Refused;
use crate::machine::evaluation::Evaluation;
use crate::machine::remembered::{Holds, Meaning, Per};
use crate::machine::state::{AccountState, Keep, Period, VariableId};

/// The longest period, in days.
const PERIOD_DAYS_MAX: i32 = 31;

/// The variables of bookings; a value is stored under the first date of its booking. The dates of
/// two consecutive subscriptions are distinct, except for dates that the first subscription has
/// credited.
pub(crate) struct Bookings {
    /// The amount that was charged, in billionths.
    booked: VariableId,
    /// The subscription and the end dates of the booking, packed into one integer ([`Dates`]).
    dates: VariableId,
}

/// A booking that is not yet credited in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Booking {
    /// The first date of the booking.
    pub(crate) first: Period,
    dates: Dates,
}

/// The subscription of a booking, and the dates that end it, in days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dates {
    subscription: Period,
    /// The first date after the charged days.
    through: i32,
    /// The first credited date; equal to `through` before the first credit.
    kept: i32,
}

impl Dates {
    /// Packs the three values into one to save memory, because an account keeps each of its
    /// bookings forever.
    fn packed(self) -> i128 {
        let low = |days: i32| i128::from(days.cast_unsigned());
        i128::from(self.subscription.0) << 64 | low(self.through) << 32 | low(self.kept)
    }

    fn unpacked(value: i128) -> Option<Self> {
        let low = |shift: u32| u32::try_from(value >> shift & i128::from(u32::MAX)).ok();
        Some(Self {
            subscription: Period(i32::try_from(value >> 64).ok()?),
            through: low(32)?.cast_signed(),
            kept: low(0)?.cast_signed(),
        })
    }
}

impl Bookings {
    pub(crate) fn declare(builder: &mut Builder<'_>) -> Result<Self, Refused> {
        let amount = Meaning::new(Holds::Money(builder.currency()?), Per::Date);
        let booked = builder.remember(Some("booked"), Unit::One, Keep::Ever, amount)?;
        let through = Meaning::new(Holds::Booking, Per::Date);
        let dates = builder.remember(Some("dates"), Unit::One, Keep::Ever, through)?;
        builder.is_due_by(dates);
        Ok(Self { booked, dates })
    }

    /// Stores the amount that was charged for the dates from `first` to before `through`.
    pub(crate) fn book(
        &self,
        run: &mut Evaluation<'_>,
        first: Period,
        through: Period,
        amount: Money,
    ) -> Result<(), SuspenseReason> {
        let subscription = Period::of_subscription(run.since);
        let dates = Dates { subscription, through: through.0, kept: through.0 };
        run.set(self.booked, first, amount.nanos())?;
        run.set(self.dates, first, dates.packed())
    }

    /// The bookings of a subscription that still have charged dates on or after `ends`, in order of
    /// their first dates.
    pub(crate) fn past<'s>(
        &self,
        state: &'s AccountState,
        since: i64,
        ends: Period,
    ) -> impl Iterator<Item = Booking> + use<'s> {
        let subscription = Period::of_subscription(since);
        let earliest = Period(ends.0.saturating_sub(PERIOD_DAYS_MAX));
        let known = state.between(self.dates, earliest, Period(i32::MAX)).iter();
        known.filter_map(move |entry| {
            let (first, dates) = (entry.period, Dates::unpacked(entry.value)?);
            let is_past = dates.kept > ends.0.max(first.0);
            (dates.subscription == subscription && is_past).then_some(Booking { first, dates })
        })
    }

    /// Credits the dates of a booking from `ends` on. Returns the credit as a negative amount.
    pub(crate) fn give_back(
        &self,
        run: &mut Evaluation<'_>,
        booking: Booking,
        ends: Period,
        digits: u32,
    ) -> Result<Money, SuspenseReason> {
        let Booking { first, dates } = booking;
        let booked = run.value(self.booked, first);
        let days = |from: i32, to: i32| i128::from(to) - i128::from(from);
        let all = days(first.0, dates.through);
        let unused_from = |kept: i32| half_even(booked, days(kept, dates.through), all, digits);
        let kept = ends.0.max(first.0);
        let amount = unused_from(dates.kept)
            .zip(unused_from(kept))
            .and_then(|(before, after)| before.nanos().checked_sub(after.nanos()))
            .and_then(Money::from_nanos)
            .ok_or(SuspenseReason::Overflow)?;
        run.set(self.dates, first, Dates { kept, ..dates }.packed())?;
        Ok(amount)
    }
}

/// The subscription of a booking, the first date after the charged days, and the first date after
/// the days that are not credited; `None` if the value is not a booking.
pub(crate) fn booked_dates(value: i128) -> Option<[Period; 3]> {
    let Dates { subscription, through, kept } = Dates::unpacked(value)?;
    Some([subscription, Period(through), Period(kept)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_dates_are_unpacked_unchanged() {
        for subscription in [i32::MIN, -1, 0, 29_000_000, i32::MAX] {
            for (through, kept) in [(20_000, 19_990), (-3, -40), (0, -1), (i32::MAX, i32::MIN)] {
                let dates = Dates { subscription: Period(subscription), through, kept };
                assert_eq!(Dates::unpacked(dates.packed()), Some(dates));
            }
        }
        assert_eq!(Dates::unpacked(i128::MAX), None);
    }
}
