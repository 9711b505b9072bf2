//! Whether a principal may call a method.

use tonic::Status;
use turnpike_proto::access::v1::{TestRequest, TestResponse};
use turnpike_types::AccountNumber;

use super::AccessApi;
use crate::certificates::CertificateHolder;
use crate::principal::Principal;
use crate::refusal::{AccessRefusal, Unauthenticated};
use crate::roles::grant::{RoleGrant, contains};
use crate::roles::methods::{Allows, MethodRule, method_named};
use crate::scope::PermitScope;

impl AccessApi {
    /// Whether a principal may call a method, and the rule that decides.
    pub(super) fn tested(&self, request: &TestRequest) -> Result<TestResponse, Status> {
        let rule = method_named(&request.method).map_err(Status::not_found)?;
        let principal = Principal::named(&request.principal).map_err(Status::invalid_argument)?;
        let holder = principal.holder_in(self.access.cluster());
        if rule.allows == Allows::Everyone {
            return Ok(answer(true, "everyone may call it, also without authentication"));
        }
        if rule.allows == Allows::Members {
            let is_member = holder.is_some_and(CertificateHolder::is_member);
            let is_revoked = self.access.is_revoked(&principal);
            return Ok(answer(
                is_member && !is_revoked,
                "only nodes and fronts may call it, by a certificate that is not revoked",
            ));
        }
        match self.access.decide(&principal, None, rule) {
            Ok(PermitScope::Everything) if holder == Some(CertificateHolder::Admin) => {
                Ok(answer(true, "the certificate of an administrator"))
            }
            Ok(PermitScope::Everything) => {
                Ok(answer(true, "everyone who is authenticated may call it"))
            }
            Ok(PermitScope::Grants(grants)) => Ok(covered(&grants, request, rule)),
            Err(AccessRefusal::NotAllowed { message }) => Ok(answer(false, &message)),
            Err(AccessRefusal::Unauthenticated(Unauthenticated::RevokedCertificate)) => {
                Ok(answer(false, "its certificates are revoked"))
            }
            Err(AccessRefusal::Unauthenticated(_)) if principal != Principal::Anonymous => {
                Ok(answer(
                    true,
                    "access control is off: every client on the machine of a front may do everything",
                ))
            }
            Err(AccessRefusal::Unauthenticated(_)) => Ok(answer(
                false,
                "a request without certificate and token is refused, except from the machine of a \
                 front while access control is off",
            )),
            Err(refusal) => Err(refusal.status()),
        }
    }
}

fn answer(allowed: bool, rule: &str) -> TestResponse {
    TestResponse { allowed, rule: rule.to_owned() }
}

/// What of a request is compared with the limits of a grant.
struct Compared {
    accounts: AccountsCompared,
    source: bool,
    consumer: bool,
}

/// Which accounts are compared with the range of a grant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AccountsCompared {
    /// None.
    Nothing,
    /// Those that the request names, at least one.
    Named,
    /// That which the request names. Without one it concerns all accounts.
    NamedOrAll,
    /// The request concerns all accounts.
    All,
}

impl Compared {
    fn by(rule: &MethodRule) -> Self {
        use AccountsCompared::{All, Named, NamedOrAll, Nothing};
        let of = |accounts, source, consumer| Self { accounts, source, consumer };
        match rule.path.rsplit_once('/') {
            Some(("/turnpike.ingest.v1.IngestService", _)) => of(Named, true, false),
            Some(("/turnpike.account.v1.AccountService", "Resolve")) => of(All, false, false),
            Some(("/turnpike.account.v1.AccountService", _)) => of(Named, false, false),
            Some(("/turnpike.suspense.v1.SuspenseService", _)) => of(NamedOrAll, false, false),
            Some(("/turnpike.feed.v1.FeedService", _)) => of(Nothing, false, true),
            _ => of(Nothing, false, false),
        }
    }

    /// Whether a grant covers the request; `None` if it covers a part of what the request may name.
    fn covers(&self, grant: &RoleGrant, request: &TestRequest) -> Option<bool> {
        use AccountsCompared::{All, Named, NamedOrAll, Nothing};
        let named = request.account_number.map(AccountNumber);
        let accounts = match (self.accounts, grant.row.accounts, named) {
            (Nothing, ..) | (_, None, _) => Some(true),
            (All, Some(_), _) | (NamedOrAll, Some(_), None) => Some(false),
            (Named, Some(_), None) => None,
            (Named | NamedOrAll, Some(range), Some(account)) => Some(contains(range, account)),
        };
        let source = match &request.source {
            _ if !self.source || grant.row.sources.is_empty() => Some(true),
            Some(source) => Some(grant.covers_source(Some(source))),
            None => None,
        };
        let consumer = match &request.consumer {
            _ if !self.consumer => Some(true),
            Some(consumer) => Some(grant.covers_consumer(consumer)),
            None => None,
        };
        let all = [accounts, source, consumer];
        match () {
            () if all.contains(&Some(false)) => Some(false),
            () if all.contains(&None) => None,
            () => Some(true),
        }
    }
}

/// The first grant that covers the request, else the first that covers a part of what it may name, or
/// all grants that do not.
fn covered(grants: &[RoleGrant], request: &TestRequest, rule: &MethodRule) -> TestResponse {
    let compared = Compared::by(rule);
    let first = |covers| grants.iter().find(|grant| compared.covers(grant, request) == covers);
    if let Some(grant) = first(Some(true)) {
        return answer(true, &grant.to_string());
    }
    if let Some(grant) = first(None) {
        return answer(true, &format!("only within these limits: {grant}"));
    }
    let all: Vec<String> = grants.iter().map(RoleGrant::to_string).collect();
    answer(false, &format!("no grant covers it: {}", all.join("; ")))
}
