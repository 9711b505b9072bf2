//! Logs on standard error; metrics and health on a port.

mod metric_list;
mod port;
mod probe;
mod repeats;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter::FilterExt as _};

use crate::config::LogConfig;
use crate::exit::usage;
use crate::ui::{self, LogOutput};
use crate::values;
use metric_list::{METRICS, MetricKind};
pub(crate) use probe::Probe;
pub(crate) use repeats::Repeats;

/// The options for the log on standard error.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LogArgs {
    /// The format of logs and errors: text or JSON lines [default: text]
    #[arg(id = "log", long = "log", env = "TURNPIKE_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(global = true, help_heading = "Global options")]
    pub(crate) format: Option<LogOutput>,
    /// What to log: a level, or a filter such as info,turnpike_node=debug; TURNPIKE_LOG is an
    /// alternative variable [default: info for servers, warn for other commands]
    #[arg(id = "log-level", long = "log-level", env = "TURNPIKE_LOG_LEVEL", value_name = "FILTER")]
    #[arg(global = true, help_heading = "Global options")]
    pub(crate) level: Option<String>,
}

/// The level names in a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The log settings in force.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) format: LogOutput,
    pub(crate) filter: String,
}

impl LogSettings {
    /// Resolves the settings, in this order: the command line and its variables, `TURNPIKE_LOG`,
    /// the file, the default filter. `variable` is the value of `TURNPIKE_LOG`, and
    /// `level_variable` that of the variable of `--log-level`, for messages.
    pub(crate) fn resolve(
        args: &LogArgs,
        (variable, level_variable): (Option<&str>, Option<&str>),
        file: &LogConfig,
        default: &str,
    ) -> anyhow::Result<Self> {
        // Up to version 0.1, `TURNPIKE_LOG` named the format.
        let old_format = variable.and_then(|word| LogOutput::from_str(word, true).ok());
        let format = match (args.format.or(old_format), file.format.as_deref()) {
            (Some(format), _) => format,
            (None, Some(word)) => LogOutput::from_str(word, false)
                .map_err(|_| usage(format!("log.format: {word:?} is neither text nor json")))?,
            (None, None) => LogOutput::default(),
        };
        let variable = variable.filter(|_| old_format.is_none());
        // The parser does not report whether a value comes from the option or from its variable.
        let level_source = match args.level.as_deref() {
            level @ Some(_) if level == level_variable => "TURNPIKE_LOG_LEVEL",
            _ => "--log-level",
        };
        let (filter, source) = [
            (args.level.as_deref(), level_source),
            (variable, "TURNPIKE_LOG"),
            (file.level.as_deref(), "log.level in the configuration file"),
        ]
        .into_iter()
        .find_map(|(filter, source)| Some((filter?, source)))
        .unwrap_or((default, "the default"));
        check_filter(filter, source)?;
        Ok(Self { format, filter: filter.to_owned() })
    }
}

/// Whether the command line, or else the environment, selects JSON. Used for messages before either
/// is parsed.
pub(crate) fn is_json_asked(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let apart = words.windows(2).filter(|pair| pair[0] == "--log").map(|pair| pair[1]);
    let joined = words.iter().filter_map(|word| word.strip_prefix("--log="));
    let variable = || ["TURNPIKE_LOG_FORMAT", "TURNPIKE_LOG"].map(std::env::var).map(Result::ok);
    match apart.chain(joined).last() {
        Some(format) => format == "json",
        None => variable().into_iter().flatten().any(|format| format == "json"),
    }
}

/// Refuses a misspelt level: the filter would treat it as a module name, and log nothing.
fn check_filter(filter: &str, source: &str) -> anyhow::Result<()> {
    EnvFilter::from_str(filter).map_err(|error| {
        usage(format!("{source} {filter:?}: {error}; write a level such as info"))
    })?;
    for directive in filter.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        let known = LEVELS.contains(&level.to_lowercase().as_str()) || level.parse::<u8>().is_ok();
        if known || level.contains("::") {
            continue;
        }
        if let Some(near) = values::nearest(&level.to_lowercase(), LEVELS) {
            return Err(usage(format!(
                "{source} {filter:?}: {level:?} is not a level; do you mean {near}?"
            )));
        }
    }
    Ok(())
}

/// Starts logging, once per process. With `limits_repeats`, for servers, repeated warnings are
/// counted instead of written; then [`Repeats::log`] must run.
pub(crate) fn start(settings: &LogSettings, limits_repeats: bool) -> anyhow::Result<Repeats> {
    let filter = EnvFilter::from_str(&settings.filter).context("the log filter")?;
    let repeats = Repeats::default();
    let limit = limits_repeats.then(|| repeats.clone());
    let filter = filter.and(limit);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match settings.format {
        LogOutput::Text => lines.with_filter(filter).boxed(),
        LogOutput::Json => lines.json().with_filter(filter).boxed(),
    };
    // Only tests start it twice in one process; the first start remains in effect.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    ui::set_stderr_format(settings.format);
    Ok(repeats)
}

/// Serves Prometheus metrics and the process's health (from `probe`) at `address`. `process` is
/// `front` or `node`; `name` identifies the process among those of its kind.
pub(crate) async fn serve_metrics(
    address: SocketAddr,
    process: &'static str,
    name: &str,
    probe: Probe,
) -> anyhow::Result<()> {
    let metrics = exporter()?.install_recorder().context("metrics can't be recorded")?;
    port::serve(address, metrics, probe).await.with_context(|| {
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

/// An exporter with the buckets of each histogram.
fn exporter() -> anyhow::Result<PrometheusBuilder> {
    let mut exporter = PrometheusBuilder::new();
    for metric in METRICS {
        if let MetricKind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            exporter = exporter.set_buckets_for_metric(name, buckets)?;
        }
    }
    Ok(exporter)
}

/// Sets the process's counters without labels to zero. If a counter first appeared with its first
/// event, `rate` and `increase` would miss that event.
fn begin_counters(process: &'static str) {
    for metric in METRICS.iter().filter(|metric| metric.labels.is_empty()) {
        let is_fronts =
            ["turnpike_front_", "turnpike_feed_"].iter().any(|of| metric.name.starts_with(of));
        if metric.kind == MetricKind::Counter && is_fronts == (process == "front") {
            metrics::counter!(metric.name).increment(0);
        }
    }
}

/// Registers the description of each metric, for the scraped help lines.
fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => {
                metrics::describe_counter!(metric.name, metric.unit, metric.help)
            }
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            MetricKind::Histogram(_) => {
                metrics::describe_histogram!(metric.name, metric.unit, metric.help);
            }
        }
    }
}
