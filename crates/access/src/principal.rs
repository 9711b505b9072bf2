//! The sender of a request.

use rustls_pki_types::CertificateDer;
use turnpike_types::{Timestamp, capped};

use crate::actor::ANONYMOUS;
use crate::certificates::{CertificateFacts, CertificateHolder, CertificateUri, uri_in};
use crate::refusal::Unauthenticated;

/// The most bytes of the name of a token.
pub const SUBJECT_BYTES_MAX: usize = 64;

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A certificate, by the URI among its alternative names: `spiffe://CLUSTER/KIND/NAME`.
    Certificate {
        /// The URI.
        uri: CertificateUri,
        /// What the certificate states beside the URI; `None` for the question what any certificate
        /// with this URI may do.
        presented: Option<PresentedCertificate>,
    },
    /// The holder of a token.
    Token {
        /// The name in `token:NAME`.
        subject: String,
        /// The token's id, in hexadecimal digits; `None` for the question what any token of this
        /// name may do.
        id: Option<String>,
    },
    /// A request without certificate and token.
    Anonymous,
}

/// What the certificate of a request states, and the handshake verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// The first instant at which the certificate is not valid any more.
    pub expires: Timestamp,
}

impl Principal {
    /// The name by which roles are granted.
    pub fn name(&self) -> String {
        match self {
            Self::Certificate { uri, .. } => uri.to_string(),
            Self::Token { subject, .. } => format!("token:{subject}"),
            Self::Anonymous => ANONYMOUS.to_owned(),
        }
    }

    /// The principal with this name.
    ///
    /// # Errors
    /// What a name looks like.
    pub fn named(name: &str) -> Result<Self, String> {
        if name == ANONYMOUS {
            return Ok(Self::Anonymous);
        }
        if let Some(subject) = name.strip_prefix("token:") {
            check_subject(subject)?;
            return Ok(Self::Token { subject: subject.to_owned(), id: None });
        }
        if name.contains('*') {
            return Err(format!("{name:?} is a prefix: name one principal"));
        }
        Ok(Self::Certificate { uri: parsed_uri(name)?, presented: None })
    }

    /// Whose certificate it is in this cluster; `None` for other principals.
    pub(crate) fn holder_in(&self, cluster: &str) -> Option<CertificateHolder> {
        let Self::Certificate { uri, .. } = self else { return None };
        (uri.cluster == cluster).then_some(uri.holder)
    }
}

/// The holder of the client's certificate in this cluster; `None` if the client presented none.
///
/// # Errors
/// The certificate names no principal, or one of another cluster.
pub(crate) fn holder_of(
    certificates: &[CertificateDer<'_>],
    cluster: &str,
) -> Result<Option<Principal>, Unauthenticated> {
    let Some(own) = certificates.first() else { return Ok(None) };
    let uri = uri_in(own).map_err(|_| Unauthenticated::BadCertificate)?;
    if uri.cluster != cluster {
        return Err(Unauthenticated::OtherCluster);
    }
    let facts = CertificateFacts::read(own).map_err(|_| Unauthenticated::BadCertificate)?;
    // The certificate is valid through the whole of its last second.
    let expires_us = facts.not_after_s.saturating_add(1).saturating_mul(1_000_000);
    let presented =
        PresentedCertificate { serial: facts.serial, expires: Timestamp(capped(expires_us)) };
    Ok(Some(Principal::Certificate { uri, presented: Some(presented) }))
}

/// Refuses text that is no name of a token.
///
/// # Errors
/// What a name looks like.
pub fn check_subject(subject: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) && subject.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "the name of a token has 1 to {SUBJECT_BYTES_MAX} letters, digits, `-`, `_` and `.`"
    ))
}

