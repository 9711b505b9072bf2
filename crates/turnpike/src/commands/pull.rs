//! `turnpike pull`: writes rated output to a file, each line once.
//!
//! ```text
//!  register -> cursors -> is it a file of this feed?   output_file.rs  compared with the feed
//!                        |                           sink.rs         the file: append, fsync
//!                        v                           pull_totals.rs  reconciled by control totals
//!  pull -> page -> lines not yet in the file -> flush, fsync -> acknowledge
//! ```
//!
//! The file determines which lines were delivered: a line that is in the file is not written again,
//! even after a crash between writing and acknowledging.

#[cfg(test)]
mod fake_feed;
mod output_file;
mod settings;
mod sink;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Serialize;
use turnpike_proto::feed::v1::{AcknowledgeRequest, ChargeLine, Cursor, FeedPage, PullRequest};

use crate::client::told;
use crate::exit::Finish;
use crate::feed::{CursorMove, Feed, open_pull, register};
use crate::pull_totals::PullTotals;
use crate::ui;

use output_file::FoundFile;
pub(crate) use settings::PullArgs;
use settings::PullSettings;
use sink::{Durable, Sink};

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

pub(crate) async fn run(settings: PullSettings) -> anyhow::Result<Finish> {
    let PullSettings { format, acknowledge, .. } = settings;
    let output = settings.output.as_deref();
    let found = output.map(|path| FoundFile::open(path, format)).transpose()?;
    let front = settings.client.connect().await?;
    let cursors = register(&front, &settings.consumer).await?;
    let mut sink = match found {
        Some(found) => Sink::file(found.matched(&front, &settings.consumer, &cursors).await?),
        None => Sink::stdout(format),
    };
    let bar = ui::progress(None, "lines", settings.hidden);
    let mut reached = cursors.clone();
    let mut puller = Puller { feed: &front, consumer: &settings.consumer, acknowledge, cursors };
    let mut totals = PullTotals::new(puller.cursors.values());
    let request = PullRequest {
        consumer: settings.consumer.clone(),
        from: Vec::new(),
        page_lines: settings.page_lines,
        lines_max: settings.lines_max,
    };
    let mut pages = open_pull(&front, &request).await?;
    while let Some(page) = pages.next_page().await.map_err(told)? {
        bar.inc(page.lines.len() as u64);
        totals.count(&page, |line| !sink.has(line))?;
        puller.take(&page, &mut sink).await?;
        reached.extend(page.next.map(|next| (next.partition, next)));
    }
    sink.settle()?;
    bar.finish_and_clear();
    let is_limited =
        settings.lines_max > 0 && sink.written() + sink.skipped() >= settings.lines_max;
    let more_lines =
        if is_limited { has_more(&front, &settings.consumer, &reached).await } else { Ok(false) };
    let report = Report {
        consumer: settings.consumer,
        lines: sink.written(),
        already_in_file: sink.skipped(),
        acknowledged: acknowledge,
        segments_reconciled: totals.reconciled(),
        segments_in_part: totals.in_part(),
        mismatches: totals.mismatches().to_vec(),
        amounts: totals.amounts(),
        more_lines: more_lines.as_ref().ok().copied(),
    };
    print_report(&report, settings.json)?;
    more_lines.context("it is not known whether more lines remain after --max")?;
    if !report.mismatches.is_empty() {
        anyhow::bail!("{} segments differ from their control totals", report.mismatches.len());
    }
    Ok(Finish::Done)
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
            self.move_cursor(to, &page.lines, durable).await?;
        }
        Ok(())
    }

    /// Moves the partition's cursor to `to`, past these lines. `_durable` proves that all lines
    /// before it are durable.
    async fn move_cursor(
        &mut self,
        to: &Cursor,
        lines: &[ChargeLine],
        _durable: Durable,
    ) -> anyhow::Result<()> {
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
        match self.feed.acknowledge(request).await? {
            CursorMove::Here => {
                self.cursors.insert(to.partition, to.clone());
                Ok(())
            }
            moved => bail!("{}", overtaken(self.consumer, to.partition, moved, lines)),
        }
    }
}

