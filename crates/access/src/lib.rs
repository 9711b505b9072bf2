//! Who may use a cluster, and who did what.
//!
//! ```text
//!   certificates/     files -> certificates in force, reloaded while the process runs
//!                           -> what a listener and a dial need for TLS; an authority for
//!                              installations that have none
//!
//!   request --> request_layer.rs  gives it its id (request_id.rs), and counts refusals
//!                 |
//!               guard.rs      before its body is read
//!                 |  principal.rs   certificate URI, token, or anonymous
//!                 |  tokens/        form and signature of tokens, and the files of their keys
//!                 |  access.rs      decides, by tables that freshness.rs keeps fresh:
//!                 |    roles/methods.rs   the table: method -> roles
//!                 |    tables.rs          grants, keys and tokens, as last read
//!                 |    roles/grant.rs     what a grant covers
//!                 v
//!               permit.rs     (scope.rs) extension of the request: services check accounts, sources
//!                             and consumers by it, where they are known
//!               actor.rs      who sent the request: an extension of it
//!
//!   client.rs         whose share of a node a request counts for
//!   service.rs        AccessService: changes grants, keys and tokens, as changes.rs decides
//!   refusal.rs        why a request is refused: detailed for the log, without details for the client
//!   audit/            the audit log: entries, their chain of hashes, writing, reading, verifying
//! ```
//!
//! Invariants:
//! - A method without a row in the table of roles is refused.
//! - Access control is off only while the listener accepts connections without TLS and no grant was
//!   ever made. Then only clients on the same machine may send requests, unless the operator asked
//!   for more. It never goes off in a running process.
//! - A decision uses tables that were read within [`STALE_AFTER`]; without such tables nothing is
//!   allowed, except to clients on the same machine while access control is off. So a revoked grant or token is refused after that time at the latest, and usually
//!   after [`REFRESH`]. Streams are decided again for each batch.
//! - A token is valid only if its signature, its times, its audience and its row in the shared
//!   database agree.
//! - An audited change is made only after its intent is durable in the audit log. Its outcome is
//!   durable before the answer, unless the database failed in between: then the intent has no
//!   outcome, and is found by that.
//! - An entry is never changed. Entries leave the log only by trimming, which an entry records.
//!
//! Not guaranteed: that a change was made because its intent is in the log; the outcome says that.
//! Protection against processes on the same machine while nodes have no TLS: every such process counts
//! as a member of the cluster.

mod access;
pub mod actor;
pub mod audit;
pub mod certificates;
mod changes;
pub mod client;
mod freshness;
mod guard;
mod permit;
mod principal;
mod refusal;
pub mod request_id;
mod request_layer;
pub mod roles;
mod scope;
mod service;
mod tables;
pub mod tokens;

pub use access::{Access, AccessConfig, AccessState};
pub use actor::Actor;
pub use changes::{
    GRANTS_MAX, GRANTS_OF_ONE_MAX, KEYS_MAX, REVOKED_CERTIFICATES_MAX, SOURCES_MAX, TOKEN_DAYS_MAX,
    TOKENS_MAX,
};
pub use freshness::{REFRESH, STALE_AFTER};
pub use guard::{Guard, GuardLayer};
pub use permit::{Guarded, Permit};
pub use principal::{PresentedCertificate, Principal, SUBJECT_BYTES_MAX, check_subject};
pub use refusal::{AccessRefusal, Unauthenticated};
pub use request_layer::RequestIdLayer;
pub use service::AccessApi;
pub use service::recovery::Recovery;
pub use tables::cluster_of;
