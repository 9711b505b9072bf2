//! Code that the SQLite and PostgreSQL implementations share.
//!
//! ```text
//!  errors.rs      errors of sqlx -> StoreError
//!  rows.rs        rows as tuples -> the model
//!  observed.rs    the rows of an observation (observe.sql) -> the model
//!  packed.rs      a heartbeat's lists <-> columns
//!  statements.rs  statements that are the same in both dialects
//!  topology.rs    specs and members, cached until the topology changes
//! ```

pub(crate) mod errors;
pub(crate) mod observed;
pub(crate) mod packed;
pub(crate) mod rows;
pub(crate) mod statements;
pub(crate) mod topology;

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
) -> crate::StoreResult<impl Iterator<Item = &'static Migration>> {
    let newest = all.last().map_or(0, |migration| migration.version);
    if applied > newest {
        return Err(crate::StoreError::Refused(format!(
            "the database has schema version {applied}, this program knows {newest}: a newer \
             Turnpike has migrated it; run that release or a later one"
        )));
    }
    Ok(all.iter().filter(move |migration| migration.version > applied))
}
