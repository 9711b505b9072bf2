//! The language of plans.

pub(crate) mod document;
pub(crate) mod example;
pub(crate) mod findings;
pub(crate) mod graph;
pub(crate) mod measure;
pub(crate) mod nearest;
pub(crate) mod price;
pub(crate) mod spec;
pub(crate) mod values;
pub(crate) mod xml;
