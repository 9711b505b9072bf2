//! A whole cluster in one thread: real nodes and real fronts, everything around them simulated.
//!
//! ```text
//!  clients --+                      +-- nodes           each process: a tokio runtime of its own,
//!  (client)  |                      |   (process)       its clock paused, run tick by tick (world)
//!            +-- fronts ----------- +
//!                (process)          |
//!         network: held, cut,       line: errors, unknown outcomes, delays, cuts
//!         refused, slow (network)   |
//!                                 memory database, statements of its own (late)
//!
//!  chaos: what goes wrong, and when      book: what clients were told      oracle: was that right?
//! ```
//!
//! Everything follows from a number, the seed: how large the cluster is, what the clients send, what
//! goes wrong and when. The same seed tells the same story, down to the hash of the log.
//!
//! Why not turmoil: a process has to freeze (its tasks stand still while its clock, its sockets and
//! the others go on), a held connection has to deliver after the repair what was sent before it, as TCP does, and
//! a statement has to go on at the database when its process is gone. Turmoil has none of the three, and
//! what it does have (a runtime a host, ticks) is a hundred lines.
//!
//! What stays outside: real files, real TCP, threads; the database's own failover.

pub mod book;
pub mod chaos;
pub mod client;
pub mod entropy;
pub mod late;
pub mod line;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod process;
pub mod run;
pub mod story;
pub mod world;
