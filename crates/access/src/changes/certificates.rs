//! Revocations of certificates.

use turnpike_store::{AccessChange, RevokedCertificate};

use super::administrators;
use super::context::{ChangeContext, ChangeRefusal, Planned, REVOKED_CERTIFICATES_MAX};
use crate::principal::{check_cluster, parsed_uri};

/// The most hexadecimal digits of a serial number: certificates have at most 20 bytes.
const SERIAL_DIGITS_MAX: usize = 40;

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
    let serial: String = name.chars().filter(|char| *char != ':').collect::<String>();
    let serial = serial.to_ascii_lowercase();
    let is_hex = serial.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && serial.len().is_multiple_of(2) && (2..=SERIAL_DIGITS_MAX).contains(&serial.len()) {
        return Ok(serial);
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
