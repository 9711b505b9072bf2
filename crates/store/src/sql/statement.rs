//! A statement with its parameters, which both drivers run, and the place where it runs: an open
//! transaction, or a pool of connections.

use std::borrow::Cow;

use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::StoreResult;

/// A statement with its parameters.
pub(crate) struct SqlStatement<'a> {
    pub(crate) text: &'static str,
    pub(crate) parameters: Vec<SqlParameter<'a>>,
}

impl<'a> SqlStatement<'a> {
    /// A statement whose parameters are still to be bound.
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, parameters: Vec::new() }
    }

    /// Adds the value of the next parameter: the first call binds `$1`.
    pub(crate) fn bind(mut self, parameter: impl Into<SqlParameter<'a>>) -> Self {
        self.parameters.push(parameter.into());
        self
    }
}

/// The value of a parameter; `None` is NULL.
pub(crate) enum SqlParameter<'a> {
    Integer(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Bytes(&'a [u8]),
    Bool(bool),
}

impl From<i64> for SqlParameter<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for SqlParameter<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl<'a> From<&'a str> for SqlParameter<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl<'a> From<Option<&'a str>> for SqlParameter<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value.map(Cow::from))
    }
}

impl From<String> for SqlParameter<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl<'a> From<&'a [u8]> for SqlParameter<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl From<bool> for SqlParameter<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Binds the parameters of a statement to a query of sqlx.
macro_rules! bound {
    ($query:expr, $parameters:expr) => {{
        let mut query = $query;
        for parameter in $parameters {
            query = match parameter {
                $crate::sql::statement::SqlParameter::Integer(value) => query.bind(value),
                $crate::sql::statement::SqlParameter::Text(value) => query.bind(value),
                $crate::sql::statement::SqlParameter::Bytes(value) => query.bind(value),
                $crate::sql::statement::SqlParameter::Bool(value) => query.bind(value),
            };
        }
        query
    }};
}
pub(crate) use bound;

/// A tuple to which both drivers decode rows.
pub(crate) trait SqlRow:
    for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{
}

impl<T> SqlRow for T where
    T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{
}

/// Where statements run. In an open transaction they are atomic together; in a pool of connections
/// each statement commits by itself.
///
/// `doing` names the caller's operation in an error.
pub(crate) trait SqlSession: Send {
    /// Runs a statement. Returns the number of rows that it changed.
    fn execute(
        &mut self,
        doing: &'static str,
        statement: SqlStatement<'_>,
    ) -> impl Future<Output = StoreResult<u64>> + Send;

    /// Runs a statement. Returns all its rows.
    fn rows<T: SqlRow>(
        &mut self,
        doing: &'static str,
        statement: SqlStatement<'_>,
    ) -> impl Future<Output = StoreResult<Vec<T>>> + Send;

    /// Runs a statement that returns at most one row.
    fn row<T: SqlRow>(
        &mut self,
        doing: &'static str,
        statement: SqlStatement<'_>,
    ) -> impl Future<Output = StoreResult<Option<T>>> + Send {
        async move { Ok(self.rows(doing, statement).await?.pop()) }
    }
}

/// Implements [`SqlSession`] for a type that leads to a connection or a pool of sqlx.
macro_rules! run_statements {
    ($session:ty, $this:ident => $executor:expr) => {
        impl $crate::sql::statement::SqlSession for $session {
            async fn execute(
                &mut self,
                doing: &'static str,
                statement: $crate::sql::statement::SqlStatement<'_>,
            ) -> $crate::StoreResult<u64> {
                let $this = self;
                let query = bound!(sqlx::query(statement.text), statement.parameters);
                let done = query.execute($executor).await;
                done.map(|done| done.rows_affected())
                    .map_err(|error| $crate::sql::errors::classify(doing, &error))
            }

            async fn rows<T: $crate::sql::statement::SqlRow>(
                &mut self,
                doing: &'static str,
                statement: $crate::sql::statement::SqlStatement<'_>,
            ) -> $crate::StoreResult<Vec<T>> {
                let $this = self;
                let query = bound!(sqlx::query_as(statement.text), statement.parameters);
                let rows = query.fetch_all($executor).await;
                rows.map_err(|error| $crate::sql::errors::classify(doing, &error))
            }
        }
    };
}
pub(crate) use run_statements;
