//! The file of `--output` before lines are appended to it: it must belong to the feed.
//!
//! ```text
//!  path -> FoundFile: each line has the form of a charge line; nothing is changed
//!       -> MatchedFile: the lines that the consumer has not acknowledged are those that the feed
//!          delivers next, and the last line is complete
//! ```
//!
//! A line that is in the file is acknowledged without being written again. So it must be the same
//! line as in the feed, and not a line of another cluster at the same position.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;
use turnpike_proto::feed::v1::{ChargeLine, Cursor, PullRequest};
use turnpike_types::limits;

use crate::charge_row::ChargeRow;
use crate::feed::Feed;

use super::settings::PullFormat;

/// The maximum length of a line of the feed, in bytes. All long texts of a line come from a plan's
/// XML, and quoting at most doubles their length.
const LINE_BYTES_MAX: usize = 4 * limits::PLAN_XML_BYTES_MAX;

/// The number of lines that are requested from the feed at a time, to compare them with the file.
const LINES_AT_ONCE: u64 = 10_000;

const OTHER_FEED: &str = "the file holds lines of another cluster or of another history; nothing \
                          was acknowledged: name another file (--output)";

/// The last (segment, row) in the file, by partition.
pub(super) type LastLines = HashMap<u32, (u64, u64)>;

/// An open file whose complete lines have the form of charge lines. It has not been changed.
pub(super) struct FoundFile {
    path: PathBuf,
    file: File,
    form: Form,
    last: LastLines,
    /// The length of the complete lines, in bytes.
    complete_bytes: u64,
    /// The bytes after the last complete line, and their line number.
    rest: Vec<u8>,
    rest_number: u64,
}

/// A file to which the lines of the feed can be appended.
pub(super) struct MatchedFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) format: PullFormat,
    pub(super) last: LastLines,
    /// Whether the file has complete lines, so that no header is written.
    pub(super) has_header: bool,
}

/// The change that is made to the bytes after the last complete line.
enum Mending {
    /// Cut the bytes off: they are the beginning of a line that will be written again.
    Cut,
    /// Append a newline: the bytes are a complete line without its newline.
    EndLine,
}

/// Consecutive lines of one partition in the file: the byte offset at which they start, the number
/// of the first line, and how many lines they are.
struct Run {
    start: u64,
    number: u64,
    lines: u64,
}

