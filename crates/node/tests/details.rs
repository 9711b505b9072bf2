//! The detail of a suspense reason, in the answer, in the log and in lists. A retry gets the first
//! answer again (P31).
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
use crate::support;

use std::sync::Arc;

use support::{OCTETS, Running, config, create_partition, database, log, octets, publish, start};
use turnpike_proto::ingest::v1::RecordResult;
use turnpike_proto::node::v1::{NodeRecycleRequest, NodeSuspenseRequest, RecycleKey};
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord, SuspensePosition};
use turnpike_segment::Segment;
use turnpike_store::SharedDatabase;
use turnpike_types::UsageRecord;

async fn world() -> (Arc<dyn SharedDatabase>, Running) {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    (db, node)
}

/// A record of octets without a quantity.
fn without_quantity(id: &str) -> UsageRecord {
    UsageRecord { quantity: None, ..octets(7, id, 0) }
}

async fn one(node: &mut Running, record: UsageRecord) -> RecordResult {
    node.send(&[record]).await.exceptions.remove(0)
}

async fn listed(node: &mut Running) -> Vec<SuspendedRecord> {
    let request = NodeSuspenseRequest { partition: 1, filter: Some(ListRequest::default()) };
    node.client.list_suspense(request).await.unwrap().into_inner().records
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_suspense_is_in_the_answer_the_log_and_the_list() {
    let (db, mut node) = world().await;
    let first = one(&mut node, without_quantity("r1")).await;
    assert_eq!(
        (first.reason.as_str(), first.detail.as_str()),
        ("missing-input", "record.quantity")
    );
    let elsewhere = one(&mut node, octets(8, "r1", 5)).await;
    assert_eq!((elsewhere.reason.as_str(), elsewhere.detail.as_str()), ("unknown-account", "8"));
    let details: Vec<String> = log(db.as_ref())
        .await
        .iter()
        .flat_map(|row| {
            let segment = Segment::decode(&row.body).unwrap();
            let details = segment.records().map(|(_, record)| record.detail.to_owned());
            details.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(details, ["record.quantity", "8"]);
    let listed = listed(&mut node).await;
    let shown: Vec<_> =
        listed.iter().map(|one| (one.account_number, one.detail.as_str())).collect();
    assert_eq!(shown, [(7, "record.quantity"), (8, "8")]);
}

/// P31: the first answer is in the log and is repeated, whatever the present reason is.
#[tokio::test(start_paused = true)]
async fn p31_a_retry_gets_the_detail_of_the_first_answer_also_from_the_next_owner() {
    let (db, mut node) = world().await;
    one(&mut node, octets(8, "r1", 5)).await;
    // The account is opened without a plan: the record is now suspended for another reason.
    let request = turnpike_proto::node::v1::NodeApplyRequest {
        partition: 1,
        commands: vec![support::open(8)],
    };
    node.client.apply(request).await.unwrap();
    let key = RecycleKey { account_number: 8, record_id: "r1".to_owned(), ..RecycleKey::default() };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    let outcomes = node.client.recycle(request).await.unwrap().into_inner().outcomes;
    assert_eq!((outcomes[0].reason.as_str(), outcomes[0].detail.as_str()), ("no-plan", ""));
    let expect = |result: RecordResult| {
        assert!(result.replayed);
        assert_eq!((result.reason.as_str(), result.detail.as_str()), ("unknown-account", "8"));
        assert_eq!((result.present.as_str(), result.present_detail.as_str()), ("no-plan", ""));
    };
    expect(one(&mut node, octets(8, "r1", 5)).await);
    assert_eq!(listed(&mut node).await[0].detail, "");
    node.node.shutdown().await;
    let mut next = start(config("b"), &db).await;
    expect(one(&mut next, octets(8, "r1", 5)).await);
}

/// After a recycling that failed, lists show the present detail, also after a restart.
#[tokio::test(start_paused = true)]
async fn a_record_that_was_recycled_in_vain_is_listed_with_its_present_detail() {
    let (db, mut node) = world().await;
    one(&mut node, without_quantity("r1")).await;
    let key = RecycleKey { account_number: 7, record_id: "r1".to_owned(), ..RecycleKey::default() };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    let outcomes = node.client.recycle(request).await.unwrap().into_inner().outcomes;
    assert_eq!(outcomes[0].detail, "record.quantity");
    let now = listed(&mut node).await;
    assert_eq!((now[0].revision, now[0].detail.as_str()), (1, "record.quantity"));
    node.node.shutdown().await;
    let mut next = start(config("b"), &db).await;
    // A retry, repeated until the node serves.
    one(&mut next, without_quantity("r1")).await;
    let then = listed(&mut next).await;
    assert_eq!((then[0].revision, then[0].detail.as_str()), (1, "record.quantity"));
}

/// A list is bounded: each page begins behind the last record of the page before.
#[tokio::test(start_paused = true)]
async fn suspended_records_are_listed_in_pages() {
    let (_db, mut node) = world().await;
    let ids: Vec<String> = (10..21).map(|n| format!("r{n}")).collect();
    for id in &ids {
        one(&mut node, without_quantity(id)).await;
    }
    let (mut pages, mut found, mut after) = (0, Vec::new(), None);
    loop {
        let filter = ListRequest { records_max: 4, after: after.take(), ..ListRequest::default() };
        let request = NodeSuspenseRequest { partition: 1, filter: Some(filter) };
        let page = node.client.list_suspense(request).await.unwrap().into_inner();
        pages += 1;
        let last = page.records.last().unwrap();
        after = Some(SuspensePosition {
            partition: 1,
            account_number: last.account_number,
            identity: String::new(),
            record_id: last.record_id.clone(),
        });
        found.extend(page.records.into_iter().map(|record| record.record_id));
        if !page.more {
            break;
        }
    }
    assert_eq!((pages, found), (3, ids));
}
