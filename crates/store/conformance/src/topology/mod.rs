//! Partitions, observations, and the requests of operators.

pub mod operator_requests;
pub mod partitions;
