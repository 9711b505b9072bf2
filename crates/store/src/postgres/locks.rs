//! Advisory locks, which a transaction holds to its end.

use sqlx::postgres::PgConnection;
use sqlx::query;

use crate::StoreResult;
use crate::sql::errors::classify;

/// The advisory lock for migrations and for the creation of partitions: the letters "turnpike" in
/// ASCII.
pub(super) const TOPOLOGY_LOCK: i64 = 0x7475_726e_7069_6b65;
/// The advisory lock for binding identities.
pub(super) const BINDING_LOCK: i64 = TOPOLOGY_LOCK + 1;

/// Takes an advisory lock until the end of the transaction.
pub(super) async fn lock(
    connection: &mut PgConnection,
    lock: i64,
    doing: &'static str,
) -> StoreResult<()> {
    let locked = query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(connection).await;
    locked.map(|_| ()).map_err(|error| classify(doing, &error))
}
