//! `turnpike load`: generates usage and measures the throughput.

mod histogram;
mod setup;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;
use turnpike_client::{ClientError, SendEvent};
use turnpike_types::limits::RECORD_ID_BYTES_MAX;
use turnpike_types::{AccountRange, DAY_US};

use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::generator::{Generator, GeneratorOptions, LONGEST_US, UsageKind, share};
use crate::stop_signals::StopSignals;
use crate::tally::Tally;
use crate::{ui, values};

use histogram::Histogram;
use setup::Setup;

const EXAMPLES: &str = "\
--setup first publishes the plan, opens the accounts in zone UTC and currency USD, and subscribes
them; repeating it changes nothing. Use accounts that nobody is billed for: it ends without a change
if one of them is in no partition, or is open with other settings or another plan. Of more than
20,000 accounts it looks at that many beforehand; it looks at the others that were open before it
subscribes any.

Each run generates new records, unless --run names an earlier run of the same day (UTC): then the
same records are sent again, and all of them must be answered as duplicates. The name of a run is
its first line on standard error. To continue a run that ended early, repeat its options with --run.

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
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
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
    #[arg(long, value_name = "NAME", value_parser = run_name)]
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
    /// Whether the streams send no further batch, and end once their batches are answered.
    stops: AtomicBool,
}

#[derive(Default)]
struct StreamReport {
    tally: Tally,
    latency: Histogram,
    answers: Vec<Instant>,
    /// Batches without a final answer.
    unanswered: u64,
}

impl StreamReport {
    fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.latency.add(&other.latency);
        self.answers.extend(&other.answers);
        self.unanswered += other.unanswered;
    }
}

/// What a stream has done so far. It outlives the stream's task, which may be aborted.
type StreamProgress = Arc<Mutex<StreamReport>>;

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadLimit {
    Records(u64),
    Time(Duration),
}

/// The resolved settings of `load`.
#[derive(Debug)]
pub(crate) struct LoadSettings {
    accounts: AccountRange,
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
    json: bool,
    /// Whether progress is not shown.
    hidden: bool,
    client: ClientSettings,
}

/// The time that a load takes without `--records` and `--seconds`.
const TIME_DEFAULT: Duration = Duration::from_secs(10);
/// How long an interrupted load waits for the answers to the batches that it has sent.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The most bytes of a run's name. A record id consists of the name, the number of the stream (at
/// most three digits), the number of the record (ten digits), and two hyphens.
const RUN_BYTES_MAX: usize = RECORD_ID_BYTES_MAX - 3 - 10 - 2;

fn run_name(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && (1..=RUN_BYTES_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("write 1 to {RUN_BYTES_MAX} letters, digits or signs, without spaces"))
}

/// The accounts of the load.
fn accounts(first: u64, count: u64) -> anyhow::Result<AccountRange> {
    let last = first.checked_add(count.saturating_sub(1)).ok_or_else(|| {
        usage(format!(
            "--first-account {first} --account-count {count}: the last account would be above {}, \
             the largest account number; give a smaller count or first account",
            u64::MAX
        ))
    })?;
    Ok(AccountRange::new(first, last)?)
}

