//! Nodes of one partition over a database whose clock the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use turnpike_account::PartitionState;
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::{AccountCommand, AccountResult};
use turnpike_proto::node::v1::NodeApplyRequest;
use turnpike_store::memory::MemoryDatabase;
use turnpike_store::{Member, PartitionSpec, SharedDatabase, StoreIncarnation};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, Timestamp};

use super::{HEARTBEAT, Running, checkpoints, config, log, replay, start};

/// How many times a condition is checked, one heartbeat interval apart, before the test fails.
pub const LOOKS: u32 = 400;

/// The database of a partition whose members are the nodes `a` and `b`, in this order.
pub struct World {
    pub memory: MemoryDatabase,
    pub db: Arc<dyn SharedDatabase>,
    now: Arc<AtomicI64>,
}

impl World {
    /// A database without partitions, at the time `now` in microseconds.
    pub fn empty(now: i64) -> Self {
        let now = Arc::new(AtomicI64::new(now));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Timestamp(clock.load(Ordering::SeqCst)));
        let memory = MemoryDatabase::with_clock(clock, StoreIncarnation(1));
        let db: Arc<dyn SharedDatabase> = Arc::new(memory.clone());
        Self { memory, db, now }
    }

    /// A database at the time `now`, with partition 1: accounts 1 to 1000, and a horizon of
    /// `horizon_us` microseconds.
    pub async fn at(now: i64, horizon_us: i64) -> Self {
        let world = Self::empty(now);
        let members = [("a", 20), ("b", 10)].map(|(node, priority)| Member {
            node: NodeName(node.to_owned()),
            priority: Priority(priority),
        });
        let spec = PartitionSpec {
            id: PartitionId(1),
            range: AccountRange::new(1, 1000).unwrap(),
            horizon_us,
            accept_since: None,
            members: members.into(),
        };
        world.db.create_partitions(&[spec]).await.unwrap();
        world
    }

    /// Sets the database's clock.
    pub fn set(&self, now: i64) {
        self.now.store(now, Ordering::SeqCst);
    }

    /// A node that writes a checkpoint of its live state after each segment (I4).
    pub async fn node(&self, name: &str) -> Running {
        let eager = NodeConfig { checkpoint_log_bytes: 1, ..config(name) };
        start(eager, &self.db).await
    }

    /// I4: each checkpoint of the live state and the tail of the log give the state of the whole
    /// log. Waits for a checkpoint of the whole log.
    pub async fn assert_checkpoints_match_the_log(&self) {
        for _ in 0..LOOKS {
            let rows = log(self.db.as_ref()).await;
            let all = replay(PartitionState::default(), &rows);
            for state in checkpoints(self.db.as_ref()).await {
                let is_live = state.last() == all.last();
                if state.last().0 <= all.last().0 {
                    assert_eq!(replay(state, &rows).encode(), all.encode(), "I4");
                }
                if is_live {
                    return;
                }
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no checkpoint covers the whole log");
    }
}

/// Applies commands at `node`, repeatedly until it owns the partition.
pub async fn apply(node: &mut Running, commands: Vec<AccountCommand>) -> Vec<AccountResult> {
    for _ in 0..LOOKS {
        let request = NodeApplyRequest { partition: 1, commands: commands.clone() };
        let response = node.client.apply(request).await.unwrap().into_inner();
        if !response.results.is_empty() {
            return response.results;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("the node did not become the owner of the partition");
}
