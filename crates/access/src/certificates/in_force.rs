//! The certificates in force, and their replacement while the process runs.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring as provider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio::time::MissedTickBehavior;
use turnpike_listen::TlsSource;

use super::load::{
    CertificateExpectation, CertificateFiles, CertificateReader, CertificateUse, Contents,
    LoadError, LoadedCertificates, read_bounded,
};
use super::uri::{CertificateHolder, CertificateUri};
use super::verify::{ClientVerifier, OpenConnections, ServerVerifier, peer_fault};

/// How often the files are read. Changed files are in force after two reads.
pub const POLL: Duration = Duration::from_secs(2);
/// Files that differ at each of so many reads in a row, a minute, are reported.
const CHANGES_MAX: u32 = 30;
/// The application protocol: HTTP/2.
const PROTOCOL: &[u8] = b"h2";

/// The present time.
pub type CertificateClock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> CertificateClock {
    Arc::new(UnixTime::now)
}

/// Reads files of the machine.
pub fn system_reader() -> CertificateReader {
    Arc::new(|file: &Path| read_bounded(file))
}

/// The source of a listener. Its log says why a client's certificate was refused.
fn source_of(server: ServerSide, clock: &CertificateClock) -> TlsSource {
    let check = Arc::new(server.check(clock));
    let explain = |error: &std::io::Error| peer_fault(error).map(|fault| fault.to_string());
    TlsSource::checked(server.config, check, explain)
}

/// What a server derives from one set of files.
struct ServerSide {
    config: Arc<ServerConfig>,
    verifier: Arc<ClientVerifier>,
}

impl ServerSide {
    fn check(&self, clock: &CertificateClock) -> OpenConnections {
        OpenConnections { verifier: Arc::clone(&self.verifier), clock: Arc::clone(clock) }
    }
}

/// What is derived from one set of files.
struct InForce {
    client: Arc<ClientConfig>,
    uri: Option<CertificateUri>,
    not_after_s: Option<u64>,
}

/// The certificates of a process. Clones share them.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    files: CertificateFiles,
    expected: CertificateExpectation,
    reader: CertificateReader,
    clock: CertificateClock,
    in_force: RwLock<Arc<InForce>>,
    /// `None` for a client. The use does not change, so a server always has a configuration.
    source: Option<TlsSource>,
    seen: Mutex<Seen>,
}

/// What the reads of the files found.
struct Seen {
    /// The contents that are in force.
    good: Contents,
    /// Other contents, as of the last read.
    next: Option<Contents>,
    /// Whether `next` has been tried, and refused.
    is_refused: bool,
    /// The number of reads in a row that found other contents than the read before.
    changes: u32,
}

/// The outcome of one read of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files are those in force.
    Unchanged,
    /// The files have changed. The next read tells whether they are complete.
    Changing,
    /// The files were replaced, and are in force from now on.
    Renewed,
    /// The files can't be used. Those in force stay.
    Kept(LoadError),
    /// The same files were refused before.
    StillKept,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Loads the files.
    ///
    /// # Errors
    /// The files can't be used.
    pub fn open(
        files: CertificateFiles,
        expected: CertificateExpectation,
        reader: CertificateReader,
        clock: CertificateClock,
    ) -> Result<Self, LoadError> {
        let good = Contents::read(&files, &reader)?;
        let loaded = LoadedCertificates::new(&files, &good, &expected, clock())?;
        // Later files must be of the same cluster, and under the same name.
        let cluster = loaded.cluster.clone();
        let name = loaded.own.as_ref().map(|own| own.uri.name.clone());
        let expected = CertificateExpectation { cluster, name: expected.name.or(name), ..expected };
        let (in_force, server) = InForce::new(loaded, &files, &expected)?;
        let (in_force, source) =
            (RwLock::new(Arc::new(in_force)), server.map(|server| source_of(server, &clock)));
        let seen = Mutex::new(Seen { good, next: None, is_refused: false, changes: 0 });
        Ok(Self(Arc::new(Inner { files, expected, reader, clock, in_force, source, seen })))
    }

    /// Reads the files once more. Changed files come into force when two reads in a row find them
    /// the same, so that a file that is being written is not taken for a whole one.
    pub fn poll(&self) -> Reloaded {
        let inner = &self.0;
        let mut seen = inner.seen();
        let contents = match Contents::read(&inner.files, &inner.reader) {
            Ok(contents) => contents,
            Err(error) => return Reloaded::Kept(error),
        };
        if contents == seen.good {
            (seen.next, seen.is_refused, seen.changes) = (None, false, 0);
            return Reloaded::Unchanged;
        }
        if seen.next.as_ref() != Some(&contents) {
            (seen.next, seen.is_refused) = (Some(contents), false);
            seen.changes = seen.changes.saturating_add(1);
            if seen.changes >= CHANGES_MAX {
                let file = inner.files.authorities.clone();
                return Reloaded::Kept(LoadError::Restless { file });
            }
            return Reloaded::Changing;
        }
        seen.changes = 0;
        if seen.is_refused {
            return Reloaded::StillKept;
        }
        let loaded =
            LoadedCertificates::new(&inner.files, &contents, &inner.expected, (inner.clock)());
        match loaded.and_then(|loaded| InForce::new(loaded, &inner.files, &inner.expected)) {
            Ok((in_force, server)) => {
                inner.replace(in_force, server);
                *seen = Seen { good: contents, next: None, is_refused: false, changes: 0 };
                Reloaded::Renewed
            }
            Err(error) => {
                seen.is_refused = true;
                Reloaded::Kept(error)
            }
        }
    }

    /// Reads the files every [`POLL`], for ever.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = Reported::default();
        loop {
            ticks.tick().await;
            let this = self.clone();
            // A file system may block.
            let outcome = match tokio::task::spawn_blocking(move || this.poll()).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::error!(%error, "the certificates could not be read again");
                    continue;
                }
            };
            if matches!(outcome, Reloaded::Renewed) {
                tracing::info!(
                    identity = self.uri().map(|uri| uri.to_string()),
                    expires_s = self.not_after_s(),
                    "changed certificates are in force"
                );
            }
            if let Some(error) = reported.note(outcome) {
                tracing::error!(%error,
                    "the changed certificates can't be used; the ones before stay in force");
            }
            self.measure(reported.is_kept);
        }
    }

    /// Sets the metrics of the certificates.
    fn measure(&self, is_kept: bool) {
        if let Some(not_after_s) = self.not_after_s() {
            metrics::gauge!("turnpike_certificate_expires_seconds").set(not_after_s as f64);
        }
        let refused = if is_kept { 1.0 } else { 0.0 };
        metrics::gauge!("turnpike_certificate_reload_refused").set(refused);
    }

    /// The identity in the process's own certificate.
    pub fn uri(&self) -> Option<CertificateUri> {
        self.0.in_force().uri.clone()
    }

    /// The cluster's name; `None` for a client that checks the names of hosts.
    pub fn cluster(&self) -> Option<&str> {
        self.0.expected.cluster.as_deref()
    }

    /// The last second of validity of the process's own certificate.
    pub fn not_after_s(&self) -> Option<u64> {
        self.0.in_force().not_after_s
    }

    /// What a listener uses; `None` for a client.
    pub fn source(&self) -> Option<TlsSource> {
        self.0.source.clone()
    }

    /// What a dial uses.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.in_force().client)
    }
}

