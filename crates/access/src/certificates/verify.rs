//! Checks the certificate of the other end of a connection.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use turnpike_listen::PeerCheck;
use webpki::{EndEntityCert, KeyUsage};

use super::facts::CertificateFacts;
use super::uri::{CertificateHolder, CertificateUri};

/// Why a certificate is refused. The other end is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// It is no longer valid.
    #[error("it expired {} s ago", now_s.saturating_sub(*not_after_s))]
    Expired {
        /// The last second of validity.
        not_after_s: u64,
        /// The present.
        now_s: u64,
    },
    /// It is not valid yet.
    #[error("it is valid in {} s only", not_before_s.saturating_sub(*now_s))]
    NotYetValid {
        /// The first second of validity.
        not_before_s: u64,
        /// The present.
        now_s: u64,
    },
    /// No trusted authority issued it.
    #[error("no trusted authority issued it")]
    UnknownAuthority,
    /// It may not be used at this end of a connection.
    #[error("it may not be used for this: {0}")]
    OtherUse(String),
    /// It is damaged, or its chain is.
    #[error("it is not valid: {0}")]
    Invalid(String),
    /// It has no identity, or several.
    #[error("it must have exactly one URI spiffe://CLUSTER/KIND/NAME: {0}")]
    NoIdentity(String),
    /// It belongs to another cluster.
    #[error("{found} is not of the cluster {cluster}")]
    OtherCluster {
        /// The identity in it.
        found: String,
        /// The own cluster.
        cluster: String,
    },
    /// It belongs to this cluster, but may not be at this end of a connection.
    #[error("{found} is not a {needed}")]
    OtherHolder {
        /// The identity in it.
        found: String,
        /// Whose certificate is needed.
        needed: &'static str,
    },
    /// It does not contain the name of the host in the address.
    #[error("it does not contain the name {host} (--cluster NAME checks the cluster instead)")]
    OtherHost {
        /// The host in the address.
        host: String,
    },
}

/// The reason for which this process refused a certificate, from the error of a handshake.
pub fn peer_fault(error: &(dyn std::error::Error + 'static)) -> Option<PeerFault> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<PeerFault>() {
            return Some(fault.clone());
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(fault)))) =
            inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref())
        {
            return fault.downcast_ref().cloned();
        }
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Refuses a certificate for `fault`. All faults have this one form, so the alert that the other
/// end gets is the same.
fn refused(fault: PeerFault) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
}

/// The authorities that are trusted.
#[derive(Clone)]
pub(crate) struct Trust {
    anchors: Arc<[TrustAnchor<'static>]>,
    /// The last second of validity of each.
    ends_s: Arc<[u64]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("anchors", &self.anchors.len()).finish_non_exhaustive()
    }
}

impl Trust {
    /// Trusts these authorities, each until its last second of validity.
    pub(crate) fn new(authorities: Vec<(TrustAnchor<'static>, u64)>) -> Self {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        let (anchors, ends_s): (Vec<_>, Vec<_>) = authorities.into_iter().unzip();
        Self { anchors: anchors.into(), ends_s: ends_s.into(), algorithms }
    }

    /// The authorities that are valid now: the check of a chain does not look at their dates.
    fn valid(&self, now: UnixTime) -> Cow<'_, [TrustAnchor<'static>]> {
        let is_valid = |end_s: &u64| *end_s >= now.as_secs();
        if self.ends_s.iter().all(is_valid) {
            return Cow::Borrowed(&self.anchors);
        }
        let valid = self.anchors.iter().zip(&*self.ends_s).filter(|(_, end_s)| is_valid(end_s));
        Cow::Owned(valid.map(|(anchor, _)| anchor.clone()).collect())
    }

