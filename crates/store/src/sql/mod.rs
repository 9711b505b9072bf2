//! Code that the SQLite and PostgreSQL implementations share.
//!
//! ```text
//!  errors.rs      converts errors of sqlx to StoreError
//!  rows.rs        rows as tuples, and their conversion to the types of model.rs
//!  observed.rs    converts the rows of an observation (observe.sql) to an Observation
//!  packed.rs      the lists of a heartbeat, each packed into one column
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
