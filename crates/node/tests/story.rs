//! The log lines and metrics of a takeover: log lines have common fields, and metrics are
//! consistent.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]

use crate::support;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, octets, publish, start,
};
use turnpike_proto::node::v1::Verdict;
use turnpike_store::{Call, Interpose, Interposed, SharedDatabase, StoreError, StoreResult};
use turnpike_types::{NodeName, PartitionId};

/// Keeps a node's heartbeats from the database; all other calls pass.
#[derive(Default)]
struct Mute(AtomicBool);

#[async_trait]
impl Interpose for Mute {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::Heartbeat && self.0.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { doing: "test", cause: "mute".to_owned() });
        }
        Ok(())
    }
    async fn after(&self, _: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// A buffer of log lines in JSON.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// From now on this thread logs to the returned buffer.
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let writer = logs.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    /// The fields of each log line with this message.
    fn told(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["fields"].clone()).filter(|f| f["message"] == message).collect()
    }

    async fn until_logged(&self, message: &str) -> Value {
        for _ in 0..400 {
            if let Some(line) = self.told(message).pop() {
                return line;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no log line says {message:?}");
    }
}

/// Checks the fields that `expected` names.
#[track_caller]
fn has(line: &Value, expected: &Value) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&line[field], value, "{field} of {line}");
    }
}

async fn until_owned_by(db: &dyn SharedDatabase, node: &str) {
    until(db, |row| row.owner.as_ref().is_some_and(|(owner, _)| owner.0 == node)).await;
}

