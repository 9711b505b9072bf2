//! Bindings of identities to accounts (P28). The advisory lock for bindings is held while they change:
//! no row lock prevents overlapping bindings.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use turnpike_types::AccountNumber;

use super::database::{APPEND_LIMIT, BEAT_LIMIT, BULK_LIMIT, PostgresDatabase};
use super::locks::{BINDING_LOCK, lock};
use crate::identities::bindings::{self, Asked};
use crate::identities::check_bindings;
use crate::identities::row::{BindingRow, key_of};
use crate::sql::errors::classify;
use crate::sql::identities::{
    self, ADVANCE, BIND, BindingRowTuple, BindingsTransaction, UNREAD_BINDINGS, binding_row,
};
use crate::sql::statement::{SqlSession, SqlStatement};
use crate::sql::values::stored;
use crate::{
    BindOutcome, Binding, BindingsMark, IdentityHistory, IdentityStore, RebindOutcome, Rebinding,
    StoreResult,
};

/// Parameter: keys, that is, identities in canonical spelling. Returns a [`BindingRowTuple`] for
/// each row in force or withdrawn. The key of a row of an older release is NULL; such a row is
/// found only if its identity is in canonical spelling.
const HISTORIES: &str = "SELECT identity, account, from_us, until_us, recorded_us, NULL::bigint \
     FROM bindings WHERE canonical = ANY($1) OR (canonical IS NULL AND identity = ANY($1)) \
     UNION ALL SELECT identity, account, from_us, until_us, recorded_us, withdrawn_us \
     FROM withdrawn_bindings WHERE canonical = ANY($1)";
/// Parameters: identities in canonical spelling (also stored as keys), accounts, from_us, until_us,
/// recorded_us.
const INSERT_BINDINGS: &str = "INSERT INTO bindings (identity, account, from_us, until_us, canonical, recorded_us) \
     SELECT i, a, f, u, i, r \
     FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
     AS new (i, a, f, u, r)";
/// Locks the row of `store` until the end of the transaction. So guided_through_us does not advance
/// while a change waits for its commit and look-ups do not see it. Returns the instant of the last
/// recorded change, guided_through_us, and the clock.
const LAST_RECORDED: &str = "SELECT bindings_recorded_us, guided_through_us, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM store FOR UPDATE";
/// Updates no row while a change of bindings holds the lock of the row.
const ADVANCE_GUIDED: &str = "UPDATE store SET guided_through_us = \
     greatest(guided_through_us, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) \
     WHERE ctid IN (SELECT ctid FROM store FOR UPDATE SKIP LOCKED)";
/// Parameters: identities as stored, and their keys (canonical spellings).
const READ_BINDINGS: &str = "UPDATE bindings SET canonical = read.canonical \
     FROM unnest($1::text[], $2::text[]) AS read (identity, canonical) \
     WHERE bindings.identity = read.identity AND bindings.canonical IS NULL";

#[async_trait]
impl IdentityStore for PostgresDatabase {
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        check_bindings(bindings)?;
        let asked = bindings.to_vec();
        let lease = self.bulk.lease(BIND, BULK_LIMIT).await?;
        lease
            .transaction(move |connection| {
                Box::pin(async move {
                    lock(connection, BINDING_LOCK, BIND).await?;
                    identities::bind(connection, &asked).await
                })
            })
            .await
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        check_bindings(changes.iter().map(Rebinding::binding))?;
        let asked = changes.to_vec();
        let lease = self.bulk.lease(BIND, BULK_LIMIT).await?;
        lease
            .transaction(move |connection| {
                Box::pin(async move {
                    lock(connection, BINDING_LOCK, BIND).await?;
                    identities::rebind(connection, &asked).await
                })
            })
            .await
    }

    async fn guide(&self, asked_for: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        const DOING: &str = "guide";
        let mut bulk = self.bulk.autocommit(BULK_LIMIT);
        let mut lengths = identities::lengths(&mut bulk, DOING).await?;
        loop {
            let asked: Vec<Asked> = asked_for.iter().map(|text| Asked::of(text, lengths)).collect();
            let keys = bindings::keys_asked(&asked);
            let statement = query_as::<_, BindingRowTuple>(HISTORIES).bind(&keys);
            let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
            let rows = lease.fetch_all(statement).await?;
            // A change of several keys must be found as a whole or not at all, so one query reads
            // all keys. If the lengths of bound prefixes have changed since, the query is repeated.
            // Lengths are only added, so the loop ends.
            let now = identities::lengths(&mut bulk, DOING).await?;
            if now == lengths {
                return Ok(bindings::guided(&asked, rows.into_iter().map(binding_row)));
            }
            lengths = now;
        }
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        identities::mark(&mut self.observer.autocommit(BEAT_LIMIT)).await
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        let lease = self.log.lease(ADVANCE, APPEND_LIMIT).await?;
        Ok(lease.execute(query(ADVANCE_GUIDED)).await? > 0)
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        identities::bindings_of(&mut self.bulk.autocommit(APPEND_LIMIT), account, most).await
    }
}

impl BindingsTransaction for PgConnection {
    async fn rows_of(&mut self, keys: Vec<String>) -> StoreResult<Vec<BindingRowTuple>> {
        let rows = query_as(HISTORIES).bind(keys).fetch_all(self).await;
        rows.map_err(|error| classify(BIND, &error))
    }

    async fn last_recorded(&mut self) -> StoreResult<(i64, i64, i64)> {
        let read = query_as(LAST_RECORDED).fetch_one(self).await;
        read.map_err(|error| classify(BIND, &error))
    }

    async fn insert(&mut self, new: &[&BindingRow]) -> StoreResult<()> {
        let names: Vec<&str> = new.iter().map(|row| row.identity.as_str()).collect();
        let accounts: Vec<i64> = new.iter().map(|row| stored(row.account.0)).collect();
        let from: Vec<i64> = new.iter().map(|row| row.from.micros()).collect();
        let until: Vec<i64> = new.iter().map(|row| row.until.micros()).collect();
        let recorded: Vec<Option<i64>> = new.iter().map(|row| row.stored_recorded()).collect();
        let statement = query(INSERT_BINDINGS).bind(names).bind(accounts).bind(from).bind(until);
        let done = statement.bind(recorded).execute(self).await;
        done.map(|_| ()).map_err(|error| classify(BIND, &error))
    }

    async fn set_keys(&mut self, identities: &[String]) -> StoreResult<()> {
        let keys: Vec<String> = identities.iter().map(|identity| key_of(identity)).collect();
        let done = query(READ_BINDINGS).bind(identities).bind(&keys).execute(self).await;
        done.map(|_| ()).map_err(|error| classify(BIND, &error))
    }
}

/// Sets the keys of some rows of an older release in a transaction. Returns `false` when no row was
/// left.
pub(super) async fn read_part(connection: &mut PgConnection) -> StoreResult<bool> {
    const DOING: &str = "open";
    let failed = |error: sqlx::Error| classify(DOING, &error);
    let unread = SqlStatement::new(UNREAD_BINDINGS).bind(1);
    if connection.rows::<(String,)>(DOING, unread).await?.is_empty() {
        return Ok(false);
    }
    query("BEGIN").execute(&mut *connection).await.map_err(failed)?;
    lock(connection, BINDING_LOCK, DOING).await?;
    identities::read_some(connection).await?;
    query("COMMIT").execute(connection).await.map_err(failed)?;
    Ok(true)
}
