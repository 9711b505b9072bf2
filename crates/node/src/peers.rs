//! The socket shortcut (P15): a process that ends closes its connections, and its host refuses the
//! next one. Whoever sees both suspects it at once, instead of a second later.
//!
//! A suspicion is a hint to look at the shared database and to claim there. It may be wrong; the
//! fence makes that cheap, and [`crate::liveness`] trusts the next one less.

use std::collections::{HashMap, HashSet};
use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use turnpike_proto::dial::Dial;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{Sign, WatchRequest};
use turnpike_store::NodeRow;
use turnpike_types::{Incarnation, NodeName};

/// Processes that closed their connection and refused the next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Arc<Mutex<HashMap<NodeName, Incarnation>>>);

impl Gone {
    /// Which processes are suspected now.
    pub(crate) fn all(&self) -> HashMap<NodeName, Incarnation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, node: &NodeName, incarnation: Option<Incarnation>) {
        let mut gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match incarnation {
            Some(incarnation) => gone.insert(node.clone(), incarnation),
            None => gone.remove(node),
        };
    }
}

/// The other nodes that we keep a connection to.
pub(crate) struct Peers {
    dial: Dial,
    me: NodeName,
    pause: Duration,
    wake: Arc<Notify>,
    gone: Gone,
    watched: HashMap<NodeName, (String, JoinHandle<()>)>,
}

impl Peers {
    /// Watches nobody yet. A sign of a peer, and its end, notify `wake`; after a failure the next
    /// try is made after `pause`.
    pub(crate) fn new(dial: Dial, me: NodeName, pause: Duration, wake: Arc<Notify>) -> Self {
        Self { dial, me, pause, wake, gone: Gone::default(), watched: HashMap::new() }
    }

    /// Who is suspected.
    pub(crate) fn gone(&self) -> HashMap<NodeName, Incarnation> {
        self.gone.all()
    }

    /// Watches those of `nodes` that share a partition with us, where they are now.
    pub(crate) fn watch(&mut self, nodes: &[NodeRow], partners: &HashSet<&NodeName>) {
        self.watched.retain(|node, (address, task)| {
            let stays = nodes.iter().any(|row| {
                row.beat.node == *node && row.beat.address == *address && partners.contains(node)
            });
            if !stays {
                task.abort();
                self.gone.set(node, None);
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
                gone: self.gone.clone(),
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

/// Between tries to find out whether a process that broke its connection is gone.
const AGAIN: Duration = Duration::from_millis(5);
const UNCLEAR_MAX: u32 = 50;

struct Watcher {
    dial: Dial,
    me: NodeName,
    node: NodeName,
    address: String,
    pause: Duration,
    wake: Arc<Notify>,
    gone: Gone,
}

/// How a connection to a peer ended.
enum Parted {
    /// It was there, as this process, and the connection broke.
    Broke(Incarnation),
    /// It took leave.
    Ended,
    /// Neither: nobody spoke. A process that ends closes its sockets one by one, and its listener
    /// may be the last: a connection that came in between is broken off, and the next one refused.
    Unclear,
    /// Its host refused the connection.
    Refused,
}

impl Watcher {
    async fn run(self) {
        let mut last: Option<Incarnation> = None;
        let mut tries = 0;
        loop {
            match self.connection().await {
                Parted::Broke(incarnation) => {
                    // At once: refused or not makes the difference.
                    last = Some(incarnation);
                    continue;
                }
                Parted::Refused => {
                    if let Some(incarnation) = last.take() {
                        tracing::info!(node = %self.node, %incarnation,
                            "the node closed its connection and refuses the next one: suspected");
                        self.gone.set(&self.node, Some(incarnation));
                        self.wake.notify_one();
                    }
                }
                Parted::Unclear if last.is_some() && tries < UNCLEAR_MAX => {
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Parted::Unclear | Parted::Ended => last = None,
            }
            tries = 0;
            tokio::time::sleep(self.pause).await;
        }
    }

    /// One connection, from its beginning to its end.
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
                        self.gone.set(&self.node, None);
                    }
                }
                Ok(None) => return Parted::Ended,
                Err(_) => return known.map_or(Parted::Unclear, Parted::Broke),
            }
        }
    }
}

/// Was no process there to take the connection?
fn is_refused(status: &tonic::Status) -> bool {
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
    async fn p15_a_refused_connection_is_told_from_other_trouble() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap().to_string();
        let watch = |address: String| async move {
            let channel = Dial::default().channel(&address).unwrap();
            let request = WatchRequest { watcher: "a".to_owned() };
            NodeServiceClient::new(channel).watch(request).await.unwrap_err()
        };
        // Somebody takes the connection, and hangs up.
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
