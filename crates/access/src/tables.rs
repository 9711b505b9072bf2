//! The tables of access control in memory, indexed for decisions.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;
use turnpike_store::{AccessKey, AccessTables, AccessToken, AccessVersion};
use turnpike_types::Timestamp;

use crate::changes::quotas;
use crate::principal::includes;
use crate::roles::grant::RoleGrant;

/// One read of the tables.
#[derive(Debug)]
pub(crate) struct AccessSnapshot {
    pub(crate) version: AccessVersion,
    pub(crate) enabled: Option<Timestamp>,
    /// The grants to one principal, by its name.
    exact: HashMap<String, Vec<RoleGrant>>,
    /// The grants to all principals below a path.
    prefixes: Vec<RoleGrant>,
    pub(crate) keys: HashMap<u64, AccessKey>,
    pub(crate) tokens: HashMap<String, AccessToken>,
    /// The URIs and serial numbers of certificates that were revoked.
    pub(crate) revoked: HashSet<String>,
    /// The name of each quota, the places that are used, and those that there are.
    pub(crate) quotas: [(&'static str, usize, usize); 4],
}

/// The newest read, and when it began.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) snapshot: std::sync::Arc<AccessSnapshot>,
    pub(crate) read_at: Instant,
}

impl AccessSnapshot {
    pub(crate) fn new(
        version: AccessVersion,
        enabled: Option<Timestamp>,
        tables: AccessTables,
        now: Timestamp,
    ) -> Self {
        let quotas = quotas(&tables, now);
        let mut exact: HashMap<String, Vec<RoleGrant>> = HashMap::new();
        let mut prefixes = Vec::new();
        for grant in tables.grants.into_iter().filter_map(RoleGrant::of) {
            if grant.row.principal.ends_with('*') {
                prefixes.push(grant);
            } else {
                exact.entry(grant.row.principal.clone()).or_default().push(grant);
            }
        }
        Self {
            version,
            enabled,
            exact,
            prefixes,
            keys: tables.keys.into_iter().map(|key| (key.id, key)).collect(),
            tokens: tables.tokens.into_iter().map(|token| (token.id.clone(), token)).collect(),
            quotas,
            revoked: tables.revoked.into_iter().map(|row| row.name).collect(),
        }
    }

    /// The grants to the principal that are in force.
    pub(crate) fn grants_of(&self, principal: &str, now: Timestamp) -> Vec<RoleGrant> {
        let exact = self.exact.get(principal).into_iter().flatten();
        let below = self.prefixes.iter().filter(|grant| includes(&grant.row.principal, principal));
        exact.chain(below).filter(|grant| grant.is_in_force(now)).cloned().collect()
    }
}
