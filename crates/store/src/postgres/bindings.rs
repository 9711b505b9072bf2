//! Bindings of identities to accounts (P28).

use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use turnpike_types::{AccountNumber, PrefixLengths, Timestamp};

use super::catalogue::lock;
use super::session::BINDING_LOCK;
use super::{APPEND_LIMIT, BEAT_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::bindings::{self, Asked, BindingRow, Histories, RowChange};
use crate::rules;
use crate::sql::errors::classify;
use crate::sql::rows::{
    BindingRowTuple, BindingTuple, binding, binding_row, bindings_mark, prefix_lengths, stored,
};
use crate::sql::statements;
use crate::{
    BindOutcome, Binding, BindingsMark, IdentityHistory, RebindOutcome, Rebinding, StoreResult,
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
/// The most identities of an older release that get their keys in one transaction.
const READ_AT_ONCE: i64 = 10_000;

const BIND: &str = "bind identities";

impl PostgresDatabase {
    pub(super) async fn bind_all(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        rules::check_bindings(bindings)?;
        let bindings = bindings.to_vec();
        let lease = self.bulk.lease(BIND, BULK_LIMIT).await?;
        lease.transaction(move |connection| Box::pin(bind(connection, bindings))).await
    }

    pub(super) async fn rebind_all(
        &self,
        changes: &[Rebinding],
    ) -> StoreResult<Vec<RebindOutcome>> {
        rules::check_bindings(changes.iter().map(Rebinding::binding))?;
        let changes = changes.to_vec();
        let lease = self.bulk.lease(BIND, BULK_LIMIT).await?;
        lease.transaction(move |connection| Box::pin(rebind(connection, changes))).await
    }

    pub(super) async fn histories(
        &self,
        identities: &[String],
    ) -> StoreResult<Vec<IdentityHistory>> {
        const DOING: &str = "guide";
        let mut lengths = self.lengths_of_prefixes(DOING).await?;
        loop {
            let asked: Vec<Asked> =
                identities.iter().map(|text| Asked::of(text, lengths)).collect();
            let keys = bindings::keys_asked(&asked);
            let statement = query_as::<_, BindingRowTuple>(HISTORIES).bind(&keys);
            let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
            let rows = lease.fetch_all(statement).await?;
            // A change of several keys must be found as a whole or not at all, so one query reads
            // all keys. If the lengths of bound prefixes have changed since, the query is repeated.
            // Lengths are only added, so the loop ends.
            let now = self.lengths_of_prefixes(DOING).await?;
            if now == lengths {
                return Ok(bindings::guided(&asked, rows.into_iter().map(binding_row)));
            }
            lengths = now;
        }
    }

    async fn lengths_of_prefixes(&self, doing: &'static str) -> StoreResult<PrefixLengths> {
        let lease = self.bulk.lease(doing, BULK_LIMIT).await?;
        let lengths = lease.fetch_all(query_as(statements::PREFIX_LENGTHS)).await?;
        prefix_lengths(lengths, doing)
    }

    pub(super) async fn mark_of_bindings(&self) -> StoreResult<BindingsMark> {
        let lease = self.observer.lease("version of bindings", BEAT_LIMIT).await?;
        Ok(bindings_mark(lease.fetch_one(query_as(statements::BINDINGS_MARK)).await?))
    }

    pub(super) async fn advance_mark(&self) -> StoreResult<bool> {
        let lease = self.log.lease("advance the mark of look-ups", APPEND_LIMIT).await?;
        Ok(lease.execute(query(ADVANCE_GUIDED)).await? > 0)
    }

    pub(super) async fn bindings_of_account(
        &self,
        account: AccountNumber,
        most: usize,
    ) -> StoreResult<Vec<Binding>> {
        let statement = query_as::<_, BindingTuple>(statements::BINDINGS_OF)
            .bind(stored(account.0))
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
        let lease = self.bulk.lease("list bindings", APPEND_LIMIT).await?;
        Ok(lease.fetch_all(statement).await?.into_iter().map(binding).collect())
    }
}

/// Adds bindings under the advisory lock for bindings: no row lock prevents overlapping bindings.
async fn bind(connection: &mut PgConnection, asked: Vec<Binding>) -> StoreResult<Vec<BindOutcome>> {
    let identities = asked.iter().map(|one| one.identity.as_str());
    let mut histories = locked_histories(connection, identities).await?;
    let recorded = recording_instant(connection).await?;
    let (outcomes, writes) = bindings::judge_bindings(&mut histories, &asked, recorded);
    insert(connection, &writes).await?;
    note_changes(connection, &writes, recorded).await?;
    Ok(outcomes)
}

async fn rebind(
    connection: &mut PgConnection,
    asked: Vec<Rebinding>,
) -> StoreResult<Vec<RebindOutcome>> {
    let identities = asked.iter().map(|one| one.binding().identity.as_str());
    let mut histories = locked_histories(connection, identities).await?;
    let recorded = recording_instant(connection).await?;
    let (outcomes, writes) = bindings::judge_rebindings(&mut histories, &asked, recorded);
    for write in &writes {
        let statement = match write {
            RowChange::Delete { identity, from } => {
                query(statements::DELETE_BINDING).bind(identity).bind(from.micros())
            }
            RowChange::End { identity, from, until } => query(statements::END_BINDING)
                .bind(identity)
                .bind(from.micros())
                .bind(until.micros()),
            RowChange::Insert(row) => query(statements::INSERT_BINDING)
                .bind(&row.identity)
                .bind(stored(row.account.0))
                .bind(row.from.micros())
                .bind(row.until.micros())
                .bind(bindings::key_of(&row.identity))
                .bind(row.stored_recorded()),
            RowChange::Withdraw(row) => query(statements::INSERT_WITHDRAWN)
                .bind(&row.identity)
                .bind(stored(row.account.0))
                .bind(row.from.micros())
                .bind(row.until.micros())
                .bind(bindings::key_of(&row.identity))
                .bind(row.stored_recorded())
                .bind(row.withdrawn.micros()),
        };
        statement.execute(&mut *connection).await.map_err(|error| classify(BIND, &error))?;
    }
    note_changes(connection, &writes, recorded).await?;
    Ok(outcomes)
}

/// Takes the advisory lock for bindings until the end of the transaction, then reads the histories.
async fn locked_histories<'a>(
    connection: &mut PgConnection,
    identities: impl Iterator<Item = &'a str>,
) -> StoreResult<Histories> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    lock(connection, BINDING_LOCK).await.map_err(failed)?;
    // Processes of an older release may have added rows without keys.
    while read_some(connection).await? {}
    let rows: Vec<BindingRowTuple> = query_as(HISTORIES)
        .bind(bindings::keys_of(identities))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    Ok(Histories::of(rows.into_iter().map(binding_row)))
}

