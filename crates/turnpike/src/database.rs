//! The shared database's address, opening it, and waiting for it.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use turnpike_store::{OpenOptions, SharedDatabase, StoreError};

use crate::config::Config;
use crate::exit::usage;
use crate::telemetry::Probe;

/// Between two tries to reach a database, at first and at the most.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(2);

/// Where the shared database is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DatabaseArgs {
    /// The shared database: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, env = "TURNPIKE_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
}

impl DatabaseArgs {
    /// Its address, which may hold a password.
    pub(crate) fn url<'a>(&'a self, config: &'a Config) -> anyhow::Result<&'a str> {
        self.database.as_deref().or(config.database.as_deref()).ok_or_else(|| {
            usage(
                "no shared database is named; say --database sqlite:PATH or \
                 --database postgres://USER@HOST/DATABASE (or set TURNPIKE_DATABASE)",
            )
        })
    }

    /// Opens it, and brings its schema up to date; at once or not at all.
    pub(crate) async fn open(&self, config: &Config) -> anyhow::Result<Arc<dyn SharedDatabase>> {
        // The error shows the address itself, without its password.
        turnpike_store::open(self.url(config)?, &OpenOptions::default())
            .await
            .context("the shared database can't be opened (--database)")
    }
}

/// Opens the database at `url`, and waits for one that does not answer yet.
///
/// # Errors
/// What waiting can't mend: an address that can't be used, a wrong password, a server that does not
/// keep what it commits, a schema of a newer release.
pub(crate) async fn open_when_there(
    url: &str,
    probe: &Probe,
) -> anyhow::Result<Arc<dyn SharedDatabase>> {
    let options = OpenOptions::default();
    when_there(probe, StoreError::is_transient, || turnpike_store::open(url, &options))
        .await
        .context("the shared database can't be opened (--database)")
}

/// Tries until the database answers: each cause is told in the log and by `probe`.
///
/// # Errors
/// The first error that waiting can't mend.
pub(crate) async fn when_there<T, E: Display, F>(
    probe: &Probe,
    is_transient: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut again = AGAIN_FIRST;
    loop {
        match attempt().await {
            Err(error) if is_transient(&error) => {
                probe.waits(format!("waiting for the shared database: {error}"));
                tracing::warn!(%error, "waiting for the shared database");
                tokio::time::sleep(again).await;
                again = (again * 2).min(AGAIN_MOST);
            }
            other => return other,
        }
    }
}
