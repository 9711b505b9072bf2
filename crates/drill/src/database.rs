//! The database of a drill.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use turnpike_harness::postgres::{PostgresServer, PostgresSettings, StartCancel};
use turnpike_harness::process::ExpectedProcesses;
use turnpike_store::postgres::PostgresDatabase;
use turnpike_store::redacted;

/// The address that stands for a fresh SQLite file of each scenario.
const SQLITE: &str = "sqlite:";
const ADDRESSES: &str =
    "write postgres://USER@HOST:PORT/DATABASE, or sqlite: for a fresh SQLite file";
/// The name of the drill's server in messages.
const SERVER: &str = "PostgreSQL";

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
    /// Whether a drill can use the database at this address; the error says why not.
    ///
    /// # Errors
    /// The address is of no database that the drill's processes can share, or names a SQLite file.
    pub fn check_address(url: &str) -> Result<(), String> {
        let is_postgres = ["postgres://", "postgresql://"].iter().any(|it| url.starts_with(it));
        if is_postgres || url == SQLITE {
            return Ok(());
        }
        let url = redacted(url);
        if url.starts_with(SQLITE) {
            return Err(format!(
                "{url:?} names a file, and a drill uses a fresh SQLite file for each scenario; \
                 write {SQLITE} without a path"
            ));
        }
        if url.starts_with("memory:") {
            return Err(format!("processes can't share {url:?}; {ADDRESSES}"));
        }
        Err(format!("{url:?} is no address of a database; {ADDRESSES}"))
    }

    /// Chooses the given database. If none is given, starts a PostgreSQL server; if that fails,
    /// chooses SQLite and returns the reason.
    ///
    /// # Errors
    /// As [`Self::check_address`].
    pub async fn choose(given: Option<String>) -> Result<(Self, Option<String>)> {
        match given {
            Some(url) => {
                Self::check_address(&url).map_err(Error::msg)?;
                Ok((if url == SQLITE { Self::Sqlite } else { Self::Given(url) }, None))
            }
            None => {
                let cancel = StartCancel::default();
                let settings = PostgresSettings {
                    port: Some(0),
                    cancel: cancel.clone(),
                    ..PostgresSettings::default()
                };
                match to_the_end(cancel, || PostgresServer::start_with(settings)).await? {
                    Ok(server) => Ok((Self::Own(Arc::new(Mutex::new(server))), None)),
                    Err(error) => Ok((Self::Sqlite, Some(format!("{error:#}")))),
                }
            }
        }
    }

    /// A table of a given database, which must be empty, because drills create partitions, plans
    /// and accounts in it; `None` if it is empty.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn a_table(&self) -> Result<Option<String>> {
        let Self::Given(url) = self else { return Ok(None) };
        Ok(PostgresDatabase::tables(url).await?.into_iter().next())
    }

    /// Expects the server that the drill started to run.
    pub(crate) fn expect(&self, expected: &ExpectedProcesses) {
        let Self::Own(server) = self else { return };
        let server = server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = server.pid() {
            expected.expect(SERVER, pid);
        }
    }

    /// The kind of database, as text.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Own(_) => SERVER,
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
                to_the_end(StartCancel::default(), move || {
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
    pub(crate) async fn restart(&self, lies: Duration, expected: &ExpectedProcesses) -> Result<()> {
        let Self::Own(server) = self else {
            bail!("the drill did not start this database and can't restart it")
        };
        expected.release(SERVER);
        for step in 0..2 {
            let server = Arc::clone(server);
            to_the_end(StartCancel::default(), move || {
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
        self.expect(expected);
        Ok(())
    }
}

/// Runs `work`, which blocks, on another thread. If the future is dropped, `cancel` is set, and the
/// drop waits until `work` has ended and its result is dropped: a server that was just started
/// ends, and its files are removed, before the process does.
async fn to_the_end<T: Send + 'static>(
    cancel: StartCancel,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    struct WaitForEnd(StartCancel, mpsc::Receiver<()>);
    impl Drop for WaitForEnd {
        fn drop(&mut self) {
            self.0.cancel();
            // The error, which the end of the work causes, is what this waits for.
            let _ = self.1.recv();
        }
    }
    let (ends, ended) = mpsc::channel::<()>();
    // Declared first, so it is dropped last: after the result.
    let _wait = WaitForEnd(cancel, ended);
    let (result, done) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        // An error returns the result, because the future was dropped: it is dropped here.
        drop(result.send(work()));
        drop(ends);
    });
    done.await.context("the thread that runs PostgreSQL has ended")
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
    fn an_address_is_of_postgresql_or_stands_for_a_fresh_sqlite_file() {
        for url in ["postgres://db/turnpike", "postgresql://u@db:5432/t", "sqlite:"] {
            assert_eq!(Database::check_address(url), Ok(()), "{url}");
        }
        let told = |url| Database::check_address(url).unwrap_err();
        assert!(told("sqlite:mine.db").contains("without a path"), "{}", told("sqlite:mine.db"));
        for url in ["", "mysql://u:s3cret@h/d", "turnpike", "/tmp/x.db", "memory:"] {
            assert!(told(url).contains("postgres://") && !told(url).contains("s3cret"));
            assert!(url == "memory:" || !told(url).contains("memory:"), "{}", told(url));
        }
    }

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
