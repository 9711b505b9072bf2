//! The catalogue: statements, rows and steps of reading it.

use turnpike_types::Timestamp;

use super::errors::corrupt;
use super::statement::{SqlSession, SqlStatement};
use super::values::{fixed, loaded, stored, stored_limit};
use crate::catalogue::{CATALOGUE_BYTES_MAX, CATALOGUE_HEADS_MAX, CatalogueTotals};
use crate::{CatalogueEntry, CatalogueHead, CatalogueKind, Publish, StoreResult};

/// Parameters: after, the most entries, the most bytes. Returns a
/// [`CatalogueTuple`] for each entry.
const CATALOGUE_SINCE: &str = include_str!("catalogue_since.sql");

/// Parameters: kind, id (null for all), after, the most heads. Returns a
/// [`HeadTuple`] for each version.
const CATALOGUE_HEADS: &str = "SELECT c.catalogue_version, c.kind, c.id, c.version, c.starts, c.content_hash, c.form, \
     c.row_count, c.bytes, c.published_at, t.tz_database \
     FROM catalogue c LEFT JOIN published_with t ON t.catalogue_version = c.catalogue_version \
     WHERE c.kind = $1 AND ($2 IS NULL OR c.id = $2) AND c.catalogue_version > $3 \
     ORDER BY c.catalogue_version LIMIT $4";

/// Parameters: kind, id. Returns a [`HeadTuple`] for each version.
const VERSIONS: &str = "SELECT c.catalogue_version, c.kind, c.id, c.version, c.starts, c.content_hash, c.form, \
     c.row_count, c.bytes, c.published_at, t.tz_database \
     FROM catalogue c LEFT JOIN published_with t ON t.catalogue_version = c.catalogue_version \
     WHERE c.kind = $1 AND c.id = $2 ORDER BY c.catalogue_version";

/// Parameter: kind. Returns the number of ids, and the bytes of all bodies.
const TOTALS: &str = "SELECT count(DISTINCT id), CAST(coalesce(sum(bytes), 0) AS BIGINT) \
     FROM catalogue WHERE kind = $1";

/// Names the operation in errors.
pub(crate) const PUBLISHING: &str = "publish a version";

/// Columns: catalogue_version, kind, id, version, starts, content_hash, form, row_count, bytes,
/// published_at, tz_database (may be null).
type HeadTuple = (i64, String, String, i64, String, Vec<u8>, String, i64, i64, i64, Option<String>);

/// The columns of [`HeadTuple`], then the body.
type CatalogueTuple =
    (i64, String, String, i64, String, Vec<u8>, String, i64, i64, i64, Option<String>, String);

/// The entries after catalogue version `after`.
pub(crate) async fn since(
    session: &mut impl SqlSession,
    after: u64,
    most: usize,
) -> StoreResult<Vec<CatalogueEntry>> {
    const DOING: &str = "read the catalogue";
    let statement = SqlStatement::new(CATALOGUE_SINCE)
        .bind(stored(after))
        .bind(stored_limit(most))
        .bind(stored_limit(CATALOGUE_BYTES_MAX));
    let rows = session.rows(DOING, statement).await?;
    rows.into_iter().map(|row| catalogue_entry(row, DOING)).collect()
}

/// The heads after catalogue version `after`.
pub(crate) async fn heads(
    session: &mut impl SqlSession,
    kind: CatalogueKind,
    id: Option<&str>,
    after: u64,
) -> StoreResult<Vec<CatalogueHead>> {
    const DOING: &str = "list the catalogue";
    let statement = SqlStatement::new(CATALOGUE_HEADS)
        .bind(kind.name())
        .bind(id)
        .bind(stored(after))
        .bind(stored_limit(CATALOGUE_HEADS_MAX));
    let rows = session.rows(DOING, statement).await?;
    rows.into_iter().map(|row| catalogue_head(row, DOING)).collect()
}

/// The heads of all versions of a plan or table.
pub(crate) async fn versions(
    session: &mut impl SqlSession,
    kind: CatalogueKind,
    id: &str,
) -> StoreResult<Vec<CatalogueHead>> {
    let statement = SqlStatement::new(VERSIONS).bind(kind.name()).bind(id);
    let rows = session.rows(PUBLISHING, statement).await?;
    rows.into_iter().map(|row| catalogue_head(row, PUBLISHING)).collect()
}

/// What the catalogue holds of one kind.
pub(crate) async fn totals(
    session: &mut impl SqlSession,
    kind: CatalogueKind,
) -> StoreResult<CatalogueTotals> {
    let row = session.row(PUBLISHING, SqlStatement::new(TOTALS).bind(kind.name())).await?;
    let (ids, bytes): (i64, i64) =
        row.ok_or_else(|| corrupt(PUBLISHING, "a count returned no row"))?;
    Ok(CatalogueTotals { ids: loaded(ids), bytes: loaded(bytes) })
}

/// A statement that inserts a version, with its first ten parameters: the catalogue version that the
/// statement expects or makes, and the version.
pub(crate) fn insertion<'a>(
    text: &'static str,
    catalogue_version: i64,
    publish: &'a Publish,
) -> SqlStatement<'a> {
    SqlStatement::new(text)
        .bind(catalogue_version)
        .bind(publish.kind.name())
        .bind(publish.id.as_str())
        .bind(i64::from(publish.version))
        .bind(publish.starts.as_str())
        .bind(&publish.content_hash[..])
        .bind(publish.form.as_str())
        .bind(stored(publish.rows))
        .bind(stored(publish.body.len() as u64))
        .bind(publish.body.as_str())
}

fn catalogue_head(row: HeadTuple, doing: &'static str) -> StoreResult<CatalogueHead> {
    let (
        catalogue_version,
        kind,
        id,
        version,
        starts,
        content_hash,
        form,
        rows,
        bytes,
        at,
        tz_database,
    ) = row;
    let wrong =
        |what: &str| corrupt(doing, format!("catalogue version {catalogue_version}: {what}"));
    Ok(CatalogueHead {
        catalogue_version: loaded(catalogue_version),
        kind: CatalogueKind::named(&kind).ok_or_else(|| wrong(&format!("kind {kind:?}")))?,
        id,
        version: u32::try_from(version).map_err(|_| wrong(&format!("version {version}")))?,
        starts,
        content_hash: fixed(&content_hash, doing)?,
        form,
        rows: loaded(rows),
        bytes: loaded(bytes),
        published_at: Timestamp(at),
        tz_database,
    })
}

fn catalogue_entry(row: CatalogueTuple, doing: &'static str) -> StoreResult<CatalogueEntry> {
    let (at, kind, id, version, starts, hash, form, rows, bytes, published_at, tzdb, body) = row;
    let head = (at, kind, id, version, starts, hash, form, rows, bytes, published_at, tzdb);
    Ok(CatalogueEntry { head: catalogue_head(head, doing)?, body })
}
