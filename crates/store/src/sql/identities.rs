//! Bindings of identities to accounts (P28): statements, rows and steps.

use turnpike_types::{AccountNumber, PrefixLengths, Timestamp};

use super::errors::corrupt;
use super::statement::{SqlSession, SqlStatement};
use super::values::{loaded, stored, stored_limit};
use crate::identities::bindings::{
    self, Histories, RowChange, inserted, judge_bindings, judge_rebindings, keys_of, moves_version,
    recording_instant,
};
use crate::identities::row::{BindingRow, key_of};
use crate::{BindOutcome, Binding, BindingsMark, RebindOutcome, Rebinding, StoreResult};

/// Returns bindings_version, guided_through_us.
const BINDINGS_MARK: &str = "SELECT bindings_version, guided_through_us FROM store";

/// No parameters. The new version makes fronts discard the histories that they have cached.
const BINDINGS_CHANGED: &str = "UPDATE store SET bindings_version = bindings_version + 1";

/// Returns is_v4 and length.
const PREFIX_LENGTHS: &str = "SELECT is_v4, length FROM binding_prefixes";

/// Parameters: is_v4, length.
const INSERT_PREFIX_LENGTH: &str =
    "INSERT INTO binding_prefixes (is_v4, length) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// Parameters: account, the most bindings. Returns a [`BindingTuple`]
/// for each binding.
const BINDINGS_OF: &str = "SELECT identity, account, from_us, until_us FROM bindings \
     WHERE account = $1 ORDER BY identity, from_us LIMIT $2";

/// Parameters: identity, from_us.
const DELETE_BINDING: &str = "DELETE FROM bindings WHERE identity = $1 AND from_us = $2";

/// Parameters: identity, from_us, until_us.
const END_BINDING: &str = "UPDATE bindings SET until_us = $3 WHERE identity = $1 AND from_us = $2";

/// Parameters: identity, account, from_us, until_us, canonical, recorded_us.
const INSERT_BINDING: &str = "INSERT INTO bindings (identity, account, from_us, until_us, canonical, recorded_us) \
     VALUES ($1, $2, $3, $4, $5, $6)";

/// Parameters: identity, account, from_us, until_us, canonical, recorded_us, withdrawn_us.
const INSERT_WITHDRAWN: &str = "INSERT INTO withdrawn_bindings \
     (identity, account, from_us, until_us, canonical, recorded_us, withdrawn_us) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Parameter: bindings_recorded_us.
const RECORD_BINDINGS: &str = "UPDATE store SET bindings_recorded_us = $1";

/// Parameter: the most identities. Returns identities of rows that an older release wrote and that
/// have no key yet.
pub(crate) const UNREAD_BINDINGS: &str =
    "SELECT DISTINCT identity FROM bindings WHERE canonical IS NULL LIMIT $1";

/// Parameters: identity, its key.
const READ_BINDING: &str =
    "UPDATE bindings SET canonical = $2 WHERE identity = $1 AND canonical IS NULL";

/// The most identities of an older release that get their keys in one transaction.
const READ_AT_ONCE: i64 = 10_000;

pub(crate) const BIND: &str = "bind identities";
pub(crate) const ADVANCE: &str = "advance the mark of look-ups";

/// Columns: identity, account, from_us, until_us.
type BindingTuple = (String, i64, i64, i64);

/// The columns of [`BindingTuple`], then recorded_us (NULL: an older release recorded the binding)
/// and withdrawn_us (NULL: the binding is in force).
pub(crate) type BindingRowTuple = (String, i64, i64, i64, Option<i64>, Option<i64>);

/// Columns: is_v4, length.
type PrefixLengthTuple = (bool, i64);

/// What databases do differently in a transaction that changes bindings. The transaction holds the
/// lock of the bindings.
pub(crate) trait BindingsTransaction: SqlSession {
    /// All rows of these keys, in force or withdrawn.
    fn rows_of(
        &mut self,
        keys: Vec<String>,
    ) -> impl Future<Output = StoreResult<Vec<BindingRowTuple>>> + Send;

    /// The instant of the last recorded change, guided_through_us, and the clock.
    fn last_recorded(&mut self) -> impl Future<Output = StoreResult<(i64, i64, i64)>> + Send;

