//! Joins files of blocks with a file of locations.

use std::io::{Read, Write};
use std::rc::Rc;

use ipnet::IpNet;

use super::networks::{self, TableWriter};
use super::places::{Columns, Places, number};
use super::table::{AddressTableHead, ImportError, Imported, Level};
use crate::fault::{Problem, shown};
use crate::text::CsvRows;

const NAMES: [&str; 3] = ["network", "geoname_id", "registered_country_geoname_id"];

/// Writes a table of addresses from MaxMind's CSV files: `locations` is a `Locations-en.csv`,
/// `blocks` are a `Blocks-IPv4.csv`, a `Blocks-IPv6.csv`, or both, each with the file name for
/// messages. The location of a network is that of its `geoname_id` or, if that is not in a country,
/// that of its registered country.
///
/// # Errors
/// The first fault of a file, with its line; more networks than a table can hold, or none; a write
/// error of `out`.
pub fn import_maxmind_csv<L: Read, B: Read, W: Write>(
    head: &AddressTableHead,
    level: Level,
    (locations_name, locations): (&str, L),
    blocks: impl IntoIterator<Item = (String, B)>,
    out: W,
) -> Result<Imported, ImportError> {
    let places = Places::read(locations_name, locations, level)?;
    let mut writer = TableWriter::new(out, head)?;
    for (file, reader) in blocks {
        read_blocks(&file, reader, &places, &mut writer)?;
    }
    writer.finish()
}

fn read_blocks<W: Write>(
    file: &str,
    reader: impl Read,
    places: &Places,
    writer: &mut TableWriter<W>,
) -> Result<(), ImportError> {
    let remedy = "give a Blocks-IPv4.csv or Blocks-IPv6.csv of a Country or City database";
    let find = |header: &[String]| Columns::find(header, NAMES, 2, remedy);
    let mut rows = CsvRows::open(file, reader, |header| find(header).is_ok())?;
    let columns = find(rows.header()).map_err(|wrong| rows.header_fault(wrong))?;
    while let Some(line) = rows.next_row() {
        line?;
        let (network, location) =
            block(&columns, &rows, places).map_err(|wrong| rows.fault(wrong))?;
        if writer.take(network, location)?.is_err() {
            let problem = format!("{network} does not follow the network before it");
            let remedy = "give each file once, and keep MaxMind's order of rows";
            return Err(rows.fault(Problem::field(NAMES[0], problem, remedy)).into());
        }
    }
    Ok(())
}

fn block<'p, R: Read>(
    columns: &Columns<3>,
    rows: &CsvRows<R>,
    places: &'p Places,
) -> Result<(IpNet, Option<&'p Rc<str>>), Problem> {
    let text = columns.cell(0, rows);
    let network = networks::parse(text).ok_or_else(|| {
        let problem = format!("{} is not a network", shown(text));
        Problem::field(
            NAMES[0],
            problem,
            "write a network such as 192.0.2.0/24, without bits set after its prefix",
        )
    })?;
    for (at, name) in NAMES.iter().enumerate().skip(1) {
        let Some(id) = number(name, columns.cell(at, rows))? else { continue };
        let Some(place) = places.get(id) else {
            let remedy = "give locations and blocks of the same release";
            return Err(Problem::field(name, format!("no location has the number {id}"), remedy));
        };
        if place.is_some() {
            return Ok((network, place));
        }
    }
    Ok((network, None))
}
