//! The gRPC services of a front, except the ingestion of records.

pub(crate) mod accounts;
pub(crate) mod bindings;
pub(crate) mod catalogue;
pub(crate) mod cluster;
pub(crate) mod examples;
pub(crate) mod plans;
pub(crate) mod subscribing;
pub(crate) mod suspense;
pub(crate) mod tables;
