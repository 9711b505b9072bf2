//! The table that a conversion writes: its first line, its levels of detail, its size, its errors.

use std::io;
use std::str::FromStr;

use jiff::civil::Date;

use crate::Fault;

/// The level of detail of locations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The country: `CH`.
    Country,
    /// The country and, if MaxMind has it, the ISO code of the largest subdivision: `CH/ZH`.
    Subdivision,
    /// The location as for `Subdivision` and, if MaxMind has it, the city's English name:
    /// `CH/ZH/Zurich`.
    City,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "country" => Ok(Self::Country),
            "subdivision" => Ok(Self::Subdivision),
            "city" => Ok(Self::City),
            _ => Err(format!("{text:?} is not a level: write country, subdivision or city")),
        }
    }
}

/// The fields of the table's first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTableHead {
    /// The id of the table: letters, digits, `-` and `_`.
    pub id: String,
    /// The version, from 1.
    pub version: u32,
    /// The first date on which the version is in force.
    pub starts: Date,
    /// The version with the same start that this version replaces.
    pub supersedes: Option<u32>,
}

/// The size of the table that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The number of rows of the table.
    pub rows: usize,
    /// The length of the table's text, in bytes.
    pub bytes: usize,
    /// The number of networks that were left out because MaxMind has no country for them.
    pub unplaced: u64,
}

/// The reason why no table was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file of comma-separated values has a fault.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A database cannot be read.
    #[error("{file}: {problem}; download a Country or City database of MaxMind again")]
    Database {
        /// The name of the file, as the caller gave it.
        file: String,
        /// The reason why the database cannot be read.
        problem: String,
    },
    /// The networks do not fit in a table.
    #[error(
        "the table grows past {rows} rows or {bytes} bytes; choose a coarser level, or leave out a file"
    )]
    TooLarge {
        /// The maximum number of rows of a table.
        rows: usize,
        /// The maximum length of a table's text, in bytes.
        bytes: usize,
    },
    /// No network has a location.
    #[error("no network has a location; check that the files hold blocks and their locations")]
    Empty,
    /// The table cannot be written.
    #[error("the table can't be written: {0}; check the free disk space, and run again")]
    Output(#[from] io::Error),
}
