//! The servers of one database, and the choice of the one that accepts writes.
//!
//! After a failover an address may lead to a standby, or to a former primary that is now a standby.
//! Such a server returns old data to reads and refuses writes for as long as the connection lives.
//! Therefore each new connection is checked first.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, query_as};

use crate::sql::errors::classify;
use crate::{StoreError, redacted};

/// The connection options of each server.
#[derive(Clone)]
pub(super) struct Servers(Vec<PgConnectOptions>);

/// The reason why there is no connection. If several servers fail, the reason with the last variant
/// in this order is reported, because it says most about the cause.
#[derive(Debug)]
pub(super) enum NoServer {
    /// The server does not answer, or not in the protocol.
    Silent(sqlx::Error),
    /// The server answers, but accepts no writes.
    ReadOnly,
    /// The server answers with an error.
    Refused(sqlx::Error),
}

impl NoServer {
    fn from(error: sqlx::Error) -> Self {
        if error.as_database_error().is_some() { Self::Refused(error) } else { Self::Silent(error) }
    }

    const fn telling(&self) -> u8 {
        match self {
            Self::Silent(_) => 0,
            Self::ReadOnly => 1,
            Self::Refused(_) => 2,
        }
    }

    /// The error for the caller.
    pub(super) fn classify(&self, doing: &'static str) -> StoreError {
        match self {
            Self::Silent(error) | Self::Refused(error) => classify(doing, error),
            Self::ReadOnly => StoreError::Unavailable {
                doing,
                cause: "the server accepts no writes, it may be a standby; the address must lead \
                        to the primary"
                    .to_owned(),
            },
        }
    }
}

impl Servers {
    /// Parses `postgres://USER@HOST:PORT,HOST:PORT/DATABASE`.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let bad = |cause: String| StoreError::BadUrl { url: redacted(url), cause };
        let is_given = names_sslmode(url) || std::env::var_os("PGSSLMODE").is_some();
        let one = |url: String| {
            PgConnectOptions::from_str(&url)
                .map(|server| with_tls(server, is_given))
                .map_err(|error| bad(format!("{error}; write postgres://USER@HOST:5432/DATABASE")))
        };
        let servers = urls(url).map_err(bad)?;
        servers.into_iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The same servers, with options changed by `set`.
    pub(super) fn with(&self, set: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self(self.0.iter().cloned().map(set).collect())
    }

    /// A connection to the first server that is found to accept writes, within `limit`. All servers
    /// are tried at the same time, so that one that does not answer delays no other.
    pub(super) async fn connect(&self, limit: Duration) -> Result<PgConnection, NoServer> {
        let mut attempts: FuturesUnordered<_> = self.0.iter().map(|s| writable(s, limit)).collect();
        let mut worst = NoServer::ReadOnly;
        let mut first = true;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(connection) => return Ok(connection),
                Err(error) if first || error.telling() > worst.telling() => worst = error,
                Err(_) => {}
            }
            first = false;
        }
        Err(worst)
    }
}

/// Whether the address selects how TLS is used.
fn names_sslmode(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| matches!(pair.split_once('='), Some(("sslmode" | "ssl-mode", _))))
}

/// The server, with TLS and a checked certificate unless it is on this machine or the address says
/// otherwise.
fn with_tls(server: PgConnectOptions, is_given: bool) -> PgConnectOptions {
    let host = server.get_host();
    let is_local = server.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_local {
        return server;
    }
    if !is_given {
        return server.ssl_mode(PgSslMode::VerifyFull);
    }
    let mode = server.get_ssl_mode();
    if !matches!(mode, PgSslMode::VerifyFull) {
        tracing::warn!(
            host,
            ?mode,
            "the connection to the database is not protected against eavesdropping or a false \
             server: sslmode=verify-full, which is the default, would protect it"
        );
    }
    server
}

async fn writable(server: &PgConnectOptions, limit: Duration) -> Result<PgConnection, NoServer> {
    let connecting = async {
        let mut connection = server.connect().await.map_err(NoServer::from)?;
        const READ_ONLY: &str = "SELECT current_setting('transaction_read_only')";
        let (read_only,): (String,) =
            query_as(READ_ONLY).fetch_one(&mut connection).await.map_err(NoServer::from)?;
        if read_only == "on" { Err(NoServer::ReadOnly) } else { Ok(connection) }
    };
    tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
        let late = format!("no connection within {} s", limit.as_secs());
        Err(NoServer::Silent(sqlx::Error::Io(std::io::Error::other(late))))
    })
}

/// An address for each server, without the options that only this program reads.
fn urls(url: &str) -> Result<Vec<String>, String> {
    let (place, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q)));
    let query = query.map(kept).transpose()?.filter(|query| !query.is_empty());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let (scheme, rest) = place.split_once("://").ok_or("no scheme")?;
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // Commas before the last `@` belong to the password and separate no servers.
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    Ok(hosts.split(',').map(|host| format!("{scheme}://{user}{host}/{database}{query}")).collect())
}

/// The query part of the address without `target_session_attrs`: this program always needs a server
/// that accepts writes.
fn kept(query: &str) -> Result<String, String> {
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("target_session_attrs", "read-write" | "primary")) => {}
            Some(("target_session_attrs", other)) => {
                return Err(format!("target_session_attrs={other}: it can only be read-write"));
            }
            _ => kept.push(pair),
        }
    }
    Ok(kept.join("&"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Servers, urls};

    #[test]
    fn each_server_of_an_address_gets_an_address_of_its_own() {
        let of = |url| urls(url).unwrap();
        assert_eq!(of("postgres://u@h/db"), ["postgres://u@h/db"]);
        assert_eq!(
            of("postgres://u:p@ss,word@h1:5432,h2,[::1]:5433/db?target_session_attrs=read-write"),
            [
                "postgres://u:p@ss,word@h1:5432/db",
                "postgres://u:p@ss,word@h2/db",
                "postgres://u:p@ss,word@[::1]:5433/db"
            ]
        );
        assert_eq!(
            of("postgresql:///db?host=/run&target_session_attrs=primary&user=u"),
            ["postgresql:///db?host=/run&user=u"]
        );
    }

    #[test]
    fn a_server_on_another_machine_gets_tls_with_a_checked_certificate_unless_the_address_differs()
    {
        let mode = |url: &str| {
            let servers = Servers::parse(url).unwrap();
            format!("{:?}", servers.0.last().unwrap().get_ssl_mode())
        };
        for url in [
            "postgres://u@db/x",
            "postgres://u@10.0.0.1/x",
            "postgres://u@localhost,db/x",
            "postgres://u@db/x?application_name=sslmode",
        ] {
            assert_eq!(mode(url), "VerifyFull", "{url}");
        }
        for url in [
            "postgres://u@localhost/x",
            "postgres://u@127.0.0.1:5432/x",
            "postgres://u@[::1]/x",
            "postgres:///x?host=/run/postgresql",
        ] {
            assert_eq!(mode(url), "Prefer", "{url}");
        }
        assert_eq!(mode("postgres://u@db/x?sslmode=disable"), "Disable");
        assert_eq!(mode("postgres://u@db/x?sslmode=require"), "Require");
    }

    #[test]
    fn an_address_that_selects_servers_without_writes_is_refused() {
        let said = urls("postgres://h/db?target_session_attrs=standby").unwrap_err();
        assert!(said.contains("read-write"), "{said}");
    }
}
