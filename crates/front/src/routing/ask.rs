//! Sends one request to the owner of a partition, and follows the partition when its owner changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use turnpike_proto::UNREACHABLE;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{
    NodeApplyResponse, NodeReassignResponse, NodeRecycleResponse, NodeShowResponse,
    NodeSuspenseResponse, Standing, Verdict,
};
use turnpike_types::PartitionId;

use crate::FrontError;
use crate::core::Core;

/// An answer of a node that carries its standing: the verdict, and the epoch under which it was
/// given.
pub(crate) trait Answered {
    fn standing(&mut self) -> Option<Standing>;
}

macro_rules! answered {
    ($($answer:ty),+) => {
        $(impl Answered for $answer {
            fn standing(&mut self) -> Option<Standing> {
                self.standing.take()
            }
        })+
    };
}
answered!(
    NodeApplyResponse,
    NodeShowResponse,
    NodeSuspenseResponse,
    NodeRecycleResponse,
    NodeReassignResponse
);

/// The outcome of one attempt.
enum Tried<T> {
    Answer(T),
    /// Retry: at the hint's address if there is one, and after at least `wait`.
    Again {
        why: String,
        hint: Option<Hint>,
        wait: Duration,
    },
    Never(FrontError),
}

/// The address for the next attempt.
struct Hint {
    address: String,
    /// The epoch whose owner could not be reached, as a complaint to the member at `address` (P16).
    complaint: Option<u64>,
}

fn again<T>(why: String) -> Tried<T> {
    Tried::Again { why, hint: None, wait: Duration::ZERO }
}

/// Sends a request to the owner of `partition`. After each failed attempt it requests fresh routes
/// and retries, until the deadline.
///
/// The request must be idempotent, because an answer can be lost after the request was carried out.
///
/// # Errors
/// [`FrontError::NoAnswer`] after the deadline, [`FrontError::Refused`] when the owner rejects the
/// request as invalid, [`FrontError::ShuttingDown`].
pub(crate) async fn ask<Req, Resp, Call, Fut>(
    core: &Arc<Core>,
    partition: PartitionId,
    request: Req,
    call: Call,
) -> Result<Resp, FrontError>
where
    Req: Clone,
    Resp: Answered,
    Call: Fn(NodeServiceClient<Channel>, Request<Req>) -> Fut,
    Fut: Future<Output = Result<Response<Resp>, Status>>,
{
    let within = core.config.answer_deadline();
    let deadline = Instant::now() + within;
    let (mut hint, mut unreachable) = (None, Vec::new());
    let mut failures = 0;
    loop {
        let tried = tokio::select! {
            biased;
            () = core.abort.cancelled() => return Err(FrontError::ShuttingDown),
            tried = try_once(core, partition, hint.take(), &mut unreachable, &request, &call) => tried,
        };
        let (last, wait) = match tried {
            Tried::Answer(answer) => return Ok(answer),
            Tried::Never(error) => return Err(error),
            Tried::Again { why, hint: next, wait } => {
                failures += 1;
                core.routes.hint_stale();
                // The first hint is followed at once. Later hints are not, since two nodes may
                // refer to each other.
                let pause = if next.is_some() && failures == 1 {
                    Duration::ZERO
                } else {
                    core.backoff(failures)
                };
                hint = next;
                (why, wait.max(pause))
            }
        };
        metrics::counter!("turnpike_front_request_retries_total").increment(1);
        if Instant::now() + wait >= deadline {
            return Err(FrontError::NoAnswer { partition, within, last });
        }
        tokio::time::sleep(wait).await;
    }
}

