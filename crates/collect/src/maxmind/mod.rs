//! Conversion of MaxMind's GeoLite2 and GeoIP2 Country and City databases to the text of a table of
//! addresses.
//!
//! ```text
//!  Locations-en.csv -> places.rs -+
//!  Blocks-IPv4.csv  ---------------+-> csv_files.rs -+
//!  Blocks-IPv6.csv  ---------------+                 +-> networks.rs -> the table's text
//!  *.mmdb           -> mmdb.rs ----------------------+   merges, writes
//! ```
//!
//! `table.rs` has the types of the table that is written.
//!
//! Networks are written in the order of reading. Adjacent networks of one location are merged, so
//! that a coarse level gives a small table. After an error the output is incomplete and must be
//! discarded.

mod csv_files;
mod mmdb;
mod networks;
mod places;
mod table;

pub use csv_files::import_maxmind_csv;
pub use mmdb::import_maxmind_mmdb;
pub use table::{AddressTableHead, ImportError, Imported, Level};
