//! What several primitives have in common.
//!
//! ```text
//! charging.rs  ports and properties of charges    charges.rs   lines that derive from lines
//! bookings.rs  bookings of prorated charges       buckets.rs   granted units
//! steps.rs     tiers of prices                    fee_per.rs   connection fees
//! filter.rs    ports of filters                   weekdays.rs  days of the week
//! rule.rs, patterns.rs  conditions                shares.rs    shares of an amount
//! ```

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
