//! The gRPC services of a front, except the ingestion of records: one folder or file each.

pub(crate) mod accounts;
pub(crate) mod audited;
pub(crate) mod catalogue;
pub(crate) mod cluster;
pub(crate) mod suspense;
