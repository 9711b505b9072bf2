//! Bindings of identities to accounts (P28).

use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};
use turnpike_types::{AccountNumber, PrefixLengths};

use super::catalogue::lock;
use super::session::BINDING_LOCK;
use super::{APPEND_LIMIT, BEAT_LIMIT, BULK_LIMIT, PostgresDatabase};
use crate::bindings::{self, Asked, Histories, RowChange};
use crate::rules;
use crate::sql::errors::classify;
use crate::sql::rows::{BindingTuple, binding, loaded, prefix_lengths, stored};
use crate::sql::statements;
use crate::{BindOutcome, Binding, Guided, RebindOutcome, Rebinding, StoreResult};

/// Parameter: keys; result: [`BindingTuple`]. The key of a row of an
/// older release is NULL; such a row is found only if its identity is in canonical spelling.
const HISTORIES: &str = "SELECT identity, account, from_us, until_us FROM bindings \
     WHERE canonical = ANY($1) OR (canonical IS NULL AND identity = ANY($1))";
/// Parameters: identities in canonical spelling (also stored as keys), accounts, from_us, until_us.
const INSERT_BINDINGS: &str = "INSERT INTO bindings (identity, account, from_us, until_us, canonical) \
     SELECT i, a, f, u, i FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) \
     AS new (i, a, f, u)";
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

    pub(super) async fn histories(&self, identities: &[String]) -> StoreResult<Vec<Guided>> {
        const DOING: &str = "guide";
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let lengths = lease.fetch_all(query_as(statements::PREFIX_LENGTHS)).await?;
        let lengths: PrefixLengths = prefix_lengths(lengths, DOING)?;
        let asked: Vec<Asked> = identities.iter().map(|text| Asked::of(text, lengths)).collect();
        let keys = bindings::keys_asked(&asked);
        let statement = query_as::<_, BindingTuple>(HISTORIES).bind(&keys);
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let rows = lease.fetch_all(statement).await?.into_iter().map(binding);
        Ok(bindings::guided(&asked, rows))
    }

    pub(super) async fn version_of_bindings(&self) -> StoreResult<u64> {
        let lease = self.observer.lease("version of bindings", BEAT_LIMIT).await?;
        let (version,) = lease.fetch_one(query_as(statements::BINDINGS_VERSION)).await?;
        Ok(loaded(version))
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

/// Adds bindings under the lock for binding: "no overlap" is a rule about many rows, which no row
/// lock protects.
async fn bind(connection: &mut PgConnection, asked: Vec<Binding>) -> StoreResult<Vec<BindOutcome>> {
    let identities = asked.iter().map(|one| one.identity.as_str());
    let mut histories = locked_histories(connection, identities).await?;
    let (outcomes, new) = bindings::judge_bindings(&mut histories, &asked);
    insert(connection, &new).await?;
    note_changes(connection, &new, false).await?;
    Ok(outcomes)
}

async fn rebind(
    connection: &mut PgConnection,
    asked: Vec<Rebinding>,
) -> StoreResult<Vec<RebindOutcome>> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    let identities = asked.iter().map(|one| one.binding().identity.as_str());
    let mut histories = locked_histories(connection, identities).await?;
    let (outcomes, writes) = bindings::judge_rebindings(&mut histories, &asked);
    for write in &writes {
        let statement = match write {
            RowChange::Delete { identity, from } => {
                query(statements::DELETE_BINDING).bind(identity).bind(from.micros())
            }
            RowChange::End { identity, from, until } => query(statements::END_BINDING)
                .bind(identity)
                .bind(from.micros())
                .bind(until.micros()),
            RowChange::Insert(new) => query(statements::INSERT_BINDING)
                .bind(&new.identity)
                .bind(stored(new.account.0))
                .bind(new.from.micros())
                .bind(new.until.micros())
                .bind(bindings::key_of(&new.identity)),
        };
        statement.execute(&mut *connection).await.map_err(failed)?;
    }
    let new: Vec<Binding> = bindings::inserted(&writes).cloned().collect();
    let takes = writes.iter().any(|write| !matches!(write, RowChange::Insert(_)));
    note_changes(connection, &new, takes).await?;
    Ok(outcomes)
}

/// Takes the lock for binding until the end of the transaction, then reads the histories.
async fn locked_histories<'a>(
    connection: &mut PgConnection,
    identities: impl Iterator<Item = &'a str>,
) -> StoreResult<Histories> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    lock(connection, BINDING_LOCK).await.map_err(failed)?;
    // Processes of an older release may have added rows without keys.
    while read_some(connection).await? {}
    let rows: Vec<BindingTuple> = query_as(HISTORIES)
        .bind(bindings::keys_of(identities))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    Ok(Histories::of(rows.into_iter().map(binding)))
}

async fn insert(connection: &mut PgConnection, new: &[Binding]) -> StoreResult<()> {
    if new.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = new.iter().map(|binding| binding.identity.as_str()).collect();
    let accounts: Vec<i64> = new.iter().map(|binding| stored(binding.account.0)).collect();
    let from: Vec<i64> = new.iter().map(|binding| binding.from.micros()).collect();
    let until: Vec<i64> = new.iter().map(|binding| binding.until.micros()).collect();
    let statement = query(INSERT_BINDINGS).bind(names).bind(accounts).bind(from).bind(until);
    statement.execute(connection).await.map(|_| ()).map_err(|error| classify(BIND, &error))
}

/// Updates the lengths of prefixes and the version of the bindings after a change. `takes`: a
/// binding was ended or deleted.
async fn note_changes(
    connection: &mut PgConnection,
    new: &[Binding],
    takes: bool,
) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    for (is_v4, length) in bindings::prefix_lengths(new.iter().map(|one| one.identity.as_str())) {
        query(statements::INSERT_PREFIX_LENGTH)
            .bind(is_v4)
            .bind(i64::from(length))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    let rows = query_as(statements::PREFIX_LENGTHS);
    let lengths = prefix_lengths(rows.fetch_all(&mut *connection).await.map_err(failed)?, BIND)?;
    if takes || bindings::moves_version(new, lengths) {
        query(statements::BINDINGS_CHANGED).execute(connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Sets the keys of some rows of an older release in a transaction; `false` when no row was left.
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

/// Sets the keys of some rows of an older release; `false` when no row was left.
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
