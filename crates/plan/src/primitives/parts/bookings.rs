//! Stores for each period the booking of a prorated charge. From the bookings, a backdated
//! cancellation credits the unused days of every period exactly, and once
//! (docs/plan-semantics.md section 5).
//!
//! The booked amount never changes. Beside it, the date up to which the charge is kept after a
//! cancellation is stored; the amount credited so far follows from both values. So a later
//! cancellation with an earlier date credits only the difference, and several credits add up to the
//! amount of a single one.

use turnpike_types::{Money, SuspenseReason};

use crate::calendar::period::Period;
use crate::compile::build::Builder;
use crate::language::findings::Refused;
use crate::language::measure::Unit;
use crate::language::price::half_even;
use crate::machine::booked_dates::BookedDates;
use crate::machine::code::Evaluation;
use crate::machine::meaning::{Holds, Meaning, Per};
use crate::machine::state::{AccountState, Keep, VariableId};

/// The longest period, in days.
const PERIOD_DAYS_MAX: i32 = 31;

/// The variables of bookings; a value is stored under the first date of its booking. The dates of
/// two consecutive subscriptions are distinct, except for dates that the first subscription has
/// credited.
pub(crate) struct Bookings {
    /// The amount that was charged, in billionths.
    booked: VariableId,
    /// The subscription and the end dates of the booking, packed into one integer:
    /// [`BookedDates`].
    dates: VariableId,
}

/// A booking that is not yet credited in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Booking {
    /// The first date of the booking.
    pub(crate) first: Period,
    dates: BookedDates,
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
        let dates = BookedDates { subscription, through: through.0, kept: through.0 };
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
            let (first, dates) = (entry.period, BookedDates::unpacked(entry.value)?);
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
        run.set(self.dates, first, BookedDates { kept, ..dates }.packed())?;
        Ok(amount)
    }
}
