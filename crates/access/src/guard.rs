//! The layer before all services: admits or refuses each request before its body is read.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use http::{Extensions, Request, Response};
use tokio::task::futures::TaskLocalFuture;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;
use turnpike_listen::{ClientKey, Peer, RequestRoom};

use crate::access::Access;
use crate::actor::Actor;
use crate::client;
use crate::permit::Permit;
use crate::roles::methods::{Allows, rule_of};

/// The layer that puts a [`Guard`] before a service.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    access: Access,
}

impl GuardLayer {
    /// A layer that decides by `access`.
    pub const fn new(access: Access) -> Self {
        Self { access }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { access: self.access.clone(), inner }
    }
}

/// Admits or refuses each request before its body is read. Admitted requests have as extensions the
/// [`Permit`](crate::Permit), and the [`Actor`] with the principal that was authenticated.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    access: Access,
    inner: S,
}

/// Assigns a request that needs a role to its client: the transport gives each client
/// its share. Without a transport there is nothing to assign.
fn assign(permit: &Permit, actor: &Actor, extensions: &Extensions) -> Result<(), Status> {
    let Some(room) = extensions.get::<RequestRoom>() else { return Ok(()) };
    match permit.allows() {
        Some(Allows::Roles(_)) => room.assign(actor.client_key()),
        Some(Allows::Members) | None => room.assign(ClientKey::NONE),
        Some(Allows::Everyone | Allows::Authenticated) => Ok(()),
    }
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future =
        Either<Ready<Result<Response<R>, S::Error>>, TaskLocalFuture<ClientKey, S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let path = request.uri().path();
        match self.access.admit(path, request.headers(), peer.as_ref()) {
            Ok(permit) => {
                let mut actor = Actor::of_extensions(request.extensions());
                actor.principal = permit.principal_name();
                let responsible = actor.client_key();
                if let Err(refusal) = assign(&permit, &actor, request.extensions()) {
                    return Either::Left(ready(Ok(refusal.into_http())));
                }
                request.extensions_mut().insert(permit);
                request.extensions_mut().insert(actor);
                Either::Right(client::scope(responsible, self.inner.call(request)))
            }
            Err((refusal, principal)) => {
                refusal.count();
                // Repeated warnings are limited by cause: a port of its own in each line would make
                // each one a cause.
                let method = rule_of(path).map_or("unknown", |rule| rule.path);
                tracing::warn!(
                    cause = refusal.cause(),
                    principal = principal.name(),
                    address = peer.map_or_else(String::new, |peer| peer.address.ip().to_string()),
                    method,
                    "a request was refused"
                );
                tracing::debug!(path, "a request was refused");
                Either::Left(ready(Ok(refusal.status().into_http())))
            }
        }
    }
}
