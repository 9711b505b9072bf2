//! A front's access control over a database in memory, with a clock that tests move.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{Ready, ready};
use http::{Request, Response};
use rustls_pki_types::CertificateDer;
use tonic::{Code, Status};
use tower_layer::Layer as _;
use tower_service::Service;
use turnpike_access::audit::AuditLog;
use turnpike_access::tokens::form::{Claims, SigningKey, key_id, new_id};
use turnpike_access::{Access, AccessApi, AccessConfig, Actor, GuardLayer, Permit, RequestIdLayer};
use turnpike_listen::Peer;
use turnpike_proto::access::v1::access_service_server::AccessService as _;
use turnpike_proto::access::v1::{
    AccountSpan, AddKeyRequest, AddTokenRequest, GrantRequest, GrantResponse,
};
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{SharedDatabase, StoreIncarnation};
use turnpike_types::Timestamp;

pub(crate) const CLUSTER: &str = "c";
pub(crate) const GRANT: &str = "/turnpike.access.v1.AccessService/Grant";
pub(crate) const HOUR_US: i64 = 3_600_000_000;
/// When a world begins.
pub(crate) const START: Timestamp = Timestamp(1_900_000_000_000_000);

pub(crate) fn local() -> SocketAddr {
    "127.0.0.1:4000".parse().unwrap()
}

pub(crate) fn remote() -> SocketAddr {
    "192.0.2.7:4000".parse().unwrap()
}

/// What a request that reached the service had with it.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub(crate) permit: Permit,
    pub(crate) actor: Actor,
}

/// A service behind the guard, which returns what it gets.
#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<Option<Box<Admitted>>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let extensions = request.extensions();
        let admitted = Admitted {
            permit: extensions.get::<Permit>().unwrap().clone(),
            actor: extensions.get::<Actor>().unwrap().clone(),
        };
        ready(Ok(Response::new(Some(Box::new(admitted)))))
    }
}

/// A request without a body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    path: String,
    address: SocketAddr,
    headers: Vec<(String, String)>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Call {
    pub(crate) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), address: local(), headers: vec![], certificates: vec![] }
    }

    pub(crate) fn from(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn certificate(mut self, der: CertificateDer<'static>) -> Self {
        self.certificates.push(der);
        self
    }
}

pub(crate) struct World {
    pub(crate) db: Arc<dyn SharedDatabase>,
    pub(crate) access: Access,
    pub(crate) api: AccessApi,
    now: Arc<AtomicI64>,
}

impl World {
    pub(crate) async fn new(is_tls: bool) -> Self {
        let now = Arc::new(AtomicI64::new(START.0));
        let shown = Arc::clone(&now);
        let clock = Arc::new(move || Timestamp(shown.load(Ordering::SeqCst)));
        let db = MemoryDatabase::with_clock(clock.clone(), StoreIncarnation(1));
        Self::over(Arc::new(db), now, clock, is_tls).await
    }

    /// Access control over this database.
    pub(crate) async fn over(
        db: Arc<dyn SharedDatabase>,
        now: Arc<AtomicI64>,
        clock: turnpike_store::memory::Clock,
        is_tls: bool,
    ) -> Self {
        let access = Access::of_front(config(is_tls), Arc::clone(&db), clock);
        access.refresh().await.unwrap();
        let audit = AuditLog::start(Arc::clone(&db), 1);
        let api = AccessApi::new(access.clone(), Arc::clone(&db), audit);
        Self { db, access, api, now }
    }

    /// A world in which access control is on, with a registered key.
    pub(crate) async fn on() -> (Self, SigningKey) {
        let world = Self::new(true).await;
        let key = world.key().await;
        (world, key)
    }

