//! Loads a certificate, its key and the authorities, and checks that they fit together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring as provider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};

use super::facts::CertificateFacts;
use super::uri::{CertificateHolder, CertificateUri};
use super::verify::{PeerFault, Trust};

/// The largest file that is read.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The most certificates in a file.
const CERTIFICATES_MAX: usize = 100;

/// The files of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The process's own certificate, with intermediate ones if any, and its key. A client may have
    /// none and present a token instead.
    pub own: Option<(PathBuf, PathBuf)>,
    /// The authorities that are trusted; several while one replaces another.
    pub authorities: PathBuf,
}

/// Reads a whole file.
pub type CertificateReader = Arc<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync>;

/// What a process uses its certificates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// It serves members, and connects to nodes.
    Node,
    /// It serves clients, with or without certificate, and connects to nodes.
    Front,
    /// It connects to fronts.
    Client,
}

/// What the files must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpectation {
    /// What the certificate is used for.
    pub usage: CertificateUse,
    /// The name of the cluster; `None`: that of the process's own certificate.
    pub cluster: Option<String>,
    /// The name in the certificate; `None`: any.
    pub name: Option<String>,
}

/// Why the files can't be used. Each message names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A file can't be read.
    #[error("{file} can't be read: {cause}; correct the path, or the owner and mode of the file")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The reason.
        cause: String,
    },
    /// A file is larger than any file of certificates.
    #[error("{file} has more than {FILE_BYTES_MAX} bytes: it is no file of certificates")]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// A file is damaged or incomplete.
    #[error("{file} is damaged or incomplete: {cause}; write it again, in PEM form")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The reason.
        cause: String,
    },
    /// A file contains no certificate.
    #[error("{file} contains no certificate: it must have a section BEGIN CERTIFICATE (PEM)")]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A file contains too many certificates.
    #[error("{file} contains more than {CERTIFICATES_MAX} certificates: remove the old ones")]
    TooMany {
        /// The file.
        file: PathBuf,
    },
    /// A file contains no private key.
    #[error("{file} contains no private key: it must have a section BEGIN PRIVATE KEY (PEM)")]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The key is not that of the certificate.
    #[error(
        "the key in {key} does not belong to the certificate in {certificate}: use the two \
             files that were issued together, or issue both again with `turnpike cert issue`"
    )]
    OtherKey {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// The kind of key is not supported.
    #[error("the key in {file} can't be used: {cause}; use ECDSA P-256, Ed25519 or RSA")]
    BadKey {
        /// The file of the key.
        file: PathBuf,
        /// The reason.
        cause: String,
    },
    /// The file of authorities contains another certificate.
    #[error(
        "{file} contains {subject:?}, which is not an authority's certificate: name the file \
             with the certificate of the authority, such as ca.crt"
    )]
    NotAuthority {
        /// The file.
        file: PathBuf,
        /// The subject of the certificate.
        subject: String,
    },
    /// No authority is valid any more.
    #[error(
        "all authorities in {file} have expired: make another with `turnpike cert ca`, and let \
             it issue new certificates"
    )]
    AuthoritiesExpired {
        /// The file.
        file: PathBuf,
    },
    /// The files are not the same at two reads in a row, for a long time.
    #[error("{file} and the files beside it change all the time: write a file only once")]
    Restless {
        /// The file.
        file: PathBuf,
    },
    /// The certificate would be refused by the other members.
    #[error("the certificate in {file} can't be used: {fault}; {remedy}")]
    Refused {
        /// The file.
        file: PathBuf,
        /// The reason.
        fault: PeerFault,
        /// What to do.
        remedy: String,
    },
    /// The certificate is for something else.
    #[error("the certificate in {file} is that of {found}; {needed}")]
    OtherHolder {
        /// The file.
        file: PathBuf,
        /// The identity in it.
        found: String,
        /// What the process needs, and how to get it.
        needed: String,
    },
}

/// The raw contents of the files, which are compared to notice a change.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

impl Contents {
    /// Reads all files.
    pub(crate) fn read(
        files: &CertificateFiles,
        reader: &CertificateReader,
    ) -> Result<Self, LoadError> {
        let read = |file: &Path| {
            let unreadable = |cause: io::Error| LoadError::Unreadable {
                file: file.into(),
                cause: cause.to_string(),
            };
            let contents = reader(file).map_err(unreadable)?;
            if contents.len() > FILE_BYTES_MAX {
                return Err(LoadError::TooLarge { file: file.into() });
            }
            Ok(contents)
        };
        let (certificate, key) = match &files.own {
            Some((certificate, key)) => (read(certificate)?, read(key)?),
            None => (Vec::new(), Vec::new()),
        };
        Ok(Self { certificate, key, authorities: read(&files.authorities)? })
    }
}

/// Reads at most what a file of certificates may have, so that a device or a log that was named by
/// mistake fills no memory.
pub(crate) fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut contents = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    std::fs::File::open(file)?.take(most).read_to_end(&mut contents)?;
    Ok(contents)
}

/// Certificates that fit together.
pub(crate) struct LoadedCertificates {
    pub(crate) own: Option<Own>,
    pub(crate) trust: Trust,
    /// The cluster's name; `None` for a client that checks the name of the host instead.
    pub(crate) cluster: Option<String>,
}

/// The process's own certificate.
pub(crate) struct Own {
    pub(crate) key: Arc<SingleCertAndKey>,
    pub(crate) uri: CertificateUri,
    pub(crate) facts: CertificateFacts,
}

