//! Changes of grants.

use turnpike_proto::access::v1::{AccountSpan, GrantRequest, RevokeRequest};
use turnpike_store::{AccessChange, AccessGrant};
use turnpike_types::{AccountRange, Timestamp, limits};

use super::administrators;
use super::context::{
    ChangeContext, ChangeRefusal, GRANT_KEPT_DAYS, GRANT_ROWS_MAX, GRANTS_MAX, GRANTS_OF_ONE_MAX,
    Planned, SOURCES_MAX, is_in_force,
};
use crate::principal::check_pattern;
use crate::roles::role::AccessRole;

/// The change of a grant.
pub(crate) fn grant(
    context: ChangeContext<'_>,
    request: GrantRequest,
) -> Result<Planned, ChangeRefusal> {
    let ChangeContext { tables, by, now, is_recovery, .. } = context;
    let GrantRequest { principal, role, accounts, sources, consumer, until_us } = request;
    check_pattern(&principal, context.cluster).map_err(ChangeRefusal::Invalid)?;
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
    if !is_recovery {
        check_room(context, &row.principal)?;
    }
    let change = AccessChange::Grant(row);
    administrators::check_first(context, &change)?;
    Ok(Planned::Change(change))
}

/// Refuses another grant when there are too many. Those that have ended leave their places.
fn check_room(context: ChangeContext<'_>, principal: &str) -> Result<(), ChangeRefusal> {
    let ChangeContext { tables, now, .. } = context;
    let in_force = || tables.grants.iter().filter(|grant| is_in_force(grant, now));
    if in_force().count() >= GRANTS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "there are {GRANTS_MAX} grants: revoke some, or grant to a prefix such as \
             spiffe://CLUSTER/client/*"
        )));
    }
    if in_force().filter(|grant| grant.principal == principal).count() >= GRANTS_OF_ONE_MAX {
        return Err(ChangeRefusal::Full(format!(
            "{principal} has {GRANTS_OF_ONE_MAX} grants: revoke some, or grant wider ranges"
        )));
    }
    if tables.grants.len() >= GRANT_ROWS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "{GRANT_ROWS_MAX} grants are kept, with those that ended within {GRANT_KEPT_DAYS} days: \
             revoke ended ones too"
        )));
    }
    Ok(())
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

/// The change that revokes all grants of a role to a principal, and their number. None is no error: the
/// answer to an earlier request may have been lost.
pub(crate) fn revoke(
    context: ChangeContext<'_>,
    request: &RevokeRequest,
) -> Result<(Planned, u32), ChangeRefusal> {
    let RevokeRequest { principal, role } = request;
    let role = AccessRole::named(role).map_err(ChangeRefusal::Invalid)?.word();
    let is_meant = |grant: &&AccessGrant| grant.principal == *principal && grant.role == role;
    let meant = context.tables.grants.iter().filter(is_meant);
    let ids: Vec<u64> = meant.map(|grant| grant.id).collect();
    if ids.is_empty() {
        return Ok((Planned::Done(0), 0));
    }
    let count =
        u32::try_from(ids.len()).map_err(|_| ChangeRefusal::Full("too many grants".to_owned()))?;
    let change = AccessChange::Revoke(ids);
    administrators::check_remain(context, &change)?;
    Ok((Planned::Change(change), count))
}
