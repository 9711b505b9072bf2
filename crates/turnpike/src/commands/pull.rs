//! `turnpike pull`: writes rated output to a file, each line once.
//!
//! ```text
//!  register -> cursors -> is it a file of this feed?   output_file.rs  compared with the feed
//!                        |                           sink.rs         the file: append, fsync
//!                        v                           totals.rs       reconciled by control totals
//!  pull -> page -> lines not yet in the file -> flush, fsync -> acknowledge
//! ```
//!
//! The file determines which lines were delivered: a line that is in the file is not written again,
//! even after a crash between writing and acknowledging.

#[cfg(test)]
mod fake_feed;
mod output_file;
mod sink;
mod totals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use turnpike_client::{Acknowledged, ClientError, FeedPages, feed};
use turnpike_proto::feed::v1::{AcknowledgeRequest, Cursor, FeedPage, PullRequest};

use crate::cli::Context;
use crate::client::{ClientArgs, Front, told};
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::ui;

use output_file::FoundFile;
use sink::{Durable, Sink};
pub(crate) use totals::PullTotals;

const EXAMPLES: &str = "\
Registers the consumer if it is new, and continues after its last acknowledged line. With --output,
lines are acknowledged once they are durable on disk; without it, only with --ack. The exit code is
1 if the lines of a segment differ from its control totals, or if the file of --output is not a file
of this feed: then the file is unchanged, and nothing is acknowledged. It is also 1 if another pull
under the same name has acknowledged the lines first, or writes to the same file.

The amounts reported by currency are the sums of the pulled lines whose `posting` is `account`: what
is billed to accounts. A shared amount counts once, with the account that pays it.

