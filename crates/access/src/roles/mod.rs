//! Roles: who may call which method, for which accounts, sources and consumers.

pub(crate) mod grant;
pub mod methods;
pub mod role;
