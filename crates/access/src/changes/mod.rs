//! Decides changes of grants, keys and tokens: pure functions of the tables.
//!
//! ```text
//!   context.rs         what a change is decided from, refusals, limits
//!   grants.rs          roles of principals
//!   tokens.rs          keys, and the tokens that they sign
//!   certificates.rs    revocations of certificates
//!   administrators.rs  whether an administrator remains after a change
//! ```

mod administrators;
mod certificates;
mod context;
mod grants;
mod tokens;

pub(crate) use certificates::{restore_certificate, revocable, revoke_certificate};
pub(crate) use context::{ChangeContext, ChangeRefusal, Planned, forget, quotas};
pub use context::{
    GRANTS_MAX, GRANTS_OF_ONE_MAX, KEYS_MAX, REVOKED_CERTIFICATES_MAX, SOURCES_MAX, TOKEN_DAYS_MAX,
    TOKENS_MAX,
};
pub(crate) use grants::{grant, revoke};
pub(crate) use tokens::{add_key, add_token, retire_key, revoke_tokens};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_proto::access::v1::{AddTokenRequest, GrantRequest};
    use turnpike_store::{AccessKey, AccessToken};

    use turnpike_store::{AccessGrant, AccessTables};
    use turnpike_types::Timestamp;

    use super::context::*;
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
