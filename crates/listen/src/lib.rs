//! The transport of a server: everything between an accepted connection and a service that sees a
//! request.
//!
//! ```text
//!  TcpListener --> accept.rs      connections are admitted, or refused with a reason
//!                     |           table.rs: who is connected, and which connection is idle longest
//!                     v
//!                  connection.rs  TLS handshake (tls.rs), HTTP/2, deadlines (frames.rs, progress.rs)
//!                     |
//!                     v
//!                  request.rs     limits of the method (methods.rs), room in the budget (room.rs)
//!                     |
//!                  inbound.rs     withholds a message until it is complete (withheld.rs); counts
//!                     |           what it takes when it is decoded (elements.rs)
//!                     v
//!                  the service, whose answers leave through outbound.rs. A layer before it
//!                  assigns each request that needs a role to a client
//!
//!  budget.rs     the bytes of the process, in parts, and each client's share of them
//!  evictions.rs  what is given up to make room     memory.rs   the default size of the budget
//!  config.rs     limits and deadlines              peer.rs     who sent a request
//!  refusal.rs    "try again in a second"           locking.rs  mutexes after a panic
//!  sparse.rs     log lines that any client can cause
//! ```
//!
//! Invariants:
//! - No memory is taken on a claim: a message's buffer grows with the bytes that have arrived, and
//!   each growth is charged to the [`Budget`] first.
//! - The bytes that are received and not read yet are at most the sum of the connections' windows,
//!   which are charged to the budget at accept.
//! - A connection or request that is refused gets a reason, or a log line and a counter; the accept
//!   loop never stops silently.
//! - Each step of a client has a deadline. Of streams whose clients send nothing, the one that has
//!   been silent longest is given up when the room for requests is used up.
//! - Requests that need no role take a small part of the room, and keep no connection open.
//!
//! Not guaranteed: that a service takes no memory of its own. The charge of a message lasts until
//! the service asks for the next one, or the request ends.

mod accept;
mod budget;
mod config;
mod connection;
mod elements;
mod evictions;
mod frames;
mod inbound;
mod locking;
mod memory;
mod methods;
mod outbound;
mod peer;
mod progress;
mod refusal;
mod request;
mod room;
mod sparse;
mod table;
mod tls;
mod withheld;

pub use accept::serve;
pub use budget::{Budget, BudgetShare, MemoryPart};
pub use config::{Deadlines, ListenConfig};
pub use memory::{MEMORY_MIN, TRANSPORT_MIN, default_memory};
pub use methods::{METHODS, MethodLimits, method_limits};
pub use peer::Peer;
pub use refusal::{RETRY_AFTER, exhausted};
pub use room::RequestRoom;
pub use table::network;
pub use tls::{Explain, PeerCheck, TlsSource, Transport};
pub use turnpike_shares::ClientKey;
