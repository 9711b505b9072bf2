//! Logs on standard error, metrics on a port.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;
use crate::exit::usage;

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What goes to standard error.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LogArgs {
    /// Log as text or as JSON lines [default: text]
    #[arg(id = "log", long = "log", env = "TURNPIKE_LOG", value_name = "FORMAT", global = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) format: Option<LogFormat>,
    /// What to log: a level, or a filter such as info,turnpike_node=debug [default: info for
    /// servers, warn for the rest]
    #[arg(
        id = "log-level",
        long = "log-level",
        env = "TURNPIKE_LOG_LEVEL",
        value_name = "FILTER",
        global = true
    )]
    #[arg(help_heading = "Global options")]
    pub(crate) level: Option<String>,
}

/// Starts logging; once a process.
pub(crate) fn start(args: &LogArgs, file: &LogConfig, default: &str) -> anyhow::Result<()> {
    let format = match (args.format, file.format.as_deref()) {
        (Some(format), _) => format,
        (None, Some(word)) => LogFormat::from_str(word, false)
            .map_err(|_| usage(format!("log.format: {word:?} is neither text nor json")))?,
        (None, None) => LogFormat::default(),
    };
    let filter = args.level.as_deref().or(file.level.as_deref()).unwrap_or(default);
    let filter = EnvFilter::from_str(filter).map_err(|error| {
        usage(format!("--log-level {filter:?}: {error}; write a level such as info"))
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process is a test's; the first one stands.
    let _ = match format {
        LogFormat::Text => logs.with_ansi(false).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    Ok(())
}

/// Serves metrics for Prometheus at `address`.
pub(crate) fn serve_metrics(address: SocketAddr) -> anyhow::Result<()> {
    metrics_exporter_prometheus::PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
        .with_context(|| {
            format!("metrics can't be served on {address}; choose another address with --metrics")
        })
}
