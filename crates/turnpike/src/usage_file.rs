//! Opens files of usage in any supported format, and sends them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum;
use indicatif::ProgressBar;
use turnpike_client::{Batch, BatchBuilder, LimitExceeded, SendEvent};
use turnpike_collect::{Fault, Row, UsageHeader, UsageJsonl};
use turnpike_proto::record::encode;
use turnpike_types::UsageRecord;

use crate::client::Front;
use crate::exit::usage;
use crate::tally::{FileReport, KEPT_MAX, Origins};
use crate::{ui, values};

/// The format of a file of usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// An iterator over rows of usage.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row<UsageRecord>, Fault>> + Send>;

/// Opens `path` for reading; `-` is standard input.
pub(crate) fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path)
        .and_then(|file| {
            // Opening a directory succeeds; a later read would fail with a less clear message.
            let is_dir = file.metadata()?.is_dir();
            if is_dir { Err(io::Error::from(io::ErrorKind::IsADirectory)) } else { Ok(file) }
        })
        .with_context(|| format!("{} can't be read; check the path", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

/// The parameters for reading a file of usage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    /// The format; `None`: by the file's name.
    pub(crate) format: Option<Format>,
    /// The columns that are attributes even if their names resemble known columns.
    pub(crate) attributes: &'a BTreeSet<String>,
    /// The columns of `--attribute`: the file must have them.
    pub(crate) named: &'a [String],
}

/// The rows of a file of usage. Prints warnings about its header, or about members of its objects
/// when they are read.
pub(crate) fn rows(source: Source<'_>) -> anyhow::Result<Rows> {
    read(source, true)
}

/// As [`rows`], for a file that is read twice: prints no warnings.
pub(crate) fn rows_without_warnings(source: Source<'_>) -> anyhow::Result<Rows> {
    read(source, false)
}

fn read(source: Source<'_>, warns: bool) -> anyhow::Result<Rows> {
    let Source { path, format, attributes, named } = source;
    let name = path.display().to_string();
    let format = format.or_else(|| named_format(&name)).ok_or_else(|| {
        usage(format!("{name}: is this CSV or JSON lines? use --format csv or --format jsonl"))
    })?;
    let reader = open(path)?;
    Ok(match format {
        Format::Csv => {
            let header = UsageHeader::read(&name, reader)?;
            let columns: Vec<&str> = header.names().iter().map(String::as_str).collect();
            named.iter().try_for_each(|column| check_attribute(&name, column, &columns))?;
            let rows = header.rows(attributes)?;
            if warns {
                rows.warnings().iter().for_each(ui::print_stderr);
            }
            Box::new(rows)
        }
        Format::Jsonl => {
            let mut rows = UsageJsonl::with_attributes(&name, reader, attributes.clone());
            Box::new(std::iter::from_fn(move || {
                let row = rows.next();
                let warnings = rows.take_warnings();
                if warns {
                    warnings.iter().for_each(ui::print_stderr);
                }
                row
            }))
        }
    })
}

/// Checks that a column of `--attribute` is in the file and can be an attribute. Otherwise the
/// option would have no effect, and the intended column would not be read as an attribute.
fn check_attribute(file: &str, column: &str, columns: &[&str]) -> anyhow::Result<()> {
    if !UsageHeader::<io::Empty>::is_attribute(column) {
        return Err(usage(format!(
            "{file}: --attribute {column}: this column has a meaning of its own; if it is an \
             attribute, name it attribute:{column} in the file"
        )));
    }
    let prefixed = format!("attribute:{column}");
    if columns.iter().any(|known| *known == column || *known == prefixed) {
        return Ok(());
    }
    let meant = values::nearest(column, columns.iter().copied());
    let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
    Err(usage(format!(
        "{file}: --attribute {column}: no such column{meant}; the header has {}",
        columns.join(", ")
    )))
}

/// The format by the extension: `usage.csv`, `usage.jsonl.gz`.
fn named_format(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" | "tsv" => Some(Format::Csv),
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        _ => None,
    }
}

/// The parameters for sending a file.
#[derive(Clone, Debug)]
pub(crate) struct Sending<'a> {
    /// The name of the sender in logs and metrics.
    pub(crate) source: &'a str,
    /// Records per batch.
    pub(crate) batch_records: u32,
    /// Batches in flight.
    pub(crate) window: usize,
}

