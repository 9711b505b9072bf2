//! A whole cluster in one thread. The code of nodes and fronts is the product's; network, database,
//! processes and clocks are simulated.
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
//! Invariant: the seed determines everything: the size of the cluster, the records that clients
//! send, the faults and their times. The same seed gives the same run, down to the hash of the log.
//!
//! The crate `turmoil` is not used, because it lacks three abilities that these tests need. A
//! process must be able to freeze, while the clock, the sockets and the other processes continue. A
//! held connection must later deliver the data that was sent before, as TCP does. A statement must
//! continue at the database after its process has ended.
//!
//! Not simulated: files, TCP itself, threads, the failover of the database.

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
