//! Who may do what: grants of roles, the public keys of tokens, and the tokens that were issued.
//!
//! The package `turnpike-access` decides what rows mean and which changes are allowed. This area
//! keeps the rows. A change is a compare-and-set on the version of the tables, so that two changes
//! are never decided on the same state. A version has a random stamp beside its number, because after
//! a failover to a replica, or a restored backup, another change can get the same number.

use async_trait::async_trait;
use turnpike_types::{AccountRange, Timestamp};

use crate::StoreResult;

/// The tables of access control.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// The version of the tables, and the tables unless they have the version `known`. The tables
    /// are at least as new as the version.
    async fn access(&self, known: Option<AccessVersion>) -> StoreResult<AccessRead>;

    /// Carries out `write` if the version of the tables is still `write.at`. Returns the number of the
    /// new version, or `None` if another change came first.
    async fn change_access(&self, write: &AccessWrite) -> StoreResult<Option<u64>>;
}

/// A state of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessVersion {
    /// The number of changes so far.
    pub number: u64,
    /// Random, and new with each change.
    pub stamp: AccessStamp,
}

/// The random part of a version.
pub type AccessStamp = [u8; 16];

/// A read of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRead {
    /// The version of the tables.
    pub version: AccessVersion,
    /// When the first grant was made. Access control is on from then on.
    pub enabled: Option<Timestamp>,
    /// The tables; `None` if they have the version that the caller knows.
    pub tables: Option<AccessTables>,
}

/// The rows of the tables, each sorted by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessTables {
    /// The grants, also expired ones.
    pub grants: Vec<AccessGrant>,
    /// The public keys, also retired ones.
    pub keys: Vec<AccessKey>,
    /// The tokens, also expired and revoked ones.
    pub tokens: Vec<AccessToken>,
    /// The certificates that were revoked, sorted by name.
    pub revoked: Vec<RevokedCertificate>,
}

/// A role that a principal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessGrant {
    /// The version that the tables got with this grant; the caller's value is not used.
    pub id: u64,
    /// A principal, or a prefix of principals that ends in `/*`.
    pub principal: String,
    /// The word of the role.
    pub role: String,
    /// The accounts; `None` for all.
    pub accounts: Option<AccountRange>,
    /// The sources of records; empty for all. No name has a line break.
    pub sources: Vec<String>,
    /// The consumer whose cursors the role `consumer` moves.
    pub consumer: Option<String>,
    /// When the grant ends.
    pub until: Option<Timestamp>,
    /// The principal that made the grant.
    pub granted_by: String,
    /// When the grant was made.
    pub granted_at: Timestamp,
}

/// The public key of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// The first eight bytes of the hash of the key.
    pub id: u64,
    /// An Ed25519 public key.
    pub public_key: [u8; 32],
    /// The principal that added the key.
    pub added_by: String,
    /// When the key was added.
    pub added_at: Timestamp,
    /// When the key was retired: tokens that it signed are no longer valid.
    pub retired_at: Option<Timestamp>,
}

/// A token that was issued. The row holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// A random id, in hexadecimal digits.
    pub id: String,
    /// The key that signed it.
    pub key: u64,
    /// The name in the principal `token:NAME`.
    pub subject: String,
    /// The first instant at which the token is valid.
    pub not_before: Timestamp,
    /// The first instant at which the token is not valid any more.
    pub expires: Timestamp,
    /// The principal that issued the token.
    pub issued_by: String,
    /// When the token was issued.
    pub issued_at: Timestamp,
    /// When the token was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Certificates that are refused although they have not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// The URI of all certificates of a holder, or the serial number of one certificate in
    /// hexadecimal digits.
    pub name: String,
    /// The principal that revoked them.
    pub revoked_by: String,
    /// When they were revoked.
    pub revoked_at: Timestamp,
}

/// A change of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessWrite {
    /// The version of the tables on which the change was decided.
    pub at: AccessVersion,
    /// The stamp of the new version.
    pub stamp: AccessStamp,
    /// The change.
    pub change: AccessChange,
    /// The rows that are deleted because they ended long ago, so that the tables do not grow for
    /// ever.
    pub forget: AccessForget,
}

