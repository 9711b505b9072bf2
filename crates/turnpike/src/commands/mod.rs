//! One file per command.

pub(crate) mod access;
pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod cert;
pub(crate) mod collect;
pub(crate) mod consumer;
pub(crate) mod database;
pub(crate) mod demo;
pub(crate) mod drill;
pub(crate) mod front;
pub(crate) mod handover;
pub(crate) mod ingest;
pub(crate) mod load;
pub(crate) mod node;
pub(crate) mod partition;
pub(crate) mod plan;
pub(crate) mod pull;
pub(crate) mod rate;
pub(crate) mod status;
pub(crate) mod suspense;
pub(crate) mod table;
pub(crate) mod up;