    /// Inserts rows in force.
    fn insert(&mut self, rows: &[&BindingRow]) -> impl Future<Output = StoreResult<()>> + Send;

    /// Sets the keys of rows of an older release, for each identity as it is stored.
    fn set_keys(&mut self, identities: &[String]) -> impl Future<Output = StoreResult<()>> + Send;
}

/// Adds bindings to the history.
pub(crate) async fn bind(
    transaction: &mut impl BindingsTransaction,
    asked: &[Binding],
) -> StoreResult<Vec<BindOutcome>> {
    let identities = asked.iter().map(|one| one.identity.as_str()).collect();
    let mut histories = histories(transaction, identities).await?;
    let recorded = next_instant(transaction).await?;
    let (outcomes, changes) = judge_bindings(&mut histories, asked, recorded);
    let new: Vec<&BindingRow> = changes
        .iter()
        .filter_map(|change| if let RowChange::Insert(row) = change { Some(row) } else { None })
        .collect();
    if !new.is_empty() {
        transaction.insert(&new).await?;
    }
    note_changes(transaction, &changes, recorded).await?;
    Ok(outcomes)
}

/// Changes which accounts hold identities.
pub(crate) async fn rebind(
    transaction: &mut impl BindingsTransaction,
    asked: &[Rebinding],
) -> StoreResult<Vec<RebindOutcome>> {
    let identities = asked.iter().map(|one| one.binding().identity.as_str()).collect();
    let mut histories = histories(transaction, identities).await?;
    let recorded = next_instant(transaction).await?;
    let (outcomes, changes) = judge_rebindings(&mut histories, asked, recorded);
    for change in &changes {
        transaction.execute(BIND, statement(change)).await?;
    }
    note_changes(transaction, &changes, recorded).await?;
    Ok(outcomes)
}

/// The histories of `identities`, after rows that an older release has added have got their keys.
async fn histories(
    transaction: &mut impl BindingsTransaction,
    identities: Vec<&str>,
) -> StoreResult<Histories> {
    while read_some(transaction).await? {}
    let rows = transaction.rows_of(keys_of(identities.into_iter())).await?;
    Ok(Histories::of(rows.into_iter().map(binding_row)))
}

/// The instant at which the next change of bindings is recorded.
async fn next_instant(transaction: &mut impl BindingsTransaction) -> StoreResult<Timestamp> {
    let (last, guided, now) = transaction.last_recorded().await?;
    Ok(recording_instant(Timestamp(last), Timestamp(now), Timestamp(guided)))
}

/// The statement that inserts a row in force.
pub(crate) fn insertion(row: &BindingRow) -> SqlStatement<'_> {
    with_row(INSERT_BINDING, row)
}

fn with_row<'a>(text: &'static str, row: &'a BindingRow) -> SqlStatement<'a> {
    SqlStatement::new(text)
        .bind(row.identity.as_str())
        .bind(stored(row.account.0))
        .bind(row.from.micros())
        .bind(row.until.micros())
        .bind(key_of(&row.identity))
        .bind(row.stored_recorded())
}

/// The statement that writes a change.
fn statement(change: &RowChange) -> SqlStatement<'_> {
    match change {
        RowChange::Delete { identity, from } => {
            SqlStatement::new(DELETE_BINDING).bind(identity.as_str()).bind(from.micros())
        }
        RowChange::End { identity, from, until } => SqlStatement::new(END_BINDING)
            .bind(identity.as_str())
            .bind(from.micros())
            .bind(until.micros()),
        RowChange::Insert(row) => insertion(row),
        RowChange::Withdraw(row) => with_row(INSERT_WITHDRAWN, row).bind(row.withdrawn.micros()),
    }
}

/// Updates the instant of the last change, the lengths of prefixes, and the version of the bindings
/// after a change.
async fn note_changes(
    session: &mut impl SqlSession,
    changes: &[RowChange],
    recorded: Timestamp,
) -> StoreResult<()> {
    if changes.is_empty() {
        return Ok(());
    }
    note_lengths(session, inserted(changes).map(|one| one.identity.as_str()).collect()).await?;
    session.execute(BIND, SqlStatement::new(RECORD_BINDINGS).bind(recorded.micros())).await?;
    let lengths = lengths(session, BIND).await?;
    if moves_version(changes, lengths) {
        session.execute(BIND, SqlStatement::new(BINDINGS_CHANGED)).await?;
    }
    Ok(())
}

