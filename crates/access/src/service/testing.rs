//! Whether a principal may call a method.

use tonic::Status;
use turnpike_proto::access::v1::{TestRequest, TestResponse};
use turnpike_types::AccountNumber;

use super::AccessApi;
use crate::certificates::CertificateHolder;
use crate::principal::Principal;
use crate::refusal::AccessRefusal;
use crate::roles::grant::RoleGrant;
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
            return Ok(answer(
                is_member,
                "only nodes and fronts may call it, by their certificate",
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

/// The first grant that covers what the request names, or all grants that do not.
fn covered(grants: &[RoleGrant], request: &TestRequest, rule: &MethodRule) -> TestResponse {
    let account = request.account_number.map(AccountNumber);
    let is_ingest = rule.path.contains(".IngestService/");
    let covers = |grant: &&RoleGrant| {
        let accounts = match account {
            Some(account) => {
                grant.row.accounts.is_none_or(|range| crate::roles::grant::contains(range, account))
            }
            None => true,
        };
        let source = match &request.source {
            Some(source) if is_ingest => grant.covers_source(Some(source)),
            _ => true,
        };
        let consumer = match &request.consumer {
            Some(consumer) if grant.row.consumer.is_some() => grant.covers_consumer(consumer),
            _ => true,
        };
        accounts && source && consumer
    };
    match grants.iter().find(covers) {
        Some(grant) => answer(true, &grant.to_string()),
        None => {
            let all: Vec<String> = grants.iter().map(RoleGrant::to_string).collect();
            answer(false, &format!("no grant covers it: {}", all.join("; ")))
        }
    }
}
