//! The compiler.

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod defaults;
