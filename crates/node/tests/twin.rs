//! Two processes under one name (P11): a live process stays, and only a silent one is superseded.
//! On virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[allow(dead_code)]
use crate::support;

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, no_network, octets, publish,
    start, start_with,
};
use tokio::sync::Barrier;
use tokio::time::Instant;
use turnpike_mutants::all_caught;
use turnpike_node::{Node, StartError};
use turnpike_proto::dial::{Dial, endpoint};
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreError, StoreResult};

/// A process's connection to the database. While it is cut, the process is silent to others.
#[derive(Default)]
struct DatabaseLink(AtomicBool);

#[async_trait]
impl Interpose for DatabaseLink {
    async fn before(&self, _: Call) -> StoreResult<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable { doing: "test", cause: "cut".to_owned() }),
            false => Ok(()),
        }
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

impl DatabaseLink {
    fn of(db: &Arc<dyn SharedDatabase>) -> (Arc<Self>, Arc<dyn SharedDatabase>) {
        let line = Arc::new(Self::default());
        (Arc::clone(&line), Arc::new(Interposed::new(Arc::clone(db), line)))
    }
    fn cut(&self, is_cut: bool) {
        self.0.store(is_cut, Ordering::SeqCst);
    }
}

/// Makes two processes wait for each other after their first observation.
struct Together {
    both: Arc<Barrier>,
    has_met: AtomicBool,
}

