//! The destination of lines: standard output, or a file in append-only mode.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use turnpike_proto::feed::v1::ChargeLine;

use crate::charge_row::ChargeRow;

use super::PullFormat;

/// The last written (segment, row) of each partition.
type Behind = HashMap<u32, (u64, u64)>;

/// The position of a line in the feed.
#[derive(Deserialize)]
struct FilePosition {
    partition: u32,
    segment: u64,
    row: u64,
}

enum Target {
    Stdout(BufWriter<io::Stdout>),
    File { path: PathBuf, out: BufWriter<Disk> },
}

/// Writes lines.
pub(super) struct Sink {
    target: Target,
    format: PullFormat,
    has_header: bool,
    /// The last position written for each partition, in this run or an earlier one.
    behind: Behind,
    written: u64,
    skipped: u64,
}

/// Proof that all lines written so far are durable; an acknowledgement requires it.
pub(super) struct Durable(());

impl Sink {
    pub(super) fn stdout(format: PullFormat) -> Self {
        let target = Target::Stdout(BufWriter::new(io::stdout()));
        let (has_header, behind) = (false, Behind::new());
        Self { target, format, has_header, behind, written: 0, skipped: 0 }
    }

    /// Opens the file, scans the lines in it, and truncates an incomplete last line.
    pub(super) fn file(path: &Path, format: PullFormat) -> anyhow::Result<Self> {
        let place = || format!("{} can't be written (--output)", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(place)?;
        let (behind, whole) = survey(&file, path, format)?;
        file.set_len(whole).with_context(place)?;
        file.seek(SeekFrom::End(0)).with_context(place)?;
        if whole == 0 {
            sync_directory(path).with_context(place)?;
        }
        let out = BufWriter::new(Disk { file, syncs: 0 });
        let target = Target::File { path: path.to_owned(), out };
        let has_header = whole > 0;
        Ok(Self { target, format, has_header, behind, written: 0, skipped: 0 })
    }

    /// Lines written in this run.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Lines skipped because they were already in the file.
    pub(super) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Appends the lines that are not in the file yet.
    pub(super) fn write(&mut self, lines: &[ChargeLine]) -> anyhow::Result<()> {
        let mut text = Vec::with_capacity(lines.len() * 200);
        let headed = !self.has_header;
        let mut csv = csv::WriterBuilder::new().has_headers(headed).from_writer(Vec::new());
        for line in lines {
            let behind = self.behind.get(&line.partition);
            if behind.is_some_and(|&behind| (line.segment, line.row) <= behind) {
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
            self.behind.insert(line.partition, (line.segment, line.row));
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

/// The last position of each partition in the file, and the length of all complete lines.
fn survey(file: &File, path: &Path, format: PullFormat) -> anyhow::Result<(Behind, u64)> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut behind, mut whole, mut number) = (Behind::new(), 0, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        let length = read.with_context(|| format!("{} can't be read", path.display()))?;
        if line.last() != Some(&b'\n') {
            return Ok((behind, whole));
        }
        number += 1;
        whole += length as u64;
        let is_header = format == PullFormat::Csv && number == 1;
        if is_header && line.starts_with(b"partition,segment,row,") {
            if line != header()? {
                bail!(
                    "{} has other columns than the feed: continue in a new file (--output)",
                    path.display()
                );
            }
            continue;
        }
        let Some(FilePosition { partition, segment, row }) = position(&line, format) else {
            bail!(
                "{}:{number}: this is not a line of the feed; choose another file (--output)",
                path.display()
            );
        };
        behind.insert(partition, (segment, row));
    }
}

/// The first line of a CSV file.
fn header() -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.serialize(ChargeRow::from(&ChargeLine::default()))?;
    let text = csv.into_inner().context("the columns' names can't be formed")?;
    Ok(text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default().to_vec())
}

fn position(line: &[u8], format: PullFormat) -> Option<FilePosition> {
    match format {
        PullFormat::Jsonl => serde_json::from_slice(line).ok(),
        PullFormat::Csv => {
            // The first three fields are numbers, and numbers are never quoted.
            let text = std::str::from_utf8(line).ok()?;
            let mut fields = text.split(',');
            let (partition, segment, row) = (fields.next()?, fields.next()?, fields.next()?);
            let partition = partition.parse().ok()?;
            Some(FilePosition { partition, segment: segment.parse().ok()?, row: row.parse().ok()? })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(partition: u32, segment: u64, row: u64) -> ChargeLine {
        let record_id = "a \"quoted\", id".to_owned();
        ChargeLine { partition, segment, row, record_id, ..ChargeLine::default() }
    }

    #[test]
    fn a_line_that_is_in_the_file_is_not_written_again_and_a_torn_one_is_cut_off() {
        for (format, name) in [(PullFormat::Csv, "l.csv"), (PullFormat::Jsonl, "l.jsonl")] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            let mut sink = Sink::file(&path, format).unwrap();
            sink.write(&[line(1, 1, 0), line(1, 1, 1)]).unwrap();
            sink.write(&[line(2, 7, 0)]).unwrap();
            sink.settle().unwrap();
            let before = std::fs::read(&path).unwrap();
            // Cut in the middle of the third line, as by a crash.
            std::fs::write(&path, &before[..before.len() - 5]).unwrap();
            let mut sink = Sink::file(&path, format).unwrap();
            sink.write(&[line(1, 1, 1), line(2, 7, 0)]).unwrap();
            sink.settle().unwrap();
            assert_eq!((sink.written(), sink.skipped()), (1, 1));
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }

    #[test]
    fn a_file_of_an_older_program_s_columns_is_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.csv");
        let old = "partition,segment,row,record_id,amount\n1,1,0,r,5\n";
        std::fs::write(&path, old).unwrap();
        let error = Sink::file(&path, PullFormat::Csv).err().unwrap().to_string();
        assert!(error.contains("other columns") && error.contains("--output"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), old);
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.csv");
        std::fs::write(&path, "dear diary\n").unwrap();
        let error = Sink::file(&path, PullFormat::Csv).err().unwrap().to_string();
        assert!(error.contains("other.csv:1") && error.contains("--output"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"dear diary\n");
    }
}