impl FoundFile {
    /// Opens or creates the file, and checks the form of its lines.
    pub(super) fn open(path: &Path, format: PullFormat) -> anyhow::Result<Self> {
        let place = || format!("{} can't be written (--output)", path.display());
        // Checked before opening: opening a pipe may wait, and opening a device may have an effect.
        if path.exists() {
            check_kind(path, &path.metadata().with_context(place)?)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(place)?;
        check_kind(path, &file.metadata().with_context(place)?)?;
        lock(path, &file)?;
        let form = Form::new(format)?;
        let mut found = Self {
            path: path.to_owned(),
            file,
            form,
            last: LastLines::new(),
            complete_bytes: 0,
            rest: Vec::new(),
            rest_number: 1,
        };
        found.survey()?;
        Ok(found)
    }

    fn survey(&mut self) -> anyhow::Result<()> {
        let mut lines = Lines::new(&self.path, &self.file, self.form.format)?;
        while lines.read()? {
            let is_first = lines.number == 1;
            if !lines.is_complete {
                self.check_rest(is_first, &lines)?;
                self.rest_number = lines.number;
                self.rest = lines.text;
                return Ok(());
            }
            if is_first && let Some(header) = &self.form.header {
                if lines.text != *header {
                    return Err(self.wrong_header(&lines.text));
                }
            } else {
                let position = self.form.position(&lines.text);
                let (partition, line) = position.ok_or_else(|| self.no_line(lines.number))?;
                let last = self.last.entry(partition).or_insert(line);
                *last = line.max(*last);
            }
            self.complete_bytes += lines.text.len() as u64;
        }
        Ok(())
    }

    /// Checks that the last line, without a newline, can be a charge line or the beginning of one.
    fn check_rest(&self, is_first: bool, lines: &Lines<'_>) -> anyhow::Result<()> {
        match &self.form.header {
            Some(header) if is_first && header.starts_with(&lines.text) => Ok(()),
            Some(_) if is_first => Err(self.wrong_header(&lines.text)),
            _ if self.form.can_begin_with(&lines.text) => Ok(()),
            _ => Err(self.no_line(lines.number)),
        }
    }

    fn wrong_header(&self, line: &[u8]) -> anyhow::Error {
        let path = self.path.display();
        if line.starts_with(b"partition,segment,row,") {
            anyhow!("{path} has other columns than the feed: continue in a new file (--output)")
        } else {
            self.no_line(1)
        }
    }

    fn no_line(&self, number: u64) -> anyhow::Error {
        let path = self.path.display();
        anyhow!("{path}:{number}: this is not a line of the feed; choose another file (--output)")
    }

    /// Compares the lines after the consumer's cursors with those that the feed delivers next, and
    /// completes or cuts the last line. The file is not changed unless all lines match.
    pub(super) async fn matched<F: Feed>(
        mut self,
        feed: &F,
        consumer: &str,
        cursors: &BTreeMap<u32, Cursor>,
    ) -> anyhow::Result<MatchedFile> {
        if let Some(partition) = self.last.keys().find(|&key| !cursors.contains_key(key)) {
            bail!(
                "{} has lines of partition {partition}, and the cluster has no such partition: \
                 {OTHER_FEED}",
                self.path.display()
            );
        }
        let mut next = cursors.clone();
        for (partition, runs) in self.unacknowledged(cursors)? {
            if let Some(cursor) = next.get_mut(&partition) {
                *cursor = self.compare(feed, consumer, cursor, &runs).await?;
            }
        }
        let mending = self.mending(feed, consumer, cursors, &next).await?;
        self.mend(mending)
            .with_context(|| format!("{} can't be written (--output)", self.path.display()))?;
        let Self { path, file, form, last, complete_bytes, .. } = self;
        Ok(MatchedFile { path, file, format: form.format, last, has_header: complete_bytes > 0 })
    }

    /// Completes or cuts the last line, and moves to the end of the file.
    fn mend(&mut self, mending: Option<Mending>) -> io::Result<()> {
        match mending {
            None => {}
            Some(Mending::Cut) => self.file.set_len(self.complete_bytes)?,
            Some(Mending::EndLine) => {
                self.file.seek(SeekFrom::End(0))?;
                self.file.write_all(b"\n")?;
                self.complete_bytes += self.rest.len() as u64 + 1;
                if let Some(line) = self.form.position(&self.rest) {
                    self.count(line);
                }
            }
        }
        if self.complete_bytes == 0 {
            sync_directory(&self.path)?;
        }
        self.file.seek(SeekFrom::End(0)).map(drop)
    }

    fn count(&mut self, (partition, line): (u32, (u64, u64))) {
        let last = self.last.entry(partition).or_insert(line);
        *last = line.max(*last);
    }

    /// The lines of the file that are after the cursors, by partition, as runs of consecutive
    /// lines.
    fn unacknowledged(
        &self,
        cursors: &BTreeMap<u32, Cursor>,
    ) -> anyhow::Result<BTreeMap<u32, Vec<Run>>> {
        let mut runs = BTreeMap::<u32, Vec<Run>>::new();
        if self.last.iter().all(|(&partition, &line)| is_before(cursors, partition, line)) {
            return Ok(runs);
        }
        let (mut lines, mut start, mut run_of) = (self.lines()?, 0, None);
        while start < self.complete_bytes && lines.read()? {
            let position = self.form.position(&lines.text);
            let after = position.filter(|&(partition, line)| !is_before(cursors, partition, line));
            if let Some((partition, _)) = after {
                let runs = runs.entry(partition).or_default();
                match runs.last_mut() {
                    Some(run) if run_of == Some(partition) => run.lines += 1,
                    _ => runs.push(Run { start, number: lines.number, lines: 1 }),
                }
            }
            run_of = after.map(|(partition, _)| partition);
            start += lines.text.len() as u64;
        }
        Ok(runs)
    }

    fn lines(&self) -> anyhow::Result<Lines<'_>> {
        Lines::new(&self.path, &self.file, self.form.format)
    }

