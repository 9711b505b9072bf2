//! Authenticates the sender of a request, and decides whether the request is allowed.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use turnpike_listen::Peer;
use turnpike_store::SharedDatabase;
use turnpike_store::memory::Clock;
use turnpike_types::Timestamp;

use crate::certificates::CertificateHolder;
use crate::principal::{Principal, holder_of};
use crate::refusal::{AccessRefusal, Unauthenticated};
use crate::roles::methods::{Allows, MethodRule};
use crate::roles::role::AccessRole;
use crate::scope::PermitScope;
use crate::tables::{AccessSnapshot, Newest};
use crate::tokens::form::{CLOCK_SKEW_US, Claims, TOKEN_CHARS_MAX, verified};

/// The settings of access control in one process.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// The cluster's name: in the URIs of certificates, and the audience of tokens.
    pub cluster: String,
    /// Whether the listener accepts connections with TLS only. Then access control is always on.
    pub is_tls: bool,
    /// Whether clients on other machines may send requests without TLS, while access control is
    /// off; on a node, whether they count as members. An operator has to ask for this.
    pub is_open_to_other_hosts: bool,
}

/// Whether access control is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum AccessState {
    /// The sender of a request has to be authenticated and to have a role.
    #[strum(to_string = "on")]
    On,
    /// Clients on this machine may do everything, others nothing.
    #[strum(to_string = "off: for clients on this machine only")]
    Off,
    /// Clients may do everything, on other machines too, because the operator asked for this.
    #[strum(to_string = "off: everybody who reaches the port may do everything")]
    Open,
    /// A node without TLS: processes on this machine are members, others may do nothing.
    #[strum(to_string = "no TLS: every process on this machine counts as a member")]
    Local,
    /// The grants were not read yet: nothing is allowed.
    #[strum(to_string = "not known yet: nothing is allowed")]
    Unread,
}

impl AccessState {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Access control of one process. Clones share its state.
#[derive(Clone)]
pub struct Access(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    config: AccessConfig,
    clock: Clock,
    /// A node serves members only. It needs no grants, but the list of revoked certificates.
    pub(crate) is_node: bool,
    pub(crate) db: Arc<dyn SharedDatabase>,
    /// `None` before the first read.
    pub(crate) newest: RwLock<Option<Newest>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Access {
    /// Access control of a front. Nothing is allowed before the first [`Access::refresh`].
    pub fn of_front(config: AccessConfig, db: Arc<dyn SharedDatabase>, clock: Clock) -> Self {
        Self::new(config, db, clock, false)
    }

    /// Access control of a node: its port is for members only. With TLS, nothing is allowed before the
    /// first [`Access::refresh`].
    pub fn of_node(config: AccessConfig, db: Arc<dyn SharedDatabase>, clock: Clock) -> Self {
        Self::new(config, db, clock, true)
    }

    fn new(config: AccessConfig, db: Arc<dyn SharedDatabase>, clock: Clock, is_node: bool) -> Self {
        Self(Arc::new(Inner { config, clock, is_node, db, newest: RwLock::default() }))
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.0.config.cluster
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Whether access control is on, for the log.
    pub fn state(&self) -> AccessState {
        if self.0.config.is_tls {
            return AccessState::On;
        }
        let is_open = self.0.config.is_open_to_other_hosts;
        if self.0.is_node {
            return if is_open { AccessState::Open } else { AccessState::Local };
        }
        self.newest(|newest| match newest {
            None => AccessState::Unread,
            Some(newest) if self.is_on(&newest.snapshot) => AccessState::On,
            Some(_) if is_open => AccessState::Open,
            Some(_) => AccessState::Off,
        })
    }

    /// Whether the listener accepts connections with TLS only.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.config.is_tls
    }

    pub(crate) fn newest<T>(&self, read: impl FnOnce(Option<&Newest>) -> T) -> T {
        read(self.0.newest.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    fn is_on(&self, snapshot: &AccessSnapshot) -> bool {
        self.0.config.is_tls || snapshot.enabled.is_some()
    }

    /// Whether a client at this address may do everything while access control is off.
    fn is_near(&self, address: SocketAddr) -> bool {
        is_loopback(address) || self.0.config.is_open_to_other_hosts
    }

    /// The sender of the request. A token counts before a certificate, because a client chooses it for
    /// this request; a request with a token that is not valid is refused.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Principal, AccessRefusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        if let Some(header) = given.next() {
            if given.next().is_some() || header.len() > TOKEN_CHARS_MAX + "Bearer ".len() {
                return Err(Unauthenticated::BadHeader.into());
            }
            let text = header.to_str().map_err(|_| Unauthenticated::BadHeader)?;
            let (scheme, token) = text.split_once(' ').ok_or(Unauthenticated::BadHeader)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Unauthenticated::BadHeader.into());
            }
            let claims = self.verify(token)?;
            let id = Some(claims.id_text());
            return Ok(Principal::Token { subject: claims.subject, id });
        }
        let peer = peer.ok_or(Unauthenticated::NoPeer)?;
        let holder = holder_of(&peer.certificates, &self.0.config.cluster)?;
        Ok(holder.unwrap_or(Principal::Anonymous))
    }

