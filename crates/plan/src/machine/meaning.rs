//! The meaning of a variable's entries, which the primitive that writes them declares.

use turnpike_types::Currency;

/// The meaning of a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Units that were counted.
    Units,
    /// Units left in a bucket.
    Left,
    /// The product of units and microseconds.
    UnitTime,
    /// The value 1 means that an action was taken; the word names the action.
    Done(&'static str),
    /// An amount in billionths.
    Money(Currency),
    /// An instant, in microseconds since 1970.
    Instant,
    /// A date, in days since 1970-01-01. The word is shown before the date.
    Date(&'static str),
    /// The period for which a daily charge was booked (see `booked_dates.rs`).
    Booking,
}

/// The meaning of a variable's period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Per {
    /// A calendar period, by its first date.
    Date,
    /// A subscription, by the minute of its start.
    Subscription,
    /// An interval of five minutes, counted from 1970.
    Interval,
    /// An expiry date.
    Expiry,
}

/// The meaning of a variable's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) holds: Holds,
    pub(crate) per: Per,
}

impl Meaning {
    pub(crate) const fn new(holds: Holds, per: Per) -> Self {
        Self { holds, per }
    }
}

/// The value shows that the period was charged.
pub(crate) const CHARGED: Meaning = Meaning::new(Holds::Done("charged"), Per::Date);
/// The value shows that the subscription was charged.
pub(crate) const CHARGED_ONCE: Meaning = Meaning::new(Holds::Done("charged"), Per::Subscription);
/// The value is the first date that was not charged yet.
pub(crate) const CHARGED_UNTIL: Meaning =
    Meaning::new(Holds::Date("charged until"), Per::Subscription);
/// The value shows that an event was booked in the period.
pub(crate) const BOOKED: Meaning = Meaning::new(Holds::Done("booked"), Per::Date);
