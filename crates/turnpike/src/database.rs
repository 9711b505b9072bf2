//! The shared database's address, and opening it.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use turnpike_store::{OpenOptions, SharedDatabase};

use crate::config::Config;
use crate::exit::usage;

/// Where the shared database is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DatabaseArgs {
    /// The shared database: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, env = "TURNPIKE_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
}

impl DatabaseArgs {
    /// Opens it, and brings its schema up to date.
    pub(crate) async fn open(&self, config: &Config) -> anyhow::Result<Arc<dyn SharedDatabase>> {
        let url = self.database.as_ref().or(config.database.as_ref()).ok_or_else(|| {
            usage(
                "no shared database is named; say --database sqlite:PATH or \
                 --database postgres://USER@HOST/DATABASE (or set TURNPIKE_DATABASE)",
            )
        })?;
        // The error shows the address itself, without its password.
        turnpike_store::open(url, &OpenOptions::default())
            .await
            .context("the shared database can't be opened (--database)")
    }
}
