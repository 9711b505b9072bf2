//! A whole cluster in one thread: the code of nodes and fronts is the product's, everything around
//! it is simulated.
//!
//! ```text
//!  clients --+                      +-- nodes           each process: a tokio runtime of its own,
//!  (client)  |                      |   (process)       its clock paused, run tick by tick (world)
//!            +-- fronts ----------- +
//!                (process)          |
//!         network: held, cut,       link: errors, unknown outcomes, delays, cuts
//!         refused, slow (network)   |
//!                                 memory database, a separate process (delayed_database)
//!
//!  plan: the contents of the run         chaos: the faults and their times
//!  book: records and answers             oracle: the checks
//!  run_log: the log of the run           entropy: replaces the system's random numbers
//!  moving_identities: identities that move between accounts, in runs with seeds from 1,000,000 on
//! ```
//!
//! The seed, a number, determines everything: the size of the cluster, what the clients send, which
//! faults occur and when. The same seed gives the same run, down to the hash of the log.
//!
//! Why not the crate `turmoil`: a process must be able to freeze (tasks stop while clock, sockets
//! and the other processes continue), a held connection must deliver after the repair what was sent
//! before it, as TCP does, and a statement must continue at the database after its process ended.
//! Turmoil has none of these, and the parts that it has (a runtime for each host, ticks) are a
//! hundred lines here.
//!
//! Not simulated: real files, real TCP, threads; the failover of the database.

pub mod book;
pub mod chaos;
pub mod client;
pub mod database_link;
pub mod delayed_database;
pub mod entropy;
pub mod moving_identities;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod process;
pub mod run;
pub mod run_log;
pub mod world;
