//! MaxMind's GeoLite2 and GeoIP2 Country and City -> the text of a table of addresses.
//!
//! ```text
//!  Locations-en.csv -> places.rs -+
//!  Blocks-IPv4.csv  ---------------+-> csv_files.rs -+
//!  Blocks-IPv6.csv  ---------------+                 +-> networks.rs -> the table's text
//!  *.mmdb           -> mmdb.rs ----------------------+   merges, writes
//! ```
//!
//! Networks are written as they are read; neighbours of one location become one network, so that
//! a coarse level makes a small table. What was written before an error is of no use.

mod csv_files;
mod mmdb;
mod networks;
mod places;

use std::io;
use std::str::FromStr;

use jiff::civil::Date;

use crate::Fault;

pub use csv_files::import_maxmind_csv;
pub use mmdb::import_maxmind_mmdb;

/// How finely locations are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `CH`
    Country,
    /// `CH/ZH`: with the ISO code of the largest subdivision, where MaxMind knows it.
    Subdivision,
    /// `CH/ZH/Zurich`: with the city's English name too, where MaxMind knows it.
    City,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "country" => Ok(Self::Country),
            "subdivision" => Ok(Self::Subdivision),
            "city" => Ok(Self::City),
            _ => Err(format!("{text:?} is no level: write country, subdivision or city")),
        }
    }
}

/// What the table's first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTableHead {
    /// As ids of tables are: letters, digits, `-` and `_`.
    pub id: String,
    /// From 1.
    pub version: u32,
    /// The first date on which it is in force.
    pub starts: Date,
    /// The version of equal start that this one replaces.
    pub supersedes: Option<u32>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Rows of the table.
    pub rows: usize,
    /// Bytes of its text.
    pub bytes: usize,
    /// Networks that were left out because MaxMind knows no country for them.
    pub unplaced: u64,
}

/// Why no table came of it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file of comma-separated values does not say what it should.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A database does not.
    #[error("{file}: {problem}; fetch it again, as a Country or City database of MaxMind")]
    Database {
        /// The file, as the caller called it.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// More than a table holds.
    #[error(
        "the table grows past {rows} rows or {bytes} bytes; choose a coarser level, or leave out a file"
    )]
    TooLarge {
        /// Rows of a table.
        rows: usize,
        /// Bytes of its text.
        bytes: usize,
    },
    /// No network is anywhere.
    #[error("no network has a location; see that the files hold blocks and their locations")]
    Empty,
    /// The table can't be written.
    #[error("the table can't be written: {0}; see that there is room, and run again")]
    Output(#[from] io::Error),
}
