//! The node's loop: observe the database, decide, start and end owners.
//!
//! ```text
//!   runner.rs       the loop      ownerships.rs   starts and ends owners, keeps replicas
//!   health.rs       is the node ready?            measure.rs      its gauges
//! ```

mod health;
mod measure;
mod ownerships;
mod runner;

pub use health::NodeHealth;
pub use runner::Node;
