//! Decides changes of grants, keys and tokens: pure functions of the tables.

use tonic::Status;
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_proto::access::v1::{AccountSpan, AddTokenRequest, GrantRequest, RevokeRequest};
use turnpike_store::{
    AccessChange, AccessForget, AccessGrant, AccessKey, AccessTables, AccessToken,
};
use turnpike_types::{AccountRange, Timestamp, limits};

use crate::principal::{check_pattern, check_subject};
use crate::roles::role::AccessRole;
use crate::tokens::form::key_id;

/// The most grants of a cluster.
pub const GRANTS_MAX: usize = 10_000;
/// The most grants to one principal, or to one prefix.
pub const GRANTS_OF_ONE_MAX: usize = 100;
/// The most sources of a grant.
pub const SOURCES_MAX: usize = 100;
/// The most keys that are not retired.
pub const KEYS_MAX: usize = 16;
/// The most tokens, including those that expired within a day.
pub const TOKENS_MAX: usize = 10_000;
/// The longest lifetime of a token.
pub const TOKEN_DAYS_MAX: i64 = 90;

const DAY_US: i64 = 86_400_000_000;
/// How long a grant is kept after its end, so that lists show it.
const GRANT_KEPT_DAYS: i64 = 30;
/// How long a token is kept after its end.
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
    /// Whether an administrator changes it, by its certificate.
    pub(crate) is_admin: bool,
    pub(crate) by: &'a str,
    pub(crate) now: Timestamp,
}

/// The rows that are deleted with a change.
pub(crate) const fn forget(now: Timestamp) -> AccessForget {
    AccessForget {
        grants: now.saturating_add(-GRANT_KEPT_DAYS * DAY_US),
        keys: now.saturating_add(-KEY_KEPT_DAYS * DAY_US),
        tokens: now.saturating_add(-TOKEN_KEPT_DAYS * DAY_US),
    }
}

/// The change of a grant.
pub(crate) fn grant(
    context: ChangeContext<'_>,
    request: GrantRequest,
) -> Result<Planned, ChangeRefusal> {
    let ChangeContext { tables, is_on, is_admin, by, now } = context;
    let GrantRequest { principal, role, accounts, sources, consumer, until_us } = request;
    check_pattern(&principal).map_err(ChangeRefusal::Invalid)?;
    let role = AccessRole::named(&role).map_err(ChangeRefusal::Invalid)?;
    let accounts = accounts.map(span).transpose()?;
    check_limits(role, accounts, &sources, &consumer)?;
    let until = until_us.map(Timestamp);
    if until.is_some_and(|until| until <= now) {
        return Err(ChangeRefusal::Invalid("the grant would have ended already".to_owned()));
    }
    let consumer = Some(consumer).filter(|consumer| !consumer.is_empty());
    let row = AccessGrant {
        id: 0,
        principal,
        role: role.word().to_owned(),
        accounts,
        sources,
        consumer,
        until,
        granted_by: by.to_owned(),
        granted_at: now,
    };
    let is_same = |other: &&AccessGrant| {
        let same = AccessGrant {
            id: other.id,
            granted_by: other.granted_by.clone(),
            granted_at: other.granted_at,
            ..row.clone()
        };
        same == **other
    };
    if let Some(same) = tables.grants.iter().find(is_same) {
        return Ok(Planned::Done(same.id));
    }
    if tables.grants.len() >= GRANTS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "there are {GRANTS_MAX} grants: revoke some, or grant to a prefix such as \
             spiffe://CLUSTER/client/*"
        )));
    }
    let own = tables.grants.iter().filter(|grant| grant.principal == row.principal);
    if own.count() >= GRANTS_OF_ONE_MAX {
        return Err(ChangeRefusal::Full(format!(
            "{} has {GRANTS_OF_ONE_MAX} grants: revoke some, or grant wider ranges",
            row.principal
        )));
    }
    if !is_on && !is_admin {
        check_first(tables, &row, role, now)?;
    }
    Ok(Planned::Change(AccessChange::Grant(row)))
}