    /// Compares one partition's lines after `cursor` with the feed. Returns the cursor after them.
    async fn compare<F: Feed>(
        &self,
        feed: &F,
        consumer: &str,
        cursor: &Cursor,
        runs: &[Run],
    ) -> anyhow::Result<Cursor> {
        let mut left: u64 = runs.iter().map(|run| run.lines).sum();
        let (mut at, mut delivered) = (cursor.clone(), VecDeque::new());
        let mut lines = self.lines()?;
        for run in runs {
            lines.seek(run)?;
            for _ in 0..run.lines {
                if delivered.is_empty() {
                    let lines_max = left.min(LINES_AT_ONCE);
                    (delivered, at) = next_lines(feed, consumer, &at, lines_max).await?;
                }
                lines.read()?;
                left -= 1;
                let (path, number) = (self.path.display(), lines.number);
                let Some(line) = delivered.pop_front() else {
                    bail!("{path}:{number}: the feed does not have this line: {OTHER_FEED}");
                };
                if !self.form.is_same(&lines.text, &line)? {
                    let ChargeLine { partition, segment, row, .. } = line;
                    bail!(
                        "{path}:{number}: this line differs from the line that the feed delivers \
                         (partition {partition}, segment {segment}, row {row}): {OTHER_FEED}"
                    );
                }
            }
        }
        Ok(at)
    }

    /// Determines the change to the bytes after the last complete line. `cursors` are those of the
    /// consumer, `next` those after the complete lines.
    async fn mending<F: Feed>(
        &self,
        feed: &F,
        consumer: &str,
        cursors: &BTreeMap<u32, Cursor>,
        next: &BTreeMap<u32, Cursor>,
    ) -> anyhow::Result<Option<Mending>> {
        let rest = &self.rest;
        if rest.is_empty() {
            return Ok(None);
        }
        if let Some(header) = self.form.header.as_ref().filter(|_| self.rest_number == 1) {
            let is_whole = header.len() == rest.len() + 1;
            return Ok(Some(if is_whole { Mending::EndLine } else { Mending::Cut }));
        }
        // An acknowledged line was durable with its newline, so something else removed the newline.
        let position = self.form.position(rest);
        if position.is_some_and(|(partition, line)| is_before(cursors, partition, line)) {
            return Ok(Some(Mending::EndLine));
        }
        for (_, cursor) in next.iter().filter(|(partition, _)| self.form.fits(rest, **partition)) {
            let (lines, _) = next_lines(feed, consumer, cursor, 1).await?;
            let Some(line) = lines.front() else { continue };
            if position.is_some() && self.form.is_same(rest, line)? {
                return Ok(Some(Mending::EndLine));
            }
            if self.form.texts_of(line)?.iter().any(|text| text.starts_with(rest)) {
                return Ok(Some(Mending::Cut));
            }
        }
        bail!(
            "{}:{}: this line has no newline at its end, and is not the beginning of a line that \
             the feed delivers next: it was changed, or {OTHER_FEED}",
            self.path.display(),
            self.rest_number
        )
    }
}

/// Whether the line is before the partition's cursor, which means that it is acknowledged.
fn is_before(cursors: &BTreeMap<u32, Cursor>, partition: u32, line: (u64, u64)) -> bool {
    cursors.get(&partition).is_some_and(|cursor| line < (cursor.segment, cursor.row))
}

/// The lines of one partition after `from`, at most `lines_max`, and the cursor after them.
async fn next_lines<F: Feed>(
    feed: &F,
    consumer: &str,
    from: &Cursor,
    lines_max: u64,
) -> anyhow::Result<(VecDeque<ChargeLine>, Cursor)> {
    let consumer = consumer.to_owned();
    let request = PullRequest { consumer, from: vec![from.clone()], page_lines: 0, lines_max };
    let (mut lines, mut at) = (VecDeque::new(), from.clone());
    for page in feed.pull_all(request).await? {
        lines.extend(page.lines);
        at = page.next.unwrap_or(at);
    }
    Ok((lines, at))
}

