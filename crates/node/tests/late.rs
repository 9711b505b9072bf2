//! An owner receives the outcome of its commit late: by then another node may own the partition
//! (I6).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

use crate::support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, log, octets, publish, start,
};
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_proto::node::v1::{NodeShowRequest, NodeShowResponse, Verdict};
use turnpike_store::{Call, Claim, Interpose, Interposed, SharedDatabase, StoreResult};
use turnpike_types::{ClaimId, Incarnation, NodeName, PartitionId};

/// A connection on which the answers of commits are late: by a fixed time, or until they are
/// released.
struct Late {
    by: Duration,
    held: watch::Sender<bool>,
    /// While answers are held, the node's observations wait too, as if its process were frozen.
    /// Otherwise it would observe the takeover before it gets the answer.
    is_blind: watch::Sender<bool>,
    /// Notified when a commit was made whose answer is held.
    committed: Notify,
}

#[async_trait]
impl Interpose for Late {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Observe {
            let _ = self.is_blind.subscribe().wait_for(|is_blind| !is_blind).await;
        }
        Ok(())
    }
    async fn after(&self, call: Call) -> StoreResult<()> {
        if matches!(call, Call::Append | Call::Barrier) {
            tokio::time::sleep(self.by).await;
            if *self.held.borrow() {
                self.committed.notify_one();
            }
            let _ = self.held.subscribe().wait_for(|held| !held).await;
        }
        Ok(())
    }
}

impl Late {
    fn hold(&self) {
        self.is_blind.send_replace(true);
        self.held.send_replace(true);
    }
}

/// A node that owns partition 1 with account 7, and its connection.
async fn owner(db: &Arc<dyn SharedDatabase>, by: Duration) -> (Running, Arc<Late>) {
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let [held, is_blind] = [(); 2].map(|()| watch::channel(false).0);
    let line = Arc::new(Late { by, held, is_blind, committed: Notify::new() });
    let through: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(db), Arc::clone(&line)));
    let mut owner = start(config("a"), &through).await;
    owner.open_account(7).await;
    (owner, line)
}

/// Another node claims the partition, as it may when the owner is silent.
async fn claim(db: &dyn SharedDatabase) {
    let seen = db.observe().await.unwrap().partitions[0].epoch;
    let claim = Claim {
        partition: PartitionId(1),
        seen,
        node: NodeName("b".to_owned()),
        incarnation: Incarnation(99),
        claim: ClaimId([99; 16]),
        forced: true,
    };
    assert!(db.claim(&claim).await.unwrap().is_some());
}

async fn show(mut node: NodeServiceClient<Channel>) -> NodeShowResponse {
    let request = NodeShowRequest { partition: 1, account_number: 7 };
    node.show(request).await.unwrap().into_inner()
}

/// After a commit whose answer is held, another node takes over. Then the answer is released.
async fn take_over_meanwhile(db: &dyn SharedDatabase, line: &Late) {
    line.committed.notified().await;
    claim(db).await;
    // The pause is longer than half the suspicion time.
    tokio::time::sleep(HEARTBEAT * 3).await;
    line.held.send_replace(false);
}

#[tokio::test(start_paused = true)]
async fn i6_records_whose_commit_is_known_after_a_takeover_are_not_acknowledged() {
    let db = database();
    let (mut owner, line) = owner(&db, Duration::ZERO).await;
    let before = log(db.as_ref()).await.len();
    line.hold();
    let records = [octets(7, "r1", 600)];
    let told = owner.try_send(&records);
    let (told, ()) = tokio::join!(told, take_over_meanwhile(db.as_ref(), &line));
    assert_eq!(told.unwrap().standing.unwrap().verdict(), Verdict::NotOwner);
    // A retry would be answered as a duplicate by the new owner, whose log holds the record.
    assert_eq!(log(db.as_ref()).await.len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn i6_an_account_is_not_shown_as_it_was_before_a_takeover() {
    let db = database();
    let (owner, line) = owner(&db, Duration::ZERO).await;
    line.hold();
    let told = show(owner.client.clone());
    let (told, ()) = tokio::join!(told, take_over_meanwhile(db.as_ref(), &line));
    assert_eq!(told.standing.unwrap().verdict(), Verdict::NotOwner);
    assert_eq!(told.account, None);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_always_slow_delays_no_answer_for_ever() {
    let db = database();
    let (owner, _) = owner(&db, HEARTBEAT * 3).await;
    let shown = tokio::time::timeout(HEARTBEAT * 100, show(owner.client)).await.unwrap();
    assert_eq!(shown.standing.unwrap().verdict(), Verdict::Done);
    assert_eq!(shown.account.unwrap().account_number, 7);
}
