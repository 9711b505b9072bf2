//! The binary `turnpike`: command line, configuration, wiring.
//!
//! ```text
//!  argv, TURNPIKE_*   cli.rs        the parser: options as given
//!  turnpike.toml      config.rs     settings for unset options;  values.rs  parsers of values
//!        |            context.rs    the file and the global options, for every command
//!        v
//!  commands/*.rs      one file a command: options -> settings.rs, defaults.rs -> settings -> run
//!    |        |
//!    |        +-- servers   server.rs     listener, health, reflection, shutdown
//!    |                      database.rs   opening the shared database, waiting for it
//!    |                      data_dir.rs   the lock of a data directory
//!    |                      local_cluster.rs  a cluster of child processes
//!    |                      partitions.rs new partitions;  telemetry.rs  logs, metrics, health
//!    |    tls.rs  the certificates of servers and clients
//!    +-- clients            stop_signals.rs  SIGINT and the like, for commands that stop in order
//!                           client.rs     the connection to a front (turnpike-client), its errors
//!                                         as messages
//!                           apply.rs      account commands, retried until decided
//!                           usage_file.rs files -> batches (batches.rs: their options)
//!                           generator.rs  generated usage;  account_setup.rs  accounts for it
//!                           feed.rs       pulls, acknowledgements;  pull_totals.rs  reconciled
//!                           tally.rs      outcomes of records
//!                           exceptions_file.rs   records that were not rated, with the reasons
//!        |
//!        v
//!  exit.rs            exit codes    ui.rs  tables, JSON, progress    charge_row.rs  line columns
//!  plans.rs           plan files    tables.rs  table files    catalogue.rs  published plans
//!  accounts_file.rs   files of accounts
//!  pages.rs           checks the commands in the pages (tests only)
//! ```
//!
//! Invariants:
//! - Each command resolves its options, their variables, the file and the defaults once, in
//!   `resolve`, and then runs from its settings. Commands do not import each other.
//! - Wrong input from the command line or a file gives a message with the place and the remedy,
//!   never a panic.
//! - A command that ends with exit code 0 has carried out the whole request.
//! - Every request of a client command is idempotent.
//!
//! Not part of this crate: rating, routing and storage, which the library crates do.
//!
//! This crate and the drills use `anyhow`: their errors are messages for people. All library crates
//! have typed errors.

mod access;
mod account_setup;
mod accounts_file;
mod apply;
mod batches;
mod catalogue;
mod charge_row;
mod cli;
mod client;
mod commands;
mod config;
mod connection_limits;
mod context;
mod data_dir;
mod database;
mod defaults;
mod exceptions_file;
mod exit;
mod feed;
mod generator;
mod local_cluster;
#[cfg(test)]
mod pages;
mod partitions;
mod plans;
mod pull_totals;
mod server;
mod settings;
mod stop_signals;
mod tables;
mod tally;
mod telemetry;
mod tls;
mod ui;
mod usage_file;
mod values;

use std::env::VarError;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::FromArgMatches as _;

use crate::cli::Cli;
use crate::config::Config;
use crate::context::Context;
use crate::exit::Finish;
use crate::telemetry::LogSettings;
use crate::ui::LogOutput;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Errors in the command line also have the format of the log.
    if telemetry::is_json_asked(std::env::args_os()) {
        ui::set_stderr_format(LogOutput::Json);
    }
    let matches = cli::command().try_get_matches();
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => exit::code(&run(cli)),
        Err(error) => exit::refused(&cli::with_whole_usage(error, std::env::args_os())),
    }
}

/// The value of an environment variable; `None` if it is unset or empty.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(exit::usage(format!(
            "{name} is {value:?}, which is not UTF-8: correct or unset it"
        ))),
    }
}

fn run(cli: Cli) -> anyhow::Result<Finish> {
    let path = cli.config.as_deref();
    let config = Config::load(path).inspect_err(|_| {
        if Config::log_format(path).as_deref() == Some("json") && cli.log.format.is_none() {
            ui::set_stderr_format(LogOutput::Json);
        }
    })?;
    let (filter, level) = (variable("TURNPIKE_LOG")?, variable("TURNPIKE_LOG_LEVEL")?);
    let default = cli.command.log_default();
    let variables = (filter.as_deref(), level.as_deref());
    let log = LogSettings::resolve(&cli.log, variables, &config.log, default)?;
    let repeats = telemetry::start(&log, cli.command.is_server())?;
    let context = Context { config, config_path: cli.config, quiet: cli.quiet, log };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't start")?;
    if cli.command.is_server() {
        runtime.spawn(repeats.clone().log());
    }
    let result = runtime.block_on(cli.command.run(&context));
    repeats.log_rest();
    // A thread that is blocked reading a terminal must not delay the exit.
    runtime.shutdown_background();
    result
}
