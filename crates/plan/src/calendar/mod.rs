//! Time zones, dates and the periods of an account.

pub(crate) mod period;
pub(crate) mod periods;
pub(crate) mod zone;
