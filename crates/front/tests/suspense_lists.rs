//! Lists of suspense that their clients don't read have a bound in number and in memory.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::Server;
use turnpike_front::FrontServer;
use turnpike_listen::{Budget, MemoryPart};
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord};

use crate::world::{World, config};

const RECORDS: usize = 1_000;

#[tokio::test(start_paused = true)]
async fn lists_that_are_not_read_have_a_bound_in_number_and_in_memory() {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 100).await;
    world.give(1, 0).await;
    world.routed().await;
    let suspended = (0..RECORDS).map(|number| SuspendedRecord {
        partition: 1,
        account_number: 1,
        record_id: format!("{number:04}"),
        record: vec![7; 16_000].into(),
        ..SuspendedRecord::default()
    });
    world.shared.ledgers.lock().unwrap().get_mut(&1).unwrap().suspended.extend(suspended);
    let budget = Budget::new(96 << 20);
    let front = FrontServer::start(config(), world.db.clone(), world.network.dial()).unwrap();
    let front = front.with_budget(budget.clone());
    let server = Server::builder().add_service(front.suspense());
    tokio::spawn(server.serve_with_incoming(world.network.listen("lists:1")));
    front.ready().await;
    let client = SuspenseServiceClient::new(world.network.channel("lists:1").unwrap());
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(client.clone().list(ListRequest::default()).await.unwrap().into_inner());
    }
    let refused = client.clone().list(ListRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (used, max) = (budget.used(MemoryPart::Answers), budget.max(MemoryPart::Answers));
    assert!(used > 0 && used <= max / 2, "{used} of {max} bytes");
    // A list that is read is whole, once others ended.
    unread.truncate(1);
    let listed: Vec<_> = unread.remove(0).map(Result::unwrap).collect().await;
    assert_eq!(listed.len(), RECORDS);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(budget.used(MemoryPart::Answers), 0);
    client.clone().list(ListRequest::default()).await.unwrap();
}