/// Refuses a first grant after which nobody could grant anything.
fn check_first(
    tables: &AccessTables,
    row: &AccessGrant,
    role: AccessRole,
    now: Timestamp,
) -> Result<(), ChangeRefusal> {
    let name = row.principal.strip_prefix("token:");
    let holds_token = |name: &str| {
        let has_key = |token: &AccessToken| {
            tables.keys.iter().any(|key| key.id == token.key && key.retired_at.is_none())
        };
        let is_valid = |token: &AccessToken| {
            token.revoked_at.is_none() && now < token.expires && has_key(token)
        };
        tables.tokens.iter().any(|token| token.subject == name && is_valid(token))
    };
    let lasts = row.until.is_none();
    if role == AccessRole::Admin && lasts && name.is_some_and(holds_token) {
        return Ok(());
    }
    Err(ChangeRefusal::Conflict(
        "the first grant switches access control on, for good: begin with an administrator, or \
         nobody could grant anything afterwards. Without certificates: `turnpike access key new`, \
         `turnpike access token issue NAME`, then `turnpike access grant token:NAME admin`"
            .to_owned(),
    ))
}

fn span(span: AccountSpan) -> Result<AccountRange, ChangeRefusal> {
    if span.first == 0 {
        return Err(ChangeRefusal::Invalid("accounts begin at 1".to_owned()));
    }
    AccountRange::new(span.first, span.last).map_err(|why| ChangeRefusal::Invalid(why.to_string()))
}

/// Refuses a limit that the role can't have, since it would have no effect, and a missing one that
/// the role needs.
fn check_limits(
    role: AccessRole,
    accounts: Option<AccountRange>,
    sources: &[String],
    consumer: &str,
) -> Result<(), ChangeRefusal> {
    let invalid = |why: String| Err(ChangeRefusal::Invalid(why));
    if accounts.is_some() && !role.takes_accounts() {
        return invalid(format!("the role {role} can't be limited to accounts"));
    }
    let is_one = accounts.is_some_and(|range| range.first() == range.last());
    if role == AccessRole::Subscriber && !is_one {
        return invalid("a subscriber has one account: name it with --accounts N".to_owned());
    }
    if !sources.is_empty() && role != AccessRole::Collector {
        return invalid(format!("the role {role} can't be limited to sources"));
    }
    let is_source = |source: &String| {
        (1..=limits::SOURCE_BYTES_MAX).contains(&source.len())
            && !source.chars().any(char::is_control)
    };
    if sources.len() > SOURCES_MAX || !sources.iter().all(is_source) {
        return invalid(format!(
            "at most {SOURCES_MAX} sources of 1 to {} bytes without control characters",
            limits::SOURCE_BYTES_MAX
        ));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = (1..=128).contains(&consumer.len()) && consumer.bytes().all(is_plain);
    match role {
        AccessRole::Consumer if !is_name => {
            invalid("the role consumer needs the name of the consumer: --consumer NAME".to_owned())
        }
        AccessRole::Consumer => Ok(()),
        _ if consumer.is_empty() => Ok(()),
        _ => invalid(format!("the role {role} has no consumer")),
    }
}

/// The change that revokes all grants of a role to a principal.
pub(crate) fn revoke(
    tables: &AccessTables,
    request: &RevokeRequest,
    now: Timestamp,
) -> Result<(AccessChange, u32), ChangeRefusal> {
    let RevokeRequest { principal, role } = request;
    let role = AccessRole::named(role).map_err(ChangeRefusal::Invalid)?.word();
    let is_meant = |grant: &&AccessGrant| grant.principal == *principal && grant.role == role;
    let ids: Vec<u64> = tables.grants.iter().filter(is_meant).map(|grant| grant.id).collect();
    if ids.is_empty() {
        return Err(ChangeRefusal::NotFound(format!("{principal} does not have the role {role}")));
    }
    let admin = AccessRole::Admin.word();
    // A grant that has ended is kept for a while, and makes nobody an administrator.
    let is_in_force = |grant: &AccessGrant| grant.until.is_none_or(|until| now < until);
    let stays =
        |grant: &AccessGrant| grant.role == admin && !ids.contains(&grant.id) && is_in_force(grant);
    if role == admin && !tables.grants.iter().any(stays) {
        return Err(ChangeRefusal::Conflict(format!(
            "{principal} is the last administrator: grant the role to another one first"
        )));
    }
    let count =
        u32::try_from(ids.len()).map_err(|_| ChangeRefusal::Full("too many grants".to_owned()))?;
    Ok((AccessChange::Revoke(ids), count))
}

/// The change that adds a key.
pub(crate) fn add_key(
    context: ChangeContext<'_>,
    public_key: [u8; 32],
) -> Result<(Planned, u64), ChangeRefusal> {
    let id = key_id(&public_key);
    let same = context.tables.keys.iter().find(|key| key.id == id);
    match same {
        Some(key) if key.public_key != public_key || key.retired_at.is_some() => {
            return Err(ChangeRefusal::Conflict(format!(
                "key {id:016x} was retired: make another with `turnpike access key new`"
            )));
        }
        Some(_) => return Ok((Planned::Done(id), id)),
        None => {}
    }
    let valid = context.tables.keys.iter().filter(|key| key.retired_at.is_none());
    if valid.count() >= KEYS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "there are {KEYS_MAX} keys: retire one with `turnpike access key retire ID`"
        )));
    }
    let key = AccessKey {
        id,
        public_key,
        added_by: context.by.to_owned(),
        added_at: context.now,
        retired_at: None,
    };
    Ok((Planned::Change(AccessChange::AddKey(key)), id))
}