Examples:
  turnpike pull --consumer billing --output lines.csv
  turnpike pull --consumer billing --output lines.jsonl --format jsonl
  turnpike pull --consumer me --no-ack | head
  turnpike pull --consumer billing --output lines.csv --json | jq .amounts";

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullFormat {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Options of `pull`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PullArgs {
    /// The consumer's name: 1 to 128 characters, each a letter, a digit or one of . - _
    #[arg(long, value_name = "NAME")]
    consumer: String,
    /// csv or jsonl [default: by the name of --output, else csv]
    #[arg(long)]
    format: Option<PullFormat>,
    /// Append to this regular file; - for standard output [default: -]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Acknowledge the written lines [default: with a file of --output]
    #[arg(long, conflicts_with = "no_ack")]
    ack: bool,
    /// Do not acknowledge: the next pull gives the same lines
    #[arg(long)]
    no_ack: bool,
    /// Lines per page
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    page: u32,
    /// Stop after this many lines
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max: u64,
    /// Report the totals as JSON (with --output)
    #[arg(long, requires = "output")]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Report {
    consumer: String,
    lines: u64,
    already_in_file: u64,
    acknowledged: bool,
    segments_reconciled: u64,
    segments_in_part: u64,
    mismatches: Vec<String>,
    amounts: BTreeMap<String, String>,
    /// Whether --max was reached and the feed has more lines; null if this could not be determined.
    more_lines: Option<bool>,
}

pub(crate) async fn run(args: PullArgs, context: &Context) -> anyhow::Result<Finish> {
    let format = format(&args);
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if args.json && output.is_none() {
        return Err(usage("--json needs a file for the lines: name one with --output"));
    }
    let acknowledge = if args.no_ack { false } else { args.ack || output.is_some() };
    let found = output.map(|path| FoundFile::open(path, format)).transpose()?;
    let front = args.client.connect(&context.config).await?;
    let cursors = register(&front, &args.consumer).await?;
    let mut sink = match found {
        Some(found) => Sink::file(found.matched(&front, &args.consumer, &cursors).await?),
        None => Sink::stdout(format),
    };
    let bar = ui::progress(None, "lines", context.quiet || args.json || output.is_none());
    let mut reached = cursors.clone();
    let mut puller = Puller { feed: &front, consumer: &args.consumer, acknowledge, cursors };
    let mut totals = PullTotals::new(puller.cursors.values());
    let request = PullRequest {
        consumer: args.consumer.clone(),
        from: Vec::new(),
        page_lines: args.page,
        lines_max: args.max,
    };
    let mut pages = open_pull(&front, &request).await?;
    while let Some(page) = pages.next_page().await.map_err(told)? {
        bar.inc(page.lines.len() as u64);
        totals.count(&page)?;
        puller.take(&page, &mut sink).await?;
        reached.extend(page.next.map(|next| (next.partition, next)));
    }
    sink.settle()?;
    bar.finish_and_clear();
    let is_limited = args.max > 0 && sink.written() + sink.skipped() >= args.max;
    let more_lines =
        if is_limited { has_more(&front, &args.consumer, &reached).await } else { Ok(false) };
    let report = Report {
        consumer: args.consumer,
        lines: sink.written(),
        already_in_file: sink.skipped(),
        acknowledged: acknowledge,
        segments_reconciled: totals.reconciled(),
        segments_in_part: totals.in_part(),
        mismatches: totals.mismatches().to_vec(),
        amounts: totals.amounts(),
        more_lines: more_lines.as_ref().ok().copied(),
    };
    print_report(&report, args.json)?;
    more_lines.context("it is not known whether more lines remain after --max")?;
    if !report.mismatches.is_empty() {
        anyhow::bail!("{} segments differ from their control totals", report.mismatches.len());
    }
    Ok(Finish::Done)
}

fn format(args: &PullArgs) -> PullFormat {
    let named = args.output.as_ref().and_then(|path| path.extension());
    let by_name = match named.and_then(|extension| extension.to_str()) {
        Some("jsonl" | "ndjson") => PullFormat::Jsonl,
        _ => PullFormat::Csv,
    };
    args.format.unwrap_or(by_name)
}

/// Opens a pull of rated output.
pub(crate) async fn open_pull(front: &Front, request: &PullRequest) -> anyhow::Result<FeedPages> {
    let pages = feed::pull(front.fronts(), request).await;
    pages.map_err(|error| told(error).context("rated output can't be pulled"))
}

/// Whether the feed has lines after these cursors.
async fn has_more<F: Feed>(
    feed: &F,
    consumer: &str,
    reached: &BTreeMap<u32, Cursor>,
) -> anyhow::Result<bool> {
    let from = reached.values().cloned().collect();
    let consumer = consumer.to_owned();
    let request = PullRequest { consumer, from, page_lines: 1, lines_max: 1 };
    Ok(feed.pull_all(request).await?.iter().any(|page| !page.lines.is_empty()))
}

/// Registers a consumer and returns its cursors by partition.
pub(crate) async fn register(
    front: &Front,
    consumer: &str,
) -> anyhow::Result<BTreeMap<u32, Cursor>> {
    feed::register(front.fronts(), consumer).await.map_err(|error| match error {
        ClientError::BadConsumer { .. } => {
            let remedy = "write 1 to 128 letters, digits, -, _ or .";
            usage(format!("--consumer {consumer:?} is not a valid name; {remedy}"))
        }
        error => told(error).context("the consumer can't be registered"),
    })
}

/// The interface for acknowledgements and for small pulls; tests implement it without a cluster.
trait Feed {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<Acknowledged>;

    /// All pages of a pull.
    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>>;
}

impl Feed for Front {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<Acknowledged> {
        feed::acknowledge(self.fronts(), &request).await.map_err(|error| {
            let doing = "the cursor can't be moved; is another pull running under this name?";
            told(error).context(doing)
        })
    }

    async fn pull_all(&self, request: PullRequest) -> anyhow::Result<Vec<FeedPage>> {
        let mut stream = open_pull(self, &request).await?;
        let mut pages = Vec::new();
        while let Some(page) = stream.next_page().await.map_err(told)? {
            pages.push(page);
        }
        Ok(pages)
    }
}

struct Puller<'a, F> {
    feed: &'a F,
    consumer: &'a str,
    acknowledge: bool,
    cursors: BTreeMap<u32, Cursor>,
}

