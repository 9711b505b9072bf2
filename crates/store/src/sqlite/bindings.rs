//! Bindings of identities to accounts (P28).

use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::{AccountNumber, Timestamp};

use super::SqliteDatabase;
use super::writer::Urgency;
use crate::bindings::{self, Asked, Histories, RowChange};
use crate::rules;
use crate::sql::errors::{classify, corrupt};
use crate::sql::rows::{
    BindingRowTuple, BindingTuple, binding, binding_row, bindings_mark, prefix_lengths, stored,
};
use crate::sql::statements;
use crate::{
    BindOutcome, Binding, BindingsMark, IdentityHistory, RebindOutcome, Rebinding, StoreResult,
};

/// Parameter: key, that is, an identity in canonical spelling. Returns a [`BindingRowTuple`] for
/// each row in force or withdrawn. A row without a key, from an older release, is found only if its
/// identity is in canonical spelling.
const HISTORY: &str = "SELECT identity, account, from_us, until_us, recorded_us, NULL FROM bindings \
     WHERE canonical = $1 OR (canonical IS NULL AND identity = $1) \
     UNION ALL SELECT identity, account, from_us, until_us, recorded_us, withdrawn_us \
     FROM withdrawn_bindings WHERE canonical = $1";
/// The most identities of an older release that get their keys in one transaction.
const READ_AT_ONCE: i64 = 10_000;

const BIND: &str = "bind identities";
const ADVANCE: &str = "advance the mark of look-ups";

impl SqliteDatabase {
    pub(super) async fn bind_all(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        rules::check_bindings(bindings)?;
        let (bindings, now) = (bindings.to_vec(), (self.clock)());
        self.writer.write(Urgency::Normal, BIND, move |c| Box::pin(bind(c, bindings, now))).await
    }

    pub(super) async fn rebind_all(
        &self,
        changes: &[Rebinding],
    ) -> StoreResult<Vec<RebindOutcome>> {
        rules::check_bindings(changes.iter().map(Rebinding::binding))?;
        let (changes, now) = (changes.to_vec(), (self.clock)());
        self.writer.write(Urgency::Normal, BIND, move |c| Box::pin(rebind(c, changes, now))).await
    }

    pub(super) async fn histories(
        &self,
        identities: &[String],
    ) -> StoreResult<Vec<IdentityHistory>> {
        const DOING: &str = "guide";
        let failed = |error: sqlx::Error| classify(DOING, &error);
        // One snapshot: a change of several keys is found as a whole or not at all.
        let mut connection = self.readers.begin().await.map_err(failed)?;
        let lengths = query_as(statements::PREFIX_LENGTHS);
        let lengths = lengths.fetch_all(&mut *connection).await.map_err(failed)?;
        let lengths = prefix_lengths(lengths, DOING)?;
        let asked: Vec<Asked> = identities.iter().map(|text| Asked::of(text, lengths)).collect();
        let rows = rows_of(&mut connection, bindings::keys_asked(&asked)).await.map_err(failed)?;
        connection.rollback().await.map_err(failed)?;
        Ok(bindings::guided(&asked, rows.into_iter().map(binding_row)))
    }

    pub(super) async fn mark_of_bindings(&self) -> StoreResult<BindingsMark> {
        const DOING: &str = "version of bindings";
        let row = self.fetch_optional(DOING, query_as(statements::BINDINGS_MARK)).await?;
        Ok(bindings_mark(row.ok_or_else(|| corrupt(DOING, "the store's row is missing"))?))
    }

    pub(super) async fn advance_mark(&self) -> StoreResult<bool> {
        let now = (self.clock)();
        self.writer.write(Urgency::Normal, ADVANCE, move |c| Box::pin(advance(c, now))).await
    }

    pub(super) async fn bindings_of_account(
        &self,
        account: AccountNumber,
        most: usize,
    ) -> StoreResult<Vec<Binding>> {
        let statement = query_as::<_, BindingTuple>(statements::BINDINGS_OF)
            .bind(stored(account.0))
            .bind(i64::try_from(most).unwrap_or(i64::MAX));
        Ok(self.fetch_all("list bindings", statement).await?.into_iter().map(binding).collect())
    }
}

async fn rows_of(
    connection: &mut SqliteConnection,
    keys: Vec<String>,
) -> Result<Vec<BindingRowTuple>, sqlx::Error> {
    let mut rows = Vec::new();
    for key in keys {
        rows.extend(query_as(HISTORY).bind(key).fetch_all(&mut *connection).await?);
    }
    Ok(rows)
}

