//! Certificates: TLS on every listener and every dial.
//!
//! ```text
//!   files (PEM)   load.rs       certificate, key, authorities; checked as a whole
//!                 facts.rs      what a certificate states
//!                 uri.rs        spiffe://CLUSTER/KIND/NAME, the identity in a certificate
//!        |
//!   in_force.rs   Certificates  the ones in force; polled, replaced only by good ones
//!        |
//!        +-- TlsSource          for a listener      verify.rs  checks the other end's certificate
//!        +-- Connector, Dial    for a client        dial.rs
//!
//!   authority.rs  an authority of one's own, and the certificates that it issues
//!   key_file.rs   writes keys and certificates
//! ```
//!
//! Invariants:
//! - Both ends of a connection between members present a certificate of this cluster. A node accepts
//!   members only, and a client trusts fronts only. The cluster's name is part of the identity, so
//!   two clusters with one authority do not trust each other's members.
//! - A set of files that does not fit together never replaces one that does.
//! - The log says why a certificate was refused. The other end gets the same alert for each cause.
//! - Sessions are not resumed: a resumed session would not be checked against the certificates and
//!   authorities that are in force now.
//!
//! Not promised: a connection that is open is not checked again. A certificate can't be revoked
//! before it expires, except by replacing its authority; a role or token can.

mod authority;
mod dial;
mod facts;
mod in_force;
mod key_file;
mod load;
mod uri;
mod verify;

pub use authority::{Authority, AuthorityError, CertificateRequest, IssuedCertificate};
pub use facts::CertificateFacts;
pub(crate) use facts::serial;
pub use in_force::{CertificateClock, Certificates, POLL, Reloaded, system_clock, system_reader};
pub use key_file::{
    CERTIFICATE_MODE, FileExists, KEY_MODE, create_directory, replace_file, write_new,
};
pub use load::{
    CertificateExpectation, CertificateFiles, CertificateReader, CertificateUse, LoadError,
    certificates_in,
};
pub use uri::{CertificateHolder, CertificateUri};
pub(crate) use verify::uri_of as uri_in;
pub use verify::{PeerFault, peer_fault};
