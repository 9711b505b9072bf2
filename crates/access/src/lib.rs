//! Who may use a cluster.
//!
//! ```text
//!   certificates/   files -> certificates in force, reloaded while the process runs
//!                         -> what a listener and a dial need for TLS; an authority for
//!                            installations that have none
//! ```

pub mod certificates;
