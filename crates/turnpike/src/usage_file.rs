//! Opens files of usage, whatever their form, and sends them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum;
use indicatif::ProgressBar;
use turnpike_collect::{Fault, Row, UsageCsv, UsageJsonl};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::record::encode;
use turnpike_proto::wire::{put_bytes, put_number};
use turnpike_types::{UsageRecord, limits};

use crate::client::Front;
use crate::exit::usage;
use crate::sender::{self, Batch, Event};
use crate::tally::{FileReport, Origins};

/// The form of a file of usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Rows of usage, one by one.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row<UsageRecord>, Fault>> + Send>;

/// Opens `path` for reading; `-` is standard input.
pub(crate) fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path)
        .and_then(|file| {
            // Opening a directory succeeds; reading it would fail with an odder message.
            let is_dir = file.metadata()?.is_dir();
            if is_dir { Err(io::Error::from(io::ErrorKind::IsADirectory)) } else { Ok(file) }
        })
        .with_context(|| format!("{} can't be read; check the path", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

/// The rows of a file of usage; its form follows from its name unless `format` says.
pub(crate) fn rows(path: &Path, format: Option<Format>) -> anyhow::Result<Rows> {
    let by_name = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Some(Format::Csv),
        Some("jsonl" | "ndjson") => Some(Format::Jsonl),
        _ => None,
    };
    let name = path.display().to_string();
    let format = format.or(by_name).ok_or_else(|| {
        usage(format!("{name}: is this CSV or JSON lines? say --format csv or --format jsonl"))
    })?;
    let reader = open(path)?;
    Ok(match format {
        Format::Csv => Box::new(UsageCsv::new(&name, reader)?),
        Format::Jsonl => Box::new(UsageJsonl::new(&name, reader)),
    })
}

/// How a file is sent.
#[derive(Clone, Debug)]
pub(crate) struct Sending<'a> {
    /// What logs and metrics call the sender.
    pub(crate) source: &'a str,
    /// Records a batch.
    pub(crate) batch_records: u32,
    /// Batches in flight.
    pub(crate) window: usize,
}

/// Sends `rows` and reports on all of them, bad ones included.
pub(crate) async fn send(
    front: &Front,
    sending: &Sending<'_>,
    rows: Rows,
    mut report: FileReport,
    bar: &ProgressBar,
) -> anyhow::Result<FileReport> {
    let mut batcher = Batcher { rows, source: sending.source, number: 0, held: None };
    let mut faults = Vec::new();
    let outcome = sender::send(
        front,
        sending.window,
        || batcher.next_batch(sending.batch_records, &mut faults),
        |event| {
            report.count(&event);
            if let Event::Answered { batch, .. } = &event {
                bar.inc(u64::from(batch.records));
            }
        },
    )
    .await;
    bar.finish_and_clear();
    for fault in faults {
        report.bad_row(fault);
    }
    match outcome {
        Ok(()) => Ok(report),
        Err(error) => Err(error.context(format!("{}: {} before this", report.file, report.tally))),
    }
}

struct Batcher<'a> {
    rows: Rows,
    source: &'a str,
    number: u64,
    /// Encoded, but too large for the batch before.
    held: Option<(Vec<u8>, (u64, String))>,
}

impl Batcher<'_> {
    /// The next batch: full by records or by bytes, or the last one. Bad rows go to `faults`.
    fn next_batch(&mut self, records_max: u32, faults: &mut Vec<Fault>) -> Option<Batch<Origins>> {
        let records_max = (records_max as usize).clamp(1, limits::BATCH_RECORDS_MAX);
        // The frame's own head takes less than this.
        let bytes_max = limits::BATCH_BYTES_MAX - limits::SOURCE_BYTES_MAX - 64;
        let mut body = Vec::new();
        let mut origins = Origins::new();
        put_bytes(&mut body, 1, self.source.as_bytes());
        put_number(&mut body, 2, self.number + 1);
        while origins.len() < records_max {
            let Some((record, origin)) = self.held.take().or_else(|| self.next_record(faults))
            else {
                break;
            };
            if body.len() + record.len() + 8 > bytes_max {
                self.held = Some((record, origin));
                break;
            }
            put_bytes(&mut body, 3, &record);
            origins.push(origin);
        }
        if origins.is_empty() {
            return None;
        }
        self.number += 1;
        let records = u32::try_from(origins.len()).unwrap_or(u32::MAX);
        Some(Batch { number: self.number, records, frame: BatchFrame::from(body), tag: origins })
    }

    fn next_record(&mut self, faults: &mut Vec<Fault>) -> Option<(Vec<u8>, (u64, String))> {
        for row in self.rows.by_ref() {
            match row {
                Ok(Row { line, content }) => {
                    let mut bytes = Vec::with_capacity(96);
                    encode(&content, &mut bytes);
                    return Some((bytes, (line, content.record_id)));
                }
                Err(fault) => faults.push(fault),
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
        let mut batcher = Batcher { rows: Box::new(rows), source: "s", number: 0, held: None };
        let (mut lines, mut sizes) = (Vec::new(), Vec::new());
        while let Some(batch) = batcher.next_batch(400, &mut Vec::new()) {
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
