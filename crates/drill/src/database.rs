//! The database of a drill.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use turnpike_harness::postgres::{PostgresServer, PostgresSettings};

/// The kinds of databases.
#[derive(Clone)]
pub enum Database {
    /// A PostgreSQL server that the drill starts in a temporary directory.
    Own(Arc<Mutex<PostgresServer>>),
    /// A file per scenario.
    Sqlite,
    /// A database whose address the caller gave. It must be empty at first, and all scenarios share
    /// it.
    Given(String),
}

/// The database of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseAddress {
    pub(crate) url: String,
    /// The host and port of the server, if the address contains them.
    pub(crate) host_port: Option<String>,
}

impl DatabaseAddress {
    /// The address of the same database through a proxy at `address`.
    pub(crate) fn through(&self, address: std::net::SocketAddr) -> Result<String> {
        let host_port = self.host_port.as_deref().context("there is no connection to cut")?;
        Ok(self.url.replacen(host_port, &address.to_string(), 1))
    }
}

impl Database {
    /// Chooses the given database. If none is given, starts a PostgreSQL server; if that fails,
    /// chooses SQLite and returns the reason.
    ///
    /// # Errors
    /// The address is not of a database that processes can share.
    pub async fn choose(given: Option<String>) -> Result<(Self, Option<String>)> {
        match given {
            Some(url) if url.starts_with("memory:") => bail!("processes can't share {url}"),
            Some(url) if url.starts_with("sqlite:") => Ok((Self::Sqlite, None)),
            Some(url) => Ok((Self::Given(url), None)),
            None => {
                let start = || {
                    PostgresServer::start_with(PostgresSettings {
                        port: Some(0),
                        ..PostgresSettings::default()
                    })
                };
                match tokio::task::spawn_blocking(start).await? {
                    Ok(server) => Ok((Self::Own(Arc::new(Mutex::new(server))), None)),
                    Err(error) => Ok((Self::Sqlite, Some(format!("{error:#}")))),
                }
            }
        }
    }

    /// A given database must be empty, because drills create partitions, plans and accounts in it.
    ///
    /// # Errors
    /// The database has partitions, or does not answer.
    pub async fn must_be_empty(&self) -> Result<()> {
        let Self::Given(url) = self else { return Ok(()) };
        let db = turnpike_store::open(url, &turnpike_store::OpenOptions::default()).await?;
        let partitions = db.observe().await?.partitions.len();
        ensure!(partitions == 0, "the database has {partitions} partitions; give an empty one");
        Ok(())
    }

    /// The kind of database, as text.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Own(_) => "PostgreSQL",
            Self::Sqlite => "SQLite",
            Self::Given(_) => "the given database",
        }
    }

    /// Whether proxies can cut the connections to this database.
    pub fn has_connections(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Sqlite => false,
            Self::Given(url) => host_port(url).is_some(),
        }
    }

    /// Whether the drill can restart the server.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// Returns an empty database for a scenario, or the given database, which is the same for all
    /// scenarios.
    pub(crate) async fn address(&self, scenario: &str, dir: &Path) -> Result<DatabaseAddress> {
        match self {
            Self::Sqlite => {
                let url = format!("sqlite:{}", dir.join("turnpike.db").display());
                Ok(DatabaseAddress { url, host_port: None })
            }
            Self::Given(url) => Ok(DatabaseAddress { url: url.clone(), host_port: host_port(url) }),
            Self::Own(server) => {
                let (server, name) =
                    (Arc::clone(server), format!("drill_{}", scenario.replace('-', "_")));
                tokio::task::spawn_blocking(move || {
                    let server = server.lock().unwrap_or_else(PoisonError::into_inner);
                    server.psql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
                    server.psql(&format!("CREATE DATABASE {name}"))?;
                    let url = server.tcp_url(&name).context("the server has no port")?;
                    Ok(DatabaseAddress { host_port: host_port(&url), url })
                })
                .await?
            }
        }
    }

    /// Stops the server without a shutdown, as in a crash, and starts it again after `lies`.
    /// Returns when the server accepts connections.
    pub(crate) async fn restart(&self, lies: Duration) -> Result<()> {
        let Self::Own(server) = self else {
            bail!("the drill did not start this database and can't restart it")
        };
        for step in 0..2 {
            let server = Arc::clone(server);
            tokio::task::spawn_blocking(move || {
                let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
                if step == 0 {
                    server.stop();
                    return Ok(());
                }
                server.restart()
            })
            .await??;
            if step == 0 {
                tokio::time::sleep(lies).await;
            }
        }
        Ok(())
    }
}

/// The part `host:port` of an address such as `postgres://user@host:port/name`; `None` if the
/// address has no port.
fn host_port(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host_port.rsplit_once(':')?.1.parse::<u16>().ok()?;
    Some(host_port.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_with_a_port_can_be_put_behind_a_proxy() {
        let url = "postgres://me:secret@db.example:5432/turnpike?sslmode=disable";
        assert_eq!(host_port(url).as_deref(), Some("db.example:5432"));
        for url in ["postgres:///x?host=/run", "postgres://db/turnpike", "sqlite:a.db"] {
            assert_eq!(host_port(url), None, "{url}");
        }
        let address = DatabaseAddress { url: url.to_owned(), host_port: host_port(url) };
        let moved = address.through("127.0.0.1:9".parse().unwrap()).unwrap();
        assert_eq!(moved, "postgres://me:secret@127.0.0.1:9/turnpike?sslmode=disable");
    }
}
