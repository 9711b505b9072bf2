//! A grant, as requests are decided by it.

use std::fmt;

use turnpike_store::AccessGrant;
use turnpike_types::{AccountNumber, AccountRange, Timestamp};

use super::role::AccessRole;

/// A grant whose role this release knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleGrant {
    pub(crate) role: AccessRole,
    pub(crate) row: AccessGrant,
}

impl RoleGrant {
    /// `None` for a role that this release does not know: such a grant allows nothing here.
    pub(crate) fn of(row: AccessGrant) -> Option<Self> {
        match AccessRole::named(&row.role) {
            Ok(role) => Some(Self { role, row }),
            Err(why) => {
                tracing::warn!(
                    grant = row.id,
                    why,
                    "a grant of another release allows nothing here"
                );
                None
            }
        }
    }

    pub(crate) fn is_in_force(&self, now: Timestamp) -> bool {
        self.row.until.is_none_or(|until| now < until)
    }

    /// Whether the grant covers records of this account from this source. An unknown account is
    /// covered only by a grant for all accounts.
    pub(crate) fn covers(&self, account: Option<AccountNumber>, source: Option<&str>) -> bool {
        let has_account = match (self.row.accounts, account) {
            (None, _) => true,
            (Some(range), Some(account)) => contains(range, account),
            (Some(_), None) => false,
        };
        has_account && self.covers_source(source)
    }

    pub(crate) fn covers_source(&self, source: Option<&str>) -> bool {
        let is_named = |source: &str| self.row.sources.iter().any(|one| one == source);
        self.row.sources.is_empty() || source.is_some_and(is_named)
    }

    pub(crate) fn covers_consumer(&self, consumer: &str) -> bool {
        self.row.consumer.as_deref() == Some(consumer)
    }
}

pub(crate) fn contains(range: AccountRange, account: AccountNumber) -> bool {
    (range.first()..=range.last()).contains(&account)
}

impl fmt::Display for RoleGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessGrant { id, principal, accounts, sources, consumer, .. } = &self.row;
        write!(f, "grant {id}: {principal} has the role {}", self.role)?;
        if let Some(range) = accounts {
            write!(f, " for the accounts {} to {}", range.first(), range.last())?;
        }
        if !sources.is_empty() {
            write!(f, " from {}", sources.join(", "))?;
        }
        if let Some(consumer) = consumer {
            write!(f, " for the cursors of {consumer}")?;
        }
        Ok(())
    }
}
