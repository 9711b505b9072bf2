//! Conversion of a file's bytes to lines of text and to rows of cells, independent of the kind of
//! file.
//!
//! ```text
//!  Read -> input.rs   gzip is decompressed, UTF-16 becomes UTF-8, a byte order mark is dropped
//!       -> lines.rs   lines of bounded length, without NUL bytes around them
//!       -> rows.rs    CSV: separator, header, cells
//! ```
//!
//! Memory is bounded by one line and the decoder's fixed buffers, for any file.

mod input;
mod lines;
mod rows;

pub use input::read_text;
pub(crate) use lines::Lines;
pub(crate) use rows::CsvRows;
