//! What a change is decided from, how it is refused, and the limits.

use tonic::Status;
use turnpike_store::{AccessChange, AccessForget, AccessGrant, AccessTables};
use turnpike_types::Timestamp;

/// The most grants of a cluster that have not ended.
pub const GRANTS_MAX: usize = 10_000;
/// The most grants to one principal, or to one prefix, that have not ended.
pub const GRANTS_OF_ONE_MAX: usize = 100;
/// The most grants with those that have ended and are kept for a while.
pub(super) const GRANT_ROWS_MAX: usize = 2 * GRANTS_MAX;
/// The most sources of a grant.
pub const SOURCES_MAX: usize = 100;
/// The most keys that are not retired.
pub const KEYS_MAX: usize = 16;
/// The most tokens, including those that expired or were revoked within a day.
pub const TOKENS_MAX: usize = 10_000;
/// The most revocations of certificates.
pub const REVOKED_CERTIFICATES_MAX: usize = 1_000;
/// The longest lifetime of a token.
pub const TOKEN_DAYS_MAX: i64 = 90;

pub(super) const DAY_US: i64 = 86_400_000_000;
/// How long a grant is kept after its end, so that lists show it.
pub(super) const GRANT_KEPT_DAYS: i64 = 30;
/// How long a token is kept after its end or its revocation. Longer than a client repeats the request
/// that registers it, which would make it valid again.
const TOKEN_KEPT_DAYS: i64 = 1;
/// How long a retired key is kept. It can't be added again meanwhile. A key that was added again
/// while a token that it signed has not expired would make this token valid again.
const KEY_KEPT_DAYS: i64 = 100;
const _: () = assert!(KEY_KEPT_DAYS > TOKEN_DAYS_MAX);

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeRefusal {
    /// The request is wrong in itself.
    Invalid(String),
    /// What the request names does not exist.
    NotFound(String),
    /// The request does not fit the present state.
    Conflict(String),
    /// A limit is reached.
    Full(String),
}

impl From<ChangeRefusal> for Status {
    fn from(refusal: ChangeRefusal) -> Self {
        match refusal {
            ChangeRefusal::Invalid(why) => Self::invalid_argument(why),
            ChangeRefusal::NotFound(why) => Self::not_found(why),
            ChangeRefusal::Conflict(why) => Self::failed_precondition(why),
            ChangeRefusal::Full(why) => Self::failed_precondition(why),
        }
    }
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    /// This change.
    Change(AccessChange),
    /// Nothing: the same request was carried out before. The id of the grant, if it is one.
    Done(u64),
}

/// Who changes what when, and the state of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeContext<'a> {
    pub(crate) tables: &'a AccessTables,
    /// Whether access control is on, because of TLS or of an earlier grant.
    pub(crate) is_on: bool,
    /// Whether connections have TLS, so that certificates authenticate clients.
    pub(crate) is_tls: bool,
    /// Whether an administrator changes it, by its certificate.
    pub(crate) is_admin: bool,
    /// Whether an operator of the shared database makes the change, because no administrator can. The
    /// limits on numbers do not count then.
    pub(crate) is_recovery: bool,
    pub(crate) by: &'a str,
    /// The serial number of the certificate by which the change is made.
    pub(crate) serial: Option<&'a str>,
    pub(crate) cluster: &'a str,
    pub(crate) now: Timestamp,
}

/// How many places of each quota are used, and how many there are.
pub(crate) fn quotas(tables: &AccessTables, now: Timestamp) -> [(&'static str, usize, usize); 4] {
    let grants = tables.grants.iter().filter(|grant| is_in_force(grant, now)).count();
    let keys = tables.keys.iter().filter(|key| key.retired_at.is_none()).count();
    let tokens = tables.tokens.iter().filter(|token| !forget(now).has(token)).count();
    [
        ("grants", grants, GRANTS_MAX),
        ("token-keys", keys, KEYS_MAX),
        ("tokens", tokens, TOKENS_MAX),
        ("revoked-certificates", tables.revoked.len(), REVOKED_CERTIFICATES_MAX),
    ]
}

pub(super) fn is_in_force(grant: &AccessGrant, now: Timestamp) -> bool {
    grant.until.is_none_or(|until| now < until)
}

/// The rows that are deleted with a change.
pub(crate) const fn forget(now: Timestamp) -> AccessForget {
    AccessForget {
        grants: now.saturating_add(-GRANT_KEPT_DAYS * DAY_US),
        keys: now.saturating_add(-KEY_KEPT_DAYS * DAY_US),
        tokens: now.saturating_add(-TOKEN_KEPT_DAYS * DAY_US),
    }
}
