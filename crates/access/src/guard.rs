//! The layer before all services: admits or refuses each request before its body is read.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures::future::Either;
use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::access::Access;
use crate::actor::Actor;
use crate::peer::Peer;
use crate::principal::Principal;
use crate::roles::methods::rule_of;

/// The header with a client's id of the request.
pub const REQUEST_ID: &str = "x-request-id";
/// The most characters of a request's id.
const REQUEST_ID_CHARS_MAX: usize = 64;

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

/// Admits or refuses each request before its body is read. Admitted requests have as extensions: the
/// [`Permit`](crate::Permit), the principal (`Arc<Principal>`) and the [`Actor`].
#[derive(Clone, Debug)]
pub struct Guard<S> {
    access: Access,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<R>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = Peer::of(request.extensions());
        let address = peer.as_ref().map_or_else(String::new, |peer| peer.address.to_string());
        let request_id = request_id(request.headers());
        let path = request.uri().path();
        match self.access.admit(path, request.headers(), peer.as_ref()) {
            Ok(permit) => {
                let principal = permit.principal().map_or_else(String::new, Principal::name);
                let actor = Actor { principal, address, request_id };
                permit.insert_into(request.extensions_mut());
                request.extensions_mut().insert(actor);
                Either::Right(self.inner.call(request))
            }
            Err((refusal, principal)) => {
                refusal.count();
                // Repeated warnings are limited by cause: an id or a port of its own in each line
                // would make each one a cause.
                let method = rule_of(path).map_or("unknown", |rule| rule.path);
                tracing::warn!(
                    cause = refusal.cause(),
                    principal = principal.name(),
                    address = peer.map_or_else(String::new, |peer| peer.address.ip().to_string()),
                    method,
                    "a request was refused"
                );
                tracing::debug!(request_id, address, path, "a request was refused");
                Either::Left(ready(Ok(refusal.status().into_http())))
            }
        }
    }
}

/// The client's id of the request if it is plain and short, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let given = headers.get(REQUEST_ID).and_then(|given| given.to_str().ok());
    let given = given.filter(|given| (1..=REQUEST_ID_CHARS_MAX).contains(&given.len()));
    match given.filter(|given| given.bytes().all(is_plain)) {
        Some(given) => given.to_owned(),
        None => format!("{:016x}", rand::random::<u64>()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_is_long_or_not_plain_is_replaced() {
        let of = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, given.parse().unwrap());
            request_id(&headers)
        };
        assert_eq!(of("job-7.A_b:1"), "job-7.A_b:1");
        assert_eq!(of(&"a".repeat(64)), "a".repeat(64));
        for given in ["", "a b", "a\"b", &"a".repeat(65)] {
            assert_eq!(of(given).len(), 16, "{given:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
