//! The binary `turnpike`: command line, configuration, wiring.
//!
//! ```text
//!  argv, TURNPIKE_*   cli.rs        parsed low: options as they were given
//!  turnpike.toml      config.rs     what the flags leave unset
//!        |            values.rs     what people write: durations, instants, ranges
//!        v
//!  commands/*.rs      one file a command: resolves its options, then runs
//!    |        |
//!    |        +-- servers   server.rs     listener, health, reflection, shutdown
//!    |                      children.rs   processes of this same program (up, demo)
//!    |                      telemetry.rs  logs, metrics
//!    +-- clients            client.rs     the connection to a front, refusals in words
//!                           sender.rs     batches in flight, sent again until answered
//!                           apply.rs      account commands, the same
//!                           usage_file.rs files -> batches;  tally.rs  what became of them
//!        |
//!        v
//!  exit.rs            exit codes    ui.rs  tables, JSON, progress
//! ```
//!
//! Invariants: what a person or a file says wrongly ends in a message that names the place and the
//! remedy, never in a panic; a command that ends with 0 did all that was asked; whatever a client
//! command sends it may send again.
//!
//! Not promised: that the library crates' errors are distinguishable here. `anyhow` lives in this
//! crate alone (and in the drills, which only people read), and everything below it keeps types.

mod apply;
mod charge_row;
mod children;
mod cli;
mod client;
mod commands;
mod config;
mod database;
mod exit;
mod plans;
mod sender;
mod server;
mod tally;
mod telemetry;
mod ui;
mod usage_file;
mod values;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::cli::{Cli, Context};
use crate::config::Config;
use crate::exit::Finish;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = run(cli);
    exit::code(&result)
}

fn run(cli: Cli) -> anyhow::Result<Finish> {
    let config = Config::load(cli.config.as_deref())?;
    telemetry::start(&cli.log, &config.log, cli.command.log_default())?;
    let context = Context { config, config_path: cli.config, quiet: cli.quiet, log: cli.log };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't start")?;
    let result = runtime.block_on(cli.command.run(&context));
    // A thread that still reads a terminal must not keep us.
    runtime.shutdown_background();
    result
}
