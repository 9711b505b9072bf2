//! Suspended records: listed from their owners, and recycled.

pub(crate) mod listing;
pub(crate) mod lists;
pub(crate) mod recycling;
pub(crate) mod service;
