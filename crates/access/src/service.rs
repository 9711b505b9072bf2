//! The access service.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use turnpike_proto::access::v1::access_service_server::{AccessService, AccessServiceServer};
use turnpike_proto::access::v1::{
    AccountSpan, AddKeyRequest, AddKeyResponse, AddTokenRequest, AddTokenResponse, Grant,
    GrantRequest, GrantResponse, Key, ListGrantsRequest, ListGrantsResponse, ListKeysRequest,
    ListKeysResponse, ListTokensRequest, ListTokensResponse, RetireKeyRequest, RetireKeyResponse,
    RevokeRequest, RevokeResponse, RevokeTokenRequest, RevokeTokenResponse, TestRequest,
    TestResponse, Token,
};
use turnpike_store::{
    AccessChange, AccessRead, AccessTables, AccessWrite, SharedDatabase, StoreError,
};
use turnpike_types::{AccountNumber, Timestamp};

use crate::access::Access;
use crate::changes::{self, ChangeContext, ChangeRefusal, Planned};
use crate::permit::Guarded;
use crate::principal::{CertificateKind, Principal};
use crate::refusal::AccessRefusal;
use crate::roles::grant::RoleGrant;
use crate::roles::methods::{Allows, MethodRule, method_named};
use crate::scope::PermitScope;

/// A change is decided again this often if other changes come first.
const TRIES_MAX: usize = 20;
/// The largest request: a grant with all its sources.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// The largest answer: a list of all grants.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The gRPC service `AccessService`.
#[derive(Clone)]
pub struct AccessApi {
    access: Access,
    db: Arc<dyn SharedDatabase>,
}

impl AccessApi {
    /// A service that changes the tables in `db`, by which `access` decides.
    pub fn new(access: Access, db: Arc<dyn SharedDatabase>) -> Self {
        Self { access, db }
    }

