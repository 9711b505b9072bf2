//! The compiler: checks a plan and builds its object code.

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod defaults;
pub(crate) mod definition;
pub(crate) mod pipeline;
