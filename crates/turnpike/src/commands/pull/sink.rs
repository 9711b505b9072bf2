//! The destination of lines: standard output, or a file to which lines are only appended.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use turnpike_proto::feed::v1::ChargeLine;

use crate::charge_row::ChargeRow;

use super::output_file::{LastLines, MatchedFile};
use super::settings::PullFormat;

enum Target {
    Stdout(BufWriter<io::Stdout>),
    File { path: PathBuf, out: BufWriter<Disk> },
}

/// Writes lines.
pub(super) struct Sink {
    target: Target,
    format: PullFormat,
    has_header: bool,
    /// The last position written for each partition, by this pull or an earlier one.
    last: LastLines,
    written: u64,
    skipped: u64,
}

/// Proof that all lines written so far are durable; an acknowledgement requires it.
pub(super) struct Durable(());

impl Sink {
    pub(super) fn stdout(format: PullFormat) -> Self {
        let target = Target::Stdout(BufWriter::new(io::stdout()));
        let (has_header, last) = (false, LastLines::new());
        Self { target, format, has_header, last, written: 0, skipped: 0 }
    }

    /// Appends to a file that was compared with the feed.
    pub(super) fn file(matched: MatchedFile) -> Self {
        let MatchedFile { path, file, format, last, has_header } = matched;
        let out = BufWriter::new(Disk { file, syncs: 0 });
        let target = Target::File { path, out };
        Self { target, format, has_header, last, written: 0, skipped: 0 }
    }

    /// The number of lines written by this pull.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// The number of lines skipped because they were already in the file.
    pub(super) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the line is in the file already.
    pub(super) fn has(&self, line: &ChargeLine) -> bool {
        let last = self.last.get(&line.partition);
        last.is_some_and(|&last| (line.segment, line.row) <= last)
    }

    /// Appends the lines that are not in the file yet.
    pub(super) fn write(&mut self, lines: &[ChargeLine]) -> anyhow::Result<()> {
        let mut text = Vec::with_capacity(lines.len() * 200);
        let headed = !self.has_header;
        let mut csv = csv::WriterBuilder::new().has_headers(headed).from_writer(Vec::new());
        for line in lines {
            if self.has(line) {
                self.skipped += 1;
                continue;
            }
            match self.format {
                PullFormat::Csv => csv.serialize(ChargeRow::from(line))?,
                PullFormat::Jsonl => {
                    serde_json::to_writer(&mut text, &ChargeRow::from(line))?;
                    text.push(b'\n');
                }
            }
            self.last.insert(line.partition, (line.segment, line.row));
            self.written += 1;
            self.has_header = true;
        }
        text.extend(csv.into_inner().context("lines can't be formed")?);
        self.put(&text)
    }

    fn put(&mut self, text: &[u8]) -> anyhow::Result<()> {
        match &mut self.target {
            Target::Stdout(out) => Ok(out.write_all(text)?),
            Target::File { path, out } => {
                out.write_all(text).with_context(|| format!("{} can't be written", path.display()))
            }
        }
    }

    /// Makes the written lines durable: synced to disk, or, for standard output, flushed.
    pub(super) fn settle(&mut self) -> anyhow::Result<Durable> {
        match &mut self.target {
            Target::Stdout(out) => out.flush()?,
            Target::File { path, out } => out
                .flush()
                .and_then(|()| out.get_mut().sync())
                .with_context(|| format!("{} can't be flushed to the disk", path.display()))?,
        }
        Ok(Durable(()))
    }

    /// The number of times the file was synced to disk.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> u64 {
        match &self.target {
            Target::Stdout(_) => 0,
            Target::File { out, .. } => out.get_ref().syncs,
        }
    }
}

/// A file that counts how often it was synced to disk.
struct Disk {
    file: File,
    syncs: u64,
}

impl Disk {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().inspect(|()| self.syncs += 1)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
