//! An authority of one's own, for installations that have none, and the certificates it issues.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use ring::digest;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::facts::{CertificateFacts, hex};
use super::load::{LoadError, certificates_in, instant, key_in};
use super::uri::{CertificateUri, authority_uri, check_name, cluster_of_authority};
use super::verify::{PeerFault, Trust};

/// A certificate is valid from a little before it is issued, because clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What a certificate is issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The identity.
    pub uri: CertificateUri,
    /// Host names and addresses, for clients that check these.
    pub hosts: Vec<String>,
    /// How long it is valid.
    pub validity: Duration,
}

/// A certificate with its key, in PEM form.
#[derive(Clone)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// What the certificate states.
    pub facts: CertificateFacts,
}

impl std::fmt::Debug for IssuedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key.
        f.debug_struct("IssuedCertificate").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The files of the authority can't be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The authority was not made by this program.
    #[error("{file} is not an authority of `turnpike cert ca`: {why}")]
    Foreign {
        /// The file.
        file: String,
        /// The reason.
        why: String,
    },
    /// The authority is no longer valid, or not yet.
    #[error(
        "the authority in {file} can't issue certificates: {fault}; make another with \
             `turnpike cert ca`"
    )]
    NotValid {
        /// The file.
        file: String,
        /// The reason.
        fault: PeerFault,
    },
    /// A name can't be in a certificate.
    #[error("{0}")]
    BadName(String),
    /// The certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Failed(error.to_string())
}