impl<F: Feed> Puller<'_, F> {
    /// Writes the lines of a page, and advances the cursor past them once they are durable.
    async fn take(&mut self, page: &FeedPage, sink: &mut Sink) -> anyhow::Result<()> {
        sink.write(&page.lines)?;
        if self.acknowledge
            && let Some(to) = &page.next
        {
            let durable = sink.settle()?;
            self.move_cursor(to, durable).await?;
        }
        Ok(())
    }

    /// Moves the partition's cursor to `to`. `_lines` proves that all lines before it are durable.
    async fn move_cursor(&mut self, to: &Cursor, _lines: Durable) -> anyhow::Result<()> {
        let from = self
            .cursors
            .get(&to.partition)
            .cloned()
            .unwrap_or_else(|| Cursor { partition: to.partition, ..Cursor::default() });
        if from == *to {
            return Ok(());
        }
        let request = AcknowledgeRequest {
            consumer: self.consumer.to_owned(),
            from: Some(from.clone()),
            to: Some(to.clone()),
        };
        if self.feed.acknowledge(request).await? == Acknowledged::Elsewhere {
            bail!(
                "another pull under the name {} acknowledged the lines of partition {} from \
                 segment {} row {} to segment {} row {} first: its output has them, and this \
                 output too. Remove them from one of the outputs, and run one pull at a time \
                 under a name",
                self.consumer,
                to.partition,
                from.segment,
                from.row,
                to.segment,
                to.row
            );
        }
        self.cursors.insert(to.partition, to.clone());
        Ok(())
    }
}

const fn next_step(report: &Report) -> &'static str {
    if report.acknowledged { "pull again" } else { "use a larger --max" }
}