impl LoadedCertificates {
    /// Checks the contents of the files.
    pub(crate) fn new(
        files: &CertificateFiles,
        contents: &Contents,
        expected: &CertificateExpectation,
        now: UnixTime,
    ) -> Result<Self, LoadError> {
        let trust = authorities(&files.authorities, &contents.authorities, now)?;
        let own = match &files.own {
            Some((certificate, key)) => Some(own(
                (certificate, key),
                contents,
                expected,
                (&trust, &files.authorities),
                now,
            )?),
            None => None,
        };
        let cluster = expected.cluster.clone();
        let cluster = cluster.or_else(|| own.as_ref().map(|own| own.uri.cluster.clone()));
        Ok(Self { own, trust, cluster })
    }
}

/// The certificates in a PEM file.
///
/// # Errors
/// A damaged file, or one without certificate.
pub fn certificates_in(
    file: &Path,
    contents: &[u8],
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let damaged = |cause: String| LoadError::Damaged { file: file.into(), cause };
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(contents) {
        certificates.push(certificate.map_err(|error| damaged(error.to_string()))?);
        if certificates.len() > CERTIFICATES_MAX {
            return Err(LoadError::TooMany { file: file.into() });
        }
    }
    if certificates.is_empty() {
        return Err(LoadError::NoCertificate { file: file.into() });
    }
    Ok(certificates)
}

/// The private key in a PEM file.
pub(crate) fn key_in(file: &Path, contents: &[u8]) -> Result<PrivateKeyDer<'static>, LoadError> {
    use rustls_pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(contents).map_err(|error| match error {
        Error::NoItemsFound => LoadError::NoKey { file: file.into() },
        error => LoadError::Damaged { file: file.into(), cause: error.to_string() },
    })
}

fn authorities(file: &Path, contents: &[u8], now: UnixTime) -> Result<Trust, LoadError> {
    let damaged = |cause: String| LoadError::Damaged { file: file.into(), cause };
    let mut anchors: Vec<(TrustAnchor<'static>, u64)> = Vec::new();
    for certificate in certificates_in(file, contents)? {
        let facts = CertificateFacts::read(&certificate).map_err(damaged)?;
        if !facts.is_authority {
            return Err(LoadError::NotAuthority { file: file.into(), subject: facts.subject });
        }
        if facts.not_after_s < now.as_secs() {
            tracing::warn!(file = %file.display(), authority = facts.subject,
                "an authority has expired, and is not trusted any more");
            continue;
        }
        let anchor = webpki::anchor_from_trusted_cert(&certificate);
        let anchor = anchor.map_err(|error| damaged(error.to_string()))?.to_owned();
        anchors.push((anchor, facts.not_after_s));
    }
    if anchors.is_empty() {
        return Err(LoadError::AuthoritiesExpired { file: file.into() });
    }
    Ok(Trust::new(anchors))
}

fn own(
    (file, key_file): (&Path, &Path),
    contents: &Contents,
    expected: &CertificateExpectation,
    (trust, authorities): (&Trust, &Path),
    now: UnixTime,
) -> Result<Own, LoadError> {
    let damaged = |cause: String| LoadError::Damaged { file: file.into(), cause };
    let chain = certificates_in(file, &contents.certificate)?;
    let key = key_in(key_file, &contents.key)?;
    let facts = CertificateFacts::read(&chain[0]).map_err(damaged)?;
    let refused = |fault: PeerFault| {
        let remedy = remedy(&fault, authorities);
        LoadError::Refused { file: file.into(), fault, remedy }
    };
    trust.check_own(&chain, false, now).map_err(refused)?;
    let uri = super::verify::uri_of(&chain[0]).map_err(refused)?;
    // Before the key usage, which follows from the holder.
    check_holder(file, &uri, expected)?;
    trust.check_own(&chain, expected.usage != CertificateUse::Client, now).map_err(refused)?;
    let certified = CertifiedKey::from_der(chain, key, &provider::default_provider());
    let certified = certified.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            LoadError::OtherKey { key: key_file.into(), certificate: file.into() }
        }
        error => LoadError::BadKey { file: key_file.into(), cause: error.to_string() },
    })?;
    Ok(Own { key: Arc::new(SingleCertAndKey::from(certified)), uri, facts })
}

fn remedy(fault: &PeerFault, authorities: &Path) -> String {
    match fault {
        PeerFault::Expired { .. } => "renew it: `turnpike cert renew FILE`".to_owned(),
        PeerFault::NotYetValid { .. } => "check the clock of this machine".to_owned(),
        PeerFault::UnknownAuthority => format!(
            "add the certificate of the authority that issued it to {}",
            authorities.display()
        ),
        _ => "issue another with `turnpike cert issue`".to_owned(),
    }
}

fn check_holder(
    file: &Path,
    uri: &CertificateUri,
    expected: &CertificateExpectation,
) -> Result<(), LoadError> {
    let other = |needed: String| LoadError::OtherHolder {
        file: file.into(),
        found: uri.to_string(),
        needed,
    };
    if let Some(cluster) = expected.cluster.as_ref().filter(|cluster| **cluster != uri.cluster) {
        return Err(other(format!("the cluster is {cluster}: use a certificate of that cluster")));
    }
    let holder = match expected.usage {
        CertificateUse::Node => CertificateHolder::Node,
        CertificateUse::Front => CertificateHolder::Front,
        // A command on a member's machine may use the member's certificate.
        CertificateUse::Client => return Ok(()),
    };
    let name = expected.name.as_deref();
    if uri.holder != holder || name.is_some_and(|name| name != uri.name) {
        let shown = name.unwrap_or("NAME");
        return Err(other(format!(
            "this {holder} needs one of its own: `turnpike cert issue {holder} {shown}`"
        )));
    }
    Ok(())
}

/// An instant, as seconds since 1970.
pub(crate) fn instant(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
