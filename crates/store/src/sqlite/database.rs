//! The handle of the database in a SQLite file, and how statements run: reads on a pool of reading
//! connections, writes in transactions of the writing connection.

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::writer::Writer;
use crate::clock::Clock;
use crate::sql::spec_cache::SpecCache;
use crate::sql::statement::{bound, run_statements};

/// The shared database in a SQLite file.
pub struct SqliteDatabase {
    pub(super) readers: SqlitePool,
    pub(super) writer: Writer,
    pub(super) clock: Clock,
    pub(super) specs: SpecCache,
}

impl SqliteDatabase {
    /// A session in which each statement reads the newest commit.
    pub(super) const fn reading(&self) -> Reading<'_> {
        Reading(&self.readers)
    }
}

/// Runs each statement on one of the reading connections.
pub(super) struct Reading<'a>(&'a SqlitePool);

run_statements!(Reading<'_>, reading => reading.0);
// The statements of an open transaction.
run_statements!(SqliteConnection, connection => connection);