fn print_report(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        ui::print_json(report).context("the report can't be written")?;
    } else {
        let [lines, segments] = [report.lines, report.segments_reconciled].map(ui::count);
        let ack = if report.acknowledged { "acknowledged" } else { "not acknowledged" };
        ui::print_stderr(format_args!(
            "{lines} lines, {ack}; {segments} segments match their totals"
        ));
        if report.already_in_file > 0 {
            let skipped = ui::count(report.already_in_file);
            ui::print_stderr(format_args!("{skipped} lines were already in the file"));
        }
        if report.more_lines == Some(true) {
            ui::print_stderr(format_args!(
                "--max was reached, and more lines remain: {}",
                next_step(report)
            ));
        }
        for (currency, amount) in &report.amounts {
            ui::print_stderr(format_args!("  {currency} {amount}"));
        }
    }
    for mismatch in &report.mismatches {
        ui::print_stderr(mismatch);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use turnpike_proto::feed::v1::ChargeLine;

    use super::fake_feed::{FakeFeed, beginnings, block};
    use super::*;

    /// A feed that reads the file whenever a cursor is moved.
    struct Observer<'a> {
        file: &'a Path,
        /// For each acknowledgement: the old and the new cursor, and the rows that the file held
        /// when the cursor was moved.
        seen: RefCell<Vec<(u64, u64, Vec<String>)>>,
        /// Whether all acknowledgements fail.
        fails: bool,
        /// Another pull moves the cursor to this segment first.
        overtaken_at: Option<u64>,
    }

    fn observer(file: &Path) -> Observer<'_> {
        Observer { file, seen: RefCell::default(), fails: false, overtaken_at: None }
    }

    /// The rows in the file, as segment/row.
    fn rows(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let rows = text.lines().skip(1).map(|line| line.split(',').skip(1).take(2));
        rows.map(|fields| fields.collect::<Vec<_>>().join("/")).collect()
    }

    impl Feed for Observer<'_> {
        async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<Acknowledged> {
            anyhow::ensure!(!self.fails, "a failure made by the test");
            let rows_now = rows(self.file);
            let at = |cursor: Option<Cursor>| cursor.unwrap().segment;
            let (from, to) = (at(request.from), at(request.to));
            self.seen.borrow_mut().push((from, to, rows_now));
            Ok(Acknowledged::of(self.overtaken_at == Some(to), 1))
        }

        async fn pull_all(&self, _: PullRequest) -> anyhow::Result<Vec<FeedPage>> {
            anyhow::bail!("lines are delivered by the test")
        }
    }

    fn page(segment: u64) -> FeedPage {
        let line = |row| ChargeLine { partition: 1, segment, row, ..ChargeLine::default() };
        let next = Cursor { partition: 1, segment, row: 2, ..Cursor::default() };
        FeedPage { lines: vec![line(0), line(1)], next: Some(next), totals: Vec::new() }
    }

    fn new_file(path: &Path) -> Sink {
        let found = FoundFile::open(path, PullFormat::Csv).unwrap();
        let (feed, cursors) = (FakeFeed::default(), beginnings(&[1]));
        Sink::file(block(found.matched(&feed, "bills", &cursors)).unwrap())
    }

    /// P38: lines before the cursor are not delivered again, so they must be in the file first.
    #[test]
    fn p38_a_page_is_in_the_file_before_its_cursor_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = new_file(&file);
        let feed = observer(&file);
        let cursors = BTreeMap::new();
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: true, cursors };
        block(async {
            for segment in 1..=3 {
                puller.take(&page(segment), &mut sink).await.unwrap();
            }
            // The page was acknowledged before, so its cursor is not moved again.
            puller.take(&page(3), &mut sink).await.unwrap();
        });
        let upto = |segments| {
            let rows = (1..=segments).flat_map(|segment| [0, 1].map(|row| (segment, row)));
            rows.map(|(segment, row)| format!("{segment}/{row}")).collect::<Vec<_>>()
        };
        let expected = [(0, 1, upto(1)), (1, 2, upto(2)), (2, 3, upto(3))];
        assert_eq!(*feed.seen.borrow(), expected);
        assert_eq!(sink.syncs(), 4, "each page is synced to disk");
        assert_eq!(rows(&file), upto(3), "each line once");
    }

    #[test]
    fn p38_without_acknowledgement_no_cursor_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = new_file(&file);
        let feed = observer(&file);
        let cursors = BTreeMap::new();
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: false, cursors };
        block(puller.take(&page(1), &mut sink)).unwrap();
        sink.settle().unwrap();
        assert_eq!(*feed.seen.borrow(), []);
        assert_eq!(rows(&file), ["1/0", "1/1"]);
    }

    /// P38: of two pullers under one name, only the one that moved a cursor goes on.
    #[test]
    fn p38_a_puller_that_another_one_has_overtaken_stops_and_names_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = new_file(&file);
        let feed = Observer { overtaken_at: Some(2), ..observer(&file) };
        let cursors = BTreeMap::new();
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: true, cursors };
        block(puller.take(&page(1), &mut sink)).unwrap();
        let told = block(puller.take(&page(2), &mut sink)).unwrap_err().to_string();
        let from = "partition 1 from segment 1 row 2 to segment 2 row 2";
        for part in ["another pull under the name bills", from, "one pull at a time"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(puller.cursors[&1].segment, 1, "the cursor is the other pull's");
        // The answer to the first attempt was lost: this pull itself has moved the cursor.
        assert_eq!(Acknowledged::of(true, 2), Acknowledged::Here);
    }

    #[test]
    fn a_second_pull_into_the_same_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let sink = new_file(&file);
        let told = FoundFile::open(&file, PullFormat::Csv).err().unwrap().to_string();
        assert!(told.contains("lines.csv") && told.contains("another pull"), "{told}");
        drop(sink);
        assert!(FoundFile::open(&file, PullFormat::Csv).is_ok());
    }

    /// After a failed acknowledgement the next one starts from the old cursor, and the lines are
    /// kept.
    #[test]
    fn p38_a_cursor_that_could_not_be_moved_is_moved_with_the_next_page() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = new_file(&file);
        let mut feed = Observer { fails: true, ..observer(&file) };
        let mut puller =
            Puller { feed: &feed, consumer: "bills", acknowledge: true, cursors: BTreeMap::new() };
        assert!(block(puller.take(&page(1), &mut sink)).is_err());
        let cursors = puller.cursors;
        assert!(cursors.is_empty(), "the cursor has not moved");
        feed.fails = false;
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: true, cursors };
        block(puller.take(&page(2), &mut sink)).unwrap();
        let all = ["1/0", "1/1", "2/0", "2/1"].map(str::to_owned).to_vec();
        assert_eq!(*feed.seen.borrow(), [(0, 2, all)]);
    }
}
