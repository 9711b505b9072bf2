//! The address of the shared database, and opening it, with or without waiting.

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

/// The first and the longest wait between two attempts to reach a database.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(2);

/// The options for the shared database.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DatabaseArgs {
    /// The shared database: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, env = "TURNPIKE_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
}

impl DatabaseArgs {
    /// The address, which may contain a password.
    pub(crate) fn resolve(self, config: &Config) -> anyhow::Result<String> {
        self.database.or_else(|| config.database.clone()).ok_or_else(|| {
            usage(
                "no shared database is named; use --database sqlite:PATH or \
                 --database postgres://USER@HOST/DATABASE (or set TURNPIKE_DATABASE)",
            )
        })
    }
}

/// Opens the database at `url` and migrates its schema; fails at once if it does not answer.
pub(crate) async fn open(url: &str) -> anyhow::Result<Arc<dyn SharedDatabase>> {
    // The error includes the address, without its password.
    turnpike_store::open(url, &OpenOptions::default())
        .await
        .context("the shared database can't be opened (--database)")
}

/// Brings the schema of the database at `url` up to date. On PostgreSQL, also grants the rights on its
/// tables to the roles that `turnpike database roles` creates.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<()> {
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|of| url.starts_with(of));
    let done = if is_postgres {
        turnpike_store::postgres::migrate(url).await
    } else {
        turnpike_store::open(url, &OpenOptions::default()).await.map(drop)
    };
    done.context("the shared database can't be migrated (--database)")
}

/// Opens the database at `url`; waits while it does not answer.
///
/// # Errors
/// Errors that waiting can't resolve: an unusable address, a wrong password, a server without
/// durable commits, a schema of a newer release.
pub(crate) async fn open_when_there(
    url: &str,
    probe: &Probe,
) -> anyhow::Result<Arc<dyn SharedDatabase>> {
    let options = OpenOptions::default();
    when_there(probe, StoreError::is_transient, || turnpike_store::open(url, &options))
        .await
        .context("the shared database can't be opened (--database)")
}

/// Repeats `open` until the database answers. The log and `probe` report each failure.
///
/// # Errors
/// The first error that waiting can't resolve.
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
