//! One request: room in the budget, the limits of its method, its time-out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::budget::Budget;
use crate::config::Deadlines;
use crate::inbound::Inbound;
use crate::methods::method_limits;
use crate::outbound::Outbound;
use crate::peer::Peer;
use crate::progress::Progress;
use crate::room::RequestRoom;
use crate::withheld::MessageCharge;

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
    context: RequestContext<S>,
    request: Request<Incoming>,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let RequestContext { mut service, budget, deadlines, peer, progress } = context;
    let limits = method_limits(request.uri().path());
    let timeout = request.headers().get("grpc-timeout").map(|value| timeout_of(value.as_bytes()));
    let timeout = match timeout {
        Some(None) => {
            return Status::invalid_argument("grpc-timeout is not valid").into_http();
        }
        timeout => timeout.flatten(),
    };
    let room = RequestRoom::new(budget, peer.address.ip(), progress, deadlines.silence_min);
    let message = Arc::new(MessageCharge::default());
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer);
    parts.extensions.insert(room.clone());
    let inbound = Inbound::new(body, limits, room.clone(), Arc::clone(&message), deadlines);
    let request = Request::from_parts(parts, Body::new(inbound));
    if let Err(never) = std::future::poll_fn(|cx| service.poll_ready(cx)).await {
        match never {}
    }
    // The layer that authenticates the request assigns it within this call.
    let answered = service.call(request);
    if let Err(status) = room.settle() {
        return status.into_http();
    }
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
    let life = (!room.is_assigned()).then_some(deadlines.unassigned);
    response.map(|body| Body::new(Outbound::new(body, room, message, life)))
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
