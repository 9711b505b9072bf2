//! Opens a database by its address.

use std::sync::Arc;

use crate::memory::MemoryDatabase;
use crate::postgres::PostgresDatabase;
use crate::sqlite::{self, SqliteDatabase, SqliteOptions};
use crate::{OpenOptions, SharedDatabase, StoreError, StoreResult, redacted};

/// Opens the database at `url` and brings its schema up to date.
///
/// Addresses: `sqlite:PATH` (the file is created if it is missing; `?pages-max=N` limits it to N
/// pages of 4,096 bytes), `postgres://…`, or `memory:` for tests (each call creates a new, empty
/// database).
///
/// # Errors
/// [`StoreError::BadUrl`](crate::StoreError), with an address that works instead; `Unavailable`
/// when no server answers at the address; `Refused` when the server's settings could lose commits,
/// or when its schema is newer than this program.
pub async fn open(url: &str, options: &OpenOptions) -> StoreResult<Arc<dyn SharedDatabase>> {
    if url == "memory:" {
        Ok(Arc::new(MemoryDatabase::new()))
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Arc::new(PostgresDatabase::open(url, options).await?))
    } else if url.starts_with("sqlite:") {
        let (path, pages_max) = sqlite::place_of(url)?;
        let options = SqliteOptions { readers_max: options.connections_max, pages_max };
        Ok(Arc::new(SqliteDatabase::open(&path, &options).await?))
    } else {
        let cause = "write sqlite:PATH, postgres://USER@HOST/DATABASE or memory:".to_owned();
        Err(StoreError::BadUrl { url: redacted(url), cause })
    }
}