/// Refuses anything but a regular file: written lines could not be read back and compared.
fn check_kind(path: &Path, metadata: &std::fs::Metadata) -> anyhow::Result<()> {
    if !metadata.is_file() {
        bail!(
            "{} is not a regular file; name a file, or leave --output out to write to standard \
             output",
            path.display()
        );
    }
    Ok(())
}

/// Locks the file until it is closed, since two pulls at once would both append the same lines.
fn lock(path: &Path, file: &File) -> anyhow::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => bail!(
            "{} is being written by another pull: wait until it has ended, or name another file \
             (--output)",
            path.display()
        ),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} can't be locked (--output)", path.display()))
        }
    }
}

/// A new file survives a crash only if its directory was synced too.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The form of the lines of a file.
struct Form {
    format: PullFormat,
    /// The first line of a CSV file; `None` for JSON lines.
    header: Option<Vec<u8>>,
    columns: usize,
}

/// The columns that a JSON line must have to be a charge line.
#[derive(Deserialize)]
struct JsonLine {
    partition: u32,
    segment: u64,
    row: u64,
    #[serde(rename = "record_id")]
    _record_id: IgnoredAny,
    #[serde(rename = "account_number")]
    _account_number: IgnoredAny,
    #[serde(rename = "amount")]
    _amount: IgnoredAny,
    #[serde(rename = "currency")]
    _currency: IgnoredAny,
}

impl Form {
    fn new(format: PullFormat) -> anyhow::Result<Self> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.serialize(ChargeRow::from(&ChargeLine::default()))?;
        let text = csv.into_inner().context("the columns' names can't be formed")?;
        let header = text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        let columns = header.split(|&byte| byte == b',').count();
        let header = (format == PullFormat::Csv).then(|| header.to_vec());
        Ok(Self { format, header, columns })
    }

    /// The text of a line, with its newline.
    fn text_of(&self, line: &ChargeLine) -> anyhow::Result<Vec<u8>> {
        let row = ChargeRow::from(line);
        match self.format {
            PullFormat::Csv => {
                let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
                csv.serialize(row)?;
                csv.into_inner().context("a line can't be formed")
            }
            PullFormat::Jsonl => {
                let mut text = serde_json::to_vec(&row)?;
                text.push(b'\n');
                Ok(text)
            }
        }
    }

    /// The texts that releases have written for a line. Earlier ones wrote 0 for a duration that
    /// the record does not state.
    fn texts_of(&self, line: &ChargeLine) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut texts = vec![self.text_of(line)?];
        let other = match line.duration_us {
            None => Some(0),
            // A front of an earlier release leaves a stated zero out.
            Some(0) => None,
            Some(_) => return Ok(texts),
        };
        texts.push(self.text_of(&ChargeLine { duration_us: other, ..line.clone() })?);
        Ok(texts)
    }

    /// Whether the complete line `in_file` is the same charge line as `of_feed`. The feed's line
    /// may have further columns, because a newer release adds them at the end.
    fn is_same(&self, in_file: &[u8], of_feed: &ChargeLine) -> anyhow::Result<bool> {
        let in_file = without_newline(in_file);
        Ok(self.texts_of(of_feed)?.iter().any(|of_feed| {
            match (self.format, in_file.split_last()) {
                (PullFormat::Jsonl, Some((b'}', columns))) => {
                    let further = of_feed.strip_prefix(columns).and_then(<[u8]>::first);
                    matches!(further, Some(b'}' | b','))
                }
                _ => in_file == without_newline(of_feed),
            }
        }))
    }

    /// The position of a complete line: (partition, (segment, row)). `None` if it is not a charge
    /// line.
    fn position(&self, line: &[u8]) -> Option<(u32, (u64, u64))> {
        match self.format {
            PullFormat::Jsonl => {
                let JsonLine { partition, segment, row, .. } = serde_json::from_slice(line).ok()?;
                Some((partition, (segment, row)))
            }
            PullFormat::Csv => {
                let mut in_quotes = false;
                let is_separator = |byte: &&u8| {
                    in_quotes ^= **byte == b'"';
                    **byte == b',' && !in_quotes
                };
                if line.iter().filter(is_separator).count() + 1 != self.columns || in_quotes {
                    return None;
                }
                // The first three fields are numbers, and numbers are never quoted.
                let mut fields = line.split(|&byte| byte == b',').map(std::str::from_utf8);
                let mut field = || fields.next()?.ok();
                let partition = field()?.parse().ok()?;
                Some((partition, (field()?.parse().ok()?, field()?.parse().ok()?)))
            }
        }
    }

    /// Whether `rest` can be a line of the partition, or the beginning of one.
    fn fits(&self, rest: &[u8], partition: u32) -> bool {
        let beginning = match self.format {
            PullFormat::Csv => format!("{partition},"),
            PullFormat::Jsonl => format!("{{\"partition\":{partition},"),
        };
        rest.starts_with(beginning.as_bytes()) || beginning.as_bytes().starts_with(rest)
    }

    /// Whether `rest` can be a line of some partition, or the beginning of one.
    fn can_begin_with(&self, rest: &[u8]) -> bool {
        let before: &[u8] = match self.format {
            PullFormat::Csv => b"",
            PullFormat::Jsonl => b"{\"partition\":",
        };
        let Some(number) = rest.strip_prefix(before) else { return before.starts_with(rest) };
        let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let partition = std::str::from_utf8(&number[..digits]).ok().and_then(|n| n.parse().ok());
        partition.map_or(number.is_empty(), |partition| self.fits(rest, partition))
    }
}