async fn until(db: &dyn SharedDatabase, is_so: impl Fn(&turnpike_store::PartitionRow) -> bool) {
    for _ in 0..400 {
        if is_so(&db.observe().await.unwrap().partitions[0]) {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("time-out");
}

/// Waits until `b` has a replica of the whole log.
async fn until_warm(db: &dyn SharedDatabase) {
    for _ in 0..400 {
        let seen = db.observe().await.unwrap();
        let b = seen.nodes.iter().find(|row| row.beat.node.0 == "b").unwrap();
        let next = seen.partitions[0].next.next;
        if b.beat.following.first().is_some_and(|copy| copy.segment.next() == next) {
            return;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("b did not follow the log");
}

/// `a` owns partition 1, and `b` follows it with a warm replica. The heartbeats of `a` can be
/// stopped.
async fn pair() -> (Arc<dyn SharedDatabase>, Arc<Mute>, Running, Running) {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mute = Arc::new(Mute::default());
    let through: Arc<dyn SharedDatabase> =
        Arc::new(Interposed::new(Arc::clone(&db), Arc::clone(&mute)));
    let mut a = start(config("a"), &through).await;
    a.open_account(7).await;
    a.send(&[octets(7, "r1", 1)]).await;
    let b = start(config("b"), &db).await;
    until_warm(db.as_ref()).await;
    (db, mute, a, b)
}

#[tokio::test(start_paused = true)]
async fn a_takeover_logs_partition_epochs_and_cause_in_each_line() {
    let (logs, _guard) = Logs::capture();
    let (db, mute, mut a, mut b) = pair().await;
    let first = logs.told("serves the partition").remove(0);
    has(&first, &json!({"node": "a", "partition": 1, "cause": "never-owned"}));
    assert!(first.get("owner_before").is_none(), "{first}");
    let epoch = first["epoch"].as_u64().unwrap();

    mute.0.store(true, Ordering::SeqCst);
    until_owned_by(db.as_ref(), "b").await;
    b.send(&[octets(7, "r2", 1)]).await;
    // The winner logs its claim and its success.
    let story = json!({
        "node": "b", "partition": 1, "from_epoch": epoch, "owner_before": "a",
        "cause": "owner-silent",
    });
    let claim = logs.told("claims the partition").pop().unwrap();
    has(&claim, &story);
    let silent_ms = u64::try_from((HEARTBEAT * 4).as_millis()).unwrap();
    assert!(claim["silent_ms"].as_u64().unwrap() >= silent_ms, "{claim}");
    let won = logs.told("serves the partition").pop().unwrap();
    has(&won, &story);
    has(&won, &json!({"epoch": epoch + 1, "copy": "warm", "silent_ms": claim["silent_ms"]}));
    let (claimed, elapsed) = (won["claimed_ms"].as_u64(), won["elapsed_ms"].as_u64());
    assert!(claimed.unwrap() <= elapsed.unwrap(), "{won}");

    // The loser notices when it appends under its old epoch.
    let answer = a.try_send(&[octets(7, "r3", 1)]).await;
    let done = answer.is_some_and(|answer| answer.standing.unwrap().verdict() == Verdict::Done);
    assert!(!done, "I6");
    let lost = logs.until_logged("stopped serving the partition").await;
    has(&lost, &json!({"node": "a", "partition": 1, "epoch": epoch, "reason": "fenced"}));
}

#[tokio::test(start_paused = true)]
async fn a_handover_logs_both_members() {
    let (logs, _guard) = Logs::capture();
    let (db, _mute, _a, _b) = pair().await;
    let epoch = logs.told("serves the partition").remove(0)["epoch"].as_u64().unwrap();
    let to = NodeName("b".to_owned());
    db.pin(PartitionId(1), Some((&to, HEARTBEAT * 1000))).await.unwrap();
    until_owned_by(db.as_ref(), "b").await;
    let gave = logs.until_logged("released the partition").await;
    has(&gave, &json!({"node": "a", "partition": 1, "epoch": epoch, "to": "b"}));
    for _ in 0..400 {
        if logs.told("serves the partition").len() > 1 {
            break;
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    let took = logs.told("serves the partition").pop().unwrap();
    has(&took, &json!({"node": "b", "owner_before": "a", "cause": "released", "copy": "warm"}));
}

#[tokio::test(start_paused = true)]
async fn gauges_and_counters_follow_the_state_of_a_node() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    // Both nodes record into this recorder, since they run on this thread.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (db, mute, mut a, mut b) = pair().await;
    let has = |line: &str| shown.render().lines().any(|shown| shown == line);
    let until_shown = async |lines: &[&str]| {
        for _ in 0..400 {
            if lines.iter().all(|line| has(line)) {
                return;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("{lines:#?} is not in\n{}", shown.render());
    };
    // A record of an account that was never opened, and a retry.
    a.send(&[octets(7, "r1", 1), octets(8, "r2", 1)]).await;
    until_shown(&[
        "turnpike_records_total{outcome=\"accepted\"} 1",
        "turnpike_records_total{outcome=\"duplicate\"} 1",
        "turnpike_records_total{outcome=\"suspended\",reason=\"unknown-account\"} 1",
        "turnpike_suspense_records{partition=\"1\"} 1",
        "turnpike_accounts{partition=\"1\",role=\"owner\"} 1",
        "turnpike_accounts{partition=\"1\",role=\"standby\"} 1",
        "turnpike_dedup_keys{partition=\"1\",role=\"owner\"} 2",
        "turnpike_dedup_keys{partition=\"1\",role=\"standby\"} 2",
        "turnpike_takeovers_total{cause=\"owner-silent\",copy=\"warm\"} 0",
        "turnpike_queue_requests 0",
        "turnpike_queue_bytes 0",
    ])
    .await;
    mute.0.store(true, Ordering::SeqCst);
    until_owned_by(db.as_ref(), "b").await;
    b.send(&[octets(7, "r3", 1)]).await;
    let _ = a.try_send(&[octets(7, "r4", 1)]).await;
    until_shown(&[
        "turnpike_takeovers_total{cause=\"owner-silent\",copy=\"warm\"} 1",
        "turnpike_ownerships_ended_total{reason=\"fenced\"} 1",
        "turnpike_ownerships_ended_total{reason=\"rolled-back\"} 0",
    ])
    .await;
    assert!(shown.render().contains("turnpike_heartbeats_total{result=\"failed\"}"));
    b.node.shutdown().await;
    a.node.shutdown().await;
    until_shown(&[
        "turnpike_accounts{partition=\"1\",role=\"owner\"} 0",
        "turnpike_suspense_records{partition=\"1\"} 0",
    ])
    .await;
}
