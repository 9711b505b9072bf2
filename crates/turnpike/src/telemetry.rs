//! Logs on standard error, metrics on a port.

mod catalogue;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;
use crate::exit::usage;
use catalogue::{Kind, METRICS};

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

/// Serves metrics for Prometheus at `address`. `process` is a front or a node, `name` whatever tells
/// it from others of its kind.
pub(crate) fn serve_metrics(
    address: SocketAddr,
    process: &'static str,
    name: &str,
) -> anyhow::Result<()> {
    exporter()?.with_http_listener(address).install().with_context(|| {
        format!("metrics can't be served on {address}; choose another address with --metrics")
    })?;
    describe();
    begin_counters(process);
    metrics::gauge!(
        "turnpike_process_info",
        "process" => process,
        "name" => name.to_owned(),
        "version" => env!("CARGO_PKG_VERSION")
    )
    .set(1.0);
    Ok(())
}

/// An exporter with each histogram's buckets.
fn exporter() -> anyhow::Result<PrometheusBuilder> {
    let mut exporter = PrometheusBuilder::new();
    for metric in METRICS {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            exporter = exporter.set_buckets_for_metric(name, buckets)?;
        }
    }
    Ok(exporter)
}

/// Begins the counters of such a process at zero, where they have no labels: of a counter that comes
/// with its first event, nobody can tell that it grew.
fn begin_counters(process: &'static str) {
    for metric in METRICS.iter().filter(|metric| metric.labels.is_empty()) {
        let is_fronts =
            ["turnpike_front_", "turnpike_feed_"].iter().any(|of| metric.name.starts_with(of));
        if metric.kind == Kind::Counter && is_fronts == (process == "front") {
            metrics::counter!(metric.name).increment(0);
        }
    }
}

/// Says what each metric means, to whoever scrapes it.
fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram(_) => {
                metrics::describe_histogram!(metric.name, metric.unit, metric.help);
            }
        }
    }
}
