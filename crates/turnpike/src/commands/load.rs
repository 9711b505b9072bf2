//! `turnpike load`: generates usage and measures the throughput.

mod histogram;
mod setup;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use turnpike_client::SendEvent;
use turnpike_types::DAY_US;
use turnpike_types::text::TextKind;

use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::generator::{Generator, GeneratorOptions, LONGEST_US, UsageKind, share};
use crate::tally::Tally;
use crate::{plans, ui, values};

use histogram::Histogram;

const EXAMPLES: &str = "\
--setup first publishes the plan, opens the accounts in zone UTC and currency USD, and subscribes
them; repeating it changes nothing. Use accounts that nobody is billed for: it ends without a change
if one of them is open with other settings (of more than 20,000 accounts it looks at that many
beforehand; the others are refused one by one).

Each run generates new records, unless --run names an earlier run of the same day (UTC): then the
same records are sent again, and all of them must be answered as duplicates.

Examples:
  turnpike load --setup --first-account 900001 --account-count 10000 --seconds 10
  turnpike load --account-count 1000000 --records 20000000 --streams 8 --json
  turnpike load --records 100000 --run drill-1 && turnpike load --records 100000 --run drill-1";

/// Options of `load`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct LoadArgs {
    /// The number of accounts over which the records are spread
    #[arg(long = "account-count", alias = "accounts", value_name = "N")]
    #[arg(default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    accounts: u64,
    /// The first account's number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    first_account: u64,
    /// Stop after this number of records
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    records: Option<u64>,
    /// Stop after this time [default: 10]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    seconds: Option<Duration>,
    /// Records per batch
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50_000))]
    batch: u32,
    /// Streams, each over its own connection
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    streams: u16,
    /// Batches in flight per stream
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    window: u16,
    /// The kind of usage, and the plan to set up
    #[arg(long, default_value = "fig6b")]
    kind: UsageKind,
    /// Attributes per record
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=8))]
    attributes: u8,
    /// First publish the plan, open the accounts and subscribe them
    #[arg(long)]
    setup: bool,
    /// With --setup, publish this plan instead of the built-in one
    #[arg(long, value_name = "FILE", requires = "setup")]
    plan: Option<PathBuf>,
    /// The prefix of record ids: the same prefix gives the same records [default: random]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Report {
    run: String,
    #[serde(flatten)]
    tally: Tally,
    seconds: f64,
    records_per_second: f64,
    batch_latency_ms: Latency,
    /// The longest interval without an answer to any batch, in milliseconds.
    longest_silence_ms: f64,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// The state shared by all streams.
struct Shared {
    deadline: Option<Instant>,
    answered: AtomicU64,
}

#[derive(Default)]
struct StreamReport {
    tally: Tally,
    latency: Histogram,
    answers: Vec<Instant>,
}

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadLimit {
    Records(u64),
    Time(Duration),
}

/// The resolved settings of `load`.
#[derive(Debug)]
pub(crate) struct LoadSettings {
    first_account: u64,
    accounts: u64,
    limit: LoadLimit,
    batch: u32,
    streams: u16,
    window: u16,
    kind: UsageKind,
    attributes: u8,
    setup: bool,
    plan: Option<PathBuf>,
    /// The prefix of record ids.
    run: String,
    /// Whether the prefix was given, so that the records must be the same at each run of a day.
    is_named: bool,
    json: bool,
    /// Whether progress is not shown.
    hidden: bool,
    client: ClientSettings,
}

/// The prefix of record ids. A stream's number and ten digits follow it.
const RUN: TextKind = TextKind { words: "--run", bytes_max: 100 };
/// The time that a load takes without `--records` and `--seconds`.
const TIME_DEFAULT: Duration = Duration::from_secs(10);