/// Sends `rows` and reports on all of them, including bad rows.
pub(crate) async fn send(
    front: &Front,
    sending: &Sending<'_>,
    rows: Rows,
    mut report: FileReport,
    bar: &ProgressBar,
) -> anyhow::Result<FileReport> {
    let builder = BatchBuilder::new(sending.source, sending.batch_records as usize)?;
    let mut batcher = Batcher { rows, builder, oversized: None };
    let mut faults = Faults::default();
    let sent = front
        .send(
            sending.window,
            || batcher.next_batch(&mut faults),
            |event| {
                report.count(&event);
                if let SendEvent::Answered { batch, .. } = &event {
                    bar.inc(u64::from(batch.records));
                }
            },
        )
        .await;
    let outcome = match batcher.oversized {
        Some(error) => sent.and(Err(error.into())),
        None => sent,
    };
    bar.finish_and_clear();
    report.bad_rows += faults.dropped;
    for fault in faults.kept {
        report.bad_row(fault);
    }
    match outcome {
        Ok(()) => Ok(report),
        Err(error) => Err(error.context(format!("{}: {} before this", report.file, report.tally))),
    }
}

/// The first bad rows, and the number of further ones.
#[derive(Default)]
struct Faults {
    kept: Vec<Fault>,
    dropped: u64,
}

impl Faults {
    fn push(&mut self, fault: Fault) {
        if self.kept.len() < KEPT_MAX { self.kept.push(fault) } else { self.dropped += 1 }
    }
}

struct Batcher {
    rows: Rows,
    builder: BatchBuilder<(u64, String)>,
    /// A record that is larger than a batch: nothing after it is sent.
    oversized: Option<LimitExceeded>,
}

impl Batcher {
    /// The next batch: full by records or by bytes, or the last one. Bad rows are added to
    /// `faults`.
    fn next_batch(&mut self, faults: &mut Faults) -> Option<Batch<Origins>> {
        while self.oversized.is_none()
            && let Some(row) = self.rows.next()
        {
            let Row { line, content } = match row {
                Ok(row) => row,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            let mut bytes = Vec::with_capacity(96);
            encode(&content, &mut bytes);
            match self.builder.add_encoded(&bytes, (line, content.record_id)) {
                Ok(None) => {}
                Ok(complete) => return complete,
                Err(error) => self.oversized = Some(error),
            }
        }
        self.builder.take()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_types::limits;

    use super::*;

    #[test]
    fn the_form_follows_from_the_name_also_of_a_compressed_file() {
        for (name, format) in [
            ("a/usage.csv", Some(Format::Csv)),
            ("usage.CSV.gz", Some(Format::Csv)),
            ("usage.tsv", Some(Format::Csv)),
            ("usage.jsonl.gz", Some(Format::Jsonl)),
            ("usage.json", Some(Format::Jsonl)),
            ("usage.txt", None),
            ("usage.gz", None),
            ("-", None),
        ] {
            assert_eq!(named_format(name), format, "{name}");
        }
    }

    #[test]
    fn batches_are_bounded_in_records_and_in_bytes_and_lose_nothing() {
        let big = "x".repeat(15_000);
        let rows = (1..=1_000).map(move |line| {
            let content = UsageRecord {
                record_id: format!("r{line}"),
                attributes: [("note".to_owned(), big.clone())].into(),
                ..UsageRecord::default()
            };
            Ok(Row { line, content })
        });
        let builder = BatchBuilder::new("s", 400).unwrap();
        let mut batcher = Batcher { rows: Box::new(rows), builder, oversized: None };
        let (mut lines, mut sizes) = (Vec::new(), Vec::new());
        while let Some(batch) = batcher.next_batch(&mut Faults::default()) {
            assert!(batch.frame.body().len() <= limits::BATCH_BYTES_MAX);
            let mut walked = 0;
            let head = batch.frame.walk(|_| walked += 1).unwrap();
            assert_eq!((head.batch_number, walked), (batch.number, batch.records));
            lines.extend(batch.tag.iter().map(|(line, _)| *line));
            sizes.push(batch.records);
        }
        assert_eq!(lines, (1..=1_000).collect::<Vec<_>>());
        assert!(sizes.len() > 3 && sizes.iter().all(|&records| records < 400), "{sizes:?}");
    }
}