    /// The tonic service with its message size limits.
    pub fn server(&self) -> AccessServiceServer<Self> {
        AccessServiceServer::new(self.clone())
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX)
    }

    async fn read(&self) -> Result<(AccessRead, AccessTables), Status> {
        let mut read = self.db.access(None).await.map_err(store_status)?;
        let tables = read.tables.take();
        let tables = tables.ok_or_else(|| Status::internal("the database returned no tables"))?;
        Ok((read, tables))
    }

    /// Decides a change on the present tables and carries it out. Decides again if another change
    /// came first. Returns what `decide` returned with the change, and the new version.
    async fn change<T>(
        &self,
        by: &str,
        decide: impl Fn(ChangeContext<'_>) -> Result<(Planned, T), ChangeRefusal>,
    ) -> Result<(T, Option<u64>), Status> {
        for _ in 0..TRIES_MAX {
            let (read, tables) = self.read().await?;
            let now = self.access.now();
            let is_on = self.access.is_tls() || read.enabled.is_some();
            let (planned, result) = decide(ChangeContext { tables: &tables, is_on, by, now })?;
            let change = match planned {
                Planned::Done(_) => return Ok((result, None)),
                Planned::Change(change) => change,
            };
            let write = AccessWrite { at: read.version, change, forget: changes::forget(now) };
            let Some(version) = self.db.change_access(&write).await.map_err(store_status)? else {
                continue;
            };
            log(by, &write.change);
            // The change is durable: if this front can't read it now, it follows later.
            if let Err(error) = self.access.refresh().await {
                tracing::warn!(%error, "a change of access control takes effect here later");
            }
            return Ok((result, Some(version)));
        }
        Err(Status::unavailable("other changes of access control came first each time: try again"))
    }

    /// Whether a principal may call a method, and the rule that decides.
    fn test(&self, request: &TestRequest) -> Result<TestResponse, Status> {
        let rule = method_named(&request.method).map_err(Status::not_found)?;
        let principal = Principal::named(&request.principal).map_err(Status::invalid_argument)?;
        let kind = principal.kind_in(self.access.cluster());
        if rule.allows == Allows::Everyone {
            return Ok(answer(true, "everyone may call it, also without authentication"));
        }
        if rule.allows == Allows::Members {
            let is_member = kind == Some(CertificateKind::Member);
            return Ok(answer(
                is_member,
                "only nodes and fronts may call it, by their certificate",
            ));
        }
        match self.access.decide(&principal, None, rule) {
            Ok(PermitScope::Everything) if kind == Some(CertificateKind::Admin) => {
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

fn log(by: &str, change: &AccessChange) {
    match change {
        AccessChange::Grant(grant) => {
            tracing::info!(by, principal = grant.principal, role = grant.role, "role granted");
        }
        AccessChange::Revoke(ids) => tracing::info!(by, ?ids, "grants revoked"),
        AccessChange::AddKey(key) => {
            tracing::info!(by, key = format!("{:016x}", key.id), "token key added");
        }
        AccessChange::RetireKey(id, _) => {
            tracing::info!(by, key = format!("{id:016x}"), "token key retired");
        }
        AccessChange::AddToken(token) => {
            tracing::info!(by, token = token.id, subject = token.subject, "token issued");
        }
        AccessChange::RevokeTokens(ids, _) => tracing::info!(by, ?ids, "tokens revoked"),
    }
}

fn store_status(error: StoreError) -> Status {
    Status::new(error.code(), error.to_string())
}

/// The name of the principal that sends the request.
fn by<T>(request: &Request<T>) -> Result<String, Status> {
    Guarded::Yes.permit(request.extensions())?;
    let principal = request.extensions().get::<Arc<Principal>>();
    let principal = principal.ok_or_else(|| Status::internal("the request has no principal"))?;
    Ok(principal.name())
}

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn grant(
        &self,
        request: Request<GrantRequest>,
    ) -> Result<Response<GrantResponse>, Status> {
        let by = by(&request)?;
        let asked = request.into_inner();
        let decide = |context: ChangeContext<'_>| {
            let planned = changes::grant(context, asked.clone())?;
            let known = match &planned {
                Planned::Done(id) => Some(*id),
                Planned::Change(_) => None,
            };
            Ok((planned, (known, context.is_on)))
        };
        let ((known, was_on), version) = self.change(&by, decide).await?;
        let grant_id = known.or(version);
        let grant_id = grant_id.ok_or_else(|| Status::internal("the grant has no id"))?;
        Ok(Response::new(GrantResponse { grant_id, enabled: !was_on }))
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        let by = by(&request)?;
        let asked = request.into_inner();
        let decide = |context: ChangeContext<'_>| {
            let (change, count) = changes::revoke(context.tables, &asked)?;
            Ok((Planned::Change(change), count))
        };
        let (revoked, _) = self.change(&by, decide).await?;
        Ok(Response::new(RevokeResponse { revoked }))
    }

    async fn list(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        by(&request)?;
        let (read, tables) = self.read().await?;
        let mut grants: Vec<Grant> = tables
            .grants
            .into_iter()
            .map(|row| Grant {
                grant_id: row.id,
                principal: row.principal,
                role: row.role,
                accounts: row
                    .accounts
                    .map(|range| AccountSpan { first: range.first().0, last: range.last().0 }),
                sources: row.sources,
                consumer: row.consumer.unwrap_or_default(),
                until_us: row.until.map(Timestamp::micros),
                granted_by: row.granted_by,
                granted_us: row.granted_at.micros(),
            })
            .collect();
        grants.sort_by(|a, b| (&a.principal, &a.role).cmp(&(&b.principal, &b.role)));
        let enabled_us = read.enabled.map(Timestamp::micros);
        Ok(Response::new(ListGrantsResponse { grants, enabled_us }))
    }

    async fn test(&self, request: Request<TestRequest>) -> Result<Response<TestResponse>, Status> {
        by(&request)?;
        Ok(Response::new(Self::test(self, request.get_ref())?))
    }

    async fn add_key(
        &self,
        request: Request<AddKeyRequest>,
    ) -> Result<Response<AddKeyResponse>, Status> {
        let by = by(&request)?;
        let public_key = request.into_inner().public_key;
        let (key_id, _) =
            self.change(&by, |context| changes::add_key(context, &public_key)).await?;
        Ok(Response::new(AddKeyResponse { key_id }))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        by(&request)?;
        let (_, tables) = self.read().await?;
        let keys = tables.keys.into_iter().map(|key| Key {
            key_id: key.id,
            public_key: key.public_key.to_vec().into(),
            added_by: key.added_by,
            added_us: key.added_at.micros(),
            retired_us: key.retired_at.map(Timestamp::micros),
        });
        let cluster = self.access.cluster().to_owned();
        Ok(Response::new(ListKeysResponse { keys: keys.collect(), cluster }))
    }

    async fn retire_key(
        &self,
        request: Request<RetireKeyRequest>,
    ) -> Result<Response<RetireKeyResponse>, Status> {
        let by = by(&request)?;
        let id = request.into_inner().key_id;
        let decide = |context: ChangeContext<'_>| {
            let change = changes::retire_key(context.tables, id, context.now)?;
            Ok((Planned::Change(change), ()))
        };
        self.change(&by, decide).await?;
        Ok(Response::new(RetireKeyResponse {}))
    }

    async fn add_token(
        &self,
        request: Request<AddTokenRequest>,
    ) -> Result<Response<AddTokenResponse>, Status> {
        let by = by(&request)?;
        let asked = request.into_inner();
        let decide =
            |context: ChangeContext<'_>| Ok((changes::add_token(context, asked.clone())?, ()));
        self.change(&by, decide).await?;
        Ok(Response::new(AddTokenResponse {}))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        by(&request)?;
        let (_, tables) = self.read().await?;
        let tokens = tables.tokens.into_iter().map(|token| Token {
            token_id: token.id,
            key_id: token.key,
            subject: token.subject,
            not_before_us: token.not_before.micros(),
            expires_us: token.expires.micros(),
            issued_by: token.issued_by,
            issued_us: token.issued_at.micros(),
            revoked_us: token.revoked_at.map(Timestamp::micros),
        });
        Ok(Response::new(ListTokensResponse { tokens: tokens.collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let by = by(&request)?;
        let which = request.into_inner().which;
        let decide = |context: ChangeContext<'_>| {
            let (change, count) =
                changes::revoke_tokens(context.tables, which.clone(), context.now)?;
            Ok((Planned::Change(change), count))
        };
        let (revoked, _) = self.change(&by, decide).await?;
        Ok(Response::new(RevokeTokenResponse { revoked }))
    }
}
