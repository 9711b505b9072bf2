//! `turnpike pull`: writes rated output to a file, each line once.
//!
//! ```text
//!  register -> cursors --+                         sink.rs    the file: append, fsync
//!                        v                         totals.rs  reconciled by control totals
//!  pull -> page -> lines not yet in the file -> flush, fsync -> acknowledge
//! ```
//!
//! The file determines which lines were delivered: a line that is in the file is not written again,
//! even after a crash between writing and acknowledging.

mod sink;
mod totals;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use turnpike_proto::feed::v1::{
    AcknowledgeRequest, Cursor, FeedPage, PullRequest, RegisterRequest,
};

use crate::cli::Context;
use crate::client::{ClientArgs, Front, explain};
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::ui;

use sink::{Durable, Sink};
pub(crate) use totals::PullTotals;

const EXAMPLES: &str = "\
Registers the consumer if it is new, and continues after its last acknowledged line. With --output,
lines are acknowledged once they are durable on disk; without it, only with --ack. The exit code is
1 if the lines of a segment differ from its control totals.

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
    /// Append to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Acknowledge the lines that were written [default: with --output]
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
}

pub(crate) async fn run(args: PullArgs, context: &Context) -> anyhow::Result<Finish> {
    let format = format(&args);
    let acknowledge = if args.no_ack { false } else { args.ack || args.output.is_some() };
    let mut sink = match &args.output {
        Some(path) => Sink::file(path, format)?,
        None => Sink::stdout(format),
    };
    let front = args.client.connect(&context.config).await?;
    let cursors = register(&front, &args.consumer).await?;
    let bar = ui::progress(None, "lines", context.quiet || args.json || args.output.is_none());
    let mut puller = Puller { feed: &front, consumer: &args.consumer, acknowledge, cursors };
    let mut totals = PullTotals::new(puller.cursors.values());
    let request = PullRequest {
        consumer: args.consumer.clone(),
        from: Vec::new(),
        page_lines: args.page,
        lines_max: args.max,
    };
    let mut pages = front
        .call("rated output can't be pulled", || {
            let (mut feed, request) = (front.feed(), request.clone());
            async move { feed.pull(request).await }
        })
        .await?;
    while let Some(page) = pages.message().await.map_err(|s| explain(&front.url, &s))? {
        bar.inc(page.lines.len() as u64);
        totals.count(&page)?;
        puller.take(&page, &mut sink).await?;
    }
    sink.settle()?;
    bar.finish_and_clear();
    let report = Report {
        consumer: args.consumer,
        lines: sink.written(),
        already_in_file: sink.skipped(),
        acknowledged: acknowledge,
        segments_reconciled: totals.reconciled(),
        segments_in_part: totals.in_part(),
        mismatches: totals.mismatches().to_vec(),
        amounts: totals.amounts(),
    };
    print_report(&report, args.json)?;
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

/// Registers a consumer and returns its cursors by partition.
pub(crate) async fn register(
    front: &Front,
    consumer: &str,
) -> anyhow::Result<BTreeMap<u32, Cursor>> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if consumer.is_empty() || consumer.len() > 128 || !consumer.chars().all(legal) {
        let remedy = "write 1 to 128 letters, digits, -, _ or .";
        return Err(usage(format!("--consumer {consumer:?} is not a valid name; {remedy}")));
    }
    let request = RegisterRequest { consumer: consumer.to_owned() };
    let answer = front
        .call("the consumer can't be registered", || {
            let (mut feed, request) = (front.feed(), request.clone());
            async move { feed.register(request).await }
        })
        .await?;
    Ok(answer.cursors.into_iter().map(|cursor| (cursor.partition, cursor)).collect())
}

/// The interface for acknowledgements; tests replace it.
trait Feed {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<()>;
}

impl Feed for Front {
    async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<()> {
        self.call("the cursor can't be moved; is another pull running under this name?", || {
            let (mut feed, request) = (self.feed(), request.clone());
            async move { feed.acknowledge(request).await }
        })
        .await?;
        Ok(())
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
            from: Some(from),
            to: Some(to.clone()),
        };
        self.feed.acknowledge(request).await?;
        self.cursors.insert(to.partition, to.clone());
        Ok(())
    }
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
    use std::path::Path;

    use turnpike_proto::feed::v1::ChargeLine;

    use super::*;

    /// A feed that reads the file whenever a cursor is moved.
    struct Observer<'a> {
        file: &'a Path,
        /// For each acknowledgement: the old and the new cursor, and the rows in the file at that
        /// time.
        seen: RefCell<Vec<(u64, u64, Vec<String>)>>,
        /// Fail all acknowledgements.
        fails: bool,
    }

    /// The rows in the file, as segment/row.
    fn rows(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let rows = text.lines().skip(1).map(|line| line.split(',').skip(1).take(2));
        rows.map(|fields| fields.collect::<Vec<_>>().join("/")).collect()
    }

    impl Feed for Observer<'_> {
        async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<()> {
            anyhow::ensure!(!self.fails, "a failure made by the test");
            let rows_now = rows(self.file);
            let at = |cursor: Option<Cursor>| cursor.unwrap().segment;
            self.seen.borrow_mut().push((at(request.from), at(request.to), rows_now));
            Ok(())
        }
    }

    fn page(segment: u64) -> FeedPage {
        let line = |row| ChargeLine { partition: 1, segment, row, ..ChargeLine::default() };
        let next = Cursor { partition: 1, segment, row: 2, ..Cursor::default() };
        FeedPage { lines: vec![line(0), line(1)], next: Some(next), totals: Vec::new() }
    }

    fn block<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// P38: lines before the cursor are not delivered again, so they must be in the file first.
    #[test]
    fn p38_a_page_is_in_the_file_before_its_cursor_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = Sink::file(&file, PullFormat::Csv).unwrap();
        let feed = Observer { file: &file, seen: RefCell::default(), fails: false };
        let cursors = BTreeMap::new();
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: true, cursors };
        block(async {
            for segment in 1..=3 {
                puller.take(&page(segment), &mut sink).await.unwrap();
            }
            // A repeated page has no new lines, so nothing is acknowledged.
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
        let mut sink = Sink::file(&file, PullFormat::Csv).unwrap();
        let feed = Observer { file: &file, seen: RefCell::default(), fails: false };
        let cursors = BTreeMap::new();
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: false, cursors };
        block(puller.take(&page(1), &mut sink)).unwrap();
        sink.settle().unwrap();
        assert_eq!(*feed.seen.borrow(), []);
        assert_eq!(rows(&file), ["1/0", "1/1"]);
    }

    /// After a failed acknowledgement the next one starts from the old cursor, and the lines are
    /// kept.
    #[test]
    fn p38_a_cursor_that_could_not_be_moved_is_moved_with_the_next_page() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = Sink::file(&file, PullFormat::Csv).unwrap();
        let mut feed = Observer { file: &file, seen: RefCell::default(), fails: true };
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
