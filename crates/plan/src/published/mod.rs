//! What is done with plans as published.

pub(crate) mod next_version;
pub(crate) mod parse;
pub(crate) mod subscribing;
pub(crate) mod types;
