//! Connections to other nodes.
//!
//! The socket shortcut (P15): a process that ends closes its connections, and its host refuses the
//! next one. Whoever sees both suspects it at once, instead of a second later.
//!
//! A suspicion is a hint to look at the shared database and to claim there. It may be wrong; the
//! fence makes that cheap, and [`crate::liveness`] trusts the next one less.
//!
//! Who can't be reached is not suspected: its line to the database may be well. But a front that
//! complains that it can't reach it either is believed then (P16).

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

/// What is known of connections to other nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(Arc<Mutex<HashMap<NodeName, Trouble>>>);

/// A node that can't be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// This process closed its connection and refused the next one.
    Gone(Incarnation),
    /// Connections to it break, or nobody answers on them. That may be the network. Did we ever
    /// have one, as far as this process knows?
    Unreachable { met: bool },
}

impl Reach {
    /// Which processes are suspected now.
    pub(crate) fn gone(&self) -> HashMap<NodeName, Incarnation> {
        let all = self.all();
        let gone = all.iter().filter_map(|(node, trouble)| match trouble {
            Trouble::Gone(incarnation) => Some((node.clone(), *incarnation)),
            Trouble::Unreachable { .. } => None,
        });
        gone.collect()
    }

    /// Who can't be reached from here, dead or alive, and whether it could be before.
    pub(crate) fn unreachable(&self) -> HashMap<NodeName, bool> {
        let all = self.all();
        let met = |trouble: &Trouble| *trouble != Trouble::Unreachable { met: false };
        all.iter().map(|(node, trouble)| (node.clone(), met(trouble))).collect()
    }

    /// Can't the node be reached from here?
    pub(crate) fn is_unreachable(&self, node: &NodeName) -> bool {
        self.all().contains_key(node)
    }

    /// There is trouble with `node`; is it new? Whoever is gone is not merely out of reach.
    fn note(&self, node: &NodeName, trouble: Trouble) -> bool {
        let mut all = self.all();
        let known = all.get(node).copied();
        let is_new = match trouble {
            Trouble::Gone(_) => known != Some(trouble),
            Trouble::Unreachable { .. } => known.is_none(),
        };
        if is_new {
            all.insert(node.clone(), trouble);
        }
        is_new
    }

    fn clear(&self, node: &NodeName) {
        self.all().remove(node);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<NodeName, Trouble>> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other nodes that we keep a connection to.
pub(crate) struct Peers {
    dial: Dial,
    me: NodeName,
    pause: Duration,
    wake: Arc<Notify>,
    reach: Reach,
    watched: HashMap<NodeName, (String, JoinHandle<()>)>,
}

impl Peers {
    /// Watches nobody yet. A sign of a peer, and its end, notify `wake`; after a failure the next
    /// try is made after `pause`.
    pub(crate) fn new(
        dial: Dial,
        me: NodeName,
        pause: Duration,
        wake: Arc<Notify>,
        reach: Reach,
    ) -> Self {
        Self { dial, me, pause, wake, reach, watched: HashMap::new() }
    }

    /// What is known of connections to them.
    pub(crate) const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Watches those of `nodes` that share a partition with us, where they are now.
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
    reach: Reach,
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
        let (mut tries, mut met) = (0, false);
        loop {
            match self.connection().await {
                Parted::Broke(incarnation) => {
                    // At once: refused or not makes the difference.
                    last = Some(incarnation);
                    met = true;
                    self.note(Trouble::Unreachable { met });
                    continue;
                }
                Parted::Refused => {
                    if let Some(incarnation) = last.take() {
                        tracing::info!(node = %self.node, %incarnation,
                            "the node closed its connection and refuses the next one: suspected");
                        self.note(Trouble::Gone(incarnation));
                    } else {
                        // Nobody is there, or its door is shut to us.
                        self.note(Trouble::Unreachable { met });
                    }
                }
                Parted::Unclear if last.is_some() && tries < UNCLEAR_MAX => {
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Parted::Unclear => {
                    last = None;
                    self.note(Trouble::Unreachable { met });
                }
                Parted::Ended => last = None,
            }
            tries = 0;
            tokio::time::sleep(self.pause).await;
        }
    }

    fn note(&self, trouble: Trouble) {
        if self.reach.note(&self.node, trouble) {
            self.wake.notify_one();
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
                        self.reach.clear(&self.node);
                    }
                }
                Ok(None) => return Parted::Ended,
                Err(_) => return known.map_or(Parted::Unclear, Parted::Broke),
            }
        }
    }
}

/// Was no process there to take the connection?
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
