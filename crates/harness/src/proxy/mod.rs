//! A TCP proxy that injects network faults into connections: delays, interruptions, lost bytes,
//! resets. It runs within the process of a test or drill.
//!
//! ```text
//!  client --> 127.0.0.1:PORT --> [ to server: flow ] --> upstream
//!         <--                <-- [ to client: flow ] <--
//!
//!  listener.rs    the listener, the controls         flow.rs   the treatment of bytes
//!  connection.rs  one client, one upstream           pump.rs   one of its directions
//!  postgres.rs    finds the answer to a statement, to drop it
//! ```
//!
//! Invariants:
//! - Bytes are delivered in order.
//! - A connection that lost bytes delivers no later bytes: it is reset before bytes pass again, as
//!   TCP would do in a real network.
//! - A direction queues at most [`QUEUED_BYTES_MAX`] bytes and stops reading when the queue is
//!   full.
//! - A call that controls the proxy has taken effect when it returns.
//!
//! Not guaranteed: that a call stops bytes that the proxy has given to the kernel before. They may
//! still arrive after the call.

mod connection;
mod flow;
mod listener;
mod postgres;
mod pump;

pub use flow::{Direction, Flow};
pub use listener::Proxy;
pub use pump::QUEUED_BYTES_MAX;
