//! Consumers and their cursors: statements, rows and steps.

use turnpike_types::{SegmentHash, SegmentNumber};

use super::errors::corrupt;
use super::statement::{SqlSession, SqlStatement};
use super::values::{hash, loaded, partition_id, stored, stored_partition};
use crate::cursors::check_consumers;
use crate::{Consumer, CursorAck, StoreResult};

/// Parameters: consumer, the hash of an empty log. Inserts one row for each partition in which the
/// consumer has no cursor yet.
const REGISTER_CONSUMER: &str = "INSERT INTO cursors (consumer, partition, segment, row_count, hash) \
     SELECT $1, id, 0, 0, $2 FROM partition_specs WHERE TRUE ON CONFLICT DO NOTHING";

/// Parameter: consumer. Returns the number of other consumers, and the number of this one's cursors.
const OTHER_CONSUMERS: &str = "SELECT count(DISTINCT CASE WHEN consumer <> $1 THEN consumer END), \
     count(CASE WHEN consumer = $1 THEN 1 END) FROM cursors";

/// Parameter: consumer. Returns a [`CursorTuple`] for each partition.
const CURSORS: &str = "SELECT partition, segment, row_count, hash FROM cursors \
     WHERE consumer = $1 ORDER BY partition";

/// Parameters: consumer, partition. Returns a [`CursorTuple`].
const CURSOR: &str = "SELECT partition, segment, row_count, hash FROM cursors \
     WHERE consumer = $1 AND partition = $2";

/// Returns the name of each consumer.
const CONSUMERS: &str = "SELECT DISTINCT consumer FROM cursors ORDER BY consumer";

/// Parameter: consumer.
const REMOVE: &str = "DELETE FROM cursors WHERE consumer = $1";

/// Parameters: consumer, partition, from (segment, row_count, hash), to (segment, row_count, hash).
/// Changes a row only if the cursor is exactly at `from` (P38).
const MOVE_CURSOR: &str = "UPDATE cursors SET segment = $6, row_count = $7, hash = $8 \
     WHERE consumer = $1 AND partition = $2 AND segment = $3 AND row_count = $4 AND hash = $5";

pub(crate) const REGISTER: &str = "register a consumer";
pub(crate) const REMOVING: &str = "remove a consumer";
pub(crate) const ACKNOWLEDGE: &str = "acknowledge";

/// Columns: partition, segment, row_count, hash.
type CursorTuple = (i64, i64, i64, Vec<u8>);

/// Registers a consumer in every partition.
pub(crate) async fn register(session: &mut impl SqlSession, name: &str) -> StoreResult<()> {
    let others = session.row(REGISTER, SqlStatement::new(OTHER_CONSUMERS).bind(name)).await?;
    let (others, known): (i64, i64) =
        others.ok_or_else(|| corrupt(REGISTER, "a count returned no row"))?;
    if known == 0 {
        check_consumers(name, loaded(others))?;
    }
    let hash = SegmentHash::default();
    let statement = SqlStatement::new(REGISTER_CONSUMER).bind(name).bind(&hash.0[..]);
    session.execute(REGISTER, statement).await?;
    Ok(())
}

/// The cursors of a consumer.
pub(crate) async fn cursors(
    session: &mut impl SqlSession,
    name: &str,
) -> StoreResult<Vec<Consumer>> {
    const DOING: &str = "read cursors";
    let rows = session.rows(DOING, SqlStatement::new(CURSORS).bind(name)).await?;
    rows.iter().map(|row| consumer(name, row, DOING)).collect()
}

/// The names of all consumers.
pub(crate) async fn consumers(session: &mut impl SqlSession) -> StoreResult<Vec<String>> {
    let rows = session.rows("list the consumers", SqlStatement::new(CONSUMERS)).await?;
    Ok(rows.into_iter().map(|(name,): (String,)| name).collect())
}

/// Removes a consumer with its cursors.
pub(crate) async fn remove(session: &mut impl SqlSession, name: &str) -> StoreResult<bool> {
    Ok(session.execute(REMOVING, SqlStatement::new(REMOVE).bind(name)).await? > 0)
}

/// Moves a cursor to `to` if it is exactly at `from` (P38).
pub(crate) async fn acknowledge(
    session: &mut impl SqlSession,
    from: &Consumer,
    to: &Consumer,
) -> StoreResult<CursorAck> {
    let (name, partition) = (from.name.as_str(), stored_partition(from.partition));
    let statement = SqlStatement::new(MOVE_CURSOR)
        .bind(name)
        .bind(partition)
        .bind(stored(from.segment.0))
        .bind(stored(from.row))
        .bind(&from.hash.0[..])
        .bind(stored(to.segment.0))
        .bind(stored(to.row))
        .bind(&to.hash.0[..]);
    if session.execute(ACKNOWLEDGE, statement).await? == 1 {
        return Ok(CursorAck::Moved);
    }
    let statement = SqlStatement::new(CURSOR).bind(name).bind(partition);
    match session.row(ACKNOWLEDGE, statement).await? {
        Some(row) => Ok(CursorAck::Elsewhere(consumer(name, &row, ACKNOWLEDGE)?)),
        None => Ok(CursorAck::Unknown),
    }
}

fn consumer(name: &str, row: &CursorTuple, doing: &'static str) -> StoreResult<Consumer> {
    let (partition, segment, rows, own_hash) = row;
    Ok(Consumer {
        name: name.to_owned(),
        partition: partition_id(*partition, doing)?,
        segment: SegmentNumber(loaded(*segment)),
        row: loaded(*rows),
        hash: hash(own_hash, doing)?,
    })
}
