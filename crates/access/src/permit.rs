//! What a request may do. Services check it where the content of a request is known.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, HeaderMap};
use tonic::Status;
use turnpike_listen::Peer;
use turnpike_types::AccountNumber;

use crate::access::Access;
use crate::actor::ANONYMOUS;
use crate::certificates::CertificateHolder;
use crate::principal::Principal;
use crate::refusal::AccessRefusal;
use crate::roles::methods::{Allows, MethodRule, rule_of};
use crate::scope::PermitScope;

/// Whether requests reach a service through a [`Guard`](crate::Guard).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarded {
    /// Yes: a request without a permit is an error of the program, and is refused.
    #[default]
    Yes,
    /// No: every request may do everything. Only for tests and simulations, which call services
    /// without a listener.
    No,
}

/// What a request may do. An extension of each request that was admitted.
#[derive(Clone, Debug)]
pub struct Permit {
    scope: PermitScope,
    /// How the permit was decided; `None` without a guard.
    decided: Option<Decided>,
}

#[derive(Clone, Debug)]
struct Decided {
    access: Access,
    principal: Arc<Principal>,
    address: Option<SocketAddr>,
    rule: &'static MethodRule,
}

impl Access {
    /// Decides a request by its path, headers and connection; its body is not read.
    ///
    /// # Errors
    /// Why the request is refused, and the principal as far as it is known.
    pub fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Permit, (AccessRefusal, Principal)> {
        let unknown = |refusal: AccessRefusal| (refusal, Principal::Anonymous);
        let rule = rule_of(path).ok_or_else(|| unknown(AccessRefusal::UnknownMethod))?;
        if rule.allows == Allows::Everyone {
            // Nothing of a token or a certificate is checked: it costs time that a stranger could use
            // up.
            let anonymous = Principal::Anonymous;
            return Ok(Permit::new(self, anonymous, peer, rule, PermitScope::Everything));
        }
        let principal = self.authenticate(headers, peer).map_err(unknown)?;
        match self.decide(&principal, peer.map(|peer| peer.address), rule) {
            Ok(scope) => Ok(Permit::new(self, principal, peer, rule, scope)),
            Err(refusal) => Err((refusal, principal)),
        }
    }
}

impl Guarded {
    /// The permit of a request.
    ///
    /// # Errors
    /// There is none although requests come through a guard.
    pub fn permit(self, extensions: &Extensions) -> Result<Permit, Status> {
        match (extensions.get::<Permit>(), self) {
            (Some(permit), _) => Ok(permit.clone()),
            (None, Self::No) => Ok(Permit::internal()),
            (None, Self::Yes) => {
                tracing::error!("a request reached a service without a check of its rights");
                Err(Status::internal("the rights of the request were not checked"))
            }
        }
    }
}

impl Permit {
    /// The permit of requests that the program makes itself.
    pub const fn internal() -> Self {
        Self { scope: PermitScope::Everything, decided: None }
    }

    pub(crate) fn new(
        access: &Access,
        principal: Principal,
        peer: Option<&Peer>,
        rule: &'static MethodRule,
        scope: PermitScope,
    ) -> Self {
        let decided = Decided {
            access: access.clone(),
            principal: Arc::new(principal),
            address: peer.map(|peer| peer.address),
            rule,
        };
        Self { scope, decided: Some(decided) }
    }

    /// Who may call the method of the request; `None` without a guard.
    pub(crate) fn allows(&self) -> Option<Allows> {
        self.decided.as_ref().map(|decided| decided.rule.allows)
    }

    /// The name of the principal that sends the request.
    pub(crate) fn principal_name(&self) -> String {
        let decided = self.decided.as_ref();
        decided.map_or_else(|| ANONYMOUS.to_owned(), |decided| decided.principal.name())
    }

    /// Whether an administrator sends the request, by its certificate.
    pub(crate) fn is_admin(&self) -> bool {
        self.decided.as_ref().is_some_and(|decided| {
            let cluster = decided.access.cluster();
            decided.principal.holder_in(cluster) == Some(CertificateHolder::Admin)
        })
    }

    /// The serial number of the certificate by which the request is sent.
    pub(crate) fn serial(&self) -> Option<&str> {
        let decided = self.decided.as_ref()?;
        match decided.principal.as_ref() {
            Principal::Certificate { presented: Some(presented), .. } => Some(&presented.serial),
            _ => None,
        }
    }

    /// The permit as of now: a stream may outlive a grant or a token.
    ///
    /// # Errors
    /// The request is not allowed any more.
    pub fn renewed(&self) -> Result<Self, Status> {
        let Some(Decided { access, principal, address, rule }) = &self.decided else {
            return Ok(self.clone());
        };
        match access.decide(principal, *address, rule) {
            Ok(scope) => Ok(Self { scope, decided: self.decided.clone() }),
            Err(refusal) => {
                refusal.count();
                tracing::warn!(
                    cause = refusal.cause(),
                    principal = principal.name(),
                    method = rule.path,
                    "a stream ends, because it is not allowed any more"
                );
                Err(refusal.status())
            }
        }
    }

    /// Whether no account, source or consumer is out of reach.
    pub const fn is_unlimited(&self) -> bool {
        matches!(self.scope, PermitScope::Everything)
    }

    /// Whether the request may send a record of this account from this source; `None`: the account
    /// is not known.
    pub fn covers_record(&self, account: Option<AccountNumber>, source: &str) -> bool {
        self.scope.any(|grant| grant.covers(account, Some(source)))
    }

    /// Refuses an account that is out of reach.
    ///
    /// # Errors
    /// The message names the account.
    pub fn check_account(&self, account: AccountNumber) -> Result<(), Status> {
        if self.scope.any(|grant| grant.covers(Some(account), None)) {
            return Ok(());
        }
        Err(self.denied(&format!("account {account} is outside of its accounts")))
    }

    /// Refuses a request that concerns all accounts, unless all are in reach.
    ///
    /// # Errors
    /// The message asks for one account.
    pub fn check_all_accounts(&self) -> Result<(), Status> {
        if self.scope.any(|grant| grant.covers(None, None)) {
            return Ok(());
        }
        Err(self.denied("it has a range of accounts, and the request names no account"))
    }

    /// Refuses a consumer that is not its own.
    ///
    /// # Errors
    /// The message names the consumer.
    pub fn check_consumer(&self, consumer: &str) -> Result<(), Status> {
        if self.scope.any(|grant| grant.covers_consumer(consumer)) {
            return Ok(());
        }
        let shown: String = consumer.chars().take(128).collect();
        Err(self.denied(&format!("the cursors of {shown:?} are not its own")))
    }

    fn denied(&self, why: &str) -> Status {
        let Some(Decided { principal, rule, .. }) = &self.decided else {
            return Status::permission_denied(why);
        };
        metrics::counter!("turnpike_access_refused_total", "cause" => "out-of-range").increment(1);
        let (who, method) = (principal.name(), rule.path.trim_start_matches('/'));
        tracing::warn!(principal = who, method, why, "a request is out of its range");
        Status::permission_denied(format!("{who} may not call {method} for this: {why}"))
    }
}
