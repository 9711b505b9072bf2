//! Decides changes of grants, keys and tokens: pure functions of the tables.
//!
//! ```text
//!   grants.rs          roles of principals
//!   tokens.rs          keys, and the tokens that they sign
//!   certificates.rs    revocations of certificates
//!   administrators.rs  whether an administrator remains after a change
//! ```

mod administrators;
mod certificates;
mod grants;
mod tokens;

use tonic::Status;
use turnpike_store::{AccessChange, AccessForget, AccessGrant, AccessTables};
use turnpike_types::Timestamp;

pub(crate) use certificates::{restore_certificate, revocable, revoke_certificate};
pub(crate) use grants::{grant, revoke};
pub(crate) use tokens::{add_key, add_token, retire_key, revoke_tokens};

/// The most grants of a cluster that have not ended.
pub const GRANTS_MAX: usize = 10_000;
/// The most grants to one principal, or to one prefix, that have not ended.
pub const GRANTS_OF_ONE_MAX: usize = 100;
/// The most grants with those that have ended and are kept for a while.
const GRANT_ROWS_MAX: usize = 2 * GRANTS_MAX;
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

const DAY_US: i64 = 86_400_000_000;
/// How long a grant is kept after its end, so that lists show it.
const GRANT_KEPT_DAYS: i64 = 30;
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

fn is_in_force(grant: &AccessGrant, now: Timestamp) -> bool {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_proto::access::v1::{AddTokenRequest, GrantRequest};
    use turnpike_store::{AccessKey, AccessToken};

    use super::*;

    const NOW: Timestamp = Timestamp(1_900_000_000_000_000);

    fn context(tables: &AccessTables) -> ChangeContext<'_> {
        ChangeContext {
            tables,
            is_on: true,
            is_tls: true,
            is_admin: true,
            is_recovery: false,
            by: "spiffe://c/admin/a",
            serial: None,
            cluster: "c",
            now: NOW,
        }
    }

    /// All places for tokens are taken, one by this token.
    fn full(last: AccessToken) -> AccessTables {
        let key = AccessKey {
            id: 7,
            public_key: [0; 32],
            added_by: "a".to_owned(),
            added_at: NOW,
            retired_at: None,
        };
        let tokens = (1..TOKENS_MAX).map(|at| AccessToken { id: at.to_string(), ..token() });
        let tokens = tokens.chain([last]).collect();
        AccessTables { keys: vec![key], tokens, ..AccessTables::default() }
    }

    fn token() -> AccessToken {
        AccessToken {
            id: "0".to_owned(),
            key: 7,
            subject: "a".to_owned(),
            not_before: NOW,
            expires: NOW.saturating_add(30 * DAY_US),
            issued_by: "a".to_owned(),
            issued_at: NOW,
            revoked_at: None,
        }
    }

    #[test]
    fn a_revoked_token_leaves_its_place_after_a_day() {
        let request = AddTokenRequest {
            token_id: "ab".repeat(16),
            key_id: 7,
            subject: "b".to_owned(),
            not_before_us: NOW.micros(),
            expires_us: NOW.micros() + DAY_US,
        };
        let added = |revoked_at: Option<Timestamp>| {
            let tables = full(AccessToken { revoked_at, ..token() });
            add_token(context(&tables), request.clone()).is_ok()
        };
        let ago = |us: i64| Some(NOW.saturating_add(-us));
        assert!(!added(None));
        assert!(!added(ago(DAY_US)));
        assert!(added(ago(DAY_US + 1)));
    }

    fn granted(principal: &str, until: Option<Timestamp>, id: u64) -> AccessGrant {
        AccessGrant {
            id,
            principal: principal.to_owned(),
            role: "support".to_owned(),
            accounts: None,
            sources: vec![],
            consumer: None,
            until,
            granted_by: "a".to_owned(),
            granted_at: NOW,
        }
    }

    fn is_granted(grants: Vec<AccessGrant>) -> bool {
        let tables = AccessTables { grants, ..AccessTables::default() };
        let (principal, role) = ("token:a".to_owned(), "auditor".to_owned());
        grant(context(&tables), GrantRequest { principal, role, ..Default::default() }).is_ok()
    }

    #[test]
    fn grants_that_have_ended_take_no_places_of_those_that_have_not() {
        let of_one = |until| (0..100).map(|id| granted("token:a", until, id)).collect();
        assert!(!is_granted(of_one(None)) && is_granted(of_one(Some(NOW))));
        let all = |count: usize, until| {
            let grants = (0..count).map(|at| granted(&format!("token:{at}"), until, 1));
            grants.collect::<Vec<_>>()
        };
        assert!(!is_granted(all(GRANTS_MAX, None)) && is_granted(all(GRANTS_MAX, Some(NOW))));
        assert!(!is_granted(all(GRANT_ROWS_MAX, Some(NOW))), "ended ones are bounded too");
    }

    #[test]
    fn the_quotas_count_what_takes_a_place() {
        let ago = NOW.saturating_add(-DAY_US - 1);
        let mut tables = full(AccessToken { revoked_at: Some(ago), ..token() });
        tables.grants = vec![granted("token:a", None, 1), granted("token:a", Some(NOW), 2)];
        let used = quotas(&tables, NOW).map(|(quota, used, _)| (quota, used));
        let expected = [("grants", 1), ("token-keys", 1), ("tokens", TOKENS_MAX - 1)];
        assert_eq!(used[..3], expected);
        assert_eq!(used[3], ("revoked-certificates", 0));
    }
}
