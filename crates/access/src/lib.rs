//! Access control: who sends a request, and whether it is allowed.
//!
//! ```text
//!  request --> guard.rs      before its body is read
//!                |  peer.rs        address and certificates, from the listener
//!                |  principal.rs   certificate URI, token, or anonymous
//!                |  tokens/        form and signature of tokens, and the files of their keys
//!                |  access.rs      decides, by
//!                |    roles/methods.rs   the table: method -> roles
//!                |    tables.rs          grants, keys and tokens, as last read
//!                |    roles/grant.rs     what a grant covers
//!                v
//!            permit.rs       (scope.rs) extension of the request: services check accounts, sources and
//!                            consumers by it, where they are known
//!            actor.rs        extension of the request, for the audit log
//!
//!  service.rs  AccessService: changes grants, keys and tokens, as changes.rs decides
//!  refusal.rs  why a request is refused: detailed for the log, without details for the client
//! ```
//!
//! Invariants:
//! - A method without a row in the table of roles is refused.
//! - Access control is off only while the listener has no TLS and no grant was ever made. Then only
//!   clients on the same machine may send requests.
//! - A decision uses tables that were read within [`STALE_AFTER`]; without such tables nothing is
//!   allowed. So a revoked grant or token is refused after that time at the latest, and usually
//!   after [`REFRESH`]. Streams are decided again for each batch.
//! - A token is valid only if its signature, its times, its audience and its row in the shared
//!   database agree.
//!
//! Not guaranteed: protection against processes on the same machine while nodes have no TLS. Every
//! such process counts as a member of the cluster.

mod access;
mod actor;
mod changes;
mod guard;
mod peer;
mod permit;
mod principal;
mod refusal;
pub mod roles;
mod scope;
mod service;
mod tables;
pub mod tokens;

pub use access::{Access, AccessConfig, AccessState, REFRESH, STALE_AFTER};
pub use actor::Actor;
pub use changes::{
    GRANTS_MAX, GRANTS_OF_ONE_MAX, KEYS_MAX, SOURCES_MAX, TOKEN_DAYS_MAX, TOKENS_MAX,
};
pub use guard::{Guard, GuardLayer, REQUEST_ID};
pub use peer::Peer;
pub use permit::{Guarded, Permit};
pub use principal::{PRINCIPAL_BYTES_MAX, Principal, SUBJECT_BYTES_MAX, check_subject};
pub use refusal::{AccessRefusal, Unauthenticated};
pub use service::AccessApi;