    /// The claims of a token that is valid now.
    fn verify(&self, token: &str) -> Result<Claims, AccessRefusal> {
        if self.0.is_node {
            // A node serves members, which have certificates.
            return Err(Unauthenticated::UnknownKey.into());
        }
        let (snapshot, is_old) = self.snapshot()?;
        if is_old && self.is_on(&snapshot) {
            return Err(AccessRefusal::Stale);
        }
        let claims = verified(token, |claims| match snapshot.keys.get(&claims.key) {
            None => Err(Unauthenticated::UnknownKey),
            Some(key) if key.retired_at.is_some() => Err(Unauthenticated::RetiredKey),
            // A stranger's token ends here, without a check of its signature.
            Some(_) if !snapshot.tokens.contains_key(&claims.id_text()) => {
                Err(Unauthenticated::UnregisteredToken)
            }
            Some(key) => Ok(key.public_key),
        })?;
        let now = self.now();
        if claims.audience != self.0.config.cluster {
            return Err(Unauthenticated::WrongAudience.into());
        }
        if now.saturating_add(CLOCK_SKEW_US) < claims.not_before {
            return Err(Unauthenticated::NotYetValid.into());
        }
        if now >= claims.expires {
            return Err(Unauthenticated::Expired.into());
        }
        let row = snapshot.tokens.get(&claims.id_text());
        let row = row.ok_or(Unauthenticated::UnregisteredToken)?;
        let is_same = (row.key, &row.subject, row.not_before, row.expires)
            == (claims.key, &claims.subject, claims.not_before, claims.expires);
        if !is_same {
            return Err(Unauthenticated::UnregisteredToken.into());
        }
        if row.revoked_at.is_some() {
            return Err(Unauthenticated::RevokedToken.into());
        }
        Ok(claims)
    }