impl LoadArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<LoadSettings> {
        if self.seconds == Some(Duration::ZERO) {
            return Err(usage("a load of nothing measures nothing: give --seconds of at least 1"));
        }
        let time = LoadLimit::Time(self.seconds.unwrap_or(TIME_DEFAULT));
        Ok(LoadSettings {
            accounts: accounts(self.first_account, self.accounts)?,
            limit: self.records.map_or(time, LoadLimit::Records),
            batch: self.batch,
            streams: self.streams,
            window: self.window,
            kind: self.kind,
            attributes: self.attributes,
            setup: self.setup,
            plan: self.plan,
            run: self.run.unwrap_or_else(|| format!("{:08x}", rand::random::<u32>())),
            json: self.json,
            hidden: context.quiet || self.json,
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(crate) async fn run(settings: LoadSettings) -> anyhow::Result<Finish> {
    let setup = settings
        .setup
        .then(|| Setup::read(settings.kind, settings.plan.as_deref(), settings.accounts));
    let setup = setup.transpose()?;
    let mut signals = StopSignals::new()?;
    let fronts = tokio::select! {
        fronts = prepare(&settings, setup.as_ref()) => fronts?,
        signal = signals.next() => bail!(
            "{signal} ended the command before a record was sent; run it again"
        ),
    };
    ui::print_stderr(format_args!("run {}", settings.run));
    let started = Instant::now();
    let deadline = match settings.limit {
        LoadLimit::Records(_) => None,
        LoadLimit::Time(time) => Some(started + time),
    };
    let (answered, stops) = (AtomicU64::new(0), AtomicBool::new(false));
    let shared = Arc::new(Shared { deadline, answered, stops });
    let watch = tokio::spawn(watch(Arc::clone(&shared), !settings.hidden));
    let (all, early) = send(&settings, fronts, &shared, &mut signals).await;
    watch.abort();
    let unanswered = all.unanswered;
    let report = report(settings.run, started, all);
    let Some(early) = early else { return finished(&report, settings.json) };
    print_report(&report, settings.json)?;
    bail!(
        "{early}; {unanswered} batches are unanswered. To continue, repeat the command on the same \
         day (UTC) with the same options and --run {}: records that were taken are answered as \
         duplicates",
        report.run
    )
}

/// Sets up the accounts if requested, and connects once for each stream.
async fn prepare(settings: &LoadSettings, setup: Option<&Setup>) -> anyhow::Result<Vec<Front>> {
    let front = settings.client.connect().await?;
    if let Some(setup) = setup {
        setup.run(&front, settings.hidden).await?;
    }
    let mut fronts = Vec::new();
    for _ in 0..settings.streams {
        fronts.push(front.again().await?);
    }
    Ok(fronts)
}

/// Runs all streams to their end. Returns what they have done, and the reason if they ended early:
/// a signal, or the first failure of a stream. Then the other streams begin no further batch.
async fn send(
    settings: &LoadSettings,
    fronts: Vec<Front>,
    shared: &Arc<Shared>,
    signals: &mut StopSignals,
) -> (StreamReport, Option<String>) {
    let mut streams = JoinSet::new();
    let mut progress: Vec<StreamProgress> = Vec::new();
    let start_us = start_us();
    for (stream, front) in (0..settings.streams).zip(fronts) {
        let generator = Generator::new(&GeneratorOptions {
            kind: settings.kind,
            run: &settings.run,
            stream,
            accounts: settings.accounts,
            batch_records: settings.batch,
            attributes: settings.attributes,
            start_us,
        });
        let left = match settings.limit {
            LoadLimit::Records(all) => share(all, stream, settings.streams),
            LoadLimit::Time(_) => u64::MAX,
        };
        let (window, report) = (usize::from(settings.window), StreamProgress::default());
        progress.push(Arc::clone(&report));
        streams.spawn(one_stream(front, generator, left, window, report, Arc::clone(shared)));
    }
    let mut early = None;
    let mut stop = |why: String| {
        shared.stops.store(true, Ordering::Relaxed);
        early.get_or_insert(why);
    };
    loop {
        tokio::select! {
            ended = streams.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => stop(failure(&error)),
                Some(Err(error)) => stop(format!("the task of a stream ended early: {error}")),
            },
            signal = signals.next() => {
                stop(format!("{signal} ended the load early"));
                let answers = async { while streams.join_next().await.is_some() {} };
                tokio::select! {
                    _ = tokio::time::timeout(ANSWERS_WITHIN, answers) => {}
                    _ = signals.next() => {}
                }
                streams.shutdown().await;
                break;
            }
        }
    }
    let mut all = StreamReport::default();
    for report in progress {
        all.add(&locked(&report));
    }
    (all, early)
}

/// Why a stream failed. The number of unanswered batches is that of all streams, and the remedy
/// names the run, so the client's words about both are left out.
fn failure(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::NoProgress { limit, reason, .. }) => {
            format!("no progress for {limit:?}: {reason}; look at `turnpike status`")
        }
        _ => format!("{error:#}"),
    }
}

