//! The access service.
//!
//! ```text
//!   service.rs        the methods, and how a change is decided, recorded and carried out
//!     testing.rs        whether a principal may call a method
//!     certificates.rs   revocations of certificates
//!     recovery.rs       a new administrator when none can make changes
//! ```

mod certificates;
pub(crate) mod recovery;
mod testing;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use turnpike_proto::access::v1::access_service_server::{AccessService, AccessServiceServer};
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_proto::access::v1::{
    AccountSpan, AddKeyRequest, AddKeyResponse, AddTokenRequest, AddTokenResponse, Grant,
    GrantRequest, GrantResponse, Key, ListGrantsRequest, ListGrantsResponse, ListKeysRequest,
    ListKeysResponse, ListRevokedCertificatesRequest, ListRevokedCertificatesResponse,
    ListTokensRequest, ListTokensResponse, RestoreCertificateRequest, RestoreCertificateResponse,
    RetireKeyRequest, RetireKeyResponse, RevokeCertificateRequest, RevokeCertificateResponse,
    RevokeRequest, RevokeResponse, RevokeTokenRequest, RevokeTokenResponse, TestRequest,
    TestResponse, Token,
};
use turnpike_proto::audit::v1::AuditOutcome;
use turnpike_store::{
    AccessChange, AccessRead, AccessTables, AccessWrite, SharedDatabase, StoreError,
};
use turnpike_types::Timestamp;

use crate::access::Access;
use crate::actor::Actor;
use crate::audit::{Action, AuditLog, ChangeEnd, Intent};
use crate::changes::{self, ChangeContext, ChangeRefusal, Planned};
use crate::permit::Guarded;
use crate::tokens::form::key_id;

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
    audit: AuditLog,
}

impl AccessApi {
    /// A service that changes the tables in `db`, by which `access` decides. Changes are recorded in
    /// `audit`.
    pub const fn new(access: Access, db: Arc<dyn SharedDatabase>, audit: AuditLog) -> Self {
        Self { access, db, audit }
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

    /// Decides a change on the present tables and carries it out, with `action` and `intent` in the
    /// audit log. A request that is refused as things are, or that changes nothing, has no entry.
    /// Returns what `decide` returned with the change, and the new version.
    async fn change<T>(
        &self,
        sender: Sender,
        (action, intent): (Action, Intent),
        decide: impl Fn(ChangeContext<'_>) -> Result<(Planned, T), ChangeRefusal>
        + Send
        + Sync
        + 'static,
    ) -> Result<(T, Option<u64>), Status>
    where
        T: Send + 'static,
    {
        let (read, tables) = self.read().await?;
        let (planned, result) = decide(self.context(&sender, &read, &tables))?;
        if matches!(planned, Planned::Done(_)) {
            return Ok((result, None));
        }
        let (api, actor) = (self.clone(), sender.actor.clone());
        let change = async move {
            let done = api.carry_out(&sender, decide).await;
            let (outcome, detail) = match &done {
                Ok(_) => (AuditOutcome::Applied, ""),
                Err(failed) if failed.is_unknown => {
                    (AuditOutcome::Unknown, failed.status.message())
                }
                Err(failed) => (AuditOutcome::Refused, failed.status.message()),
            };
            let end = ChangeEnd::of(outcome, detail);
            (done, end)
        };
        let done = self.audit.change(&actor, action, intent, change).await;
        done.map_err(store_status)?.map_err(|failed| failed.status)
    }

    /// Decides again if another change came first.
    async fn carry_out<T>(
        &self,
        sender: &Sender,
        decide: impl Fn(ChangeContext<'_>) -> Result<(Planned, T), ChangeRefusal>,
    ) -> Result<(T, Option<u64>), ChangeFailed> {
        for _ in 0..TRIES_MAX {
            let (read, tables) = self.read().await?;
            let context = self.context(sender, &read, &tables);
            let forget = changes::forget(context.now);
            let (planned, result) = decide(context).map_err(Status::from)?;
            let change = match planned {
                Planned::Done(_) => return Ok((result, None)),
                Planned::Change(change) => change,
            };
            let stamp = rand::random();
            let write = AccessWrite { at: read.version, stamp, change, forget };
            let Some(version) = self.db.change_access(&write).await? else { continue };
            log(&sender.actor.principal, &write.change);
            // The change is durable: if this front can't read it now, it follows later.
            if let Err(error) = self.access.refresh().await {
                tracing::warn!(%error, "a change of access control takes effect here later");
            }
            return Ok((result, Some(version)));
        }
        let why = "other changes of access control came first each time: try again";
        Err(Status::unavailable(why).into())
    }

    fn context<'a>(
        &'a self,
        sender: &'a Sender,
        read: &AccessRead,
        tables: &'a AccessTables,
    ) -> ChangeContext<'a> {
        ChangeContext {
            tables,
            is_on: self.access.state().is_on() || read.enabled.is_some(),
            is_tls: self.access.is_tls(),
            is_admin: sender.is_admin,
            is_recovery: sender.is_recovery,
            serial: sender.serial.as_deref(),
            cluster: self.access.cluster(),
            by: &sender.actor.principal,
            now: self.access.now(),
        }
    }
}

fn key_intent(id: u64) -> Intent {
    Intent::of(format!("token key {id:016x}"))
}

fn token_intent(asked: &AddTokenRequest) -> Intent {
    let AddTokenRequest { token_id, key_id, subject, not_before_us, expires_us } = asked;
    Intent::of(format!("token {token_id} of {subject}"))
        .with(format!("signed by key {key_id:016x}; valid from {not_before_us} to {expires_us} us"))
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
        AccessChange::RevokeCertificate(row) => {
            tracing::info!(by, name = row.name, "certificate revoked");
        }
        AccessChange::RestoreCertificate(name) => tracing::info!(by, name, "certificate restored"),
    }
}

