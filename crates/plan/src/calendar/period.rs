//! The identity of a period.

use serde::{Deserialize, Serialize};

/// A calendar period of an account: the number of days from 1970-01-01 to its first local date.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Period(pub i32);

impl Period {
    /// No period: the account's whole time with a plan.
    pub const EVER: Self = Self(i32::MIN);

    /// The period that identifies a subscription: its start in minutes since 1970, independent of
    /// the zone, which may change. [`Period::EVER`] when the start is unknown.
    pub fn of_subscription(since: i64) -> Self {
        match i32::try_from(since.div_euclid(60_000_000)) {
            Ok(minutes) => Self(minutes),
            Err(_) => Self::EVER,
        }
    }
}