    /// Whether the token with this id is still valid: a stream may outlive it.
    fn check_token(&self, snapshot: &AccessSnapshot, id: &str) -> Result<(), Unauthenticated> {
        let row = snapshot.tokens.get(id).ok_or(Unauthenticated::UnregisteredToken)?;
        let key = snapshot.keys.get(&row.key).ok_or(Unauthenticated::UnknownKey)?;
        if row.revoked_at.is_some() {
            Err(Unauthenticated::RevokedToken)
        } else if key.retired_at.is_some() {
            Err(Unauthenticated::RetiredKey)
        } else if self.now() >= row.expires {
            Err(Unauthenticated::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether the certificate is still valid: its connection may outlive it.
    fn check_certificate(
        &self,
        snapshot: &AccessSnapshot,
        principal: &Principal,
    ) -> Result<(), Unauthenticated> {
        let Principal::Certificate { uri, presented } = principal else { return Ok(()) };
        if snapshot.revoked.contains(&uri.to_string()) {
            return Err(Unauthenticated::RevokedCertificate);
        }
        match presented {
            Some(own) if snapshot.revoked.contains(&own.serial) => {
                Err(Unauthenticated::RevokedCertificate)
            }
            Some(own) if self.now() >= own.expires => Err(Unauthenticated::CertificateExpired),
            _ => Ok(()),
        }
    }

    /// Whether all certificates of the principal are revoked, as far as is known.
    pub(crate) fn is_revoked(&self, principal: &Principal) -> bool {
        let check = |snapshot: &AccessSnapshot| self.check_certificate(snapshot, principal);
        self.snapshot().is_ok_and(|(snapshot, _)| check(&snapshot).is_err())
    }

    /// What the principal may do with the method, at this moment.
    ///
    /// # Errors
    /// Why it may not call the method at all.
    pub(crate) fn decide(
        &self,
        principal: &Principal,
        address: Option<SocketAddr>,
        rule: &MethodRule,
    ) -> Result<PermitScope, AccessRefusal> {
        let holder = principal.holder_in(&self.0.config.cluster);
        let is_member = holder.is_some_and(CertificateHolder::is_member);
        let is_near = address.is_some_and(|address| self.is_near(address));
        if self.0.is_node {
            return self.decide_on_node(principal, is_member, is_near, rule);
        }
        let (snapshot, is_old) = self.snapshot()?;
        if !self.is_on(&snapshot) {
            // Another front may have switched access control on since. A cluster on one machine
            // goes on while its database can't be read.
            return match is_near {
                true if !is_old || address.is_some_and(is_loopback) => Ok(PermitScope::Everything),
                true => Err(AccessRefusal::Stale),
                false => Err(Unauthenticated::NotLocal.into()),
            };
        }
        if is_old {
            return Err(AccessRefusal::Stale);
        }
        if *principal == Principal::Anonymous {
            return Err(Unauthenticated::NoCredentials.into());
        }
        if let Principal::Token { id: Some(id), .. } = principal {
            self.check_token(&snapshot, id)?;
        }
        self.check_certificate(&snapshot, principal)?;
        match rule.allows {
            Allows::Everyone | Allows::Authenticated => Ok(PermitScope::Everything),
            Allows::Members if is_member => Ok(PermitScope::Everything),
            Allows::Members => Err(not_allowed(principal, rule)),
            Allows::Roles(roles) => {
                let is_admin = holder == Some(CertificateHolder::Admin);
                if is_admin && roles.contains(&AccessRole::Admin) {
                    return Ok(PermitScope::Everything);
                }
                let mut grants = snapshot.grants_of(&principal.name(), self.now());
                grants.retain(|grant| roles.contains(&grant.role));
                if grants.is_empty() {
                    return Err(not_allowed(principal, rule));
                }
                Ok(PermitScope::Grants(grants.into()))
            }
        }
    }

    /// Without TLS, members have no certificates: then every process on this machine counts as one.
    fn decide_on_node(
        &self,
        principal: &Principal,
        has_certificate: bool,
        is_near: bool,
        rule: &MethodRule,
    ) -> Result<PermitScope, AccessRefusal> {
        let is_member = match self.0.config.is_tls {
            true => has_certificate,
            false if has_certificate || is_near => true,
            false => return Err(Unauthenticated::NotLocal.into()),
        };
        if *principal == Principal::Anonymous && !is_member {
            return Err(Unauthenticated::NoCredentials.into());
        }
        if matches!(principal, Principal::Certificate { .. }) {
            // An old list counts too: without the database a node can't do anything, and the cluster
            // must go on as soon as the database does.
            let (snapshot, _) = self.snapshot()?;
            self.check_certificate(&snapshot, principal)?;
        }
        match rule.allows {
            Allows::Members | Allows::Authenticated if is_member => Ok(PermitScope::Everything),
            Allows::Everyone => Ok(PermitScope::Everything),
            _ => Err(not_allowed(principal, rule)),
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn not_allowed(principal: &Principal, rule: &MethodRule) -> AccessRefusal {
    let needed = match rule.allows {
        Allows::Roles([one]) => format!("the role {one}"),
        Allows::Roles(roles) => {
            let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
            format!("one of the roles {}", words.join(", "))
        }
        Allows::Members => "the certificate of a node or front".to_owned(),
        Allows::Authenticated | Allows::Everyone => "authentication".to_owned(),
    };
    let (who, method) = (principal.name(), rule.path.trim_start_matches('/'));
    AccessRefusal::NotAllowed { message: format!("{who} may not call {method}: it needs {needed}") }
}