/// What was reported of changed files that can't be used.
#[derive(Default)]
struct Reported {
    /// Whether the files that are there are not in force.
    is_kept: bool,
    told: Option<LoadError>,
}

impl Reported {
    /// Takes note of a read. Returns its error unless it was reported before.
    fn note(&mut self, outcome: Reloaded) -> Option<LoadError> {
        match outcome {
            Reloaded::Unchanged | Reloaded::Renewed => *self = Self::default(),
            // Files that change from one bad state to another stay refused meanwhile.
            Reloaded::Changing | Reloaded::StillKept => {}
            Reloaded::Kept(error) => {
                self.is_kept = true;
                if self.told.as_ref() != Some(&error) {
                    self.told = Some(error.clone());
                    return Some(error);
                }
            }
        }
        None
    }
}

impl Inner {
    // A poisoned lock is used too, because no code panics while it holds these locks.

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, in_force: InForce, server: Option<ServerSide>) {
        if let (Some(source), Some(server)) = (&self.source, server) {
            let check = Arc::new(server.check(&self.clock));
            source.replace_checked(server.config, check);
        }
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }
}

impl InForce {
    /// What a client uses, and for a server its configuration.
    fn new(
        loaded: LoadedCertificates,
        files: &CertificateFiles,
        expected: &CertificateExpectation,
    ) -> Result<(Self, Option<ServerSide>), LoadError> {
        // No version or cipher is missing in the provider, so this names a fault of the program.
        let wrong = |error: rustls::Error| LoadError::Damaged {
            file: files.authorities.clone(),
            cause: error.to_string(),
        };
        let crypto = Arc::new(provider::default_provider());
        let versions = &[&rustls::version::TLS13];
        let LoadedCertificates { own, trust, cluster } = loaded;
        let server = match (&own, &cluster, expected.usage) {
            (Some(own), Some(cluster), CertificateUse::Node | CertificateUse::Front) => {
                let members_only = expected.usage == CertificateUse::Node;
                let verifier = ClientVerifier::new(trust.clone(), cluster.clone(), members_only);
                let verifier = Arc::new(verifier);
                let config = ServerConfig::builder_with_provider(Arc::clone(&crypto));
                let mut config = config
                    .with_protocol_versions(versions)
                    .map_err(wrong)?
                    .with_client_cert_verifier(verifier.clone())
                    .with_cert_resolver(own.key.clone());
                config.alpn_protocols = vec![PROTOCOL.to_vec()];
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                Some(ServerSide { config: Arc::new(config), verifier })
            }
            _ => None,
        };
        let holder = match expected.usage {
            CertificateUse::Node | CertificateUse::Front => CertificateHolder::Node,
            CertificateUse::Client => CertificateHolder::Front,
        };
        let verifier = ServerVerifier::new(trust, cluster, holder);
        let config = ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(versions)
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = match &own {
            Some(own) => config.with_client_cert_resolver(own.key.clone()),
            None => config.with_no_client_auth(),
        };
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        let (uri, not_after_s) = own.map(|own| (own.uri, own.facts.not_after_s)).unzip();
        Ok((Self { client: Arc::new(client), uri, not_after_s }, server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metric of refused files does not show them as accepted in between.
    #[test]
    fn files_that_change_between_two_bad_states_stay_refused() {
        let bad = |name: &str| Reloaded::Kept(LoadError::Restless { file: name.into() });
        let mut reported = Reported::default();
        assert!(reported.note(Reloaded::Changing).is_none() && !reported.is_kept);
        for (outcome, is_told) in [
            (bad("a"), true),
            (Reloaded::StillKept, false),
            (Reloaded::Changing, false),
            (bad("b"), true),
            (Reloaded::Changing, false),
            (bad("b"), false),
        ] {
            assert_eq!(reported.note(outcome).is_some(), is_told);
            assert!(reported.is_kept);
        }
        assert!(reported.note(Reloaded::Renewed).is_none() && !reported.is_kept);
    }
}
