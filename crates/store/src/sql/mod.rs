//! What the two SQL implementations share.
//!
//! ```text
//!  errors.rs      sqlx's errors -> ours
//!  rows.rs        rows as tuples -> the model
//!  observed.rs    the rows of an observation (observe.sql) -> the model
//!  packed.rs      what a heartbeat lists <-> a column
//!  statements.rs  statements that both dialects understand alike
//!  topology.rs    specs and members, kept until the topology changes
//! ```

pub(crate) mod errors;
pub(crate) mod observed;
pub(crate) mod packed;
pub(crate) mod rows;
pub(crate) mod statements;
pub(crate) mod topology;

/// One step of the schema, applied once, in order.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// 1, 2, 3, …
    pub(crate) version: i64,
    /// Its statements.
    pub(crate) sql: &'static str,
}

/// The migrations after `applied`.
///
/// # Errors
/// `Refused` when the database is newer than this program.
pub(crate) fn pending(
    all: &'static [Migration],
    applied: i64,
) -> crate::StoreResult<impl Iterator<Item = &'static Migration>> {
    let newest = all.last().map_or(0, |migration| migration.version);
    if applied > newest {
        return Err(crate::StoreError::Refused(format!(
            "the database has schema version {applied}, this program knows {newest}: a newer \
             Turnpike has been here; run that one"
        )));
    }
    Ok(all.iter().filter(move |migration| migration.version > applied))
}