/// Refuses text that is neither a principal of this cluster that can be granted a role nor a prefix of
/// such.
///
/// # Errors
/// What a principal looks like.
pub(crate) fn check_pattern(pattern: &str, cluster: &str) -> Result<(), String> {
    if pattern == ANONYMOUS {
        return Err("nothing can be granted to requests without certificate and token".to_owned());
    }
    if let Some(subject) = pattern.strip_prefix("token:") {
        return check_subject(subject);
    }
    // Any name stands for all names of the prefix.
    let one = match pattern.strip_suffix("/*") {
        Some(prefix) => format!("{prefix}/a"),
        None if pattern.contains('*') => {
            return Err(format!("{pattern:?}: `*` stands at the end, after `/`"));
        }
        None => pattern.to_owned(),
    };
    check_cluster(&parsed_uri(&one)?, cluster)
}

/// Refuses a URI of another cluster, which no certificate of this one has.
pub(crate) fn check_cluster(uri: &CertificateUri, cluster: &str) -> Result<(), String> {
    if uri.cluster == cluster {
        return Ok(());
    }
    Err(format!("{uri} is of another cluster: the URIs of this one begin with spiffe://{cluster}/"))
}

pub(crate) fn parsed_uri(uri: &str) -> Result<CertificateUri, String> {
    uri.parse().map_err(|why| {
        format!("{uri:?} is no principal: write token:NAME or spiffe://CLUSTER/KIND/NAME ({why})")
    })
}

/// Whether `pattern` (a principal, or a prefix of principals that ends in `/*`) includes `name`.
pub(crate) fn includes(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        // A prefix ends in `/`, so that it ends at a whole part of the path.
        Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
        None => pattern == name,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_includes_what_is_below_it_and_nothing_else() {
        let pattern = "spiffe://c/client/*";
        assert!(includes(pattern, "spiffe://c/client/a"));
        assert!(includes(pattern, "spiffe://c/client/a/b"));
        for other in
            ["spiffe://c/client/", "spiffe://c/clients/a", "spiffe://d/client/a", "token:a"]
        {
            assert!(!includes(pattern, other), "{other}");
        }
        assert!(includes("token:a", "token:a") && !includes("token:a", "token:ab"));
    }

    #[test]
    fn only_members_and_administrators_of_this_cluster_have_rights_of_their_own() {
        let holder = |uri: &str| Principal::named(uri).unwrap().holder_in("c");
        assert_eq!(holder("spiffe://c/node/a"), Some(CertificateHolder::Node));
        assert_eq!(holder("spiffe://c/front/a"), Some(CertificateHolder::Front));
        assert_eq!(holder("spiffe://c/admin/a"), Some(CertificateHolder::Admin));
        assert_eq!(holder("spiffe://c/client/a"), Some(CertificateHolder::Client));
        for other in ["spiffe://cc/node/a", "spiffe://d/admin/a"] {
            assert_eq!(holder(other), None, "{other}");
        }
        let token = Principal::Token { subject: "admin".to_owned(), id: None };
        assert_eq!(token.holder_in("c"), None);
    }

    #[test]
    fn a_principal_that_no_request_can_have_is_refused() {
        for good in ["token:a-b.c_1", "spiffe://c/client/a", "spiffe://c/client/*"] {
            assert_eq!(check_pattern(good, "c"), Ok(()), "{good}");
        }
        for bad in [
            "",
            "anonymous",
            "token:",
            "token:*",
            "token:a b",
            "a",
            "spiffe://c/client",
            "spiffe://c/*",
            "spiffe://c/clients/a",
            "spiffe://c/client/a/*",
            "spiffe://c/client/a/b",
            "spiffe://c//a",
            "spiffe://c/client/a*",
            "spiffe://c/*/a",
            "spiffe:///client/a",
            "spiffe://c/client/\u{e4}",
            "spiffe://c/client/a\nb",
            "spiffe://cc/client/a",
            "spiffe://d/client/*",
            "http://c/client/a",
        ] {
            assert!(check_pattern(bad, "c").is_err(), "{bad:?}");
        }
        assert!(check_pattern(&format!("spiffe://c/client/{}", "a".repeat(256)), "c").is_err());
    }
}