/// An authority of this program.
pub struct Authority {
    /// What its certificate states.
    pub facts: CertificateFacts,
    /// The cluster for which it issues certificates.
    pub cluster: String,
    file: String,
    trust: Trust,
    common_name: String,
    key: KeyPair,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority for `cluster`.
    ///
    /// # Errors
    /// The name can't be in a certificate.
    pub fn create(
        cluster: &str,
        validity: Duration,
        now: UnixTime,
    ) -> Result<IssuedCertificate, AuthorityError> {
        check_name("cluster", cluster).map_err(AuthorityError::BadName)?;
        let key = KeyPair::generate().map_err(failed)?;
        // The digits tell two authorities of one cluster apart.
        let digits = hex(&digest::digest(&digest::SHA256, key.der_bytes()).as_ref()[..4]);
        let mut params = params(&format!("Turnpike CA of {cluster} {digits}"));
        let uri = authority_uri(cluster).try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now.as_secs(), now.as_secs().saturating_add(validity.as_secs()));
        let certificate = params.self_signed(&key).map_err(failed)?;
        issued(certificate.der(), &key)
    }

    /// Reads an authority from its certificate and its key.
    ///
    /// # Errors
    /// The files can't be used, or were not made by [`Self::create`].
    pub fn read(
        (file, certificate): (&Path, &[u8]),
        (key_file, key): (&Path, &[u8]),
    ) -> Result<Self, AuthorityError> {
        let name = file.display().to_string();
        let foreign =
            |why: &str| AuthorityError::Foreign { file: name.clone(), why: why.to_owned() };
        let certificates = certificates_in(file, certificate)?;
        let [certificate] = &certificates[..] else {
            return Err(foreign("it contains several certificates"));
        };
        let facts = CertificateFacts::read(certificate).map_err(|error| foreign(&error))?;
        let common_name = facts.subject.strip_prefix("CN=").filter(|_| facts.is_authority);
        let cluster = match &facts.uris[..] {
            [uri] => cluster_of_authority(uri),
            _ => None,
        };
        let (Some(common_name), Some(cluster)) = (common_name, cluster) else {
            return Err(foreign("it does not name its cluster"));
        };
        let (common_name, cluster) = (common_name.to_owned(), cluster.to_owned());
        let key = KeyPair::try_from(&key_in(key_file, key)?).map_err(failed)?;
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(failed)?;
        if parsed.subject_public_key_info().as_ref() != key.subject_public_key_info() {
            let (key, certificate) = (key_file.into(), file.into());
            return Err(LoadError::OtherKey { key, certificate }.into());
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(failed)?.to_owned();
        let trust = Trust::new(vec![(anchor, facts.not_after_s)]);
        Ok(Self { facts, cluster, file: name, trust, common_name, key })
    }

    /// Issues a certificate with a new key. It ends with the authority's own certificate at the
    /// latest.
    ///
    /// # Errors
    /// The authority is no longer valid, or a name can't be in a certificate.
    pub fn issue(
        &self,
        request: &CertificateRequest,
        now: UnixTime,
    ) -> Result<IssuedCertificate, AuthorityError> {
        let CertificateFacts { not_before_s, not_after_s, .. } = self.facts;
        let now_s = now.as_secs();
        let not_valid = |fault| AuthorityError::NotValid { file: self.file.clone(), fault };
        if now_s > not_after_s {
            return Err(not_valid(PeerFault::Expired { not_after_s, now_s }));
        }
        if now_s < not_before_s {
            return Err(not_valid(PeerFault::NotYetValid { not_before_s, now_s }));
        }
        let mut params = params(&format!("{} {}", request.uri.holder, request.uri.name));
        let uri = request.uri.to_string().try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        for host in &request.hosts {
            params.subject_alt_names.push(host_name(host)?);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if request.uri.holder.is_member() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let until = now_s.saturating_add(request.validity.as_secs()).min(not_after_s);
        set_validity(&mut params, now_s, until);
        let issuer_params = self::params(&self.common_name);
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = Issuer::from_params(&issuer_params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        // What was issued must be what a member accepts.
        let chain = [certificate.der().clone()];
        let serves = request.uri.holder.is_member();
        self.trust.check_own(&chain, serves, now).map_err(failed)?;
        if super::verify::uri_of(&chain[0]).map_err(failed)? != request.uri {
            return Err(failed("its identity is another than asked for"));
        }
        issued(certificate.der(), &key)
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params
}

fn set_validity(params: &mut CertificateParams, from_s: u64, until_s: u64) {
    let date = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = date(from_s.saturating_sub(CLOCK_SKEW.as_secs()));
    params.not_after = date(until_s);
}

fn host_name(host: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let is_name = rustls_pki_types::DnsName::try_from(host).is_ok();
    let name = host.to_owned().try_into().ok().filter(|_| is_name);
    let wrong = || format!("{host:?} is neither the name nor the address of a host");
    name.map(SanType::DnsName).ok_or_else(|| AuthorityError::BadName(wrong()))
}

fn issued(
    certificate: &CertificateDer<'_>,
    key: &KeyPair,
) -> Result<IssuedCertificate, AuthorityError> {
    Ok(IssuedCertificate {
        certificate: pem("CERTIFICATE", certificate),
        key: pem("PRIVATE KEY", &key.serialize_der()),
        facts: CertificateFacts::read(certificate).map_err(failed)?,
    })
}

/// The PEM form of RFC 7468.
fn pem(label: &str, contents: &[u8]) -> String {
    let encoded = STANDARD.encode(contents);
    let lines = encoded.as_bytes().chunks(64).map(|line| line.escape_ascii().to_string() + "\n");
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", lines.collect::<String>())
}

impl CertificateRequest {
    /// The request for another certificate like `facts`.
    ///
    /// # Errors
    /// The certificate has no identity.
    pub fn like(facts: &CertificateFacts, validity: Duration) -> Result<Self, String> {
        let mut uris = facts.uris.iter().map(|uri| uri.parse::<CertificateUri>());
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err("it must have exactly one URI spiffe://CLUSTER/KIND/NAME".to_owned());
        };
        Ok(Self { uri: uri?, hosts: facts.hosts.clone(), validity })
    }
}

impl CertificateFacts {
    /// Whether the certificate is valid at `now`.
    ///
    /// # Errors
    /// It has expired, or is not valid yet.
    pub fn check_dates(&self, now: UnixTime) -> Result<(), PeerFault> {
        let (not_before_s, not_after_s, now_s) =
            (self.not_before_s, self.not_after_s, now.as_secs());
        if now > instant(not_after_s) {
            return Err(PeerFault::Expired { not_after_s, now_s });
        }
        if now < instant(not_before_s) {
            return Err(PeerFault::NotYetValid { not_before_s, now_s });
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::uri::CertificateHolder;
    use super::*;

    #[test]
    fn a_host_that_cannot_be_in_a_certificate_is_refused() {
        for good in ["front1.example.net", "10.0.0.1", "::1", "localhost"] {
            assert!(host_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "https://a", "a:1", "ä"] {
            assert!(host_name(bad).is_err(), "{bad:?}");
        }
        let holder = CertificateHolder::Node;
        assert!(CertificateUri::new("c", holder, "a b").is_err());
    }
}
