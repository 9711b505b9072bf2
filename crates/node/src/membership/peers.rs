//! Connections to other nodes.
//!
//! A shortcut to failure detection (P15): when a process exits, its connections are closed, and its
//! host refuses the next one. A node that sees both suspects the process at once, instead of after
//! the suspicion time.
//!
//! A suspicion makes the node observe the shared database and claim there. A wrong suspicion is
//! safe because of the fence, and [`super::liveness`] then ignores further ones for a while.
//!
//! An unreachable node is not suspected, since its connection to the database may be intact. But
//! while a node is unreachable from here, this node believes a front's complaint that it can't
//! reach that node either (P16).

use std::collections::{HashMap, HashSet};
use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use turnpike_proto::dial::Dial;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{Sign, WatchRequest};
use turnpike_store::NodeRow;
use turnpike_types::{Incarnation, NodeName};

/// The nodes whose connections are broken or refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Arc<Mutex<HashMap<NodeName, ConnectionFault>>>);

/// Why a node can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionFault {
    /// The process with this incarnation closed its connection and refused the next one.
    Gone(Incarnation),
    /// Connections break, or are not answered; the cause may be the network. `met`: the observing
    /// process has had a connection to the node before.
    Unreachable { met: bool },
}

impl Reach {
    /// The processes that are suspected now.
    pub(crate) fn gone(&self) -> HashMap<NodeName, Incarnation> {
        let all = self.all();
        let gone = all.iter().filter_map(|(node, fault)| match fault {
            ConnectionFault::Gone(incarnation) => Some((node.clone(), *incarnation)),
            ConnectionFault::Unreachable { .. } => None,
        });
        gone.collect()
    }

    /// The nodes that are unreachable from here, dead or alive, and whether they were ever reached.
    pub(crate) fn unreachable(&self) -> HashMap<NodeName, bool> {
        let all = self.all();
        let met = |fault: &ConnectionFault| *fault != ConnectionFault::Unreachable { met: false };
        all.iter().map(|(node, fault)| (node.clone(), met(fault))).collect()
    }

    /// Whether the node is unreachable from here.
    pub(crate) fn is_unreachable(&self, node: &NodeName) -> bool {
        self.all().contains_key(node)
    }

    /// Records trouble with `node`. Returns whether it is new. `Unreachable` does not replace
    /// `Gone`.
    fn note(&self, node: &NodeName, fault: ConnectionFault) -> bool {
        let mut all = self.all();
        let known = all.get(node).copied();
        let is_new = match fault {
            ConnectionFault::Gone(_) => known != Some(fault),
            ConnectionFault::Unreachable { .. } => known.is_none(),
        };
        if is_new {
            all.insert(node.clone(), fault);
        }
        is_new
    }

