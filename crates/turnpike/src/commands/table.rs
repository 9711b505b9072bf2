//! `turnpike table`: reference tables in files and in the catalogue.

mod maxmind;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use turnpike_proto::plan::v1::{
    GetTableRequest, ListTablesRequest, PublishTableRequest, TableVersion,
};

use crate::client::{ClientArgs, ClientSettings, stated};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::tables::{parse, read_text};
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike table check world-dial.csv
  turnpike table publish world-dial.csv
  turnpike table list
  turnpike table show world-dial --version 1 > world-dial.csv
  turnpike table from-maxmind --id geo --version 1 --starts 2026-02-01 --level country \\
    GeoLite2-Country.mmdb > geo.csv";

/// The table commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TableCommand {
    /// Checks tables in files, without a cluster
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Tables: a first line with the table's properties, then CSV
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Adds tables to the catalogue; a published version never changes
    Publish(TablePublishArgs),
    /// Lists the tables in the catalogue
    List(TableListArgs),
    /// Prints a published table
    Show(TableShowArgs),
    /// Converts MaxMind's GeoLite2 or GeoIP2 files to a table of addresses
    FromMaxmind(maxmind::MaxmindArgs),
}

const CHECK_EXAMPLES: &str = "\
The exit code is 1 if a table is invalid; each error is shown with its line.