/// The change that retires a key.
pub(crate) fn retire_key(
    tables: &AccessTables,
    id: u64,
    now: Timestamp,
) -> Result<AccessChange, ChangeRefusal> {
    match tables.keys.iter().find(|key| key.id == id) {
        None => Err(ChangeRefusal::NotFound(format!("there is no key {id:016x}"))),
        Some(key) if key.retired_at.is_some() => {
            Err(ChangeRefusal::NotFound(format!("key {id:016x} is retired already")))
        }
        Some(_) => Ok(AccessChange::RetireKey(id, now)),
    }
}

/// The change that registers a token.
pub(crate) fn add_token(
    context: ChangeContext<'_>,
    request: AddTokenRequest,
) -> Result<Planned, ChangeRefusal> {
    let ChangeContext { tables, by, now, .. } = context;
    let AddTokenRequest { token_id, key_id, subject, not_before_us, expires_us } = request;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token_id.len() != 32 || !token_id.bytes().all(is_hex) {
        return Err(ChangeRefusal::Invalid("a token's id has 32 hexadecimal digits".to_owned()));
    }
    check_subject(&subject).map_err(ChangeRefusal::Invalid)?;
    let (not_before, expires) = (Timestamp(not_before_us), Timestamp(expires_us));
    if expires <= now || expires <= not_before {
        return Err(ChangeRefusal::Invalid("the token would never be valid".to_owned()));
    }
    if expires > now.saturating_add(TOKEN_DAYS_MAX * DAY_US) {
        return Err(ChangeRefusal::Invalid(format!(
            "a token is valid for at most {TOKEN_DAYS_MAX} days"
        )));
    }
    let key = tables.keys.iter().find(|key| key.id == key_id);
    if key.is_none_or(|key| key.retired_at.is_some()) {
        return Err(ChangeRefusal::NotFound(format!(
            "key {key_id:016x} is not registered, or was retired: `turnpike access key list`"
        )));
    }
    let token = AccessToken {
        id: token_id,
        key: key_id,
        subject,
        not_before,
        expires,
        issued_by: by.to_owned(),
        issued_at: now,
        revoked_at: None,
    };
    if let Some(other) = tables.tokens.iter().find(|other| other.id == token.id) {
        let same =
            AccessToken { issued_by: other.issued_by.clone(), issued_at: other.issued_at, ..token };
        if same == *other {
            return Ok(Planned::Done(0));
        }
        return Err(ChangeRefusal::Conflict("another token has this id".to_owned()));
    }
    let kept = |token: &&AccessToken| token.expires >= forget(now).tokens;
    if tables.tokens.iter().filter(kept).count() >= TOKENS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "there are {TOKENS_MAX} tokens, with those that expired within a day: issue longer ones, \
             or fewer"
        )));
    }
    Ok(Planned::Change(AccessChange::AddToken(token)))
}

/// The change that revokes tokens.
pub(crate) fn revoke_tokens(
    tables: &AccessTables,
    which: Option<Which>,
    now: Timestamp,
) -> Result<(AccessChange, u32), ChangeRefusal> {
    let which = which.ok_or_else(|| {
        ChangeRefusal::Invalid("name a token's id, or the name of its holder".to_owned())
    })?;
    let is_meant = |token: &&AccessToken| match &which {
        Which::TokenId(id) => token.id == *id,
        Which::Subject(subject) => token.subject == *subject,
    };
    let is_valid = |token: &&AccessToken| token.revoked_at.is_none() && now < token.expires;
    let meant = tables.tokens.iter().filter(is_meant);
    let ids: Vec<String> = meant.filter(is_valid).map(|token| token.id.clone()).collect();
    if ids.is_empty() {
        let (Which::TokenId(name) | Which::Subject(name)) = &which;
        return Err(ChangeRefusal::NotFound(format!(
            "{name:?} names no token that is valid: see `turnpike access token list`"
        )));
    }
    let count =
        u32::try_from(ids.len()).map_err(|_| ChangeRefusal::Full("too many tokens".to_owned()))?;
    Ok((AccessChange::RevokeTokens(ids, now), count))
}