    pub(crate) fn pass(&self, us: i64) {
        self.now.fetch_add(us, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    /// A request to AccessService, by an administrator.
    pub(crate) fn asked<T>(&self, message: T) -> tonic::Request<T> {
        let admin = certificate_of(&["spiffe://c/admin/root"]);
        self.asked_as(Call::new(GRANT).certificate(admin), message)
    }

    /// A request to AccessService, by the sender of `as_sent`.
    pub(crate) fn asked_as<T>(&self, as_sent: Call, message: T) -> tonic::Request<T> {
        let admitted = call(&self.access, as_sent).unwrap();
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(admitted.permit);
        request.extensions_mut().insert(admitted.actor);
        request
    }

    pub(crate) async fn key(&self) -> SigningKey {
        let (key, _) = SigningKey::generate().unwrap();
        let public_key = key.public_key().unwrap().to_vec().into();
        self.api.add_key(self.asked(AddKeyRequest { public_key })).await.unwrap();
        key
    }

    pub(crate) fn claims(&self, key: &SigningKey, subject: &str) -> Claims {
        Claims {
            key: key_id(&key.public_key().unwrap()),
            id: new_id().unwrap(),
            not_before: self.now(),
            expires: self.now().saturating_add(HOUR_US),
            audience: CLUSTER.to_owned(),
            subject: subject.to_owned(),
        }
    }

    pub(crate) async fn register(&self, claims: &Claims) {
        let request = AddTokenRequest {
            token_id: claims.id_text(),
            key_id: claims.key,
            subject: claims.subject.clone(),
            not_before_us: claims.not_before.0,
            expires_us: claims.expires.0,
        };
        self.api.add_token(self.asked(request)).await.unwrap();
    }

    /// A valid token for this name.
    pub(crate) async fn token(&self, key: &SigningKey, subject: &str) -> String {
        let claims = self.claims(key, subject);
        self.register(&claims).await;
        key.sign(&claims).unwrap()
    }

    pub(crate) async fn grant(&self, request: GrantRequest) -> Result<GrantResponse, Status> {
        self.api.grant(self.asked(request)).await.map(tonic::Response::into_inner)
    }

    pub(crate) fn call(&self, call: Call) -> Result<Admitted, Status> {
        self::call(&self.access, call)
    }

    /// The code of the answer; `Ok` if the request was admitted.
    pub(crate) fn code(&self, call: Call) -> Code {
        self.call(call).map_or_else(|status| status.code(), |_| Code::Ok)
    }
}

pub(crate) fn config(is_tls: bool) -> AccessConfig {
    AccessConfig { cluster: CLUSTER.to_owned(), is_tls, is_open_to_other_hosts: false }
}

pub(crate) fn granted(principal: &str, role: &str) -> GrantRequest {
    GrantRequest { principal: principal.to_owned(), role: role.to_owned(), ..Default::default() }
}

pub(crate) fn span(first: u64, last: u64) -> Option<AccountSpan> {
    Some(AccountSpan { first, last })
}

/// Sends a request through the layers before all services.
pub(crate) fn call(access: &Access, call: Call) -> Result<Admitted, Status> {
    let mut guard = RequestIdLayer.layer(GuardLayer::new(access.clone()).layer(Inner));
    let mut request = Request::builder().uri(&call.path);
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let mut request = request.body(()).unwrap();
    let certificates = call.certificates.into();
    request.extensions_mut().insert(Peer {
        address: call.address,
        certificates,
        not_after_s: None,
    });
    let answer = guard.call(request).now_or_never().unwrap().unwrap();
    let status = Status::from_header_map(answer.headers());
    match (answer.into_body(), status) {
        (Some(admitted), _) => Ok(*admitted),
        (None, status) => Err(status.unwrap()),
    }
}

/// A certificate with these URIs among its alternative names. The listener checks who signed it.
pub(crate) fn certificate_of(uris: &[&str]) -> CertificateDer<'static> {
    certificate_until(uris, 4_000_000_000, 1)
}

/// Such a certificate, with its last second of validity and its serial number.
pub(crate) fn certificate_until(uris: &[&str], end_s: i64, serial: u64) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let names = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()));
    params.subject_alt_names = names.collect();
    params.not_after = std::time::SystemTime::UNIX_EPOCH
        .checked_add(std::time::Duration::from_secs(end_s.cast_unsigned()))
        .unwrap()
        .into();
    params.serial_number = Some(serial.into());
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().clone()
}
