//! Who sends a request.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::refusal::Unauthenticated;

/// The scheme of the URIs in certificates, which the cluster's name follows.
const SCHEME: &str = "spiffe://";
/// The most bytes of a principal's name.
pub const PRINCIPAL_BYTES_MAX: usize = 256;
/// The most bytes of the name of a token.
pub const SUBJECT_BYTES_MAX: usize = 64;

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A certificate, by the URI among its alternative names: `spiffe://CLUSTER/KIND/NAME`.
    Certificate {
        /// The URI.
        uri: String,
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

/// The kinds of certificates with rights of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateKind {
    /// A node or a front of the cluster.
    Member,
    /// An administrator, who may grant roles.
    Admin,
    /// Any other: it may do what it is granted.
    Client,
}

impl Principal {
    /// The name by which roles are granted.
    pub fn name(&self) -> String {
        match self {
            Self::Certificate { uri } => uri.clone(),
            Self::Token { subject, .. } => format!("token:{subject}"),
            Self::Anonymous => "anonymous".to_owned(),
        }
    }

    /// The principal with this name.
    ///
    /// # Errors
    /// What a name looks like.
    pub fn named(name: &str) -> Result<Self, String> {
        if name == "anonymous" {
            return Ok(Self::Anonymous);
        }
        if let Some(subject) = name.strip_prefix("token:") {
            check_subject(subject)?;
            return Ok(Self::Token { subject: subject.to_owned(), id: None });
        }
        check_uri(name)?;
        if name.contains('*') {
            return Err(format!("{name:?} is a prefix: name one principal"));
        }
        Ok(Self::Certificate { uri: name.to_owned() })
    }

    /// The kind of the certificate in this cluster; `None` for other principals.
    pub(crate) fn kind_in(&self, cluster: &str) -> Option<CertificateKind> {
        let Self::Certificate { uri } = self else { return None };
        let path = uri.strip_prefix(SCHEME)?.strip_prefix(cluster)?.strip_prefix('/')?;
        let (kind, name) = path.split_once('/')?;
        if name.is_empty() || name.contains('/') {
            return Some(CertificateKind::Client);
        }
        Some(match kind {
            "node" | "front" => CertificateKind::Member,
            "admin" => CertificateKind::Admin,
            _ => CertificateKind::Client,
        })
    }
}

/// The URI of the client's certificate in this cluster; `None` if the client presented none.
///
/// # Errors
/// The certificate has no URI of this cluster, or several, so that it names no principal.
pub(crate) fn uri_of(
    certificates: &[CertificateDer<'_>],
    cluster: &str,
) -> Result<Option<String>, Unauthenticated> {
    let Some(own) = certificates.first() else { return Ok(None) };
    let own = EndEntityCert::try_from(own).map_err(|_| Unauthenticated::BadCertificate)?;
    let is_ours = |uri: &&str| {
        let name = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/'));
        name.is_some_and(|(name, _)| name == cluster)
    };
    let mut uris = own.valid_uri_names().filter(is_ours);
    let Some(uri) = uris.next() else { return Err(Unauthenticated::OtherCluster) };
    if uris.next().is_some() || check_uri(uri).is_err() || uri.contains('*') {
        return Err(Unauthenticated::BadCertificate);
    }
    Ok(Some(uri.to_owned()))
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

/// Refuses text that is neither a principal that can be granted a role nor a prefix of such.
///
/// # Errors
/// What a principal looks like.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern == "anonymous" {
        return Err("nothing can be granted to requests without certificate and token".to_owned());
    }
    if let Some(subject) = pattern.strip_prefix("token:") {
        return check_subject(subject);
    }
    check_uri(pattern)?;
    match pattern.find('*') {
        None => Ok(()),
        Some(at) if at + 1 == pattern.len() && pattern.ends_with("/*") => Ok(()),
        Some(_) => Err(format!("{pattern:?}: `*` stands at the end, after `/`")),
    }
}

fn check_uri(uri: &str) -> Result<(), String> {
    let rest = uri.strip_prefix(SCHEME).ok_or_else(|| {
        format!("{uri:?} is no principal: write token:NAME or spiffe://CLUSTER/KIND/NAME")
    })?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let parts: Vec<&str> = rest.split('/').collect();
    let is_whole = parts.len() >= 3 && parts.iter().all(|part| !part.is_empty());
    if uri.len() > PRINCIPAL_BYTES_MAX || !uri.bytes().all(is_plain) || !is_whole {
        return Err(format!(
            "{uri:?} is no principal: write spiffe://CLUSTER/KIND/NAME, at most \
             {PRINCIPAL_BYTES_MAX} visible ASCII characters"
        ));
    }
    Ok(())
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
        let kind = |uri: &str| Principal::Certificate { uri: uri.to_owned() }.kind_in("c");
        assert_eq!(kind("spiffe://c/node/a"), Some(CertificateKind::Member));
        assert_eq!(kind("spiffe://c/front/a"), Some(CertificateKind::Member));
        assert_eq!(kind("spiffe://c/admin/a"), Some(CertificateKind::Admin));
        for other in ["spiffe://c/client/a", "spiffe://c/nodes/a", "spiffe://c/admin/a/b"] {
            assert_eq!(kind(other), Some(CertificateKind::Client), "{other}");
        }
        for other in ["spiffe://cc/node/a", "spiffe://d/admin/a", "spiffe://c", "c/node/a"] {
            assert_eq!(kind(other), None, "{other}");
        }
        let token = Principal::Token { subject: "admin".to_owned(), id: None };
        assert_eq!(token.kind_in("c"), None);
    }

    #[test]
    fn a_principal_that_no_request_can_have_is_refused() {
        for good in ["token:a-b.c_1", "spiffe://c/client/a", "spiffe://c/client/*"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "anonymous",
            "token:",
            "token:*",
            "token:a b",
            "a",
            "spiffe://c/client",
            "spiffe://c//a",
            "spiffe://c/client/a*",
            "spiffe://c/*/a",
            "spiffe:///client/a",
            "spiffe://c/client/\u{e4}",
            "spiffe://c/client/a\nb",
            "http://c/client/a",
        ] {
            assert!(check_pattern(bad).is_err(), "{bad:?}");
        }
        assert!(check_pattern(&format!("spiffe://c/client/{}", "a".repeat(256))).is_err());
    }
}
