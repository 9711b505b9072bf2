//! `turnpike table`: reference tables in files and in the catalogue.

mod maxmind;

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use turnpike_plan::Table;
use turnpike_proto::plan::v1::{
    GetTableRequest, ListTablesRequest, PublishTableRequest, TableVersion,
};
use turnpike_types::limits::TABLE_BYTES_MAX;

use crate::cli::Context;
use crate::client::ClientArgs;
use crate::exit::{EXIT_CODES, Finish};
use crate::{ui, usage_file, values};

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
    Publish(PublishArgs),
    /// Lists the tables in the catalogue
    List(ListArgs),
    /// Prints a published table
    Show(ShowArgs),
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
pub(crate) struct PublishArgs {
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
pub(crate) struct ListArgs {
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
pub(crate) struct ShowArgs {
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
        TableCommand::Publish(args) => publish(&args, context).await,
        TableCommand::List(args) => list(&args, context).await,
        TableCommand::Show(args) => show(&args, context).await,
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

/// Reads the text of a table's file, also if the file is compressed or in UTF-16.
fn read_text(file: &Path) -> anyhow::Result<String> {
    let opened = usage_file::open(file)?;
    Ok(turnpike_collect::read_text(&file.display().to_string(), opened, TABLE_BYTES_MAX)?)
}

/// Reads a table from a file, and prints its warnings.
pub(crate) fn load(file: &Path) -> anyhow::Result<Table> {
    parse(file, &read_text(file)?)
}

fn parse(file: &Path, text: &str) -> anyhow::Result<Table> {
    let name = file.display();
    let table = turnpike_plan::parse_table(text).map_err(|errors| {
        // One error per line, each prefixed with the file, so that editors can jump to it.
        let faults: Vec<String> = errors.0.iter().map(|error| format!("{name}: {error}")).collect();
        anyhow!("{}", faults.join("\n"))
    })?;
    for warning in table.warnings() {
        ui::print_stderr(format_args!("{name}: warning: {warning}"));
    }
    Ok(table)
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

async fn publish(args: &PublishArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    for file in &args.files {
        let request = PublishTableRequest { text: read_text(file)? };
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
            answer.table.unwrap_or_default();
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

async fn list(args: &ListArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    let request = ListTablesRequest { table_id: args.table.clone().unwrap_or_default() };
    let answer = front
        .call("the catalogue could not be read", || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.list_tables(request).await }
        })
        .await?;
    let listed: Vec<Listed> = answer.tables.into_iter().map(Listed::from).collect();
    if let (true, Some(id)) = (listed.is_empty(), &args.table) {
        bail!("the catalogue has no table {id} (see `turnpike table list`)");
    }
    if args.json {
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

async fn show(args: &ShowArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    // In a request, version 0 means the newest version.
    let version = args.version.unwrap_or(0);
    let request = GetTableRequest { table_id: args.table.clone(), version };
    let doing = format!("table {} can't be shown (see `turnpike table list`)", args.table);
    let answer = front
        .call(&doing, || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.get_table(request).await }
        })
        .await?;
    ui::print(answer.text.trim_end())?;
    Ok(Finish::Done)
}