/// The message of a pull that another one under the same name has overtaken. `lines` are those of
/// the page that this pull has just written.
fn overtaken(consumer: &str, partition: u32, moved: CursorMove, lines: &[ChargeLine]) -> String {
    let once = "run one pull at a time under a name";
    let Some((first, last)) = lines.first().zip(lines.last()) else {
        return format!(
            "another pull under the name {consumer} moved the cursor of partition {partition} \
             first; this output has no lines of that page: {once}"
        );
    };
    let range = match (first.segment == last.segment, first.row == last.row) {
        (true, true) => format!("segment {} row {}", first.segment, first.row),
        (true, false) => format!("segment {} rows {} to {}", first.segment, first.row, last.row),
        (false, _) => format!(
            "segment {} row {} to segment {} row {}, both included",
            first.segment, first.row, last.segment, last.row
        ),
    };
    match moved {
        CursorMove::Apart => format!(
            "another pull under the name {consumer} moved the cursor of partition {partition} \
             first. The lines of {range} are in this output, and those that it acknowledged are in \
             its output too. Remove these from one of the outputs, and {once}"
        ),
        CursorMove::Here | CursorMove::ByAnother => format!(
            "another pull under the name {consumer} acknowledged the lines of partition {partition}, \
             {range}, first: its output has them, and this output too. Remove them from one of the \
             outputs, and {once}"
        ),
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
    use std::path::Path;

    use super::fake_feed::{FakeFeed, beginnings, block};
    use super::settings::PullFormat;
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
        overtaken_by: CursorMove,
    }

    fn observer(file: &Path) -> Observer<'_> {
        Observer {
            file,
            seen: RefCell::default(),
            fails: false,
            overtaken_at: None,
            overtaken_by: CursorMove::ByAnother,
        }
    }

    /// The rows in the file, as segment/row.
    fn rows(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let rows = text.lines().skip(1).map(|line| line.split(',').skip(1).take(2));
        rows.map(|fields| fields.collect::<Vec<_>>().join("/")).collect()
    }

    impl Feed for Observer<'_> {
        async fn acknowledge(&self, request: AcknowledgeRequest) -> anyhow::Result<CursorMove> {
            anyhow::ensure!(!self.fails, "a failure made by the test");
            let rows_now = rows(self.file);
            let at = |cursor: Option<Cursor>| cursor.unwrap().segment;
            let (from, to) = (at(request.from), at(request.to));
            self.seen.borrow_mut().push((from, to, rows_now));
            Ok(if self.overtaken_at == Some(to) { self.overtaken_by } else { CursorMove::Here })
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
        let lines = "partition 1, segment 2 rows 0 to 1, first";
        for part in ["another pull under the name bills", lines, "one pull at a time"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(puller.cursors[&1].segment, 1, "the cursor is the other pull's");
        // The answer to the first attempt was lost: this pull itself has moved the cursor.
        let moved = turnpike_client::Acknowledged::of(true, 2);
        assert_eq!(moved, turnpike_client::Acknowledged::Here);
    }

    /// The other pull may have moved the cursor to another place, and a page may have no lines.
    #[test]
    fn p38_the_message_of_an_overtaken_puller_names_the_lines_that_its_output_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lines.csv");
        let mut sink = new_file(&file);
        let feed =
            Observer { overtaken_at: Some(2), overtaken_by: CursorMove::Apart, ..observer(&file) };
        let cursors = BTreeMap::new();
        let mut puller = Puller { feed: &feed, consumer: "bills", acknowledge: true, cursors };
        let told = block(puller.take(&page(2), &mut sink)).unwrap_err().to_string();
        for part in ["another pull under the name bills", "segment 2 rows 0 to 1", "one pull at"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let empty = FeedPage { lines: Vec::new(), ..page(2) };
        let told = block(puller.take(&empty, &mut sink)).unwrap_err().to_string();
        assert!(told.contains("no lines of that page"), "{told}");
        assert!(!told.to_lowercase().contains("remove"), "{told}");
        let one = FeedPage { lines: page(2).lines[..1].to_vec(), ..page(2) };
        let told = block(puller.take(&one, &mut sink)).unwrap_err().to_string();
        assert!(told.contains("segment 2 row 0 are"), "{told}");
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
