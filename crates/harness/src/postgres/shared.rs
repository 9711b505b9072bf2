//! One server for all tests of a process, and a database for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;

use super::server::PostgresServer;

impl PostgresServer {
    /// Returns the server that the tests of this process share. The first call starts the server,
    /// and it stops when the last handle is dropped. Each test creates a database of its own on it.
    ///
    /// # Errors
    /// As [`PostgresServer::start`].
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// Creates an empty database. Returns its address on the unix socket.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn create_database(&self) -> Result<String> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", CREATED.fetch_add(1, Ordering::Relaxed) + 1);
        self.psql(&format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }
}
