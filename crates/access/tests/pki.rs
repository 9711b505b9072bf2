//! Authorities and certificates for tests, in files that exist in memory only.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, SanType};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, UnixTime};
use turnpike_access::certificates::{
    Authority, CertificateClock, CertificateExpectation, CertificateFiles, CertificateReader,
    CertificateRequest, CertificateUse, Certificates, IssuedCertificate, LoadError,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The present, in seconds since 1970. Handshakes use the clock of the machine.
pub(crate) fn now_s() -> u64 {
    UnixTime::now().as_secs()
}

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// An authority, valid from ten hours ago on.
pub(crate) struct Ca {
    pub(crate) made: IssuedCertificate,
    pub(crate) authority: Authority,
}

impl Ca {
    pub(crate) fn new(cluster: &str) -> Self {
        Self::until(cluster, now_s() + 324_000)
    }

    /// An authority that ends at this second.
    pub(crate) fn until(cluster: &str, end_s: u64) -> Self {
        let from_s = now_s() - 36_000;
        let validity = Duration::from_secs(end_s - from_s);
        let made = Authority::create(cluster, validity, at(from_s)).unwrap();
        let authority = Authority::read(
            (Path::new("ca.crt"), made.certificate.as_bytes()),
            (Path::new("ca.key"), made.key.as_bytes()),
        );
        Self { authority: authority.unwrap(), made }
    }

    /// A certificate for this URI, from `from_s` on for an hour.
    pub(crate) fn issue_from(&self, uri: &str, from_s: u64) -> IssuedCertificate {
        let (uri, hosts) = (uri.parse().unwrap(), vec!["127.0.0.1".to_owned()]);
        let request = CertificateRequest { uri, hosts, validity: HOUR };
        self.authority.issue(&request, at(from_s)).unwrap()
    }

    pub(crate) fn issue(&self, uri: &str) -> IssuedCertificate {
        self.issue_from(uri, now_s())
    }

    /// A certificate that this program would not issue.
    pub(crate) fn odd(&self, change: impl FnOnce(&mut CertificateParams)) -> IssuedCertificate {
        let name = |text: &str| {
            let mut name = DistinguishedName::new();
            name.push(DnType::CommonName, text);
            name
        };
        let mut of_ca = CertificateParams::default();
        of_ca.distinguished_name = name(self.made.facts.subject.strip_prefix("CN=").unwrap());
        let key = PrivateKeyDer::from_pem_slice(self.made.key.as_bytes()).unwrap();
        let issuer = Issuer::from_params(&of_ca, KeyPair::try_from(&key).unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name = name("odd");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &issuer).unwrap();
        let facts = turnpike_access::certificates::CertificateFacts::read(made.der()).unwrap();
        IssuedCertificate {
            certificate: pem("CERTIFICATE", made.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
            facts,
        }
    }

    /// A certificate with these URIs.
    pub(crate) fn with_uris(&self, uris: &[&str]) -> IssuedCertificate {
        self.odd(|params| {
            let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names = uris.iter().map(uri).collect();
        })
    }
}

fn pem(label: &str, contents: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(contents);
    format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n")
}

/// Files in memory.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    files: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
}

impl Disk {
    pub(crate) fn write(&self, file: &str, contents: &str) {
        self.files.lock().unwrap().insert(file.into(), contents.as_bytes().to_vec());
    }

    pub(crate) fn remove(&self, file: &str) {
        self.files.lock().unwrap().remove(Path::new(file)).unwrap();
    }

    /// The files of a process: its certificate and key, and the authorities that it trusts.
    pub(crate) fn of(own: &IssuedCertificate, authorities: &[&Ca]) -> Self {
        let disk = Self::default();
        disk.set_own(own);
        disk.set_authorities(authorities);
        disk
    }

    pub(crate) fn set_own(&self, own: &IssuedCertificate) {
        self.write("own.crt", &own.certificate);
        self.write("own.key", &own.key);
    }

    pub(crate) fn set_authorities(&self, authorities: &[&Ca]) {
        let all: String = authorities.iter().map(|ca| ca.made.certificate.clone()).collect();
        self.write("ca.crt", &all);
    }

    pub(crate) fn reader(&self) -> CertificateReader {
        let files = Arc::clone(&self.files);
        Arc::new(move |file: &Path| {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            files.lock().unwrap().get(file).cloned().ok_or_else(missing)
        })
    }

    pub(crate) fn clock(&self) -> CertificateClock {
        Arc::new(|| at(now_s()))
    }

    /// Loads the files for this use.
    pub(crate) fn load(
        &self,
        usage: CertificateUse,
        cluster: Option<&str>,
        name: Option<&str>,
    ) -> Result<Certificates, LoadError> {
        let own = Some(("own.crt".into(), "own.key".into()));
        let files = CertificateFiles { own, authorities: "ca.crt".into() };
        self.load_files(files, usage, cluster, name)
    }

    pub(crate) fn load_files(
        &self,
        files: CertificateFiles,
        usage: CertificateUse,
        cluster: Option<&str>,
        name: Option<&str>,
    ) -> Result<Certificates, LoadError> {
        let (cluster, name) = (cluster.map(str::to_owned), name.map(str::to_owned));
        Certificates::open(
            files,
            CertificateExpectation { usage, cluster, name },
            self.reader(),
            self.clock(),
        )
    }

    pub(crate) fn of_use(&self, usage: CertificateUse) -> Certificates {
        self.load(usage, None, None).unwrap()
    }
}
