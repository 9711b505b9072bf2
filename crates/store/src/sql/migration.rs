//! Migrations of the schema.

use crate::{StoreError, StoreResult};

/// A migration of the schema. Each is applied once, in order of versions.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// The schema's version after the migration: 1, 2, 3, …
    pub(crate) version: i64,
    /// The statements of the migration.
    pub(crate) sql: &'static str,
}

/// The migrations that are newer than the version `applied`.
///
/// # Errors
/// `Refused` when the database's schema is newer than this program.
pub(crate) fn pending(
    all: &'static [Migration],
    applied: i64,
) -> StoreResult<impl Iterator<Item = &'static Migration>> {
    let newest = all.last().map_or(0, |migration| migration.version);
    if applied > newest {
        return Err(StoreError::Refused(format!(
            "the database has schema version {applied}, this program knows {newest}: a newer \
             Turnpike has migrated it; run that release or a later one"
        )));
    }
    Ok(all.iter().filter(move |migration| migration.version > applied))
}

/// The migrations in a folder of `migrations/`, each by its version and file.
macro_rules! migrations {
    ($folder:literal: $($version:literal $file:literal,)+) => {
        &[$($crate::sql::migration::Migration {
            version: $version,
            sql: include_str!(concat!("../../../../migrations/", $folder, "/", $file)),
        },)+]
    };
}
pub(crate) use migrations;
