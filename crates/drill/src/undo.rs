//! The operator's requests of a drill on a running cluster that are in force, and their undoing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::Endpoint;
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::cluster::v1::{DrainRequest, HandoverRequest};

/// The time limit for undoing all requests.
const UNDO_MAX: Duration = Duration::from_secs(10);
/// How long a request that was interrupted may take until it is carried out.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// The wait between attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// A request that stays in force in the cluster until it is undone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OperatorRequest {
    /// The drain of the node with this name.
    Drain(String),
    /// The pin of this partition, of a handover.
    Pin(u32),
}

/// The requests in force. Copies are one list: it outlives the future of a drill, which a signal
/// drops at any point.
#[derive(Clone, Debug, Default)]
pub struct Undo(Arc<Mutex<BTreeSet<OperatorRequest>>>);

impl Undo {
    /// A request is about to be sent.
    pub(crate) fn note(&self, request: OperatorRequest) {
        self.list().insert(request);
    }

    /// A request has been undone.
    pub(crate) fn undone(&self, request: &OperatorRequest) {
        self.list().remove(request);
    }

    /// Forgets all requests, because their cluster is gone.
    pub(crate) fn forget(&self) {
        self.list().clear();
    }

    /// Undoes the requests in force, through the front at this address. Those that can't be undone
    /// in time stay in the list.
    pub async fn run(&self, front: &str) {
        let until = Instant::now() + UNDO_MAX;
        let in_force: Vec<OperatorRequest> = self.list().iter().cloned().collect();
        for request in in_force {
            // The time limit leaves the request in the list, for `commands`.
            let _ = timeout_at(until, async {
                request.undo_repeatedly(front).await;
                // The signal may have come while the request was on its way, so that the front
                // carries it out only now.
                sleep(ON_ITS_WAY).await;
                request.undo_repeatedly(front).await;
                self.undone(&request);
            })
            .await;
        }
    }

    /// The commands that undo the requests in force.
    pub fn commands(&self, front: &str) -> Vec<String> {
        let command = |request: &OperatorRequest| match request {
            OperatorRequest::Drain(node) => format!("turnpike drain {node} --undo --front {front}"),
            OperatorRequest::Pin(partition) => {
                format!("turnpike handover {partition} --cancel --front {front}")
            }
        };
        self.list().iter().map(command).collect()
    }

    fn list(&self) -> MutexGuard<'_, BTreeSet<OperatorRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OperatorRequest {
    async fn undo_repeatedly(&self, front: &str) {
        while self.undo(front).await.is_err() {
            sleep(AGAIN).await;
        }
    }

    async fn undo(&self, front: &str) -> Result<()> {
        let channel = Endpoint::from_shared(front.to_owned())?.connect().await?;
        let mut operator = ClusterServiceClient::new(channel);
        match self {
            Self::Drain(node) => {
                let request = DrainRequest { node: node.clone(), drained: false };
                operator.drain(request).await?;
            }
            Self::Pin(partition) => {
                let request =
                    HandoverRequest { partition: *partition, ..HandoverRequest::default() };
                operator.handover(request).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_undone_by_commands_of_the_operator() {
        let undo = Undo::default();
        let drain = OperatorRequest::Drain("a".to_owned());
        undo.note(OperatorRequest::Pin(7));
        undo.note(drain.clone());
        let [drained, pinned] = [
            "turnpike drain a --undo --front http://f:1",
            "turnpike handover 7 --cancel --front http://f:1",
        ];
        assert_eq!(undo.commands("http://f:1"), [drained, pinned]);
        undo.undone(&drain);
        assert_eq!(undo.commands("http://f:1"), [pinned]);
    }
}
