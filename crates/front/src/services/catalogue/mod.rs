//! The catalogue: price plans and reference tables are checked and published, listed and shown.

pub(crate) mod checks;
pub(crate) mod examples;
pub(crate) mod plans;
pub(crate) mod tables;
pub(crate) mod versions;
