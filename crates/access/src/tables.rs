//! The tables of access control in memory, indexed for decisions.

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio::time::Instant;
use turnpike_store::{AccessKey, AccessTables, AccessToken, AccessVersion};
use turnpike_types::Timestamp;

use crate::certificates::serial;
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

/// The name of a cluster, if the tables tell it: it is in the URIs of certificates, of which an administrator
/// with a certificate leaves one with each change.
///
/// # Errors
/// They name several, of which only one can be this cluster.
pub fn cluster_of(tables: &AccessTables) -> Result<Option<String>, String> {
    let of = |principal: &str| {
        let name = principal.strip_prefix("spiffe://")?.split('/').next()?;
        Some(name.to_owned())
    };
    let AccessTables { grants, keys, tokens, revoked } = tables;
    let grants = grants.iter().flat_map(|row| [of(&row.principal), of(&row.granted_by)]);
    let others = keys.iter().map(|row| of(&row.added_by));
    let others = others.chain(tokens.iter().map(|row| of(&row.issued_by)));
    let revoked = revoked.iter().flat_map(|row| [of(&row.name), of(&row.revoked_by)]);
    let names: BTreeSet<String> = grants.chain(others).chain(revoked).flatten().collect();
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (first, None) => Ok(first),
        (Some(one), Some(other)) => Err(format!(
            "the grants name the clusters {one} and {other}: name this one (--cluster)"
        )),
        (None, Some(_)) => Ok(None),
    }
}

/// The name by which a row revokes certificates. An earlier release kept serial numbers with zero bytes.
fn revoked_name(name: String) -> String {
    if name.contains("://") { name } else { serial(&name) }
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
            revoked: tables.revoked.into_iter().map(|row| revoked_name(row.name)).collect(),
        }
    }

    /// The grants to the principal that are in force.
    pub(crate) fn grants_of(&self, principal: &str, now: Timestamp) -> Vec<RoleGrant> {
        let exact = self.exact.get(principal).into_iter().flatten();
        let below = self.prefixes.iter().filter(|grant| includes(&grant.row.principal, principal));
        exact.chain(below).filter(|grant| grant.is_in_force(now)).cloned().collect()
    }
}