async fn note_lengths(session: &mut impl SqlSession, identities: Vec<&str>) -> StoreResult<()> {
    for (is_v4, length) in bindings::prefix_lengths(identities.into_iter()) {
        let statement = SqlStatement::new(INSERT_PREFIX_LENGTH).bind(is_v4).bind(i64::from(length));
        session.execute(BIND, statement).await?;
    }
    Ok(())
}

/// The lengths of all prefixes that were ever bound.
pub(crate) async fn lengths(
    session: &mut impl SqlSession,
    doing: &'static str,
) -> StoreResult<PrefixLengths> {
    let rows = session.rows(doing, SqlStatement::new(PREFIX_LENGTHS)).await?;
    prefix_lengths(rows, doing)
}

/// Sets the keys of some rows of an older release. Returns `false` when no row was left.
pub(crate) async fn read_some(transaction: &mut impl BindingsTransaction) -> StoreResult<bool> {
    let statement = SqlStatement::new(UNREAD_BINDINGS).bind(READ_AT_ONCE);
    let unread: Vec<(String,)> = transaction.rows(BIND, statement).await?;
    if unread.is_empty() {
        return Ok(false);
    }
    let identities: Vec<String> = unread.into_iter().map(|(identity,)| identity).collect();
    transaction.set_keys(&identities).await?;
    note_lengths(transaction, identities.iter().map(String::as_str).collect()).await?;
    transaction.execute(BIND, SqlStatement::new(BINDINGS_CHANGED)).await?;
    Ok(true)
}

/// The statement that sets the key of the rows of one identity.
pub(crate) fn set_key(identity: &str) -> SqlStatement<'_> {
    SqlStatement::new(READ_BINDING).bind(identity).bind(key_of(identity))
}

/// The version of the bindings, and guided_through.
pub(crate) async fn mark(session: &mut impl SqlSession) -> StoreResult<BindingsMark> {
    const DOING: &str = "version of bindings";
    let row: Option<(i64, i64)> = session.row(DOING, SqlStatement::new(BINDINGS_MARK)).await?;
    let row = row.ok_or_else(|| corrupt(DOING, "the store's row is missing"))?;
    let (version, guided_through) = row;
    Ok(BindingsMark { version: loaded(version), guided_through: Timestamp(guided_through) })
}

/// The bindings of an account.
pub(crate) async fn bindings_of(
    session: &mut impl SqlSession,
    account: AccountNumber,
    most: usize,
) -> StoreResult<Vec<Binding>> {
    let statement = SqlStatement::new(BINDINGS_OF).bind(stored(account.0)).bind(stored_limit(most));
    let rows = session.rows("list bindings", statement).await?;
    Ok(rows.into_iter().map(binding).collect())
}

fn binding(row: BindingTuple) -> Binding {
    let (identity, account, from, until) = row;
    Binding {
        identity,
        account: AccountNumber(loaded(account)),
        from: Timestamp(from),
        until: Timestamp(until),
    }
}

pub(crate) fn binding_row(row: BindingRowTuple) -> BindingRow {
    let (identity, account, from, until, recorded, withdrawn) = row;
    BindingRow {
        binding: binding((identity, account, from, until)),
        recorded: recorded.map_or(Timestamp::MIN, Timestamp),
        withdrawn: withdrawn.map_or(Timestamp::MAX, Timestamp),
    }
}

fn prefix_lengths(rows: Vec<PrefixLengthTuple>, doing: &'static str) -> StoreResult<PrefixLengths> {
    let mut lengths = PrefixLengths::NONE;
    for (is_v4, length) in rows {
        let length = u8::try_from(length);
        lengths.add_length(
            is_v4,
            length.map_err(|_| corrupt(doing, "a prefix length that is not in 0 to 255"))?,
        );
    }
    Ok(lengths)
}