Examples:
  turnpike table check world-dial.csv
  turnpike table check tables/*.csv";

const PUBLISH_EXAMPLES: &str = "\
The first version of a table may start on any date. A further version must be of the same kind, and
must start on a date that has not begun in any time zone.

Examples:
  turnpike table publish world-dial.csv
  turnpike table publish tables/*.csv";

/// Options of `table publish`.
#[derive(Debug, Args)]
#[command(after_help = PUBLISH_EXAMPLES)]
#[command(after_long_help = format!("{PUBLISH_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct TablePublishArgs {
    /// Tables: a first line with the table's properties, then CSV
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

const LIST_EXAMPLES: &str = "\
Examples:
  turnpike table list
  turnpike table list --table world-dial --json";

/// Options of `table list`.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct TableListArgs {
    /// Only this table's versions
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    table: Option<String>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  turnpike table show world-dial
  turnpike table show world-dial --version 1 > world-dial.csv";

/// Options of `table show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct TableShowArgs {
    /// The table's id
    #[arg(value_name = "ID")]
    table: String,
    /// The table's version [default: the newest]
    #[arg(long = "table-version", visible_alias = "version", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(command: TableCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        TableCommand::Check { files } => check(&files),
        TableCommand::Publish(args) => publish(args.resolve(context)?).await,
        TableCommand::List(args) => list(args.resolve(context)?).await,
        TableCommand::Show(args) => show(args.resolve(context)?).await,
        TableCommand::FromMaxmind(args) => maxmind::run(&args),
    }
}

fn check(files: &[PathBuf]) -> anyhow::Result<Finish> {
    let mut wrong = 0;
    for file in files {
        match read_text(file).and_then(|text| check_one(file, &text)) {
            Ok(title) => ui::print(format_args!("{}: {title}", file.display()))?,
            Err(error) => {
                wrong += 1;
                ui::print_stderr(format_args!("{error:#}"));
            }
        }
    }
    if wrong > 0 {
        bail!("{wrong} of {} tables are invalid; correct the errors above", files.len());
    }
    Ok(Finish::Done)
}

/// Checks a table and prints its warnings. Returns its id, version, start and content hash as text.
fn check_one(file: &Path, text: &str) -> anyhow::Result<String> {
    let table = parse(file, text)?;
    let hash: String =
        table.content_hash().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "table {} version {}, from {}, {}, {} rows, content {hash}: it can be published",
        table.id(),
        table.version(),
        table.starts(),
        table.kind(),
        ui::count(table.rows() as u64)
    ))
}

/// The resolved settings of `table publish`.
struct TablePublishSettings {
    files: Vec<PathBuf>,
    client: ClientSettings,
}

impl TablePublishArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<TablePublishSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(TablePublishSettings { files: self.files, client })
    }
}

async fn publish(settings: TablePublishSettings) -> anyhow::Result<Finish> {
    // All files are read before the first table is published.
    let texts: Vec<String> =
        settings.files.iter().map(|file| read_text(file)).collect::<anyhow::Result<_>>()?;
    let front = settings.client.connect().await?;
    for (file, text) in settings.files.iter().zip(texts) {
        let request = PublishTableRequest { text };
        let doing = format!("{} was not published", file.display());
        let answer = front
            .call(&doing, || {
                let (mut plans, request) = (front.plans(), request.clone());
                async move { plans.publish_table(request).await }
            })
            .await?;
        for warning in &answer.warnings {
            ui::print_stderr(format_args!("{}: warning: {warning}", file.display()));
        }
        let TableVersion { table_id, version, starts, kind, rows, .. } =
            stated(answer.table, "the published table")?;
        let what = if answer.already { "was in the catalogue already" } else { "published" };
        let rows = ui::count(rows);
        ui::print(format_args!(
            "table {table_id} version {version}, from {starts}, {kind}, {rows} rows: {what}"
        ))?;
    }
    Ok(Finish::Done)
}

#[derive(Serialize)]
struct Listed {
    table_id: String,
    version: u32,
    starts: String,
    kind: String,
    rows: u64,
    bytes: u64,
    content_hash: String,
    catalogue_version: u64,
    published_at: String,
}

/// The resolved settings of `table list`.
struct TableListSettings {
    table: Option<String>,
    json: bool,
    client: ClientSettings,
}

impl TableListArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<TableListSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(TableListSettings { table: self.table, json: self.json, client })
    }
}

async fn list(settings: TableListSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let request = ListTablesRequest { table_id: settings.table.clone().unwrap_or_default() };
    let answer = front
        .call("the catalogue could not be read", || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.list_tables(request).await }
        })
        .await?;
    let listed: Vec<Listed> = answer.tables.into_iter().map(Listed::from).collect();
    if let (true, Some(id)) = (listed.is_empty(), &settings.table) {
        bail!("the catalogue has no table {id} (see `turnpike table list`)");
    }
    if settings.json {
        ui::print_json(&listed)?;
        return Ok(Finish::Done);
    }
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|table| {
            let hash = table.content_hash.chars().take(12).collect();
            let (version, rows) = (table.version.to_string(), ui::count(table.rows));
            vec![table.table_id, version, table.starts, table.kind, rows, hash, table.published_at]
        })
        .collect();
    ui::print_table(
        &["TABLE", "VERSION", "STARTS", "KIND", "ROWS", "CONTENT", "PUBLISHED"],
        &rows,
    )?;
    Ok(Finish::Done)
}

impl From<TableVersion> for Listed {
    fn from(table: TableVersion) -> Self {
        Self {
            table_id: table.table_id,
            version: table.version,
            starts: table.starts,
            kind: table.kind,
            rows: table.rows,
            bytes: table.bytes,
            content_hash: table.content_hash,
            catalogue_version: table.catalogue_version,
            published_at: values::show_instant(table.published_at_us),
        }
    }
}

/// The resolved settings of `table show`.
struct TableShowSettings {
    table: String,
    version: u32,
    client: ClientSettings,
}

impl TableShowArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<TableShowSettings> {
        let client = self.client.resolve(&context.config)?;
        // In a request, version 0 means the newest version.
        Ok(TableShowSettings { table: self.table, version: self.version.unwrap_or(0), client })
    }
}

async fn show(settings: TableShowSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let TableShowSettings { table, version, .. } = settings;
    let request = GetTableRequest { table_id: table.clone(), version };
    let doing = format!("table {table} can't be shown (see `turnpike table list`)");
    let answer = front
        .call(&doing, || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.get_table(request).await }
        })
        .await?;
    ui::print(answer.text.trim_end())?;
    Ok(Finish::Done)
}
