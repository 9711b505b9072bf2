//! A list of suspended records is complete, in however many turns the owner makes it.

use crate::support;

use support::{OCTETS, Running, config, create_partition, database, octets, publish, start};
use turnpike_proto::node::v1::NodeSuspenseRequest;
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord};
use turnpike_types::UsageRecord;

/// More than an owner looks at in two turns.
const MANY: usize = 20_050;
/// An account that was not opened. Its suspended records come behind those without an account.
const UNOPENED: u64 = 900;

/// A node with many suspended records of an unbound identity, and one of an account.
async fn with_many_suspended() -> Running {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(7).await;
    let unbound = |number| UsageRecord {
        identity: "user:a".to_owned(),
        ..octets(0, &format!("r{number:05}"), 1)
    };
    let mut records: Vec<UsageRecord> = (0..MANY).map(unbound).collect();
    records.push(octets(UNOPENED, "last", 1));
    for records in records.chunks(1_000) {
        assert_eq!(node.send(records).await.exceptions.len(), records.len());
    }
    node
}

async fn list(node: &Running, filter: ListRequest) -> (Vec<SuspendedRecord>, bool) {
    let request = NodeSuspenseRequest { partition: 1, filter: Some(filter) };
    let listed = node.client.clone().list_suspense(request).await.unwrap().into_inner();
    (listed.records, listed.more)
}

fn of_reason(reason: &str) -> ListRequest {
    ListRequest { reason: reason.to_owned(), ..ListRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn a_record_behind_many_that_do_not_match_is_listed() {
    let node = with_many_suspended().await;
    let (found, more) = list(&node, of_reason("unknown-account")).await;
    assert_eq!((found.len(), more), (1, false));
    assert_eq!(found[0].record_id, "last");
    let (none, more) = list(&node, of_reason("no-rate")).await;
    assert_eq!((none.len(), more), (0, false));
    let of_account = ListRequest { account_number: UNOPENED, ..ListRequest::default() };
    assert_eq!(list(&node, of_account.clone()).await.0, found);
    // Page after page, each record comes once.
    let (mut ids, mut after, mut more) = (Vec::new(), None, true);
    while more {
        let (page, goes_on) = list(&node, ListRequest { after, ..ListRequest::default() }).await;
        after = page.last().map(|last| turnpike_proto::suspense::v1::SuspensePosition {
            partition: 1,
            account_number: last.account_number,
            identity: if last.account_number == 0 { last.identity.clone() } else { String::new() },
            record_id: last.record_id.clone(),
        });
        ids.extend(page.into_iter().map(|record| record.record_id));
        more = goes_on;
    }
    let all = (0..MANY).map(|number| format!("r{number:05}")).chain(["last".to_owned()]);
    assert_eq!(ids, all.collect::<Vec<_>>());
}