fn store_status(error: StoreError) -> Status {
    Status::new(error.code(), error.to_string())
}

/// The sender of a request that was admitted.
#[derive(Clone)]
struct Sender {
    actor: Actor,
    /// Whether it is an administrator, by its certificate.
    is_admin: bool,
    /// Whether it is an operator of the shared database.
    is_recovery: bool,
    /// The serial number of its certificate.
    serial: Option<String>,
}

impl Sender {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let permit = Guarded::Yes.permit(request.extensions())?;
        let serial = permit.serial().map(str::to_owned);
        let (actor, is_admin) = (Actor::of(request), permit.is_admin());
        Ok(Self { actor, is_admin, is_recovery: false, serial })
    }
}

/// Why a change whose intent is in the audit log was not made, or may not have been made.
struct ChangeFailed {
    status: Status,
    /// Whether the change may have been made.
    is_unknown: bool,
}

impl From<Status> for ChangeFailed {
    fn from(status: Status) -> Self {
        Self { status, is_unknown: false }
    }
}

impl From<StoreError> for ChangeFailed {
    fn from(error: StoreError) -> Self {
        Self { is_unknown: error.is_unknown(), status: store_status(error) }
    }
}

/// What a grant is, for the audit log.
fn grant_intent(asked: &GrantRequest) -> Intent {
    let GrantRequest { principal, role, accounts, sources, consumer, until_us } = asked;
    let mut detail = Vec::new();
    if let Some(span) = accounts {
        detail.push(format!("accounts {} to {}", span.first, span.last));
    }
    if !sources.is_empty() {
        detail.push(format!("sources {}", sources.join(", ")));
    }
    if !consumer.is_empty() {
        detail.push(format!("consumer {consumer}"));
    }
    if let Some(until_us) = until_us {
        detail.push(format!("until {until_us} us"));
    }
    Intent::of(format!("role {role} of {principal}")).with(detail.join("; "))
}

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn grant(
        &self,
        request: Request<GrantRequest>,
    ) -> Result<Response<GrantResponse>, Status> {
        let sender = Sender::of(&request)?;
        let asked = request.into_inner();
        let audited = (Action::AccessGrant, grant_intent(&asked));
        let decide = move |context: ChangeContext<'_>| {
            let planned = changes::grant(context, asked.clone())?;
            let known = match &planned {
                Planned::Done(id) => Some(*id),
                Planned::Change(_) => None,
            };
            Ok((planned, (known, context.is_on)))
        };
        let ((known, was_on), version) = self.change(sender, audited, decide).await?;
        let grant_id = known.or(version);
        let grant_id = grant_id.ok_or_else(|| Status::internal("the grant has no id"))?;
        Ok(Response::new(GrantResponse { grant_id, enabled: !was_on }))
    }

    async fn revoke(
        &self,
        request: Request<RevokeRequest>,
    ) -> Result<Response<RevokeResponse>, Status> {
        let sender = Sender::of(&request)?;
        let asked = request.into_inner();
        let intent = Intent::of(format!("role {} of {}", asked.role, asked.principal));
        let decide = move |context: ChangeContext<'_>| changes::revoke(context, &asked);
        let (revoked, _) = self.change(sender, (Action::AccessRevoke, intent), decide).await?;
        Ok(Response::new(RevokeResponse { revoked }))
    }

    async fn list(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        Sender::of(&request)?;
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
        Sender::of(&request)?;
        Ok(Response::new(self.tested(request.get_ref())?))
    }

    async fn add_key(
        &self,
        request: Request<AddKeyRequest>,
    ) -> Result<Response<AddKeyResponse>, Status> {
        let sender = Sender::of(&request)?;
        let public_key = request.into_inner().public_key;
        let public_key = <[u8; 32]>::try_from(&public_key[..]);
        let public_key = public_key
            .map_err(|_| Status::invalid_argument("a public key has 32 bytes (Ed25519)"))?;
        let decide = move |context: ChangeContext<'_>| changes::add_key(context, public_key);
        let audited = (Action::KeyAdd, key_intent(key_id(&public_key)));
        let (key_id, _) = self.change(sender, audited, decide).await?;
        Ok(Response::new(AddKeyResponse { key_id }))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        Sender::of(&request)?;
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
        let sender = Sender::of(&request)?;
        let id = request.into_inner().key_id;
        let decide = move |context: ChangeContext<'_>| Ok((changes::retire_key(context, id)?, ()));
        self.change(sender, (Action::KeyRetire, key_intent(id)), decide).await?;
        Ok(Response::new(RetireKeyResponse {}))
    }

    async fn add_token(
        &self,
        request: Request<AddTokenRequest>,
    ) -> Result<Response<AddTokenResponse>, Status> {
        let sender = Sender::of(&request)?;
        let asked = request.into_inner();
        let intent = token_intent(&asked);
        let decide =
            move |context: ChangeContext<'_>| Ok((changes::add_token(context, asked.clone())?, ()));
        self.change(sender, (Action::TokenIssue, intent), decide).await?;
        Ok(Response::new(AddTokenResponse {}))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        Sender::of(&request)?;
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
        let sender = Sender::of(&request)?;
        let which = request.into_inner().which;
        let intent = match &which {
            Some(Which::TokenId(id)) => Intent::of(format!("token {id}")),
            Some(Which::Subject(subject)) => Intent::of(format!("all tokens of {subject}")),
            None => Intent::default(),
        };
        let decide =
            move |context: ChangeContext<'_>| changes::revoke_tokens(context, which.clone());
        let (revoked, _) = self.change(sender, (Action::TokenRevoke, intent), decide).await?;
        Ok(Response::new(RevokeTokenResponse { revoked }))
    }

    async fn revoke_certificate(
        &self,
        request: Request<RevokeCertificateRequest>,
    ) -> Result<Response<RevokeCertificateResponse>, Status> {
        let sender = Sender::of(&request)?;
        Ok(Response::new(self.revoked(sender, &request.get_ref().name).await?))
    }

    async fn restore_certificate(
        &self,
        request: Request<RestoreCertificateRequest>,
    ) -> Result<Response<RestoreCertificateResponse>, Status> {
        let sender = Sender::of(&request)?;
        Ok(Response::new(self.restored(sender, &request.get_ref().name).await?))
    }

    async fn list_revoked_certificates(
        &self,
        request: Request<ListRevokedCertificatesRequest>,
    ) -> Result<Response<ListRevokedCertificatesResponse>, Status> {
        Sender::of(&request)?;
        Ok(Response::new(self.list_revoked().await?))
    }
}