#[async_trait]
impl Interpose for Together {
    async fn before(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
    async fn after(&self, call: Call) -> StoreResult<()> {
        if call == Call::Observe && !self.has_met.swap(true, Ordering::SeqCst) {
            self.both.wait().await;
        }
        Ok(())
    }
}

/// A network that refuses each connection.
fn refusing() -> Dial {
    Dial::new(|address| {
        let connector = tower::service_fn(|_: tonic::transport::Uri| async {
            let refused = Error::new(ErrorKind::ConnectionRefused, "no process listens");
            Err::<hyper_util::rt::TokioIo<tokio::io::DuplexStream>, _>(refused)
        });
        Ok(endpoint(address)?.connect_with_connector_lazy(connector))
    })
}

async fn cluster() -> Arc<dyn SharedDatabase> {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    db
}

/// Node `a` with an account, serving.
async fn first(db: &Arc<dyn SharedDatabase>) -> Running {
    let mut a = start(config("a"), db).await;
    a.open_account(7).await;
    assert_eq!(a.send(&[octets(7, "before", 1)]).await.accepted, 1);
    a
}

async fn epoch(db: &dyn SharedDatabase) -> u64 {
    db.observe().await.unwrap().partitions[0].epoch.number()
}

/// Starts another process under the name, at another address.
async fn twin(db: &Arc<dyn SharedDatabase>, dial: Dial) -> (Result<Node, StartError>, Duration) {
    let mut config = config("a");
    config.address = "elsewhere:1".to_owned();
    let began = Instant::now();
    (Node::start(config, Arc::clone(db), dial).await, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn p11_a_second_process_of_the_same_name_stops_with_the_reason_and_the_first_serves_on() {
    let db = cluster().await;
    let mut a = first(&db).await;
    let before = epoch(db.as_ref()).await;
    // A refused connection alone proves nothing, since a firewall may refuse it.
    for dial in [no_network(), refusing()] {
        let (started, after) = twin(&db, dial).await;
        let Err(error) = started else { panic!("the twin must not start beside the first") };
        assert!(matches!(error, StartError::NameInUse { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("node a") && said.contains("a:1") && said.contains("name"), "{said}");
        assert!((HEARTBEAT * 4..HEARTBEAT * 6).contains(&after), "four intervals: {after:?}");
    }
    assert_eq!(a.send(&[octets(7, "after", 1)]).await.accepted, 1);
    assert_eq!(epoch(db.as_ref()).await, before, "the first process must not be superseded");
    assert!(a.node.health().ready().is_ok());
}

#[tokio::test(start_paused = true)]
async fn p11_a_silent_predecessor_is_superseded_after_four_intervals_and_stops_when_it_wakes() {
    let db = cluster().await;
    let (line, through) = DatabaseLink::of(&db);
    let mut old = first(&through).await;
    line.cut(true);
    let (new, after) = twin(&db, no_network()).await;
    let _new = new.unwrap();
    assert!((HEARTBEAT * 3..HEARTBEAT * 6).contains(&after), "{after:?}");
    line.cut(false);
    old.node.stopped().await;
    let said = old.node.health().ready().unwrap_err();
    assert!(said.contains("stopped"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn p11_a_killed_predecessor_is_superseded_after_two_intervals_and_the_new_one_serves() {
    let db = cluster().await;
    let (line, through) = DatabaseLink::of(&db);
    let _old = first(&through).await;
    line.cut(true);
    // The new process has the address of the old one, as after a restart by a supervisor, and
    // listens there itself.
    let began = Instant::now();
    let mut new = start(config("a"), &db).await;
    let after = began.elapsed();
    assert!((HEARTBEAT..HEARTBEAT * 4).contains(&after), "{after:?}");
    let answer = new.send(&[octets(7, "before", 1), octets(7, "after", 1)]).await;
    assert_eq!((answer.accepted, answer.duplicates.as_slice()), (1, [0].as_slice()), "I1, I2");
}

#[tokio::test(start_paused = true)]
async fn p11_a_predecessor_whose_address_refuses_connections_is_superseded_after_two_intervals() {
    let db = cluster().await;
    let (line, through) = DatabaseLink::of(&db);
    let _old = first(&through).await;
    line.cut(true);
    let (new, after) = twin(&db, refusing()).await;
    let _new = new.unwrap();
    assert!((HEARTBEAT..HEARTBEAT * 4).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn p11_a_predecessor_that_stopped_in_order_is_superseded_at_once() {
    let db = cluster().await;
    let a = first(&db).await;
    a.node.shutdown().await;
    let began = Instant::now();
    let mut new = start_with(config("a"), &db, no_network()).await;
    assert!(began.elapsed() < HEARTBEAT, "{:?}", began.elapsed());
    let answer = new.send(&[octets(7, "before", 1), octets(7, "after", 1)]).await;
    assert_eq!((answer.accepted, answer.duplicates.as_slice()), (1, [0].as_slice()), "I1, I2");
}

#[tokio::test(start_paused = true)]
async fn p11_a_goodbye_lets_a_standby_claim_partitions_that_could_not_be_released() {
    let db = cluster().await;
    let mut a = first(&db).await;
    let b = start(config("b"), &db).await;
    // The last heartbeat of `a` is a goodbye, while the row still names `a` as the owner.
    let seen = db.observe().await.unwrap();
    let mut beat = seen.nodes.iter().find(|row| row.beat.node.0 == "a").unwrap().beat.clone();
    beat.counter = turnpike_store::NodeBeat::GOODBYE;
    beat.serving.clear();
    db.heartbeat(&beat).await.unwrap();
    let began = Instant::now();
    while db.observe().await.unwrap().partitions[0].owner.as_ref().unwrap().0.0 != "b" {
        assert!(began.elapsed() < HEARTBEAT * 4, "b must not wait as for a silent node");
        tokio::time::sleep(HEARTBEAT / 10).await;
    }
    drop(b);
    let _ = a.try_send(&[octets(7, "after", 1)]).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_started_together_one_keeps_running() {
    let db = cluster().await;
    let both = Arc::new(Barrier::new(2));
    let through = || -> Arc<dyn SharedDatabase> {
        let together = Together { both: Arc::clone(&both), has_met: AtomicBool::new(false) };
        Arc::new(Interposed::new(Arc::clone(&db), Arc::new(together)))
    };
    let (db_of_one, db_of_other) = (through(), through());
    let (one, other) =
        tokio::join!(twin(&db_of_one, no_network()), twin(&db_of_other, no_network()));
    let (mut one, mut other) = (one.0.unwrap(), other.0.unwrap());
    let stopped = tokio::select! {
        () = one.stopped() => "one",
        () = other.stopped() => "other",
    };
    let stays = if stopped == "one" { other.health() } else { one.health() };
    tokio::time::sleep(HEARTBEAT * 40).await;
    assert!(stays.ready().is_ok(), "{:?}", stays.ready());
    let (third, _) = twin(&db, no_network()).await;
    assert!(matches!(third, Err(StartError::NameInUse { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_node_is_ready_while_it_serves_or_stands_by_and_states_the_reason_otherwise() {
    let db = cluster().await;
    let (line, through) = DatabaseLink::of(&db);
    let a = first(&through).await;
    // Health reports the state at the last observation.
    tokio::time::sleep(HEARTBEAT * 2).await;
    let said = a.node.health().ready().unwrap();
    assert!(said.contains("serves 1 partition"), "{said}");
    let b = start(config("b"), &db).await;
    tokio::time::sleep(HEARTBEAT * 40).await;
    let said = b.node.health().ready().unwrap();
    assert!(said.contains("serves 0 partitions and keeps 1 warm"), "{said}");
    let stranger = start(config("stranger"), &db).await;
    tokio::time::sleep(HEARTBEAT * 4).await;
    let said = stranger.node.health().ready().unwrap_err();
    assert!(said.contains("no partition names node stranger"), "{said}");
    line.cut(true);
    tokio::time::sleep(HEARTBEAT * 10).await;
    let said = a.node.health().ready().unwrap_err();
    assert!(said.contains("the shared database has not answered"), "{said}");
    let health = b.node.health();
    b.node.shutdown().await;
    assert!(health.ready().unwrap_err().contains("stopped"));
}

#[test]
fn mutants_are_caught() {
    all_caught(&[(
        turnpike_mutants::Check::LivePredecessor,
        "p11_a_second_process_of_the_same_name_stops_with_the_reason_and_the_first_serves_on",
        "the twin must not start beside the first",
    )]);
}
