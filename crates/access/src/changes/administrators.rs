//! Whether an administrator remains after a change.
//!
//! While access control is on, only administrators can make changes. A change after which none
//! remains could be undone by nobody but an operator of the shared database
//! (`turnpike access recover`), so it is refused.

use std::collections::BTreeSet;

use turnpike_store::{AccessChange, AccessTables, AccessToken};
use turnpike_types::Timestamp;

use super::context::{ChangeContext, ChangeRefusal};
use crate::roles::role::AccessRole;
use crate::tokens::form::CLOCK_SKEW_US;

/// An administrator whose token ends earlier does not count as one that remains: there would be no
/// time to issue the next token.
const TOKEN_TIME_LEFT_US: i64 = 600_000_000;

/// How a principal is an administrator: by a grant, and for a token by that token.
type Credential<'a> = (u64, Option<&'a str>);

/// Refuses a grant that would switch access control on without an administrator.
pub(super) fn check_first(
    context: ChangeContext<'_>,
    change: &AccessChange,
) -> Result<(), ChangeRefusal> {
    if context.is_on || context.is_admin || has_lasting(context, &after(context, change)) {
        return Ok(());
    }
    Err(ChangeRefusal::Conflict(
        "the first grant switches access control on, for good: begin with an administrator whose \
         token is valid for at least ten minutes, or nobody could grant anything afterwards. \
         Without certificates: `turnpike access key new`, `turnpike access token issue NAME`, then \
         `turnpike access grant token:NAME admin`"
            .to_owned(),
    ))
}

/// Refuses a change that takes the role from the last administrator, or makes its last token invalid.
/// An administrator who makes the change by its certificate remains one.
pub(super) fn check_remain(
    context: ChangeContext<'_>,
    change: &AccessChange,
) -> Result<(), ChangeRefusal> {
    if !context.is_on || context.is_admin {
        return Ok(());
    }
    let after = after(context, change);
    let at = (context.now, context.now);
    let is_untouched = || {
        credentials(context, context.tables, at, false) == credentials(context, &after, at, false)
    };
    if has_lasting(context, &after) || is_untouched() {
        return Ok(());
    }
    Err(ChangeRefusal::Conflict(
        "no administrator would remain: another one needs the role admin without an end, and a token \
         that is valid for at least ten minutes, by a key that is not retired"
            .to_owned(),
    ))
}

fn after(context: ChangeContext<'_>, change: &AccessChange) -> AccessTables {
    let mut tables = context.tables.clone();
    // A version is never this large; only the new grant has this id.
    tables.apply(change, u64::MAX);
    tables
}

/// Whether a principal is an administrator now and for long enough to renew its token.
fn has_lasting(context: ChangeContext<'_>, tables: &AccessTables) -> bool {
    let at = (context.now, context.now.saturating_add(TOKEN_TIME_LEFT_US));
    !credentials(context, tables, at, true).is_empty()
}

fn is_revoked(tables: &AccessTables, uri: &str) -> bool {
    tables.revoked.iter().any(|row| row.name == uri)
}

/// How principals are administrators from the first to the second instant; with `is_endless` only by
/// grants without an end.
fn credentials<'a>(
    context: ChangeContext<'_>,
    tables: &'a AccessTables,
    (from, to): (Timestamp, Timestamp),
    is_endless: bool,
) -> BTreeSet<Credential<'a>> {
    let has_key = |token: &AccessToken| {
        tables.keys.iter().any(|key| key.id == token.key && key.retired_at.is_none())
    };
    let is_valid = |token: &&AccessToken| {
        let begins = token.not_before <= from.saturating_add(CLOCK_SKEW_US);
        token.revoked_at.is_none() && begins && to < token.expires && has_key(token)
    };
    let mut found = BTreeSet::new();
    let admins = tables.grants.iter().filter(|grant| grant.role == AccessRole::Admin.word());
    for grant in admins.filter(|grant| grant.until.is_none_or(|until| !is_endless && to < until)) {
        match grant.principal.strip_prefix("token:") {
            Some(name) => {
                let own = tables.tokens.iter().filter(|token| token.subject == name);
                found.extend(own.filter(is_valid).map(|token| (grant.id, Some(&*token.id))));
            }
            None if context.is_tls && !is_revoked(tables, &grant.principal) => {
                found.insert((grant.id, None));
            }
            None => {}
        }
    }
    found
}
