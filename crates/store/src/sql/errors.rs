//! Maps errors of sqlx to [`StoreError`].

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::StoreError;

/// Maps an error of sqlx. Where the statement may have taken effect, the result is `Unavailable`,
/// which callers treat as an unknown outcome (P2).
pub(crate) fn classify(doing: &'static str, error: &sqlx::Error) -> StoreError {
    let cause = error.to_string();
    match error {
        sqlx::Error::Database(database) => classify_database(doing, database.as_ref(), cause),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable { doing, cause },
        _ => StoreError::Corrupt { doing, cause },
    }
}

fn classify_database(doing: &'static str, error: &dyn DatabaseError, cause: String) -> StoreError {
    // An error without a code is none of those that are known below.
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        by_sqlstate(doing, &code, cause)
    } else if error.try_downcast_ref::<SqliteError>().is_some() {
        match code.parse() {
            Ok(code) => by_sqlite_code(doing, code, cause),
            Err(_) => StoreError::Corrupt { doing, cause },
        }
    } else {
        StoreError::Corrupt { doing, cause }
    }
}

fn by_sqlstate(doing: &'static str, code: &str, cause: String) -> StoreError {
    match (code, code.get(..2).unwrap_or_default()) {
        ("53100", _) => StoreError::Full { doing, cause },
        // A lock time-out; a read-only server, as a standby during a failover; an idle transaction
        // that the server ended.
        ("55P03" | "25006" | "25P03", _) => StoreError::Unavailable { doing, cause },
        // Classes: connection (08), transaction rollback (40), insufficient resources (53),
        // operator intervention (57), system error (58).
        (_, "08" | "40" | "53" | "57" | "58") => StoreError::Unavailable { doing, cause },
        // A text with a NUL, which PostgreSQL can't store: the call is at fault, not the database.
        ("42501" | "22021", _) | (_, "28" | "3D") => {
            StoreError::Refused(format!("{doing}: {cause}"))
        }
        _ => StoreError::Corrupt { doing, cause },
    }
}

fn by_sqlite_code(doing: &'static str, code: i32, cause: String) -> StoreError {
    const NOMEM: i32 = 7;
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const INTERRUPT: i32 = 9;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    // The low byte is the primary result code; the higher bytes are details.
    match code & 0xff {
        FULL => StoreError::Full { doing, cause },
        BUSY | LOCKED | NOMEM | INTERRUPT | IOERR | CANTOPEN => {
            StoreError::Unavailable { doing, cause }
        }
        READONLY => StoreError::Refused(format!("{doing}: {cause}")),
        _ => StoreError::Corrupt { doing, cause },
    }
}

/// Whether the error is SQLITE_BUSY: another connection holds the lock.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    sqlite_kind(error) == Some(5)
}

/// Whether the error is SQLITE_CANTOPEN.
pub(crate) fn is_not_opened(error: &sqlx::Error) -> bool {
    sqlite_kind(error) == Some(14)
}

/// SQLite's primary result code.
fn sqlite_kind(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error().and_then(DatabaseError::code)?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// The error for a row that violates an invariant.
pub(crate) fn corrupt(doing: &'static str, cause: impl Into<String>) -> StoreError {
    StoreError::Corrupt { doing, cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_classified_as_full_unknown_or_refused() {
        let of = |code: &str| by_sqlstate("test", code, String::new());
        assert!(matches!(of("53100"), StoreError::Full { .. }));
        for unknown in ["57014", "57P01", "57P03", "53300", "55P03", "08006", "40001", "25006"] {
            assert!(of(unknown).is_unknown(), "{unknown}");
        }
        assert!(matches!(of("42501"), StoreError::Refused(_)));
        assert!(matches!(of("22021"), StoreError::Refused(_)), "a text with a NUL");
        assert!(matches!(of("23505"), StoreError::Corrupt { .. }));
        assert!(matches!(of("XX001"), StoreError::Corrupt { .. }));
    }

    #[test]
    fn sqlite_codes_are_distinguished_by_their_low_byte() {
        let of = |code| by_sqlite_code("test", code, String::new());
        assert!(matches!(of(13), StoreError::Full { .. }));
        assert!(of(5 | (2 << 8)).is_unknown());
        assert!(of(10 | (4 << 8)).is_unknown());
        assert!(matches!(of(19 | (6 << 8)), StoreError::Corrupt { .. }));
    }
}
