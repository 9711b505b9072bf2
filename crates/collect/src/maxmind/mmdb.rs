//! Reads a database in MaxMind's binary format.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::Write;
use std::rc::Rc;

use maxminddb::{LookupResult, Reader, WithinOptions, geoip2};

use super::networks::{self, TableWriter};
use super::places::location;
use super::table::{AddressTableHead, ImportError, Imported, Level};

/// Writes a table of addresses from a Country or City database, given as the content of an `.mmdb`
/// file and the file name for messages. A network without a country gets its registered country.
///
/// # Errors
/// A database that cannot be read; more networks than a table can hold, or none; a write error of
/// `out`.
pub fn import_maxmind_mmdb<W: Write>(
    head: &AddressTableHead,
    level: Level,
    (file, content): (&str, &[u8]),
    out: W,
) -> Result<Imported, ImportError> {
    let reader = Reader::from_source(content).map_err(|error| unreadable(file, error))?;
    let mut writer = TableWriter::new(out, head)?;
    // Many networks share one record of the database, so decoded locations are cached by offset.
    let mut known: HashMap<usize, Option<Rc<str>>> = HashMap::new();
    let networks = reader.networks(WithinOptions::default());
    for found in networks.map_err(|error| unreadable(file, error))? {
        let found = found.map_err(|error| unreadable(file, error))?;
        let range = found.network().map_err(|error| unreadable(file, error))?;
        let network = networks::network(range.ip(), range.prefix())
            .ok_or_else(|| unreadable(file, format!("{range} is not a network")))?;
        let place = match found.offset().and_then(|offset| known.get(&offset)) {
            Some(place) => place.clone(),
            None => {
                let place = place(&found, level).map_err(|error| unreadable(file, error))?;
                found.offset().and_then(|offset| known.insert(offset, place.clone()));
                place
            }
        };
        if writer.take(network, place.as_ref())?.is_err() {
            return Err(unreadable(
                file,
                format!("{network} does not follow the network before it"),
            ));
        }
    }
    writer.finish()
}

fn unreadable(file: &str, problem: impl Display) -> ImportError {
    ImportError::Database { file: file.to_owned(), problem: problem.to_string() }
}

/// The location in a record of the database. A Country database has a subset of the fields of a
/// City database, so both are decoded as City records.
fn place(
    found: &LookupResult<'_, &[u8]>,
    level: Level,
) -> Result<Option<Rc<str>>, maxminddb::MaxMindDbError> {
    let Some(record) = found.decode::<geoip2::City<'_>>()? else { return Ok(None) };
    let Some(country) = record.country.iso_code else {
        let registered = record.registered_country.iso_code.unwrap_or_default();
        return Ok(location(level, registered, "", ""));
    };
    let subdivision = record.subdivisions.first().and_then(|first| first.iso_code);
    let city = record.city.names.english;
    Ok(location(level, country, subdivision.unwrap_or_default(), city.unwrap_or_default()))
}
