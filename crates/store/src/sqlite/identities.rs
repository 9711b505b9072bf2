//! Bindings of identities to accounts (P28).

use async_trait::async_trait;
use sqlx::query_as;
use sqlx::sqlite::SqliteConnection;
use turnpike_types::{AccountNumber, Timestamp};

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::identities::bindings::{self, Asked};
use crate::identities::check_bindings;
use crate::identities::row::BindingRow;
use crate::sql::errors::{classify, corrupt};
use crate::sql::identities::{
    self, ADVANCE, BIND, BindingRowTuple, BindingsTransaction, UNREAD_BINDINGS, binding_row,
};
use crate::sql::statement::{SqlSession, SqlStatement, bound, run_statements};
use crate::{
    BindOutcome, Binding, BindingsMark, IdentityHistory, IdentityStore, RebindOutcome, Rebinding,
    StoreResult,
};

/// Parameter: key, that is, an identity in canonical spelling. Returns a [`BindingRowTuple`] for
/// each row in force or withdrawn. A row without a key, from an older release, is found only if its
/// identity is in canonical spelling.
const HISTORY: &str = "SELECT identity, account, from_us, until_us, recorded_us, NULL FROM bindings \
     WHERE canonical = $1 OR (canonical IS NULL AND identity = $1) \
     UNION ALL SELECT identity, account, from_us, until_us, recorded_us, withdrawn_us \
     FROM withdrawn_bindings WHERE canonical = $1";
/// Returns the instant of the last recorded change of bindings, guided_through_us.
const BINDINGS_RECORDED: &str = "SELECT bindings_recorded_us, guided_through_us FROM store";
/// Parameter: the clock. No other transaction writes at the same time.
const ADVANCE_GUIDED: &str = "UPDATE store SET guided_through_us = $1 WHERE guided_through_us < $1";

#[async_trait]
impl IdentityStore for SqliteDatabase {
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        check_bindings(bindings)?;
        let (asked, now) = (bindings.to_vec(), (self.clock)());
        self.writer
            .write(Urgency::Normal, BIND, move |connection| {
                Box::pin(async move {
                    identities::bind(&mut Changing { connection, now }, &asked).await
                })
            })
            .await
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        check_bindings(changes.iter().map(Rebinding::binding))?;
        let (asked, now) = (changes.to_vec(), (self.clock)());
        self.writer
            .write(Urgency::Normal, BIND, move |connection| {
                Box::pin(async move {
                    identities::rebind(&mut Changing { connection, now }, &asked).await
                })
            })
            .await
    }

    async fn guide(&self, asked_for: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        const DOING: &str = "guide";
        let failed = |error: sqlx::Error| classify(DOING, &error);
        // One snapshot: a change of several keys is found as a whole or not at all.
        let mut connection = self.readers.begin().await.map_err(failed)?;
        let lengths = identities::lengths(&mut *connection, DOING).await?;
        let asked: Vec<Asked> = asked_for.iter().map(|text| Asked::of(text, lengths)).collect();
        let rows = rows_of(&mut connection, DOING, bindings::keys_asked(&asked)).await?;
        connection.rollback().await.map_err(failed)?;
        Ok(bindings::guided(&asked, rows.into_iter().map(binding_row)))
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        identities::mark(&mut self.reading()).await
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        let now = (self.clock)();
        self.writer
            .write(Urgency::Normal, ADVANCE, move |connection| {
                Box::pin(async move {
                    let advance = SqlStatement::new(ADVANCE_GUIDED).bind(now.micros());
                    Ok(connection.execute(ADVANCE, advance).await? > 0)
                })
            })
            .await
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        identities::bindings_of(&mut self.reading(), account, most).await
    }
}

async fn rows_of(
    connection: &mut SqliteConnection,
    doing: &'static str,
    keys: Vec<String>,
) -> StoreResult<Vec<BindingRowTuple>> {
    let mut rows = Vec::new();
    for key in keys {
        let history = SqlStatement::new(HISTORY).bind(key);
        rows.extend(connection.rows::<BindingRowTuple>(doing, history).await?);
    }
    Ok(rows)
}

/// A transaction that changes bindings at the instant `now`. It holds the file's write lock.
struct Changing<'c> {
    connection: &'c mut SqliteConnection,
    now: Timestamp,
}

run_statements!(Changing<'_>, changing => &mut *changing.connection);

impl BindingsTransaction for Changing<'_> {
    async fn rows_of(&mut self, keys: Vec<String>) -> StoreResult<Vec<BindingRowTuple>> {
        rows_of(self.connection, BIND, keys).await
    }

    async fn last_recorded(&mut self) -> StoreResult<(i64, i64, i64)> {
        let row = self.row(BIND, SqlStatement::new(BINDINGS_RECORDED)).await?;
        let (last, guided) = row.ok_or_else(|| corrupt(BIND, "the store's row is missing"))?;
        Ok((last, guided, self.now.micros()))
    }

    async fn insert(&mut self, rows: &[&BindingRow]) -> StoreResult<()> {
        for row in rows {
            self.execute(BIND, identities::insertion(row)).await?;
        }
        Ok(())
    }

    async fn set_keys(&mut self, identities: &[String]) -> StoreResult<()> {
        for identity in identities {
            self.execute(BIND, identities::set_key(identity)).await?;
        }
        Ok(())
    }
}

/// Whether there are rows of an older release without keys.
pub(super) async fn has_unread(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let unread: Vec<(String,)> = query_as(UNREAD_BINDINGS).bind(1i64).fetch_all(connection).await?;
    Ok(!unread.is_empty())
}

/// Sets the keys of some rows of an older release, in a transaction that holds the write lock.
pub(super) async fn read_some(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> StoreResult<bool> {
    identities::read_some(&mut Changing { connection, now }).await
}
