//! `turnpike ingest`: sends a file of usage records to the cluster.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::batches::BatchArgs;
use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
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

/// The resolved settings of `ingest`.
#[derive(Debug)]
pub(crate) struct IngestSettings {
    file: PathBuf,
    format: Option<Format>,
    attributes: Vec<String>,
    batches: BatchArgs,
    /// Whether progress is not shown.
    hidden: bool,
    client: ClientSettings,
}

impl IngestArgs {
    pub(crate) fn resolve(self, context: &Context) -> anyhow::Result<IngestSettings> {
        Ok(IngestSettings {
            file: self.file,
            format: self.format,
            attributes: self.attributes,
            hidden: context.quiet || self.batches.json,
            batches: self.batches,
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(crate) async fn run(settings: IngestSettings) -> anyhow::Result<Finish> {
    let attributes: BTreeSet<String> = settings.attributes.iter().cloned().collect();
    let (path, format) = (settings.file.as_path(), settings.format);
    let named = settings.attributes.as_slice();
    let rows = usage_file::rows(Source { path, format, attributes: &attributes, named })?;
    let name = settings.file.display().to_string();
    let exceptions = settings.batches.exceptions(path)?;
    let front = settings.client.connect().await?;
    let bar = ui::progress(None, name.clone(), settings.hidden);
    let source: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
    let sending = Sending {
        source: &source,
        batch_records: settings.batches.batch,
        window: usize::from(settings.batches.window),
    };
    let report = FileReport { file: name, ..FileReport::default() };
    let report = usage_file::send(&front, &sending, rows, report, &bar).await?;
    report.print(settings.batches.json, exceptions)
}
