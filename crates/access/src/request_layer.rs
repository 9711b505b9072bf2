//! The layer around all services of a process: gives each request its id.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::HeaderValue;
use http::{Request, Response};
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use turnpike_listen::Peer;

use crate::Actor;
use crate::actor::ANONYMOUS;
use crate::request_id::{self, HEADER};
use crate::roles::methods::rule_of;

/// The layer that puts [`RequestIds`] around a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestIdLayer;

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIds<S>;

    fn layer(&self, inner: S) -> RequestIds<S> {
        RequestIds { inner }
    }
}

/// Gives each request an id: the client's if it is valid, else a new one. The request and the answer
/// have it as a header, and the log lines of the request have it in their span. Refusals are counted.
#[derive(Clone, Debug)]
pub struct RequestIds<S> {
    inner: S,
}

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for RequestIds<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Answer<Response<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let given = request.headers().get(HEADER).and_then(|given| given.to_str().ok());
        let id = given.filter(|given| request_id::is_valid(given)).map(str::to_owned);
        let id = id.unwrap_or_else(request_id::made);
        // A valid id is a valid value.
        let value = HeaderValue::from_str(&id).ok();
        if let Some(value) = value.clone() {
            request.headers_mut().insert(HEADER, value);
        }
        if let Some(peer) = request.extensions().get::<Peer>() {
            let address = peer.address.to_string();
            let (principal, request_id) = (ANONYMOUS.to_owned(), id.clone());
            request.extensions_mut().insert(Actor { principal, address, request_id });
        }
        let method = method_of(request.uri().path());
        let span = tracing::info_span!("request", id);
        // The services are called within the span, because some spawn the work of a stream there.
        let answer = span.in_scope(|| self.inner.call(request));
        let answering = async move {
            let mut answer = answer.await?;
            if let Some(status) = Status::from_header_map(answer.headers())
                && status.code() != Code::Ok
            {
                metrics::counter!(
                    "turnpike_refusals_total",
                    "method" => method,
                    "code" => code_word(status.code())
                )
                .increment(1);
            }
            if let Some(value) = value {
                answer.headers_mut().insert(HEADER, value);
            }
            Ok(answer)
        };
        Box::pin(request_id::scope(id, answering.instrument(span)))
    }
}

/// The method of a path, as a metric label: the path itself if it is in the table of roles, so that
/// clients can't make up labels.
fn method_of(path: &str) -> &'static str {
    rule_of(path).map_or("other", |rule| rule.path.trim_start_matches('/'))
}

/// The word of a code, as in the names of the gRPC specification.
const fn code_word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Answers with the id of its task, and with a status.
    #[derive(Clone)]
    struct Echo;

    impl Service<Request<()>> for Echo {
        type Response = Response<Option<String>>;
        type Error = Infallible;
        type Future = Answer<Self::Response, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let header = request.headers().get(HEADER).unwrap().to_str().unwrap().to_owned();
            Box::pin(async move {
                assert_eq!(request_id::current(), Some(header));
                Ok(Response::new(request_id::current()))
            })
        }
    }

    async fn id_of(given: Option<&str>) -> String {
        let mut request = Request::new(());
        if let Some(given) = given {
            request.headers_mut().insert(HEADER, given.parse().unwrap());
        }
        let answer = RequestIdLayer.layer(Echo).call(request).await.unwrap();
        let header = answer.headers().get(HEADER).unwrap().to_str().unwrap().to_owned();
        assert_eq!(answer.into_body(), Some(header.clone()));
        header
    }

    #[tokio::test]
    async fn a_request_keeps_its_valid_id_and_gets_a_new_one_else() {
        assert_eq!(id_of(Some("job-17")).await, "job-17");
        for given in [None, Some("a b"), Some("")] {
            let made = id_of(given).await;
            assert!(made.len() == 16 && request_id::is_valid(&made), "{made}");
        }
        assert_ne!(id_of(None).await, id_of(None).await);
    }

    #[test]
    fn a_client_makes_up_no_metric_label() {
        let of = method_of;
        assert_eq!(
            of("/turnpike.plan.v1.PlanService/Publish"),
            "turnpike.plan.v1.PlanService/Publish"
        );
        for made_up in ["/turnpike.plan.v1.PlanService/X", "/x/Publish", "/", "", "/a/b/c"] {
            assert_eq!(of(made_up), "other", "{made_up}");
        }
    }
}