fn without_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Reads a file line by line.
struct Lines<'a> {
    path: &'a Path,
    format: PullFormat,
    reader: BufReader<&'a File>,
    /// The current line, with its newline.
    text: Vec<u8>,
    /// The number of the current line in the file, from 1.
    number: u64,
    next_number: u64,
    /// Whether the current line ends with a newline.
    is_complete: bool,
}

impl<'a> Lines<'a> {
    /// A reader of all lines of the file, from the first one on.
    fn new(path: &'a Path, file: &'a File, format: PullFormat) -> anyhow::Result<Self> {
        let reader = BufReader::with_capacity(1 << 18, file);
        let (text, is_complete) = (Vec::new(), false);
        let mut lines = Self { path, format, reader, text, number: 0, next_number: 1, is_complete };
        lines.seek(&Run { start: 0, number: 1, lines: 0 })?;
        Ok(lines)
    }

    /// Continues at the first line of a run.
    fn seek(&mut self, run: &Run) -> anyhow::Result<()> {
        self.next_number = run.number;
        self.reader.seek(SeekFrom::Start(run.start)).map(drop).with_context(|| self.unreadable())
    }

    /// Reads the next line. Returns `false` at the end of the file.
    fn read(&mut self) -> anyhow::Result<bool> {
        self.read_text().with_context(|| self.unreadable())?;
        if self.text.len() > LINE_BYTES_MAX {
            bail!(
                "{}:{}: this is not a line of the feed: it has more than {LINE_BYTES_MAX} bytes; \
                 choose another file (--output)",
                self.path.display(),
                self.number
            );
        }
        Ok(!self.text.is_empty())
    }

    fn read_text(&mut self) -> io::Result<()> {
        self.text.clear();
        self.number = self.next_number;
        self.is_complete = false;
        let mut in_quotes = false;
        while !self.is_complete && self.text.len() <= LINE_BYTES_MAX {
            let (before, room) = (self.text.len(), LINE_BYTES_MAX + 1 - self.text.len());
            let mut rest = self.reader.by_ref().take(room as u64);
            if rest.read_until(b'\n', &mut self.text)? == 0 {
                return Ok(());
            }
            if self.text.last() == Some(&b'\n') {
                self.next_number += 1;
                // A quoted CSV field, such as a record id, can contain newlines.
                let quotes = self.text[before..].iter().filter(|&&byte| byte == b'"').count();
                in_quotes ^= quotes % 2 == 1;
                self.is_complete = self.format == PullFormat::Jsonl || !in_quotes;
            }
        }
        Ok(())
    }

