//! Revocations of certificates.

use turnpike_store::{AccessChange, RevokedCertificate};

use super::administrators;
use super::context::{ChangeContext, ChangeRefusal, Planned, REVOKED_CERTIFICATES_MAX};
use crate::certificates::serial;
use crate::principal::{check_cluster, parsed_uri};

/// The most hexadecimal digits of a serial number: certificates have at most 20 bytes (RFC 5280), with
/// zero bytes before them.
const SERIAL_DIGITS_MAX: usize = 42;

/// The name by which certificates can be revoked: a URI of this cluster, or a serial number. Colons
/// between the digits, and capitals, are as other programs show a serial number.
///
/// # Errors
/// What a name looks like.
pub(crate) fn revocable(name: &str, cluster: &str) -> Result<String, String> {
    if name.contains("://") {
        check_cluster(&parsed_uri(name)?, cluster)?;
        return Ok(name.to_owned());
    }
    let digits: String = name.chars().filter(|char| *char != ':').collect::<String>();
    let digits = digits.to_ascii_lowercase();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && digits.len().is_multiple_of(2) && (2..=SERIAL_DIGITS_MAX).contains(&digits.len()) {
        return Ok(serial(&digits));
    }
    Err(format!(
        "{name:?} names no certificate: write its URI, or its serial number as `turnpike cert show` \
         prints it"
    ))
}

/// The change that revokes the certificates with this name.
pub(crate) fn revoke_certificate(
    context: ChangeContext<'_>,
    name: String,
) -> Result<Planned, ChangeRefusal> {
    let revoked = &context.tables.revoked;
    if revoked.iter().any(|row| row.name == name) {
        return Ok(Planned::Done(0));
    }
    if name == context.by || context.serial == Some(&*name) {
        return Err(ChangeRefusal::Conflict(format!(
            "{name} is the certificate by which you send this: let another administrator revoke it"
        )));
    }
    if revoked.len() >= REVOKED_CERTIFICATES_MAX {
        return Err(ChangeRefusal::Full(format!(
            "{REVOKED_CERTIFICATES_MAX} certificates are revoked: restore those that have expired \
             (`turnpike access certificate list`), or exchange the authority"
        )));
    }
    let row =
        RevokedCertificate { name, revoked_by: context.by.to_owned(), revoked_at: context.now };
    let change = AccessChange::RevokeCertificate(row);
    administrators::check_remain(context, &change)?;
    Ok(Planned::Change(change))
}

/// The change that deletes the revocation with this name.
pub(crate) fn restore_certificate(context: ChangeContext<'_>, name: String) -> Planned {
    if context.tables.revoked.iter().any(|row| row.name == name) {
        Planned::Change(AccessChange::RestoreCertificate(name))
    } else {
        Planned::Done(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SerialNumber};
    use rustls_pki_types::CertificateDer;

    use super::*;
    use crate::certificates::CertificateFacts;

    /// DER writes a zero byte before a serial number whose first bit is set; OpenSSL shows none.
    #[test]
    fn a_serial_number_means_the_same_certificate_however_a_program_shows_it() {
        for digits in ["f3a1b2c3d4e5f607", "3f9a20c1774be502", "01", &"f3".repeat(20)] {
            let bytes: Vec<u8> = (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect();
            let mut params = CertificateParams::new(vec!["host".to_owned()]).unwrap();
            params.serial_number = Some(SerialNumber::from(bytes));
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let facts = CertificateFacts::read(&CertificateDer::from(made.der().to_vec())).unwrap();
            let pairs: Vec<&str> =
                (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]).collect();
            let shown = [digits.to_owned(), format!("00{digits}"), pairs.join(":").to_uppercase()];
            for shown in shown {
                assert_eq!(revocable(&shown, "turnpike").unwrap(), facts.serial, "{shown}");
            }
        }
        for wrong in ["", "f", "0x3f", "3f 9a", &"f3".repeat(22), "spiffe://other/client/a"] {
            assert!(revocable(wrong, "turnpike").is_err(), "{wrong}");
        }
    }
}
