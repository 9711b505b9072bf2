//! The options of all commands that send records in batches.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::exceptions_file::ExceptionsFile;

/// Options for sending records and reporting their outcomes.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Records per batch
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) batch: u32,
    /// Batches in flight
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) window: u16,
    /// Write every bad, suspended or rejected row to this CSV file
    #[arg(long, value_name = "FILE")]
    pub(crate) exceptions: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BatchArgs {
    /// Opens the file of `--exceptions`, for records of `input`.
    pub(crate) fn exceptions(&self, input: &Path) -> anyhow::Result<Option<ExceptionsFile>> {
        self.exceptions.as_deref().map(|path| ExceptionsFile::open(path, input)).transpose()
    }
}
