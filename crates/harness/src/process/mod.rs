//! Server processes of a real cluster on this machine, for `turnpike up`, drills and tests.
//!
//! ```text
//!  ServerCommand::start() -> "... listens on 127.0.0.1:4711" -> ListeningServer { address, process }
//!                                                                                     |
//!                                           kill, freeze, resume, stop, ended <-------+
//!
//!  command.rs  the command line, the start      server.rs    the running process
//!  port.rs     free ports                       settings.rs  TURNPIKE_* variables
//!  expected.rs notices that a process ends which is expected to run
//! ```
//!
//! Invariants:
//! - No process outlives the process that started it. Every server is started with
//!   `--stop-at-stdin-end`: it stops when its standard input ends, and the operating system closes
//!   that pipe however the starter ends. A dropped [`ServerProcess`] is killed.
//! - Each server has its own process group: Ctrl-C at a terminal reaches only the starter, which
//!   then stops the servers in order.
//! - A server never blocks because nothing reads its standard output.

mod command;
mod expected;
mod port;
mod server;
mod settings;

pub use command::{ListeningServer, ServerCommand, ServerLog};
pub use expected::{ExpectedProcesses, UnexpectedEnd};
pub use port::free_port;
pub use server::{ServerProcess, StopRequest};
pub use settings::{InheritedSettings, without_settings};