impl LoadArgs {
    /// Refuses what no load can do, before the front is asked for anything.
    fn check(&self) -> anyhow::Result<()> {
        if self.seconds == Some(Duration::ZERO) || self.records == Some(0) {
            return Err(usage(
                "a load of nothing measures nothing: give --seconds or --records of at least 1",
            ));
        }
        if self.first_account.checked_add(self.accounts - 1).is_none() {
            return Err(usage(format!(
                "--first-account {} with --account-count {}: account numbers end at {}",
                self.first_account,
                self.accounts,
                u64::MAX
            )));
        }
        let Some(run) = &self.run else { return Ok(()) };
        RUN.check(run).map_err(|why| usage(why.to_string()))?;
        if run.is_empty() {
            Err(usage("--run is empty: give a name, such as drill-1"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<LoadSettings> {
        self.check()?;
        let time = LoadLimit::Time(self.seconds.unwrap_or(TIME_DEFAULT));
        Ok(LoadSettings {
            first_account: self.first_account,
            accounts: self.accounts,
            limit: self.records.map_or(time, LoadLimit::Records),
            batch: self.batch,
            streams: self.streams,
            window: self.window,
            kind: self.kind,
            attributes: self.attributes,
            setup: self.setup,
            plan: self.plan,
            is_named: self.run.is_some(),
            run: self.run.unwrap_or_else(|| format!("{:08x}", rand::random::<u32>())),
            json: self.json,
            hidden: context.quiet || self.json,
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(crate) async fn run(settings: LoadSettings) -> anyhow::Result<Finish> {
    let plan = settings.plan.as_deref().map(plans::read_xml).transpose()?;
    let front = settings.client.connect().await?;
    let hidden = settings.hidden;
    if settings.setup {
        let setup = setup::Setup {
            kind: settings.kind,
            plan,
            first: settings.first_account,
            accounts: settings.accounts,
        };
        setup.run(&front, hidden).await?;
    }
    let started = Instant::now();
    let (records, deadline) = match settings.limit {
        LoadLimit::Records(records) => (Some(records), None),
        LoadLimit::Time(time) => (None, Some(started + time)),
    };
    let shared = Arc::new(Shared { deadline, answered: AtomicU64::new(0) });
    let mut streams = JoinSet::new();
    let start_us = start_us(settings.is_named);
    for stream in 0..settings.streams {
        let generator = Generator::new(&GeneratorOptions {
            kind: settings.kind,
            run: &settings.run,
            stream,
            first_account: settings.first_account,
            accounts: settings.accounts,
            batch_records: settings.batch,
            attributes: settings.attributes,
            start_us,
        });
        let (front, shared) = (front.again().await?, Arc::clone(&shared));
        let left = records.map_or(u64::MAX, |all| share(all, stream, settings.streams));
        streams.spawn(one_stream(front, generator, left, usize::from(settings.window), shared));
    }
    let watch = tokio::spawn(watch(Arc::clone(&shared), !hidden));
    let mut all = StreamReport::default();
    while let Some(stream) = streams.join_next().await {
        let stream = stream.context("a stream's task ended early")??;
        all.tally.add(&stream.tally);
        all.latency.add(&stream.latency);
        all.answers.extend(stream.answers);
    }
    watch.abort();
    print_report(&report(settings.run, started, all), settings.json)
}

/// The start of all records: far enough in the past that the longest record has ended (P26). A named
/// run that is repeated must give the same bytes, including the time, so its records start at
/// midnight (UTC).
fn start_us(is_named: bool) -> i64 {
    let ended = values::now_us() - LONGEST_US;
    if is_named { ended.div_euclid(DAY_US) * DAY_US } else { ended }
}

async fn one_stream(
    front: Front,
    mut generator: Generator,
    mut left: u64,
    window: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<StreamReport> {
    let mut report = StreamReport::default();
    let next = || {
        if shared.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        generator.next_batch(&mut left)
    };
    front
        .send(window, next, |event| {
            report.tally.count(&event);
            if let SendEvent::Answered { batch, after, .. } = event {
                report.latency.record(after);
                report.answers.push(Instant::now());
                shared.answered.fetch_add(u64::from(batch.records), Ordering::Relaxed);
            }
        })
        .await?;
    Ok(report)
}

/// Prints the number of answered records each second.
async fn watch(shared: Arc<Shared>, tells: bool) {
    let mut before = 0;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    for second in 1u64.. {
        ticks.tick().await;
        let now = shared.answered.load(Ordering::Relaxed);
        if tells {
            let rate = ui::count(now - before);
            ui::print_stderr(format_args!(
                "{second:>4} s  {rate:>12} records/s  {:>15}",
                ui::count(now)
            ));
        }
        before = now;
    }
}

fn report(run: String, started: Instant, mut all: StreamReport) -> Report {
    all.answers.sort_unstable();
    let ended = all.answers.last().copied().unwrap_or(started);
    let seconds = (ended - started).as_secs_f64();
    let mut silence = Duration::ZERO;
    let mut before = started;
    for answer in &all.answers {
        silence = silence.max(answer.saturating_duration_since(before));
        before = *answer;
    }
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    let records_per_second = if seconds > 0.0 { all.tally.sent as f64 / seconds } else { 0.0 };
    Report {
        run,
        seconds,
        records_per_second,
        batch_latency_ms: Latency {
            p50: ms(all.latency.at(0.5)),
            p99: ms(all.latency.at(0.99)),
            max: ms(all.latency.at(1.0)),
        },
        longest_silence_ms: ms(silence),
        tally: all.tally,
    }
}

fn print_report(report: &Report, json: bool) -> anyhow::Result<Finish> {
    let tally = &report.tally;
    if json {
        ui::print_json(report)?;
    } else {
        let latency = &report.batch_latency_ms;
        ui::print(format_args!("run {}: {tally}", report.run))?;
        ui::print(format_args!(
            "{:.0} records/s over {:.1} s; a batch is answered in {:.1} ms (p50), {:.1} ms (p99), \
             {:.1} ms (max); longest silence {:.0} ms",
            report.records_per_second,
            report.seconds,
            latency.p50,
            latency.p99,
            latency.max,
            report.longest_silence_ms
        ))?;
    }
    if !tally.is_balanced() {
        anyhow::bail!("records are missing from the answers: {tally}");
    }
    Ok(Finish::unless(tally.is_partial()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    #[test]
    fn numbers_that_no_load_can_have_are_refused_before_the_front_is_asked() {
        for (words, told) in [
            (vec!["--seconds", "0"], "at least 1"),
            (vec!["--records", "0"], "at least 1"),
            (vec!["--first-account", "18446744073709551615", "--account-count", "2"], "end at"),
            (vec!["--run", "a\nb"], "U+000A"),
            (vec!["--run", ""], "--run is empty"),
        ] {
            let asked = options::<LoadArgs>(&words, &[]);
            let error = asked.resolve(&context("")).unwrap_err().to_string();
            assert!(error.contains(told), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_load_ends_after_ten_seconds_unless_a_number_or_a_time_is_given() {
        let of = |words: &[&str]| options::<LoadArgs>(words, &[]).resolve(&context("")).unwrap();
        let seconds = |seconds| LoadLimit::Time(Duration::from_secs(seconds));
        assert_eq!(of(&[]).limit, seconds(10));
        assert_eq!(of(&["--seconds", "3"]).limit, seconds(3));
        assert_eq!(of(&["--records", "5"]).limit, LoadLimit::Records(5));
        let named = of(&["--run", "again"]);
        assert_eq!((named.run.as_str(), named.is_named), ("again", true));
        assert!(!of(&[]).is_named && of(&[]).run != of(&[]).run, "another run by default");
    }
}
