//! `turnpike ingest`: sends a file of usage records to the cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::client::ClientArgs;
use crate::context::Context;
use crate::exceptions_file::ExceptionsFile;
use crate::exit::{EXIT_CODES, Finish};
use crate::tally::FileReport;
use crate::ui;
use crate::usage_file::{self, Format, Sending, Source};

const EXAMPLES: &str = "\
Columns of a CSV file: record_id, account_number (or identity), usage_type, start_time, end_time or
duration, quantity; measure:NAME is a measure, attribute:NAME or any other column an attribute. A
column whose name resembles a known one (Duration, billsec) is refused, so that a typing error can't
lose usage. JSON lines use the same names, and objects for attributes and measures. Gzip, UTF-16,
semicolons and tabs are recognized. See docs/formats.md. Sending a file again is safe: the records
that the cluster has already are answered as duplicates.

Examples:
  turnpike ingest usage.csv
  turnpike ingest usage.jsonl --json | jq .accepted
  turnpike ingest usage.csv --exceptions left-over.csv
  turnpike ingest usage.csv.gz
  generate-usage | turnpike ingest - --format jsonl
  turnpike ingest cdr.csv --attribute billsec      # billsec is an attribute, not a duration";

/// Options of `ingest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct IngestArgs {
    /// The file (.csv, .jsonl), or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The format of the file [default: by its name]
    #[arg(long)]
    format: Option<Format>,
    /// Read this CSV column as an attribute although its name resembles a known one; in JSON lines:
    /// do not warn about this attribute. Repeat for more
    #[arg(long = "attribute", value_name = "COLUMN")]
    attributes: Vec<String>,
    #[command(flatten)]
    batches: BatchArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options for sending records and reporting their outcomes.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Records per batch
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) batch: u32,
    /// Batches in flight
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) window: u16,
    /// Write every bad, suspended or rejected row to this CSV file
    #[arg(long, value_name = "FILE")]
    pub(crate) exceptions: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BatchArgs {
    /// Opens the file of `--exceptions`, for records of `input`.
    pub(crate) fn exceptions(&self, input: &Path) -> anyhow::Result<Option<ExceptionsFile>> {
        self.exceptions.as_deref().map(|path| ExceptionsFile::open(path, input)).transpose()
    }
}

pub(crate) async fn run(args: IngestArgs, context: &Context) -> anyhow::Result<Finish> {
    let attributes: BTreeSet<String> = args.attributes.iter().cloned().collect();
    let (path, format) = (args.file.as_path(), args.format);
    let named = args.attributes.as_slice();
    let rows = usage_file::rows(Source { path, format, attributes: &attributes, named })?;
    let name = args.file.display().to_string();
    let exceptions = args.batches.exceptions(path)?;
    let front = args.client.connect(&context.config).await?;
    let bar = ui::progress(None, name.clone(), context.quiet || args.batches.json);
    let source: String = name.chars().take(32).collect();
    let sending = Sending {
        source: &source,
        batch_records: args.batches.batch,
        window: usize::from(args.batches.window),
    };
    let report = FileReport { file: name, ..FileReport::default() };
    let report = usage_file::send(&front, &sending, rows, report, &bar).await?;
    report.print(args.batches.json, exceptions)
}
