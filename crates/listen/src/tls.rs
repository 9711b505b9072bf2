//! The present TLS configuration, and the number of handshakes at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::locking::lock;

/// How often the certificates of an open connection are compared with the clock, at least.
const JUDGED_EVERY: Duration = Duration::from_secs(60);

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

/// Judges the certificates of clients whose handshake is over.
pub trait PeerCheck: Send + Sync {
    /// The last second, since 1970, in which all certificates of `chain` are valid; `None` for an
    /// empty chain.
    ///
    /// # Errors
    /// Why a client with these certificates would be refused now.
    fn check(&self, chain: &[CertificateDer<'static>]) -> Result<Option<u64>, String>;

    /// The present, in seconds since 1970.
    fn now_s(&self) -> u64;
}

/// What new connections use.
#[derive(Clone)]
struct InForce {
    config: Arc<ServerConfig>,
    /// `None`: connections last for as long as their clients want.
    check: Option<Arc<dyn PeerCheck>>,
}

/// A handle on the present TLS configuration, which may be replaced while the server runs. Clones
/// share it.
#[derive(Clone)]
pub struct TlsSource {
    in_force: Arc<watch::Sender<InForce>>,
    explain: Explain,
}

/// Judges the certificates of one connection again and again.
pub(crate) struct PeerWatch {
    in_force: watch::Receiver<InForce>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl TlsSource {
    /// A source that gives `config` until it is replaced. Connections outlive certificates.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self::of(InForce { config, check: None }, |_| None)
    }

    /// A source that gives `config` until it is replaced. `check` judges the clients of open
    /// connections; `explain` finds the reason of a refused certificate, for the log.
    pub fn checked(config: Arc<ServerConfig>, check: Arc<dyn PeerCheck>, explain: Explain) -> Self {
        Self::of(InForce { config, check: Some(check) }, explain)
    }

    fn of(in_force: InForce, explain: Explain) -> Self {
        Self { in_force: Arc::new(watch::Sender::new(in_force)), explain }
    }

    pub(crate) fn explain(&self, error: &std::io::Error) -> Option<String> {
        (self.explain)(error)
    }

    /// The configuration for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_force.borrow().config)
    }

    /// Replaces the configuration. Connections that exist keep the old one.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.in_force.send_modify(|in_force| in_force.config = config);
    }

    /// Replaces the configuration, and judges the clients of open connections by `check` from now
    /// on.
    pub fn replace_checked(&self, config: Arc<ServerConfig>, check: Arc<dyn PeerCheck>) {
        self.in_force.send_replace(InForce { config, check: Some(check) });
    }

    /// Judges `certificates`, which a client presented.
    pub(crate) fn watch(&self, certificates: Arc<[CertificateDer<'static>]>) -> PeerWatch {
        PeerWatch { in_force: self.in_force.subscribe(), certificates }
    }
}

impl PeerWatch {
    /// As [`PeerCheck::check`], by what is in force now.
    pub(crate) fn judge(&mut self) -> Result<Option<u64>, String> {
        let check = self.in_force.borrow_and_update().check.clone();
        check.map_or(Ok(None), |check| check.check(&self.certificates))
    }

    /// Completes when the client must be disconnected; with the reason.
    pub(crate) async fn ended(mut self) -> String {
        loop {
            let not_after_s = match self.judge() {
                Ok(not_after_s) => not_after_s,
                Err(why) => return why,
            };
            let mut changes = self.in_force.clone();
            let expired = async {
                let check = self.in_force.borrow().check.clone();
                match (not_after_s, check) {
                    (Some(not_after_s), Some(check)) => {
                        let left_s = (not_after_s + 1).saturating_sub(check.now_s());
                        // A clock that is set forward is noticed within this time.
                        let wait = Duration::from_secs(left_s).min(JUDGED_EVERY);
                        tokio::time::sleep(wait).await;
                    }
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expired => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        // The source is gone, as when the server stops.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
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
