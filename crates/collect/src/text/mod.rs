//! Bytes of a file -> lines of text -> rows of cells. Nothing about any kind of file is known here.
//!
//! ```text
//!  Read -> input.rs   gzip is unpacked, UTF-16 becomes UTF-8, a byte order mark is dropped
//!       -> lines.rs   lines of bounded length, NUL bytes around them dropped
//!       -> rows.rs    CSV: separator, header, cells
//! ```
//!
//! Memory: one line, and the decoder's fixed buffers, whatever the file holds.

mod input;
mod lines;
mod rows;

pub(crate) use lines::Lines;
pub(crate) use rows::CsvRows;