/// Which rows are deleted because they ended long ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessForget {
    /// Grants that ended before this instant.
    pub grants: Timestamp,
    /// Keys that were retired before this instant.
    pub keys: Timestamp,
    /// Tokens that expired or were revoked before this instant.
    pub tokens: Timestamp,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessChange {
    /// Adds a grant, and switches access control on.
    Grant(AccessGrant),
    /// Deletes the grants with these ids.
    Revoke(Vec<u64>),
    /// Adds a key.
    AddKey(AccessKey),
    /// Retires a key at an instant.
    RetireKey(u64, Timestamp),
    /// Adds a token.
    AddToken(AccessToken),
    /// Revokes the tokens with these ids at an instant.
    RevokeTokens(Vec<String>, Timestamp),
    /// Revokes certificates.
    RevokeCertificate(RevokedCertificate),
    /// Deletes the revocation with this name.
    RestoreCertificate(String),
}

/// The tables with the state row, as the database in memory keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessArea {
    pub(crate) version: AccessVersion,
    pub(crate) enabled: Option<Timestamp>,
    pub(crate) tables: AccessTables,
}

impl AccessArea {
    pub(crate) fn read(&self, known: Option<AccessVersion>) -> AccessRead {
        let is_new = known != Some(self.version);
        AccessRead {
            version: self.version,
            enabled: self.enabled,
            tables: is_new.then(|| self.tables.clone()),
        }
    }

    pub(crate) fn change(&mut self, write: &AccessWrite) -> Option<u64> {
        if write.at != self.version {
            return None;
        }
        self.version = AccessVersion { number: self.version.number + 1, stamp: write.stamp };
        let forget = write.forget;
        let AccessTables { grants, keys, tokens, revoked: _ } = &mut self.tables;
        grants.retain(|grant| grant.until.is_none_or(|until| until >= forget.grants));
        keys.retain(|key| key.retired_at.is_none_or(|retired| retired >= forget.keys));
        tokens.retain(|token| !forget.has(token));
        if let AccessChange::Grant(grant) = &write.change {
            self.enabled = self.enabled.or(Some(grant.granted_at));
        }
        self.tables.apply(&write.change, self.version.number);
        Some(self.version.number)
    }
}

impl AccessForget {
    /// Whether the token is deleted.
    pub fn has(&self, token: &AccessToken) -> bool {
        let ended = token.revoked_at.map_or(token.expires, |revoked| revoked.min(token.expires));
        ended < self.tokens
    }
}

impl AccessTables {
    /// Makes the change. A new grant gets the id `version`.
    pub fn apply(&mut self, change: &AccessChange, version: u64) {
        let Self { grants, keys, tokens, revoked } = self;
        match change {
            AccessChange::Grant(grant) => {
                grants.push(AccessGrant { id: version, ..grant.clone() });
            }
            AccessChange::Revoke(ids) => grants.retain(|grant| !ids.contains(&grant.id)),
            AccessChange::AddKey(key) => {
                keys.push(key.clone());
                keys.sort_by_key(|key| key.id.cast_signed());
            }
            AccessChange::RetireKey(id, at) => {
                for key in keys.iter_mut().filter(|key| key.id == *id) {
                    key.retired_at = key.retired_at.or(Some(*at));
                }
            }
            AccessChange::AddToken(token) => {
                tokens.push(token.clone());
                tokens.sort_by(|a, b| a.id.cmp(&b.id));
            }
            AccessChange::RevokeTokens(ids, at) => {
                for token in tokens.iter_mut().filter(|token| ids.contains(&token.id)) {
                    token.revoked_at = token.revoked_at.or(Some(*at));
                }
            }
            AccessChange::RevokeCertificate(row) => {
                revoked.push(row.clone());
                revoked.sort_by(|a, b| a.name.cmp(&b.name));
            }
            AccessChange::RestoreCertificate(name) => revoked.retain(|row| row.name != *name),
        }
    }
}
