//! `turnpike table from-maxmind`: converts GeoLite2 and GeoIP2 files to a table of addresses.

use std::fs::File;
use std::io::{BufRead, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::civil::Date;
use turnpike_collect::{
    AddressTableHead, ImportError, Imported, Level, import_maxmind_csv, import_maxmind_mmdb,
};

use crate::exit::{EXIT_CODES, Finish, usage};
use crate::{ui, usage_file};

/// The maximum size of a .mmdb file. A City database has about a tenth of it.
const DATABASE_BYTES_MAX: u64 = 1 << 30;

const EXAMPLES: &str = "\
Give one .mmdb file, or one Locations-en.csv with its Blocks-IPv4.csv, its Blocks-IPv6.csv, or both.
The table goes to standard output; after an error, nothing is written.

Examples:
  turnpike table from-maxmind --id geo --version 1 --starts 2026-02-01 --level country \\
    GeoLite2-Country.mmdb > geo.csv
  turnpike table from-maxmind --id geo --version 2 --starts 2026-03-01 --level city \\
    GeoLite2-City-Blocks-IPv4.csv GeoLite2-City-Locations-en.csv > geo.csv";

/// Options of `table from-maxmind`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct MaxmindArgs {
    /// MaxMind's files, CSV or .mmdb
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The table's id
    #[arg(long, value_name = "ID")]
    id: String,
    /// The table's version
    #[arg(long = "table-version", visible_alias = "version", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    /// The first date on which the table is in force
    #[arg(long, value_name = "DATE", value_parser = date)]
    starts: Date,
    /// The version with the same start that this one replaces
    #[arg(long, value_name = "N")]
    supersedes: Option<u32>,
    /// The detail of locations: country, subdivision or city
    #[arg(long, value_name = "LEVEL")]
    level: Level,
}

fn date(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a date; write YEAR-MONTH-DAY, such as 2026-02-01"))
}

pub(super) fn run(args: &MaxmindArgs) -> anyhow::Result<Finish> {
    let head = AddressTableHead {
        id: args.id.clone(),
        version: args.version,
        starts: args.starts,
        supersedes: args.supersedes,
    };
    let mut table = Vec::new();
    let imported = match Given::of(&args.files)? {
        Given::Database(file) => {
            let content = read_database(file)?;
            let name = file.display().to_string();
            import_maxmind_mmdb(&head, args.level, (&name, &content), &mut table)
        }
        Given::Tables { locations, blocks } => {
            let (name, locations) = locations;
            import_maxmind_csv(&head, args.level, (&name, locations), blocks, &mut table)
        }
    };
    let imported = imported.map_err(explain)?;
    print_checked(&table)?;
    print_report(imported);
    Ok(Finish::Done)
}

type Named = (String, Box<dyn BufRead + Send>);

/// The kind of the given files.
enum Given<'a> {
    Database(&'a Path),
    Tables { locations: Named, blocks: Vec<Named> },
}

impl<'a> Given<'a> {
    /// Recognizes CSV files by their first column; their names do not matter.
    fn of(files: &'a [PathBuf]) -> anyhow::Result<Self> {
        const WANTED: &str = "give one .mmdb file, or one Locations-en.csv and its Blocks files";
        let is_database = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "mmdb");
        match files {
            [file] if is_database(file) => return Ok(Self::Database(file)),
            _ if files.iter().any(is_database) => {
                return Err(usage(format!(
                    "a .mmdb file can't be combined with other files: {WANTED}"
                )));
            }
            _ => {}
        }
        let (mut locations, mut blocks): (Vec<Named>, Vec<Named>) = (Vec::new(), Vec::new());
        for file in files {
            let name = file.display().to_string();
            let mut reader = usage_file::open(file)?;
            let start = reader.fill_buf().with_context(|| format!("{name} can't be read"))?;
            let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
            let is_blocks = start.starts_with(b"network,") || start.starts_with(b"\"network\",");
            if is_blocks { &mut blocks } else { &mut locations }.push((name, reader));
        }
        let several = locations.len() > 1;
        match locations.pop() {
            Some(locations) if !several && !blocks.is_empty() => {
                Ok(Self::Tables { locations, blocks })
            }
            Some((name, _)) if several => {
                Err(usage(format!("{name} is one of several files of locations: {WANTED}")))
            }
            Some(_) => Err(usage(format!("no file of blocks is among them: {WANTED}"))),
            None => Err(usage(format!("no file of locations is among them: {WANTED}"))),
        }
    }
}

fn read_database(file: &Path) -> anyhow::Result<Vec<u8>> {
    let name = file.display();
    let mut content = Vec::new();
    let kind =
        std::fs::metadata(file).with_context(|| format!("{name} can't be read; check the path"))?;
    if !kind.is_file() {
        return Err(anyhow!("{name} is a directory, a pipe or a device: name the database file"));
    }
    let read = File::open(file)
        .and_then(|opened| opened.take(DATABASE_BYTES_MAX + 1).read_to_end(&mut content));
    read.with_context(|| format!("{name} can't be read; check the path"))?;
    if content.len() as u64 > DATABASE_BYTES_MAX {
        return Err(anyhow!("{name} has more than {DATABASE_BYTES_MAX} bytes: is it a database?"));
    }
    Ok(content)
}

fn explain(error: ImportError) -> anyhow::Error {
    anyhow::Error::new(error).context("no table was made")
}

/// Checks that the table can be published, and prints it. The catalogue checks the id at
/// publication.
fn print_checked(table: &[u8]) -> anyhow::Result<()> {
    let text = std::str::from_utf8(table).context("the table is not valid UTF-8")?;
    turnpike_plan::parse_table(text)
        .map_err(|errors| anyhow!("{errors}").context("the table could not be published"))?;
    let mut out = std::io::stdout().lock();
    out.write_all(table)?;
    Ok(out.flush()?)
}

fn print_report(imported: Imported) {
    let (rows, bytes) = (ui::count(imported.rows as u64), ui::count(imported.bytes as u64));
    ui::print_stderr(format_args!("{rows} networks, {bytes} bytes"));
    if imported.unplaced > 0 {
        let unplaced = ui::count(imported.unplaced);
        ui::print_stderr(format_args!(
            "{unplaced} networks are left out: no country is known for them"
        ));
    }
}
