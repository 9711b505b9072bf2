//! What a front records in the audit log, and what it does not.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use prost::Message as _;
use tonic::Code;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, ApplyRequest, OpenAccount};
use turnpike_proto::audit::v1::{AuditOutcome, Entry};
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::cluster::v1::{DrainRequest, ForgetRequest, HandoverRequest};
use turnpike_proto::plan::v1::{PublishRequest, PublishTableRequest};
use turnpike_proto::suspense::v1::RecycleRequest;
use turnpike_store::{AuditSelection, AuditStore as _, NodeBeat, OwnershipStore as _};
use turnpike_types::{Incarnation, NodeName};

use crate::world::{Faults, World, batch, config, record};

async fn world() -> World {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    world
}

impl World {
    async fn audit_entries(&self) -> Vec<Entry> {
        let rows = self.db.read_audit(&AuditSelection::after(0)).await.unwrap();
        rows.iter().map(|row| Entry::decode(row.body.clone()).unwrap()).collect()
    }
}

fn open(account_number: u64) -> AccountCommand {
    let command = Some(Command::Open(OpenAccount::default()));
    AccountCommand { account_number, command, ..AccountCommand::default() }
}

/// A command that the front refuses costs the cluster nothing for good.
#[tokio::test(start_paused = true)]
async fn commands_that_the_front_refuses_have_no_entry() {
    let world = world().await;
    let empty = AccountCommand { account_number: 7, ..AccountCommand::default() };
    let request = ApplyRequest { commands: vec![empty.clone(); 10_000] };
    let done = world.accounts().apply(request).await.unwrap().into_inner();
    assert_eq!(done.results.len(), 10_000);
    assert!(done.results.iter().all(|result| result.outcome() == AccountOutcome::Refused));
    assert_eq!(world.audit_entries().await, []);

    let request = ApplyRequest { commands: vec![empty.clone(), open(7), empty, open(1_000)] };
    let done = world.accounts().apply(request).await.unwrap().into_inner();
    let outcomes: Vec<_> = done.results.iter().map(|result| result.outcome()).collect();
    let refused = AccountOutcome::Refused;
    assert_eq!(outcomes, [refused, AccountOutcome::Applied, refused, refused]);
    let [intent, outcome] = &world.audit_entries().await[..] else { panic!("two entries") };
    assert_eq!(intent.target, "account 7");
    for entry in [intent, outcome] {
        let accounts: Vec<u64> = entry.accounts.iter().map(|named| named.account).collect();
        assert_eq!(accounts, [7], "only what is carried out");
    }
    assert_eq!(outcome.outcome(), AuditOutcome::Applied);
    assert_eq!(outcome.accounts[0].what, "applied");
}

#[tokio::test(start_paused = true)]
async fn requests_of_operators_that_name_what_does_not_exist_have_no_entry() {
    let world = world().await;
    let mut cluster = ClusterServiceClient::new(world.channel.clone());
    for _ in 0..3 {
        let node = "nobody".to_owned();
        let drain = DrainRequest { node: node.clone(), drained: true };
        assert_eq!(cluster.drain(drain).await.unwrap_err().code(), Code::NotFound);
        let forget = ForgetRequest { node: node.clone() };
        assert_eq!(cluster.forget(forget).await.unwrap_err().code(), Code::FailedPrecondition);
        for (partition, code) in [(9, Code::NotFound), (1, Code::FailedPrecondition)] {
            let to = node.clone();
            let handover = HandoverRequest { partition, to, for_ms: 0 };
            assert_eq!(cluster.handover(handover).await.unwrap_err().code(), code);
        }
    }
    assert_eq!(world.audit_entries().await, []);
    // A node whose first heartbeat is newer than the front's last read is found.
    let late = NodeBeat {
        node: NodeName("late".to_owned()),
        incarnation: Incarnation(1),
        counter: 1,
        address: "late:1".to_owned(),
        draining: false,
        serving: Vec::new(),
        following: Vec::new(),
    };
    world.db.heartbeat(&late).await.unwrap();
    let drain = DrainRequest { node: "late".to_owned(), drained: true };
    cluster.drain(drain).await.unwrap();
    assert_eq!(world.audit_entries().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_publication_that_is_repeated_or_immutable_has_no_entry() {
    let world = world().await;
    let table = |price: &str| PublishTableRequest {
        text: format!(
            "# turnpike-table id=calls kind=dial-plan version=1 starts=2026-01-01\n\
             prefix,destination,price,per,setup\n1,US,{price},1 min,\n"
        ),
    };
    let first = world.plans().publish_table(table("0.02")).await;
    let first = first.unwrap().into_inner();
    assert!(!first.already);
    assert_eq!(world.audit_entries().await.len(), 2);
    assert!(world.plans().publish_table(table("0.02")).await.unwrap().into_inner().already);
    world.plans().publish_table(table("0.03")).await.unwrap_err();
    world.plans().publish(PublishRequest::default()).await.unwrap_err();
    assert_eq!(world.audit_entries().await.len(), 2);
}

/// A change is not cut in half, but a recycling of many records stops between two of its parts.
#[tokio::test(start_paused = true)]
async fn a_recycling_whose_client_disconnects_stops_and_is_recorded_with_its_counts() {
    let world = world().await;
    let waiting: Vec<_> =
        (0..20).map(|n| record(0, &format!("user:u{n}"), &format!("r{n}"))).collect();
    world.ingest().ingest_once(batch(1, &waiting)).await.unwrap();
    let suspense_after = Duration::from_millis(20);
    world.set_faults(Faults { suspense_after, ..Faults::default() });
    let mut suspense = world.suspense();
    let recycle = suspense.recycle(RecycleRequest::default());
    tokio::time::timeout(Duration::from_millis(70), recycle).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let [_, outcome] = &world.audit_entries().await[..] else { panic!("two entries") };
    assert_eq!(outcome.outcome(), AuditOutcome::Partial);
    assert!(outcome.detail.contains("the client has disconnected"), "{}", outcome.detail);
}
