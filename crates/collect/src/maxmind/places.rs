//! Conversion of countries, subdivisions and cities to locations.

use std::collections::HashMap;
use std::io::Read;
use std::rc::Rc;

use super::table::Level;
use crate::Fault;
use crate::fault::{Problem, shown};
use crate::text::CsvRows;

/// The text of a location; `None` if the place is not in a country. Levels without a name are left
/// out.
pub(super) fn location(
    level: Level,
    country: &str,
    subdivision: &str,
    city: &str,
) -> Option<Rc<str>> {
    if country.is_empty() {
        return None;
    }
    let mut text = plain(country);
    let finer = [(Level::Subdivision, subdivision), (Level::City, city)];
    for (_, name) in finer.iter().filter(|(at, name)| level >= *at && !name.is_empty()) {
        text.push('/');
        text.push_str(&plain(name));
    }
    Some(text.into())
}

/// A name without slashes and control characters: Biel/Bienne becomes Biel-Bienne.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c == '/' { '-' } else { c }).filter(|c| !c.is_control()).collect()
}

/// The index in a file of each column that is read.
pub(super) struct Columns<const N: usize>([Option<usize>; N]);

impl<const N: usize> Columns<N> {
    /// Finds the columns. The first `required` of them must exist.
    pub(super) fn find(
        header: &[String],
        names: [&str; N],
        required: usize,
        remedy: &str,
    ) -> Result<Self, Problem> {
        let find = |name: &str| header.iter().position(|cell| cell == name);
        let places = names.map(find);
        match names.iter().zip(places).take(required).find(|(_, place)| place.is_none()) {
            Some((name, _)) => {
                Err(Problem::row(format!("the header has no column {name}"), remedy))
            }
            None => Ok(Self(places)),
        }
    }

    /// The value of a column; empty if the file does not have the column.
    pub(super) fn cell<'r, R: Read>(&self, column: usize, rows: &'r CsvRows<R>) -> &'r str {
        let place = self.0.get(column).copied().flatten();
        place.and_then(|place| rows.cell(place)).unwrap_or_default().trim()
    }
}

const NAMES: [&str; 4] = ["geoname_id", "country_iso_code", "subdivision_1_iso_code", "city_name"];

/// The location of each `geoname_id` of MaxMind; `None` for a place that is not in a country.
#[derive(Debug)]
pub(super) struct Places(HashMap<u32, Option<Rc<str>>>);

impl Places {
    /// Reads a file of locations.
    pub(super) fn read(file: &str, reader: impl Read, level: Level) -> Result<Self, Fault> {
        let required = match level {
            Level::Country => 2,
            Level::Subdivision => 3,
            Level::City => 4,
        };
        let remedy =
            "give a Locations-en.csv; levels below the country need that of a City database";
        let find = |header: &[String]| Columns::find(header, NAMES, required, remedy);
        let mut rows = CsvRows::open(file, reader, |header| find(header).is_ok())?;
        let columns = find(rows.header()).map_err(|wrong| rows.header_fault(wrong))?;
        let mut places = HashMap::new();
        while let Some(line) = rows.next_row() {
            line?;
            let id = number(NAMES[0], columns.cell(0, &rows)).map_err(|wrong| rows.fault(wrong))?;
            let Some(id) = id else {
                let wrong =
                    Problem::field(NAMES[0], "it is empty", "write MaxMind's number of the place");
                return Err(rows.fault(wrong));
            };
            let cell = |column| columns.cell(column, &rows);
            places.insert(id, location(level, cell(1), cell(2), cell(3)));
        }
        Ok(Self(places))
    }

    /// The location of a `geoname_id`. The outer `None` means that the id is unknown, the inner
    /// `None` that the place is not in a country.
    pub(super) fn get(&self, id: u32) -> Option<Option<&Rc<str>>> {
        self.0.get(&id).map(Option::as_ref)
    }
}

/// Parses a number that identifies a place in MaxMind's files; `None` for an empty text.
pub(super) fn number(column: &str, text: &str) -> Result<Option<u32>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| {
        Problem::field(
            column,
            format!("{} is not a number", shown(text)),
            "give the unmodified file of MaxMind",
        )
    };
    text.parse().map(Some).map_err(wrong)
}
