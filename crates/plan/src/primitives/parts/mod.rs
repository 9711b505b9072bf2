//! What several primitives have in common.

pub(crate) mod bookings;
pub(crate) mod buckets;
pub(crate) mod charges;
pub(crate) mod charging;
pub(crate) mod fee_per;
pub(crate) mod filter;
pub(crate) mod patterns;
pub(crate) mod rule;
pub(crate) mod shares;
pub(crate) mod steps;
pub(crate) mod weekdays;
