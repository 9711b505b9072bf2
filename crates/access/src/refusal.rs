//! Why a request is refused: in detail for the log, without details for the client.

use tonic::Status;

/// Why a request is not authenticated. The log and a counter tell the causes apart; the client gets
/// one text for all of them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::IntoStaticStr, strum::EnumIter,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Unauthenticated {
    /// The request has neither certificate nor token.
    NoCredentials,
    /// Access control is off, which is for clients on the same machine only.
    NotLocal,
    /// The transport does not know the client's address.
    NoPeer,
    /// The certificate can't be read, or does not name exactly one principal.
    BadCertificate,
    /// The certificate is one of another cluster.
    OtherCluster,
    /// The certificate has expired since the connection was made.
    CertificateExpired,
    /// The certificate was revoked.
    RevokedCertificate,
    /// The header is no `Bearer` token, or the token is longer than a token can be.
    BadHeader,
    /// The text is not a token of this program: a JWT, for example.
    NotAToken,
    /// The token is cut off, or its bytes can't be read.
    MalformedToken,
    /// No such key signs tokens.
    UnknownKey,
    /// The key was retired.
    RetiredKey,
    /// The signature is not that of the key.
    BadSignature,
    /// The token is for another cluster.
    WrongAudience,
    /// The token is not valid yet.
    NotYetValid,
    /// The token has expired.
    Expired,
    /// The token was never registered, or with other contents.
    UnregisteredToken,
    /// The token was revoked.
    RevokedToken,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// The sender is not known.
    Unauthenticated(Unauthenticated),
    /// The sender is known, and may not call the method.
    NotAllowed {
        /// What the client is told: the principal, the method, and the role that would be needed.
        message: String,
    },
    /// The table of roles has no row for the method.
    UnknownMethod,
    /// The grants in memory are too old to decide by, since the shared database can't be read.
    Stale,
}

impl AccessRefusal {
    /// The cause in one word, for the log and as a metric label.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unauthenticated(cause) => cause.into(),
            Self::NotAllowed { .. } => "not-allowed",
            Self::UnknownMethod => "unknown-method",
            Self::Stale => "stale",
        }
    }

    /// Counts the refusal by its cause.
    pub(crate) fn count(&self) {
        metrics::counter!("turnpike_access_refused_total", "cause" => self.cause()).increment(1);
    }

    /// The answer to the client.
    pub fn status(&self) -> Status {
        match self {
            Self::Unauthenticated(_) => Status::unauthenticated("not authenticated"),
            Self::NotAllowed { message } => Status::permission_denied(message),
            Self::UnknownMethod => Status::permission_denied("there is no such method"),
            Self::Stale => Status::unavailable(
                "the grants of roles can't be read from the shared database: nothing is allowed \
                 until they can",
            ),
        }
    }
}

impl From<Unauthenticated> for AccessRefusal {
    fn from(cause: Unauthenticated) -> Self {
        Self::Unauthenticated(cause)
    }
}
