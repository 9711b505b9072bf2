//! What an author of plans writes.

pub(crate) mod document;
pub(crate) mod elements;
pub(crate) mod example;
pub(crate) mod fill_in;
pub(crate) mod findings;
pub(crate) mod graph;
pub(crate) mod measure;
pub(crate) mod nearest;
pub(crate) mod plan;
pub(crate) mod price;
pub(crate) mod read;
pub(crate) mod spec;
pub(crate) mod table_name;
pub(crate) mod values;
pub(crate) mod xml;
