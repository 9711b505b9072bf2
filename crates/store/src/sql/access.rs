//! The tables of access control: statements, rows and steps.

use turnpike_types::{AccountRange, Timestamp};

use super::errors::corrupt;
use super::statement::{SqlSession, SqlStatement};
use super::values::{fixed, loaded, stored};
use crate::{
    AccessChange, AccessForget, AccessGrant, AccessKey, AccessRead, AccessTables, AccessToken,
    AccessVersion, AccessWrite, RevokedCertificate, StoreResult,
};

/// Returns version, stamp, enabled_us.
const STATE: &str = "SELECT version, stamp, enabled_us FROM access_state";

/// Returns a [`GrantTuple`] for each grant.
const GRANTS: &str = "SELECT id, principal, role, first_account, last_account, sources, consumer, \
     until_us, granted_by, granted_us FROM access_grants ORDER BY id";

/// Returns a [`KeyTuple`] for each key.
const KEYS: &str =
    "SELECT id, public_key, added_by, added_us, retired_us FROM access_keys ORDER BY id";

/// Returns a [`TokenTuple`] for each token.
const TOKENS: &str = "SELECT id, key_id, subject, not_before_us, expires_us, issued_by, issued_us, \
     revoked_us FROM access_tokens ORDER BY id";

/// Returns a [`RevokedTuple`] for each revocation.
const REVOKED: &str =
    "SELECT name, revoked_by, revoked_us FROM access_revoked_certificates ORDER BY name";

/// Parameters: the expected version and its stamp, the new stamp. Changes no row if another change
/// came first.
const ADVANCE: &str = "UPDATE access_state SET version = version + 1, stamp = $3 \
     WHERE version = $1 AND stamp = $2";

/// Parameter: instant. Access control that is on stays on.
const ENABLE: &str = "UPDATE access_state SET enabled_us = $1 WHERE enabled_us IS NULL";

/// Parameters: the columns of a [`GrantTuple`].
const INSERT_GRANT: &str = "INSERT INTO access_grants (id, principal, role, first_account, \
     last_account, sources, consumer, until_us, granted_by, granted_us) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Parameter: id.
const DELETE_GRANT: &str = "DELETE FROM access_grants WHERE id = $1";

/// Parameters: the columns of a [`KeyTuple`].
const INSERT_KEY: &str = "INSERT INTO access_keys (id, public_key, added_by, added_us, retired_us) \
     VALUES ($1, $2, $3, $4, $5)";

/// Parameters: id, instant.
const RETIRE_KEY: &str =
    "UPDATE access_keys SET retired_us = $2 WHERE id = $1 AND retired_us IS NULL";

/// Parameters: the columns of a [`TokenTuple`].
const INSERT_TOKEN: &str = "INSERT INTO access_tokens (id, key_id, subject, not_before_us, \
     expires_us, issued_by, issued_us, revoked_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// Parameters: id, instant.
const REVOKE_TOKEN: &str =
    "UPDATE access_tokens SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL";

/// Parameters: the columns of a [`RevokedTuple`].
const INSERT_REVOKED: &str = "INSERT INTO access_revoked_certificates (name, revoked_by, revoked_us) \
     VALUES ($1, $2, $3)";

/// Parameter: name.
const DELETE_REVOKED: &str = "DELETE FROM access_revoked_certificates WHERE name = $1";

/// For grants, keys and tokens. Parameter of each: instant. A comparison with NULL deletes no row.
const FORGET: [&str; 3] = [
    "DELETE FROM access_grants WHERE until_us < $1",
    "DELETE FROM access_keys WHERE retired_us < $1",
    "DELETE FROM access_tokens WHERE expires_us < $1 OR revoked_us < $1",
];

const READ: &str = "read access control";
pub(crate) const CHANGE: &str = "change access control";

/// Columns: id, principal, role, first_account, last_account, sources, consumer, until_us,
/// granted_by, granted_us.
type GrantTuple = (
    i64,
    String,
    String,
    Option<i64>,
    Option<i64>,
    String,
    Option<String>,
    Option<i64>,
    String,
    i64,
);

/// Columns: id, public_key, added_by, added_us, retired_us.
type KeyTuple = (i64, Vec<u8>, String, i64, Option<i64>);

/// Columns: id, key_id, subject, not_before_us, expires_us, issued_by, issued_us, revoked_us.
type TokenTuple = (String, i64, String, i64, i64, String, i64, Option<i64>);

/// Columns: name, revoked_by, revoked_us.
type RevokedTuple = (String, String, i64);

/// Reads the tables. The version is read first: if a change comes in between, the tables are newer
/// than the version, and the next read returns them again.
pub(crate) async fn read(
    session: &mut impl SqlSession,
    known: Option<AccessVersion>,
) -> StoreResult<AccessRead> {
    let row = session.row(READ, SqlStatement::new(STATE)).await?;
    let (number, stamp, enabled): (i64, Vec<u8>, Option<i64>) =
        row.ok_or_else(|| corrupt(READ, "the row of access control is missing"))?;
    let version = AccessVersion { number: loaded(number), stamp: fixed(&stamp, READ)? };
    let tables = if known == Some(version) { None } else { Some(tables(session).await?) };
    Ok(AccessRead { version, enabled: enabled.map(Timestamp), tables })
}