    fn clear(&self, node: &NodeName) {
        self.all().remove(node);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<NodeName, ConnectionFault>> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watched connections to other nodes.
pub(crate) struct Peers {
    dial: Dial,
    me: NodeName,
    pause: Duration,
    wake: Arc<Notify>,
    reach: Reach,
    watched: HashMap<NodeName, (String, JoinHandle<()>)>,
}

impl Peers {
    /// Starts without connections. A signal from a peer, and the end of its process, notify `wake`.
    /// After a failure the next attempt follows after `pause`.
    pub(crate) fn new(
        dial: Dial,
        me: NodeName,
        pause: Duration,
        wake: Arc<Notify>,
        reach: Reach,
    ) -> Self {
        Self { dial, me, pause, wake, reach, watched: HashMap::new() }
    }

    /// The nodes whose connections are broken or refused.
    pub(crate) const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Watches those of `nodes` that share a partition with this node, at their present addresses.
    pub(crate) fn watch(&mut self, nodes: &[NodeRow], partners: &HashSet<&NodeName>) {
        self.watched.retain(|node, (address, task)| {
            let stays = nodes.iter().any(|row| {
                row.beat.node == *node && row.beat.address == *address && partners.contains(node)
            });
            if !stays {
                task.abort();
                self.reach.clear(node);
            }
            stays
        });
        for row in nodes {
            let (node, address) = (&row.beat.node, &row.beat.address);
            if *node == self.me || !partners.contains(node) || self.watched.contains_key(node) {
                continue;
            }
            let watcher = Watcher {
                dial: self.dial.clone(),
                me: self.me.clone(),
                node: node.clone(),
                address: address.clone(),
                pause: self.pause,
                wake: Arc::clone(&self.wake),
                reach: self.reach.clone(),
            };
            let task = tokio::spawn(watcher.run());
            self.watched.insert(node.clone(), (address.clone(), task));
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.watched.values().for_each(|(_, task)| task.abort());
    }
}

/// The pause between attempts to find out whether a process that broke its connection has exited.
const AGAIN: Duration = Duration::from_millis(5);
const UNCLEAR_MAX: u32 = 50;

struct Watcher {
    dial: Dial,
    me: NodeName,
    node: NodeName,
    address: String,
    pause: Duration,
    wake: Arc<Notify>,
    reach: Reach,
}

/// How a connection to a peer ended.
enum Parted {
    /// A connection to this process was established, and broke.
    Broke(Incarnation),
    /// The peer ended the stream in order.
    Ended,
    /// The connection broke before the peer answered. An exiting process closes its sockets one by
    /// one, and its listener may be the last: a connection made in between breaks, and the next one
    /// is refused.
    Unclear,
    /// The peer's host refused the connection.
    Refused,
}

impl Watcher {
    async fn run(self) {
        let mut last: Option<Incarnation> = None;
        let (mut tries, mut met) = (0, false);
        loop {
            match self.connection().await {
                Parted::Broke(incarnation) => {
                    // Connect again at once, to see whether the host refuses the connection.
                    last = Some(incarnation);
                    met = true;
                    self.note(ConnectionFault::Unreachable { met });
                    continue;
                }
                Parted::Refused => {
                    if let Some(incarnation) = last.take() {
                        tracing::info!(node = %self.node, %incarnation,
                            "a node closed its connection and refuses the next one: suspected");
                        self.note(ConnectionFault::Gone(incarnation));
                    } else {
                        // No process listens there, or a firewall refuses the connection.
                        self.note(ConnectionFault::Unreachable { met });
                    }
                }
                Parted::Unclear if last.is_some() && tries < UNCLEAR_MAX => {
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Parted::Unclear => {
                    last = None;
                    self.note(ConnectionFault::Unreachable { met });
                }
                Parted::Ended => last = None,
            }
            tries = 0;
            tokio::time::sleep(self.pause).await;
        }
    }

    fn note(&self, fault: ConnectionFault) {
        if self.reach.note(&self.node, fault) {
            self.wake.notify_one();
        }
    }

    /// Opens one connection, and waits until it ends.
    async fn connection(&self) -> Parted {
        let Ok(channel) = self.dial.channel(&self.address) else { return Parted::Ended };
        let request = WatchRequest { watcher: self.me.to_string() };
        let mut signs = match NodeServiceClient::new(channel).watch(request).await {
            Ok(signs) => signs.into_inner(),
            Err(status) if is_refused(&status) => return Parted::Refused,
            Err(_) => return Parted::Unclear,
        };
        let mut known = None;
        loop {
            match signs.message().await {
                Ok(Some(Sign { incarnation })) => {
                    let incarnation = Incarnation(incarnation);
                    if known.replace(incarnation).is_some() {
                        self.wake.notify_one();
                    } else {
                        self.reach.clear(&self.node);
                    }
                }
                Ok(None) => return Parted::Ended,
                Err(_) => return known.map_or(Parted::Unclear, Parted::Broke),
            }
        }
    }
}

/// Whether the connection was refused, so that no process listened at the address.
pub(crate) fn is_refused(status: &tonic::Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p15_a_refused_connection_is_distinguished_from_other_errors() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap().to_string();
        let watch = |address: String| async move {
            let channel = Dial::default().channel(&address).unwrap();
            let request = WatchRequest { watcher: "a".to_owned() };
            NodeServiceClient::new(channel).watch(request).await.unwrap_err()
        };
        // The connection is accepted and closed at once.
        let taken = tokio::spawn(async move {
            for _ in 0..1 {
                drop(free.accept().await.unwrap());
            }
        });
        assert!(!is_refused(&watch(address.clone()).await));
        taken.await.unwrap();
        // The listener is closed.
        assert!(is_refused(&watch(address).await));
    }
}