/// The histories of `identities`. The transaction holds the file's write lock.
async fn histories<'a>(
    connection: &mut SqliteConnection,
    identities: impl Iterator<Item = &'a str>,
) -> StoreResult<Histories> {
    // Processes of an older release may have added rows without keys.
    while read_some(connection).await? {}
    let rows = rows_of(connection, bindings::keys_of(identities)).await;
    let rows = rows.map_err(|error| classify(BIND, &error))?;
    Ok(Histories::of(rows.into_iter().map(binding_row)))
}

async fn bind(
    connection: &mut SqliteConnection,
    asked: Vec<Binding>,
    now: Timestamp,
) -> StoreResult<Vec<BindOutcome>> {
    let identities: Vec<&str> = asked.iter().map(|one| one.identity.as_str()).collect();
    let mut histories = histories(connection, identities.into_iter()).await?;
    let recorded = recording_instant(connection, now).await?;
    let (outcomes, writes) = bindings::judge_bindings(&mut histories, &asked, recorded);
    write(connection, &writes, recorded).await?;
    Ok(outcomes)
}

async fn rebind(
    connection: &mut SqliteConnection,
    asked: Vec<Rebinding>,
    now: Timestamp,
) -> StoreResult<Vec<RebindOutcome>> {
    let identities: Vec<&str> = asked.iter().map(|one| one.binding().identity.as_str()).collect();
    let mut histories = histories(connection, identities.into_iter()).await?;
    let recorded = recording_instant(connection, now).await?;
    let (outcomes, writes) = bindings::judge_rebindings(&mut histories, &asked, recorded);
    write(connection, &writes, recorded).await?;
    Ok(outcomes)
}

async fn advance(connection: &mut SqliteConnection, now: Timestamp) -> StoreResult<bool> {
    let advance = query(statements::ADVANCE_GUIDED).bind(now.micros());
    let done = advance.execute(connection).await.map_err(|error| classify(ADVANCE, &error))?;
    Ok(done.rows_affected() > 0)
}

async fn recording_instant(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> StoreResult<Timestamp> {
    let read: Result<(i64, i64), _> =
        query_as(statements::BINDINGS_RECORDED).fetch_one(connection).await;
    let (last, guided) = read.map_err(|error| classify(BIND, &error))?;
    Ok(bindings::recording_instant(Timestamp(last), now, Timestamp(guided)))
}

async fn write(
    connection: &mut SqliteConnection,
    writes: &[RowChange],
    recorded: Timestamp,
) -> StoreResult<()> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    if writes.is_empty() {
        return Ok(());
    }
    for write in writes {
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
        statement.execute(&mut *connection).await.map_err(failed)?;
    }
    let identities = bindings::inserted(writes).map(|one| one.identity.as_str());
    note_lengths(connection, identities).await.map_err(failed)?;
    let recording = query(statements::RECORD_BINDINGS).bind(recorded.micros());
    recording.execute(&mut *connection).await.map_err(failed)?;
    let rows = query_as(statements::PREFIX_LENGTHS);
    let lengths = prefix_lengths(rows.fetch_all(&mut *connection).await.map_err(failed)?, BIND)?;
    if bindings::moves_version(writes, lengths) {
        query(statements::BINDINGS_CHANGED).execute(connection).await.map_err(failed)?;
    }
    Ok(())
}

async fn note_lengths<'a>(
    connection: &mut SqliteConnection,
    identities: impl Iterator<Item = &'a str>,
) -> Result<(), sqlx::Error> {
    for (is_v4, length) in bindings::prefix_lengths(identities) {
        query(statements::INSERT_PREFIX_LENGTH)
            .bind(is_v4)
            .bind(i64::from(length))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Whether there are rows of an older release without keys.
pub(super) async fn has_unread(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let unread: Vec<(String,)> =
        query_as(statements::UNREAD_BINDINGS).bind(1i64).fetch_all(connection).await?;
    Ok(!unread.is_empty())
}

/// Sets the keys of some rows of an older release. Returns `false` when no row was left.
pub(super) async fn read_some(connection: &mut SqliteConnection) -> StoreResult<bool> {
    let failed = |error: sqlx::Error| classify(BIND, &error);
    let unread: Vec<(String,)> = query_as(statements::UNREAD_BINDINGS)
        .bind(READ_AT_ONCE)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    if unread.is_empty() {
        return Ok(false);
    }
    for (identity,) in &unread {
        query(statements::READ_BINDING)
            .bind(identity)
            .bind(bindings::key_of(identity))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    let identities: Vec<&str> = unread.iter().map(|(identity,)| identity.as_str()).collect();
    note_lengths(connection, identities.into_iter()).await.map_err(failed)?;
    query(statements::BINDINGS_CHANGED).execute(connection).await.map_err(failed)?;
    Ok(true)
}
