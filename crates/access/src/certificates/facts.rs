//! What a certificate states.

use std::net::IpAddr;

use ring::digest;
use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

/// What a certificate states. Nothing of it is proven before its signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject, in the form of RFC 4514.
    pub subject: String,
    /// The issuer, in the same form.
    pub issuer: String,
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// The first second of validity, since 1970.
    pub not_before_s: u64,
    /// The last second of validity, since 1970.
    pub not_after_s: u64,
    /// The URIs among its alternative names.
    pub uris: Vec<String>,
    /// The host names and addresses among its alternative names.
    pub hosts: Vec<String>,
    /// Whether it may issue certificates.
    pub is_authority: bool,
    /// SHA-256 over the certificate, in hexadecimal digits.
    pub fingerprint: String,
}

impl CertificateFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// The certificate is damaged.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let said = |error: x509_cert::der::Error| error.to_string();
        let parsed = Certificate::from_der(certificate).map_err(said)?.tbs_certificate;
        let names = parsed.get::<SubjectAltName>().map_err(said)?;
        let (mut uris, mut hosts) = (Vec::new(), Vec::new());
        for name in names.map_or_else(Vec::new, |(_, names)| names.0) {
            match name {
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.to_string()),
                GeneralName::DnsName(host) => hosts.push(host.to_string()),
                GeneralName::IpAddress(bytes) => hosts.extend(ip(bytes.as_bytes())),
                _ => {}
            }
        }
        let constraints = parsed.get::<BasicConstraints>().map_err(said)?;
        Ok(Self {
            subject: parsed.subject.to_string(),
            issuer: parsed.issuer.to_string(),
            serial: serial(&hex(parsed.serial_number.as_bytes())),
            not_before_s: parsed.validity.not_before.to_unix_duration().as_secs(),
            not_after_s: parsed.validity.not_after.to_unix_duration().as_secs(),
            uris,
            hosts,
            is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
            fingerprint: hex(digest::digest(&digest::SHA256, certificate).as_ref()),
        })
    }
}

fn ip(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(v6).map(|address| address.to_string())
}

/// A serial number without the zero bytes before it: DER puts one before a number whose first bit is set,
/// and other programs show none.
pub(crate) fn serial(hex: &str) -> String {
    let significant = hex.trim_start_matches('0');
    let digits = significant.len().max(1).next_multiple_of(2);
    format!("{significant:0>digits$}")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
