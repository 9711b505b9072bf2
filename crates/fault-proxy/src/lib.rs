//! A TCP proxy within the process, to break a connection in the ways that networks do.
//!
//! ```text
//!  client --> 127.0.0.1:PORT --> [ to server: flow ] --> upstream
//!         <--                <-- [ to client: flow ] <--
//!
//!  proxy.rs       the listener, the controls         flow.rs   what happens to bytes
//!  connection.rs  one client, one upstream           pump.rs   one direction of it
//!  postgres.rs    the statement whose answer is lost
//! ```
//!
//! Invariants: bytes come out in the order in which they went in; no connection delivers bytes
//! behind missing ones (one that lost some is reset before anything passes again, as nothing else
//! could come of it in a real network); a direction keeps at most [`QUEUED_BYTES_MAX`] and stops
//! reading past that; a controlling call has taken effect when it returns.
//!
//! Not promised: what the kernel has taken before a call may still arrive after it.

mod connection;
mod flow;
mod postgres;
mod proxy;
mod pump;

pub use flow::{Direction, Flow};
pub use proxy::Proxy;
pub use pump::QUEUED_BYTES_MAX;
