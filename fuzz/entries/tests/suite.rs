//! The tests of the fuzz targets as one program.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod replay;
