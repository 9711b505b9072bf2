//! The present TLS configuration, and the number of handshakes at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio_rustls::rustls::ServerConfig;

use crate::locking::lock;

/// How connections are protected.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without TLS.
    Plain,
    /// With TLS; the source gives the configuration for each handshake.
    Tls(TlsSource),
    /// With or without TLS, as the client begins: while a cluster changes to TLS.
    Either(TlsSource),
}

/// Finds the reason for which a client's certificate was refused, in the error of a handshake.
pub type Explain = fn(&std::io::Error) -> Option<String>;

/// A handle on the present TLS configuration, which may be replaced while the server runs. Clones
/// share it.
#[derive(Clone)]
pub struct TlsSource {
    config: Arc<Mutex<Arc<ServerConfig>>>,
    explain: Explain,
}

impl TlsSource {
    /// A source that gives `config` until it is replaced.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self::explained(config, |_| None)
    }

    /// As [`Self::new`]. `explain` finds the reason of a refused certificate, for the log.
    pub fn explained(config: Arc<ServerConfig>, explain: Explain) -> Self {
        Self { config: Arc::new(Mutex::new(config)), explain }
    }

    pub(crate) fn explain(&self, error: &std::io::Error) -> Option<String> {
        (self.explain)(error)
    }

    /// The configuration for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.config))
    }

    /// Replaces the configuration. Connections that exist keep the old one.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *lock(&self.config) = config;
    }
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSource")
    }
}

/// The handshakes in progress. Beyond the maximum the oldest one is given up: a client that means
/// it needs milliseconds, so the oldest one is the least likely to end well.
#[derive(Debug)]
pub(crate) struct Handshakes {
    max: usize,
    present: Mutex<(u64, BTreeMap<u64, Arc<Notify>>)>,
}

/// One handshake in progress.
pub(crate) struct Handshake<'a> {
    all: &'a Handshakes,
    number: u64,
    given_up: Arc<Notify>,
}

impl Handshakes {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, present: Mutex::default() }
    }

    pub(crate) fn begin(&self) -> Handshake<'_> {
        let given_up = Arc::new(Notify::new());
        let mut present = lock(&self.present);
        let (next, by_age) = &mut *present;
        let number = *next;
        *next += 1;
        by_age.insert(number, Arc::clone(&given_up));
        if by_age.len() > self.max
            && let Some((_, oldest)) = by_age.pop_first()
        {
            oldest.notify_one();
        }
        Handshake { all: self, number, given_up }
    }
}

impl Handshake<'_> {
    /// Completes when this handshake must make room for a newer one.
    pub(crate) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        lock(&self.all.present).1.remove(&self.number);
    }
}