    /// Checks the process's own chain as the other end will.
    pub(crate) fn check_own(
        &self,
        chain: &[CertificateDer<'_>],
        serves: bool,
        now: UnixTime,
    ) -> Result<(), PeerFault> {
        let (own, rest) = chain.split_first().ok_or(PeerFault::UnknownAuthority)?;
        self.check(own, rest, now, KeyUsage::client_auth())?;
        if serves {
            self.check(own, rest, now, KeyUsage::server_auth())?;
        }
        Ok(())
    }

    /// The last second of validity of the authority that vouches for the certificate.
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<u64, PeerFault> {
        let parsed = EndEntityCert::try_from(certificate).map_err(fault)?;
        let (algorithms, valid) = (self.algorithms.all, self.valid(now));
        let path = parsed
            .verify_for_usage(algorithms, &valid, intermediates, now, usage, None, None)
            .map_err(fault)?;
        let same = self.anchors.iter().zip(&*self.ends_s);
        let ends_s = same.filter(|(anchor, _)| *anchor == path.anchor()).map(|(_, end_s)| *end_s);
        ends_s.max().ok_or(PeerFault::UnknownAuthority)
    }
}

fn fault(error: webpki::Error) -> PeerFault {
    use webpki::Error as E;
    match error {
        E::CertExpired { time, not_after } => {
            PeerFault::Expired { not_after_s: not_after.as_secs(), now_s: time.as_secs() }
        }
        E::CertNotValidYet { time, not_before } => {
            PeerFault::NotYetValid { not_before_s: not_before.as_secs(), now_s: time.as_secs() }
        }
        E::UnknownIssuer => PeerFault::UnknownAuthority,
        E::CaUsedAsEndEntity => PeerFault::OtherUse("it is an authority's".to_owned()),
        E::RequiredEkuNotFoundContext(_) => {
            PeerFault::OtherUse("its extended key usage does not allow it".to_owned())
        }
        error => PeerFault::Invalid(error.to_string()),
    }
}

/// The identity in a certificate: its only URI of the scheme `spiffe`.
pub(crate) fn uri_of(certificate: &CertificateDer<'_>) -> Result<CertificateUri, PeerFault> {
    let parsed = EndEntityCert::try_from(certificate).map_err(fault)?;
    let mut uris = parsed.valid_uri_names().filter(|uri| uri.starts_with("spiffe:"));
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.parse().map_err(PeerFault::NoIdentity),
        (None, _) => Err(PeerFault::NoIdentity("it has none".to_owned())),
        (Some(_), Some(_)) => Err(PeerFault::NoIdentity("it has several".to_owned())),
    }
}

/// Checks the certificates of those who connect.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    trust: Trust,
    cluster: String,
    members_only: bool,
}

impl ClientVerifier {
    /// Members only, or everyone of the cluster, with or without certificate.
    pub(crate) const fn new(trust: Trust, cluster: String, members_only: bool) -> Self {
        Self { trust, cluster, members_only }
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<u64, PeerFault> {
        let end_s = self.trust.check(certificate, intermediates, now, KeyUsage::client_auth())?;
        let uri = of_cluster(certificate, &self.cluster)?;
        if self.members_only && !uri.holder.is_member() {
            let found = uri.to_string();
            return Err(PeerFault::OtherHolder { found, needed: "node or front" });
        }
        Ok(end_s)
    }
}

/// Judges the clients of open connections.
pub(crate) struct OpenConnections {
    pub(crate) verifier: Arc<ClientVerifier>,
    /// The present time.
    pub(crate) clock: Arc<dyn Fn() -> UnixTime + Send + Sync>,
}

impl PeerCheck for OpenConnections {
    fn check(&self, chain: &[CertificateDer<'static>]) -> Result<Option<u64>, String> {
        let Some((own, rest)) = chain.split_first() else {
            let members_only = self.verifier.members_only;
            return if members_only { Err("it has none".to_owned()) } else { Ok(None) };
        };
        let end_s = self.verifier.check(own, rest, (self.clock)());
        let mut end_s = end_s.map_err(|fault| fault.to_string())?;
        for certificate in chain {
            end_s = end_s.min(CertificateFacts::read(certificate)?.not_after_s);
        }
        Ok(Some(end_s))
    }

    fn now_s(&self) -> u64 {
        (self.clock)().as_secs()
    }
}

fn of_cluster(
    certificate: &CertificateDer<'_>,
    cluster: &str,
) -> Result<CertificateUri, PeerFault> {
    let uri = uri_of(certificate)?;
    if uri.cluster != cluster {
        let (found, cluster) = (uri.to_string(), cluster.to_owned());
        return Err(PeerFault::OtherCluster { found, cluster });
    }
    Ok(uri)
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.members_only
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 is required".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// Checks the certificate of a server.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    trust: Trust,
    /// `None`: the certificate must contain the name of the host instead.
    cluster: Option<String>,
    holder: CertificateHolder,
}

impl ServerVerifier {
    pub(crate) const fn new(
        trust: Trust,
        cluster: Option<String>,
        holder: CertificateHolder,
    ) -> Self {
        Self { trust, cluster, holder }
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), PeerFault> {
        self.trust.check(certificate, intermediates, now, KeyUsage::server_auth())?;
        let Some(cluster) = &self.cluster else {
            let parsed = EndEntityCert::try_from(certificate).map_err(fault)?;
            let wrong = |_| PeerFault::OtherHost { host: host.to_str().into_owned() };
            return parsed.verify_is_valid_for_subject_name(host).map_err(wrong);
        };
        let uri = of_cluster(certificate, cluster)?;
        if uri.holder != self.holder {
            let needed = if self.holder == CertificateHolder::Node { "node" } else { "front" };
            return Err(PeerFault::OtherHolder { found: uri.to_string(), needed });
        }
        Ok(())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, server_name, now).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 is required".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
