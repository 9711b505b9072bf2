//! The identity in a certificate: a URI among its alternative names.

use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "spiffe://";
/// The longest name of a cluster, and the longest name in a certificate.
const NAME_BYTES_MAX: usize = 64;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum CertificateHolder {
    /// A rating node.
    Node,
    /// A front.
    Front,
    /// A program that uses fronts.
    Client,
    /// An administrator.
    Admin,
}

impl CertificateHolder {
    /// Whether the holder is part of the cluster.
    pub const fn is_member(self) -> bool {
        matches!(self, Self::Node | Self::Front)
    }
}

/// The identity in a certificate: `spiffe://CLUSTER/KIND/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUri {
    /// The cluster's name.
    pub cluster: String,
    /// What the certificate is for.
    pub holder: CertificateHolder,
    /// The name of the node, front, client or administrator.
    pub name: String,
}

impl CertificateUri {
    /// An identity.
    ///
    /// # Errors
    /// A name that can't be part of an identity.
    pub fn new(cluster: &str, holder: CertificateHolder, name: &str) -> Result<Self, String> {
        check_name("cluster", cluster)?;
        check_name(&holder.to_string(), name)?;
        Ok(Self { cluster: cluster.to_owned(), holder, name: name.to_owned() })
    }
}

impl fmt::Display for CertificateUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, holder, name } = self;
        write!(f, "{SCHEME}{cluster}/{holder}/{name}")
    }
}

impl FromStr for CertificateUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not spiffe://CLUSTER/KIND/NAME with node, front, client or admin")
        };
        let parts = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let mut parts = parts.split('/');
        let (Some(cluster), Some(holder), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Self::new(cluster, holder.parse().map_err(|_| wrong())?, name)
    }
}

/// The URI in the certificate of a cluster's own authority.
pub(crate) fn authority_uri(cluster: &str) -> String {
    format!("{SCHEME}{cluster}")
}

/// The cluster of such a URI.
pub(crate) fn cluster_of_authority(uri: &str) -> Option<&str> {
    uri.strip_prefix(SCHEME).filter(|cluster| check_name("cluster", cluster).is_ok())
}

/// Refuses a name that would be ambiguous in a URI.
///
/// # Errors
/// What a name looks like.
pub(crate) fn check_name(of: &str, name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "{name:?} can't be the name of a {of} in a certificate: use 1 to {NAME_BYTES_MAX} letters, \
         digits, `-`, `_` and `.`"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_is_written() {
        for text in ["spiffe://c/node/a", "spiffe://prod.eu/front/f_1", "spiffe://c/admin/me"] {
            assert_eq!(text.parse::<CertificateUri>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn text_that_names_no_holder_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://c",
            "spiffe://c/node",
            "spiffe://c/node/",
            "spiffe:///node/a",
            "spiffe://c/node/a/b",
            "spiffe://c/nodes/a",
            "spiffe://c/Node/a",
            "https://c/node/a",
            "spiffe://c/node/a b",
            "spiffe://c/node/a\0",
            "SPIFFE://c/node/a",
        ] {
            assert!(text.parse::<CertificateUri>().is_err(), "{text:?}");
        }
        let long = format!("spiffe://c/node/{}", "a".repeat(65));
        assert!(long.parse::<CertificateUri>().is_err());
    }
}