/// The instant at which the next change of bindings is recorded. The transaction holds the advisory
/// lock for bindings.
async fn recording_instant(connection: &mut PgConnection) -> StoreResult<Timestamp> {
    let read: Result<(i64, i64, i64), _> = query_as(LAST_RECORDED).fetch_one(connection).await;
    let (last, guided, now) = read.map_err(|error| classify(BIND, &error))?;
    Ok(bindings::recording_instant(Timestamp(last), Timestamp(now), Timestamp(guided)))
}

/// Inserts the new rows of `writes`, which holds no other change.
async fn insert(connection: &mut PgConnection, writes: &[RowChange]) -> StoreResult<()> {
    let new: Vec<&BindingRow> = writes
        .iter()
        .filter_map(|write| if let RowChange::Insert(row) = write { Some(row) } else { None })
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = new.iter().map(|row| row.identity.as_str()).collect();
    let accounts: Vec<i64> = new.iter().map(|row| stored(row.account.0)).collect();
    let from: Vec<i64> = new.iter().map(|row| row.from.micros()).collect();
    let until: Vec<i64> = new.iter().map(|row| row.until.micros()).collect();
    let recorded: Vec<Option<i64>> = new.iter().map(|row| row.stored_recorded()).collect();
    let statement = query(INSERT_BINDINGS).bind(names).bind(accounts).bind(from).bind(until);
    let done = statement.bind(recorded).execute(connection).await;
    done.map(|_| ()).map_err(|error| classify(BIND, &error))
}

/// Updates the instant of the last change, the lengths of prefixes, and the version of the bindings
/// after a change.
async fn note_changes(
    connection: &mut PgConnection,
    writes: &[RowChange],
    recorded: Timestamp,
) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    if writes.is_empty() {
        return Ok(());
    }
    let identities = bindings::inserted(writes).map(|one| one.identity.as_str());
    for (is_v4, length) in bindings::prefix_lengths(identities) {
        query(statements::INSERT_PREFIX_LENGTH)
            .bind(is_v4)
            .bind(i64::from(length))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    let recording = query(statements::RECORD_BINDINGS).bind(recorded.micros());
    recording.execute(&mut *connection).await.map_err(failed)?;
    let rows = query_as(statements::PREFIX_LENGTHS);
    let lengths = prefix_lengths(rows.fetch_all(&mut *connection).await.map_err(failed)?, BIND)?;
    if bindings::moves_version(writes, lengths) {
        query(statements::BINDINGS_CHANGED).execute(connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Sets the keys of some rows of an older release in a transaction. Returns `false` when no row was
/// left.
pub(super) async fn read_part(connection: &mut PgConnection) -> StoreResult<bool> {
    let failed = |error: sqlx::Error| classify("open", &error);
    let unread: Vec<(String,)> = query_as(statements::UNREAD_BINDINGS)
        .bind(1i64)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    if unread.is_empty() {
        return Ok(false);
    }
    query("BEGIN").execute(&mut *connection).await.map_err(failed)?;
    lock(connection, BINDING_LOCK).await.map_err(failed)?;
    read_some(connection).await?;
    query("COMMIT").execute(connection).await.map_err(failed)?;
    Ok(true)
}

/// Sets the keys of some rows of an older release. Returns `false` when no row was left.
async fn read_some(connection: &mut PgConnection) -> StoreResult<bool> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    let unread: Vec<(String,)> = query_as(statements::UNREAD_BINDINGS)
        .bind(READ_AT_ONCE)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    if unread.is_empty() {
        return Ok(false);
    }
    let identities: Vec<&str> = unread.iter().map(|(identity,)| identity.as_str()).collect();
    let keys: Vec<String> = identities.iter().map(|identity| bindings::key_of(identity)).collect();
    query(READ_BINDINGS)
        .bind(&identities)
        .bind(&keys)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    for (is_v4, length) in bindings::prefix_lengths(identities.into_iter()) {
        query(statements::INSERT_PREFIX_LENGTH)
            .bind(is_v4)
            .bind(i64::from(length))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    query(statements::BINDINGS_CHANGED).execute(connection).await.map_err(failed)?;
    Ok(true)
}