fn locked(report: &StreamProgress) -> MutexGuard<'_, StreamReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The start of all records: the last midnight (UTC) at which the longest record that begins then
/// has ended (P26). A run that is repeated on the same day must give the same bytes, including the
/// time.
fn start_us() -> i64 {
    (values::now_us() - LONGEST_US).div_euclid(DAY_US) * DAY_US
}

async fn one_stream(
    front: Front,
    mut generator: Generator,
    mut left: u64,
    window: usize,
    report: StreamProgress,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let next = || {
        let is_over = shared.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_over || shared.stops.load(Ordering::Relaxed) {
            return None;
        }
        let batch = generator.next_batch(&mut left)?;
        locked(&report).unanswered += 1;
        Some(batch)
    };
    front
        .send(window, next, |event| {
            let mut report = locked(&report);
            report.tally.count(&event);
            if let SendEvent::Answered { batch, after, .. } = event {
                report.unanswered -= 1;
                report.latency.record(after);
                report.answers.push(Instant::now());
                shared.answered.fetch_add(u64::from(batch.records), Ordering::Relaxed);
            }
        })
        .await
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

fn print_report(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return ui::print_json(report);
    }
    let latency = &report.batch_latency_ms;
    ui::print(format_args!("run {}: {}", report.run, report.tally))?;
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
    Ok(())
}

/// Prints the report of a load that ran to its end.
fn finished(report: &Report, json: bool) -> anyhow::Result<Finish> {
    print_report(report, json)?;
    let tally = &report.tally;
    if !tally.is_balanced() {
        bail!("records are missing from the answers: {tally}");
    }
    Ok(Finish::unless(tally.is_partial()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    #[test]
    fn a_load_ends_after_ten_seconds_unless_a_number_or_a_time_is_given() {
        let of = |words: &[&str]| options::<LoadArgs>(words, &[]).resolve(&context("")).unwrap();
        let seconds = |seconds| LoadLimit::Time(Duration::from_secs(seconds));
        assert_eq!(of(&[]).limit, seconds(10));
        assert_eq!(of(&["--seconds", "3"]).limit, seconds(3));
        assert_eq!(of(&["--records", "5"]).limit, LoadLimit::Records(5));
        assert_eq!(of(&["--run", "again"]).run, "again");
        assert!(of(&[]).run != of(&[]).run, "another run by default");
    }

    #[test]
    fn a_load_never_reaches_beyond_the_largest_account_number() {
        let resolved = |first: &str, count: &str| {
            let words = ["--first-account", first, "--account-count", count];
            options::<LoadArgs>(&words, &[]).resolve(&context(""))
        };
        let accounts = resolved("18446744073709551613", "3").unwrap().accounts;
        assert_eq!(accounts.to_string(), "18446744073709551613-18446744073709551615");
        assert_eq!(resolved("7", "1").unwrap().accounts.to_string(), "7-7");
        for (first, count) in [
            ("18446744073709551613", "4"),
            ("18446744073709551613", "8"),
            ("2", "18446744073709551615"),
        ] {
            let told = resolved(first, count).unwrap_err().to_string();
            assert!(told.contains("above 18446744073709551615"), "{told}");
        }
    }

    #[test]
    fn the_ids_of_the_longest_run_name_are_valid() {
        let longest = "r".repeat(RUN_BYTES_MAX);
        assert_eq!(run_name(&longest), Ok(longest.clone()));
        assert_eq!(format!("{longest}-999-{:010}", 7).len(), RECORD_ID_BYTES_MAX);
        for wrong in ["", "a b", "a\n", &format!("{longest}r")] {
            assert!(run_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
