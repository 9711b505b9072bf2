//! Accounts: commands go to the owners, identities to the shared database.

mod applying;
mod audit;
pub(crate) mod bindings;
pub(crate) mod commands;
pub(crate) mod results;
pub(crate) mod service;
pub(crate) mod subscribing;
