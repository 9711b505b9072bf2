//! One request: room in the budget, the limits of its method, its time-out.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::budget::{Budget, MemoryPart};
use crate::config::Deadlines;
use crate::inbound::{Inbound, MessageCharge};
use crate::methods::method_limits;
use crate::outbound::{Held, Outbound};
use crate::peer::Peer;
use crate::progress::Progress;
use crate::refusal::exhausted;

/// What an open request takes without its messages: its state in the transport, and its tasks.
const REQUEST_BYTES: usize = 16 * 1024;

/// What the requests of a connection share.
#[derive(Clone)]
pub(crate) struct RequestContext<S> {
    pub(crate) service: S,
    pub(crate) budget: Budget,
    pub(crate) deadlines: Deadlines,
    pub(crate) peer: Peer,
    pub(crate) progress: Arc<Progress>,
}

/// Passes a request to the service, within its limits.
pub(crate) async fn handle<S>(
    mut context: RequestContext<S>,
    request: Request<Incoming>,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>,
{
    let open = context.progress.open();
    let limits = method_limits(request.uri().path());
    let Some(share) = context.budget.reserve(MemoryPart::Requests, REQUEST_BYTES) else {
        metrics::counter!("turnpike_requests_refused_total", "cause" => "requests").increment(1);
        return exhausted("the server's memory for open requests is used up").into_http();
    };
    let timeout = request.headers().get("grpc-timeout").map(|value| timeout_of(value.as_bytes()));
    let timeout = match timeout {
        Some(None) => {
            return Status::invalid_argument("grpc-timeout is not valid").into_http();
        }
        timeout => timeout.flatten(),
    };
    let message = Arc::new(MessageCharge::default());
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(context.peer);
    let budget = context.budget;
    let deadlines = context.deadlines;
    let inbound = Inbound::new(body, limits, budget.clone(), Arc::clone(&message), deadlines);
    let request = Request::from_parts(parts, Body::new(inbound));
    let service = &mut context.service;
    let answered = async {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    };
    let response = match timeout {
        None => answered.await,
        Some(timeout) => match tokio::time::timeout(timeout, answered).await {
            Ok(answered) => answered,
            Err(_) => Ok(Status::cancelled("Timeout expired").into_http()),
        },
    };
    let response = match response {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let held = Held { request: share, message };
    response.map(|body| Body::new(Outbound::new(body, budget, held, open)))
}

/// The time-out in the header `grpc-timeout`: at most eight digits and a unit. `None` if it is not
/// valid.
fn timeout_of(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 60 * 60)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_at_most_eight_digits_and_a_unit() {
        assert_eq!(timeout_of(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(timeout_of(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(timeout_of(b"7m"), Some(Duration::from_millis(7)));
        for wrong in [&b""[..], b"S", b"5", b"123456789S", b"-1S", b"5x", b"5 S"] {
            assert_eq!(timeout_of(wrong), None);
        }
    }
}