    fn unreadable(&self) -> String {
        format!("{} can't be read (--output)", self.path.display())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fake_feed::{FakeFeed, after, beginnings, block};
    use super::super::sink::Sink;
    use super::*;

    const FORMATS: [(PullFormat, &str); 2] =
        [(PullFormat::Csv, "l.csv"), (PullFormat::Jsonl, "l.jsonl")];

    fn line(partition: u32, segment: u64, row: u64) -> ChargeLine {
        // Quotes, separators and newlines are legal in a record id.
        let record_id = format!("a \"quoted\", id\nof {segment}}}");
        let amount = "12.500000000".to_owned();
        ChargeLine {
            partition,
            segment,
            row,
            record_id,
            amount,
            table_row: Some(12),
            ..ChargeLine::default()
        }
    }

    fn five() -> [ChargeLine; 5] {
        [line(1, 1, 0), line(1, 1, 1), line(12, 7, 0), line(1, 3, 0), line(12, 8, 0)]
    }

    /// The content of a file to which a pull has written these lines.
    fn text(format: PullFormat, lines: &[ChargeLine]) -> Vec<u8> {
        let form = Form::new(format).unwrap();
        let texts = lines.iter().flat_map(|line| form.text_of(line).unwrap());
        form.header.clone().unwrap_or_default().into_iter().chain(texts).collect()
    }

    struct World {
        _dir: tempfile::TempDir,
        path: PathBuf,
        format: PullFormat,
        cursors: BTreeMap<u32, Cursor>,
    }

    impl World {
        fn new(format: PullFormat, name: &str, content: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            Self { _dir: dir, path, format, cursors: beginnings(&[1, 2, 12]) }
        }

        fn acknowledged(mut self, lines: &[ChargeLine]) -> Self {
            self.cursors.extend(lines.iter().map(|line| (line.partition, after(line))));
            self
        }

        /// Matches the file with a feed of `lines`, and writes those after the cursors. Returns how
        /// many were written, and how many were in the file.
        fn pull(&self, lines: &[ChargeLine]) -> anyhow::Result<(u64, u64)> {
            let feed = FakeFeed::of(lines);
            let found = FoundFile::open(&self.path, self.format)?;
            let mut sink = Sink::file(block(found.matched(&feed, "bills", &self.cursors))?);
            let new = lines.iter().filter(|line| {
                let position = (line.segment, line.row);
                !is_before(&self.cursors, line.partition, position)
            });
            sink.write(&new.cloned().collect::<Vec<_>>())?;
            // Dropping the sink writes the lines. `settle` would also sync each of a thousand
            // files.
            Ok((sink.written(), sink.skipped()))
        }

        fn refusal(&self, lines: &[ChargeLine]) -> String {
            let before = self.bytes();
            let error = self.pull(lines).unwrap_err().to_string();
            assert_eq!(self.bytes(), before, "the refused file is unchanged: {error}");
            assert!(error.contains(&*self.path.to_string_lossy()), "{error}");
            error
        }

        fn bytes(&self) -> Vec<u8> {
            std::fs::read(&self.path).unwrap()
        }
    }

    /// A crash may leave a file that ends at any byte after the acknowledged lines.
    #[test]
    fn a_file_that_was_cut_at_any_byte_is_continued_with_each_line_once() {
        for (format, name) in FORMATS {
            let whole = text(format, &five());
            for acknowledged in [0, 1, 3] {
                let kept = text(format, &five()[..acknowledged]).len();
                for length in kept..=whole.len() {
                    let world = World::new(format, name, &whole[..length]);
                    let world = world.acknowledged(&five()[..acknowledged]);
                    let (written, in_file) = world.pull(&five()).unwrap();
                    assert_eq!(written + in_file, 5 - acknowledged as u64);
                    let expected = String::from_utf8_lossy(&whole);
                    assert_eq!(String::from_utf8_lossy(&world.bytes()), expected, "at {length}");
                }
            }
        }
    }

    /// Earlier releases wrote 0 for a duration that the record does not state, and an earlier front
    /// leaves a stated zero out. Files of both are continued.
    #[test]
    fn a_file_with_the_durations_of_an_earlier_release_is_continued() {
        let with = |duration_us| five().map(|line| ChargeLine { duration_us, ..line });
        for (in_file, of_feed, is_same) in [
            (Some(0), None, true),
            (None, Some(0), true),
            (Some(60), Some(60), true),
            (Some(0), Some(60), false),
            (None, Some(60), false),
            (Some(60), None, false),
        ] {
            for (format, name) in FORMATS {
                let before = text(format, &with(in_file)[..3]);
                for length in [before.len(), before.len() - 1] {
                    let world = World::new(format, name, &before[..length]);
                    let pulled = world.pull(&with(of_feed)).map_err(|error| error.to_string());
                    match is_same {
                        true => assert_eq!(pulled, Ok((2, 3)), "{in_file:?} {of_feed:?}"),
                        false => assert!(pulled.is_err(), "{in_file:?} {of_feed:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_last_line_that_is_acknowledged_and_lost_only_its_newline_gets_it_back() {
        for (format, name) in FORMATS {
            let whole = text(format, &five());
            let world = World::new(format, name, &whole[..whole.len() - 1]).acknowledged(&five());
            assert_eq!(world.pull(&five()).unwrap(), (0, 0));
            assert_eq!(world.bytes(), whole);
        }
        let header = text(PullFormat::Csv, &[]);
        let world = World::new(PullFormat::Csv, "l.csv", &header[..header.len() - 1]);
        assert_eq!(world.pull(&[]).unwrap(), (0, 0));
        assert_eq!(world.bytes(), header);
    }

    #[test]
    fn an_acknowledged_last_line_that_lost_more_than_its_newline_is_not_cut_off() {
        for (format, name) in FORMATS {
            let whole = text(format, &five());
            let world = World::new(format, name, &whole[..whole.len() - 20]).acknowledged(&five());
            let error = world.refusal(&five());
            assert!(error.contains("no newline") && error.contains("--output"), "{error}");
        }
    }

    #[test]
    fn a_line_of_another_cluster_at_the_position_of_a_new_line_is_refused() {
        for (format, name) in FORMATS {
            for changed in 0..5 {
                let mut other = five();
                other[changed].amount = "12.500000001".to_owned();
                let world = World::new(format, name, &text(format, &other));
                let error = world.refusal(&five());
                let number = [2, 4, 6, 8, 10][changed];
                let number = if format == PullFormat::Csv { number } else { changed + 1 };
                let place = format!("{name}:{number}: ");
                for words in [place.as_str(), "another cluster", "--output"] {
                    assert!(error.contains(words), "{words}: {error}");
                }
                // A last line without a newline is compared too.
                let unended = &text(format, &other[..=changed]);
                let world = World::new(format, name, &unended[..unended.len() - 1]);
                assert!(world.refusal(&five()).contains("another cluster"));
                // Acknowledged lines are not delivered again, so they can't be compared.
                let world = World::new(format, name, &text(format, &other)).acknowledged(&five());
                assert_eq!(world.pull(&five()).unwrap(), (0, 0));
            }
        }
    }

    #[test]
    fn a_file_that_misses_a_line_or_has_one_too_many_is_refused() {
        for (format, name) in FORMATS {
            for without in [0, 1, 2] {
                let some: Vec<_> = five().into_iter().enumerate().collect();
                let some = some.into_iter().filter(|(at, _)| *at != without);
                let some: Vec<_> = some.map(|(_, line)| line).collect();
                // The file lacks one line of the feed, but contains a later line.
                let world = World::new(format, name, &text(format, &some));
                assert!(world.refusal(&five()).contains("another cluster"), "{without}");
                // The feed lacks one line of the file, but has a later line.
                let world = World::new(format, name, &text(format, &five()));
                assert!(world.refusal(&some).contains("another cluster"), "{without}");
            }
            let world = World::new(format, name, &text(format, &five()));
            let error = world.refusal(&five()[..4]);
            assert!(error.contains("does not have this line"), "{error}");
            let world = World::new(format, name, &text(format, &[line(3, 1, 0)]));
            let error = world.refusal(&five());
            assert!(error.contains("partition 3") && error.contains("no such"), "{error}");
        }
    }

    #[test]
    fn a_json_line_of_an_older_release_lacks_columns_at_its_end() {
        let format = PullFormat::Jsonl;
        let whole = String::from_utf8(text(format, &five()[..2])).unwrap();
        let older = whole.replace(",\"table_row\":12", "");
        assert_ne!(older, whole);
        for end in [older.len(), older.len() - 1] {
            let world = World::new(format, "l.jsonl", &older.as_bytes()[..end]);
            assert_eq!(world.pull(&five()[..2]).unwrap(), (0, 2));
            assert_eq!(String::from_utf8(world.bytes()).unwrap(), older);
        }
    }

    #[test]
    fn a_file_of_an_older_program_s_columns_is_not_continued() {
        for end in ["\n", ""] {
            let old = format!("partition,segment,row,record_id,amount\n1,1,0,r,5{end}");
            let header = format!("partition,segment,row,record_id,amount{end}");
            for text in [old, header] {
                let world = World::new(PullFormat::Csv, "old.csv", text.as_bytes());
                let error = world.refusal(&five());
                assert!(error.contains("other columns") && error.contains("--output"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let long = vec![b'1'; LINE_BYTES_MAX + 1];
        let csv = text(PullFormat::Csv, &[]);
        let after_header = |rest: &[u8]| [&csv[..], rest].concat();
        let texts: [(PullFormat, &str, Vec<u8>); 12] = [
            (PullFormat::Csv, "other.csv:1", b"dear diary\n".to_vec()),
            (PullFormat::Csv, "other.csv:1", b"dear diary".to_vec()),
            (PullFormat::Csv, "other.csv:1", b"1,2,3\n".to_vec()),
            (PullFormat::Csv, "other.csv:1", text(PullFormat::Jsonl, &five())),
            (PullFormat::Csv, "other.csv:2", after_header(b"1,2,3\n")),
            (PullFormat::Csv, "other.csv:2", after_header(b"dear diary")),
            (PullFormat::Csv, "other.csv:2", after_header(&long)),
            (PullFormat::Jsonl, "other.csv:1", b"dear diary".to_vec()),
            (
                PullFormat::Jsonl,
                "other.csv:1",
                b"{\"partition\":1,\"segment\":1,\"row\":0}\n".to_vec(),
            ),
            (PullFormat::Jsonl, "other.csv:1", b"{\"partition\":\"one".to_vec()),
            (PullFormat::Jsonl, "other.csv:1", csv.clone()),
            (PullFormat::Jsonl, "other.csv:1", vec![0; LINE_BYTES_MAX + 1]),
        ];
        for (format, place, text) in texts {
            let world = World::new(format, "other.csv", &text);
            let error = world.refusal(&five());
            for words in [place, "not a line of the feed", "--output"] {
                assert!(error.contains(words), "{words}: {error}");
            }
        }
        // A quote is opened and never closed.
        let world = World::new(PullFormat::Csv, "other.csv", &after_header(b"1,2,3,\"\n\n\n"));
        assert!(world.refusal(&five()).contains("other.csv:2"));
    }

    #[test]
    fn lines_are_compared_in_portions() {
        let count = LINES_AT_ONCE * 2 + 1;
        let lines: Vec<_> = (0..count).map(|row| line(1, 1, row)).collect();
        let world = World::new(PullFormat::Csv, "l.csv", &text(PullFormat::Csv, &lines));
        assert_eq!(world.pull(&lines).unwrap(), (0, count));
        let mut other = lines.clone();
        other.last_mut().unwrap().amount = "1.000000000".to_owned();
        assert!(world.refusal(&other).contains("another cluster"));
    }
}
