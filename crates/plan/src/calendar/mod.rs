//! Time zones, dates and the periods of an account.
//!
//! ```text
//! zone.rs     the rules of a time zone; the first instant of a date
//! period.rs   Period, the identity of a period
//! periods.rs  the account's months, billing cycles, weeks and days, cached by zone
//! ```

pub(crate) mod period;
pub(crate) mod periods;
pub(crate) mod zone;