async fn try_once<Req, Resp, Call, Fut>(
    core: &Arc<Core>,
    partition: PartitionId,
    hint: Option<Hint>,
    unreachable: &mut Vec<String>,
    request: &Req,
    call: &Call,
) -> Tried<Resp>
where
    Req: Clone,
    Resp: Answered,
    Call: Fn(NodeServiceClient<Channel>, Request<Req>) -> Fut,
    Fut: Future<Output = Result<Response<Resp>, Status>>,
{
    let table = core.routes.table();
    let Some(route) = table.route(partition) else {
        return again("the partition is not in the routing table".to_owned());
    };
    let mut request = Request::new(request.clone());
    let address = match hint {
        Some(Hint { address, complaint }) => {
            if let Some(epoch) = complaint {
                request.metadata_mut().insert(UNREACHABLE, MetadataValue::from(epoch));
            }
            Some(address)
        }
        None => route.address.clone(),
    };
    let Some(address) = address else {
        return again("the partition has no reachable owner".to_owned());
    };
    let client = match core.nodes.client(&address) {
        Ok(client) => client,
        Err(error) => return again(error.to_string()),
    };
    let mut routes = core.routes.subscribe();
    let epoch = route.epoch;
    let moved = routes.wait_for(|table| {
        table.route(partition).is_some_and(|route| {
            route.epoch > epoch && route.address.as_ref().is_some_and(|now| *now != address)
        })
    });
    let answer = tokio::select! {
        biased;
        answer = timeout(core.config.attempt(), call(client, request)) => answer,
        _ = moved => return again(format!("the partition moved away from {address}")),
    };
    match answer {
        Err(_) => again(format!("{address} did not answer")),
        Ok(Err(status)) if status.code() == Code::InvalidArgument => {
            Tried::Never(FrontError::Refused { partition, message: status.message().to_owned() })
        }
        Ok(Err(status)) => Tried::Again {
            why: format!("{address}: {}", status.message()),
            hint: stand_in(core, partition, address, unreachable),
            wait: Duration::ZERO,
        },
        Ok(Ok(answer)) => judge(core, partition, &address, answer.into_inner()),
    }
}

/// Another member that may relay or take over, when `address` could not be reached either (P16).
fn stand_in(
    core: &Core,
    partition: PartitionId,
    address: String,
    unreachable: &mut Vec<String>,
) -> Option<Hint> {
    if !unreachable.contains(&address) {
        unreachable.push(address);
    }
    let table = core.routes.table();
    let stand_in = table.stand_in(partition, unreachable, core.config.suspicion());
    let complaint = table.complaint(partition, unreachable);
    if stand_in.is_none() {
        // All members were tried. The next attempt starts with the owner again.
        unreachable.clear();
    }
    stand_in.map(|address| Hint { address, complaint })
}

/// Why the node at `address` refused: the node's own message, since only the node knows of a full
/// disk or an unavailable database; without such a message, `otherwise`.
pub(crate) fn words(address: &str, standing: &Standing, otherwise: &str) -> String {
    if standing.message.is_empty() {
        format!("{address} {otherwise}")
    } else {
        format!("{address}: {}", standing.message)
    }
}

fn judge<Resp: Answered>(
    core: &Core,
    partition: PartitionId,
    address: &str,
    mut answer: Resp,
) -> Tried<Resp> {
    let standing = answer.standing().unwrap_or_default();
    match standing.verdict() {
        Verdict::Done => {
            let table = core.routes.table();
            if table.route(partition).is_some_and(|route| route.admits(standing.epoch)) {
                return Tried::Answer(answer);
            }
            metrics::counter!("turnpike_front_answers_dropped_total").increment(1);
            again(format!("{address} is superseded (epoch {})", standing.epoch))
        }
        Verdict::Invalid => {
            Tried::Never(FrontError::Refused { partition, message: standing.message })
        }
        Verdict::Overloaded => Tried::Again {
            why: words(address, &standing, "is overloaded"),
            hint: None,
            wait: Duration::from_millis(u64::from(standing.retry_after_ms)),
        },
        Verdict::NotOwner => Tried::Again {
            why: words(address, &standing, "does not own the partition"),
            hint: Some(standing.owner_address)
                .filter(|hint| !hint.is_empty() && hint != address)
                .map(|address| Hint { address, complaint: None }),
            wait: Duration::ZERO,
        },
        Verdict::Unspecified => again(format!("{address} sent an answer without a verdict")),
    }
}