async fn tables(session: &mut impl SqlSession) -> StoreResult<AccessTables> {
    let grants: Vec<GrantTuple> = session.rows(READ, SqlStatement::new(GRANTS)).await?;
    let keys: Vec<KeyTuple> = session.rows(READ, SqlStatement::new(KEYS)).await?;
    let tokens: Vec<TokenTuple> = session.rows(READ, SqlStatement::new(TOKENS)).await?;
    let revoked: Vec<RevokedTuple> = session.rows(READ, SqlStatement::new(REVOKED)).await?;
    Ok(AccessTables {
        grants: grants.into_iter().map(grant).collect::<StoreResult<_>>()?,
        keys: keys.into_iter().map(key).collect::<StoreResult<_>>()?,
        tokens: tokens.into_iter().map(token).collect(),
        revoked: revoked.into_iter().map(revocation).collect(),
    })
}

fn grant(row: GrantTuple) -> StoreResult<AccessGrant> {
    let (id, principal, role, first, last, sources, consumer, until, granted_by, granted_us) = row;
    let accounts = match (first, last) {
        (None, None) => None,
        (Some(first), Some(last)) => Some(
            AccountRange::new(loaded(first), loaded(last))
                .map_err(|wrong| corrupt(READ, format!("grant {id}: {wrong}")))?,
        ),
        // Half a range must not become all accounts.
        _ => return Err(corrupt(READ, format!("grant {id} has half a range of accounts"))),
    };
    Ok(AccessGrant {
        id: loaded(id),
        principal,
        role,
        accounts,
        sources: sources.lines().map(str::to_owned).collect(),
        consumer,
        until: until.map(Timestamp),
        granted_by,
        granted_at: Timestamp(granted_us),
    })
}

fn key((id, public_key, added_by, added_us, retired): KeyTuple) -> StoreResult<AccessKey> {
    Ok(AccessKey {
        id: loaded(id),
        public_key: fixed(&public_key, READ)?,
        added_by,
        added_at: Timestamp(added_us),
        retired_at: retired.map(Timestamp),
    })
}

fn token(row: TokenTuple) -> AccessToken {
    let (id, key, subject, not_before, expires, issued_by, issued_us, revoked) = row;
    AccessToken {
        id,
        key: loaded(key),
        subject,
        not_before: Timestamp(not_before),
        expires: Timestamp(expires),
        issued_by,
        issued_at: Timestamp(issued_us),
        revoked_at: revoked.map(Timestamp),
    }
}

fn revocation((name, revoked_by, revoked_us): RevokedTuple) -> RevokedCertificate {
    RevokedCertificate { name, revoked_by, revoked_at: Timestamp(revoked_us) }
}

/// Changes the tables in the open transaction of `session`.
pub(crate) async fn change(
    session: &mut impl SqlSession,
    write: &AccessWrite,
) -> StoreResult<Option<u64>> {
    let AccessVersion { number, stamp } = write.at;
    let advance = SqlStatement::new(ADVANCE).bind(stored(number)).bind(&stamp[..]);
    let advance = advance.bind(&write.stamp[..]);
    if session.execute(CHANGE, advance).await? != 1 {
        return Ok(None);
    }
    let version = number + 1;
    let AccessForget { grants, keys, tokens } = write.forget;
    for (text, before) in FORGET.into_iter().zip([grants, keys, tokens]) {
        session.execute(CHANGE, SqlStatement::new(text).bind(before.micros())).await?;
    }
    for statement in statements(&write.change, version) {
        session.execute(CHANGE, statement).await?;
    }
    Ok(Some(version))
}

fn statements(change: &AccessChange, version: u64) -> Vec<SqlStatement<'_>> {
    match change {
        AccessChange::Grant(grant) => vec![
            SqlStatement::new(ENABLE).bind(grant.granted_at.micros()),
            SqlStatement::new(INSERT_GRANT)
                .bind(stored(version))
                .bind(grant.principal.as_str())
                .bind(grant.role.as_str())
                .bind(grant.accounts.map(|range| stored(range.first().0)))
                .bind(grant.accounts.map(|range| stored(range.last().0)))
                .bind(grant.sources.join("\n"))
                .bind(grant.consumer.as_deref())
                .bind(grant.until.map(Timestamp::micros))
                .bind(grant.granted_by.as_str())
                .bind(grant.granted_at.micros()),
        ],
        AccessChange::Revoke(ids) => {
            ids.iter().map(|id| SqlStatement::new(DELETE_GRANT).bind(stored(*id))).collect()
        }
        AccessChange::AddKey(key) => vec![
            SqlStatement::new(INSERT_KEY)
                .bind(stored(key.id))
                .bind(&key.public_key[..])
                .bind(key.added_by.as_str())
                .bind(key.added_at.micros())
                .bind(key.retired_at.map(Timestamp::micros)),
        ],
        AccessChange::RetireKey(id, at) => {
            vec![SqlStatement::new(RETIRE_KEY).bind(stored(*id)).bind(at.micros())]
        }
        AccessChange::AddToken(token) => vec![
            SqlStatement::new(INSERT_TOKEN)
                .bind(token.id.as_str())
                .bind(stored(token.key))
                .bind(token.subject.as_str())
                .bind(token.not_before.micros())
                .bind(token.expires.micros())
                .bind(token.issued_by.as_str())
                .bind(token.issued_at.micros())
                .bind(token.revoked_at.map(Timestamp::micros)),
        ],
        AccessChange::RevokeTokens(ids, at) => ids
            .iter()
            .map(|id| SqlStatement::new(REVOKE_TOKEN).bind(id.as_str()).bind(at.micros()))
            .collect(),
        AccessChange::RevokeCertificate(row) => vec![
            SqlStatement::new(INSERT_REVOKED)
                .bind(row.name.as_str())
                .bind(row.revoked_by.as_str())
                .bind(row.revoked_at.micros()),
        ],
        AccessChange::RestoreCertificate(name) => {
            vec![SqlStatement::new(DELETE_REVOKED).bind(name.as_str())]
        }
    }
}
