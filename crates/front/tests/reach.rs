//! What a sender was granted limits which records a front takes from it, also when the account of a
//! record is looked up.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request};
use turnpike_access::tokens::form::{Claims, SigningKey, key_id, new_id};
use turnpike_access::{Access, AccessConfig, GuardLayer, Guarded};
use turnpike_front::{FrontConfig, FrontServer};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{ApplyRequest, ResolveRequest, ShowRequest};
use turnpike_proto::frame::BatchFrame;
use turnpike_proto::ingest::v1::BatchAck;
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_proto::suspense::v1::{ListRequest, RecycleRequest};
use turnpike_store::memory::{MemoryDatabase, system_clock};
use turnpike_store::{
    AccessChange, AccessForget, AccessGrant, AccessKey, AccessStore as _, AccessToken, AccessWrite,
    Binding, IdentityStore as _, PartitionSpec, TopologyStore as _,
};
use turnpike_types::{AccountNumber, AccountRange, PartitionId, Timestamp, UsageRecord};

use crate::world::{Ledger, World, batch, config, record};

const HOUR_US: i64 = 3_600_000_000;

async fn world() -> World {
    let world = World::new(config(), 1).await;
    for (id, first) in [(1, 1), (2, 101)] {
        let spec = PartitionSpec {
            id: PartitionId(id),
            range: AccountRange::new(first, first + 99).unwrap(),
            horizon_us: 1,
            accept_since: Some(Timestamp(0)),
            members: Vec::new(),
        };
        world.db.create_partitions(&[spec]).await.unwrap();
        world.shared.ledgers.lock().unwrap().insert(id, Ledger::default());
        world.give(id, 0).await;
    }
    world.routed().await;
    world
}

/// Changes the tables of access control as an administrator would.
async fn change(db: &MemoryDatabase, change: AccessChange) {
    let at = db.access(None).await.unwrap().version;
    let write = AccessWrite { at, stamp: [7; 16], change, forget: AccessForget::default() };
    db.change_access(&write).await.unwrap().unwrap();
}

/// A second front of the world, behind a guard.
struct GuardedFront {
    access: Access,
    channel: Channel,
    token: String,
    _front: FrontServer,
}

impl GuardedFront {
    /// A front whose client may send records of the accounts 1 to 100.
    async fn start(world: &World) -> Self {
        let now = system_clock()();
        let (key, _) = SigningKey::generate().unwrap();
        let public_key = key.public_key().unwrap();
        let claims = Claims {
            key: key_id(&public_key),
            id: new_id().unwrap(),
            not_before: now,
            expires: now.saturating_add(HOUR_US),
            audience: "c".to_owned(),
            subject: "radius".to_owned(),
        };
        let by = "test".to_owned();
        let key_row = AccessKey {
            id: claims.key,
            public_key,
            added_by: by.clone(),
            added_at: now,
            retired_at: None,
        };
        change(&world.db, AccessChange::AddKey(key_row)).await;
        let token_row = AccessToken {
            id: claims.id_text(),
            key: claims.key,
            subject: claims.subject.clone(),
            not_before: claims.not_before,
            expires: claims.expires,
            issued_by: by.clone(),
            issued_at: now,
            revoked_at: None,
        };
        change(&world.db, AccessChange::AddToken(token_row)).await;
        let grant = AccessGrant {
            id: 0,
            principal: "token:radius".to_owned(),
            role: "collector".to_owned(),
            accounts: Some(AccountRange::new(1, 100).unwrap()),
            sources: Vec::new(),
            consumer: None,
            until: None,
            granted_by: by,
            granted_at: now,
        };
        change(&world.db, AccessChange::Grant(grant)).await;
        let settings =
            AccessConfig { cluster: "c".to_owned(), is_tls: false, is_open_to_other_hosts: false };
        let access = Access::of_front(settings, world.db.clone(), system_clock());
        access.refresh().await.unwrap();
        let guarded = FrontConfig { guarded: Guarded::Yes, ..config() };
        let front = FrontServer::start(guarded, world.db.clone(), world.network.dial()).unwrap();
        let server = Server::builder()
            .layer(GuardLayer::new(access.clone()))
            .add_service(front.ingest())
            .add_service(front.accounts());
        tokio::spawn(server.serve_with_incoming(world.network.listen("guarded:1")));
        front.ready().await;
        let channel = world.network.channel("guarded:1").unwrap();
        let token = key.sign(&claims).unwrap();
        Self { access, channel, token, _front: front }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = MetadataValue::try_from(format!("Bearer {}", self.token)).unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    async fn send(&self, records: &[UsageRecord]) -> BatchAck {
        let mut ingest = IngestServiceClient::new(self.channel.clone());
        let request = self.request(batch(1, records));
        ingest.ingest_once(request).await.unwrap().into_inner()
    }
}

/// The ids of the records that were refused as not permitted.
fn refused(ack: &BatchAck, records: &[UsageRecord]) -> Vec<String> {
    let refused = ack.exceptions.iter().filter(|result| result.reason == "not-permitted");
    let mut ids: Vec<String> =
        refused.map(|result| records[result.index as usize].record_id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn records_outside_of_the_range_are_rejected_and_the_others_are_rated() {
    let world = world().await;
    let front = GuardedFront::start(&world).await;
    let bindings = [("user:in", 7), ("user:out", 107)].map(|(identity, account)| Binding {
        identity: identity.to_owned(),
        account: AccountNumber(account),
        from: Timestamp(0),
        until: Timestamp::MAX,
    });
    world.db.bind_identities(&bindings).await.unwrap();
    let records = [
        record(1, "", "first"),
        record(100, "", "last"),
        record(101, "", "outside"),
        record(0, "user:in", "bound-inside"),
        record(0, "user:out", "bound-outside"),
        record(0, "user:nobody", "unbound"),
    ];
    let ack = front.send(&records).await;
    assert_eq!(refused(&ack, &records), ["bound-outside", "outside", "unbound"]);
    assert_eq!((ack.accepted, ack.exceptions.len()), (3, 3), "{ack:?}");
    let mut rated: Vec<String> = world.rated().into_values().flatten().collect();
    rated.sort();
    assert_eq!(rated, ["bound-inside", "first", "last"]);
}

/// A record whose identity changed hands may be rated for the former or for the new account.
#[tokio::test(start_paused = true)]
async fn a_record_whose_identity_changed_hands_needs_both_accounts() {
    use turnpike_proto::account::v1::account_command::Command;
    use turnpike_proto::account::v1::{AccountCommand, BindIdentity};
    let world = world().await;
    let front = GuardedFront::start(&world).await;
    let bind = async |account_number, identity: &str, r#move| {
        let bind = BindIdentity {
            identity: identity.to_owned(),
            from_us: Some(0),
            until_us: None,
            r#move,
        };
        let command = Some(Command::Bind(bind));
        let command = AccountCommand { account_number, command, ..Default::default() };
        let request = ApplyRequest { commands: vec![command] };
        let done = world.accounts().apply(request).await.unwrap().into_inner();
        assert!(done.results[0].message.is_empty() || done.results[0].outcome == 1, "{done:?}");
    };
    for (identity, first, then) in
        [("user:stays", 7, 8), ("user:leaves", 9, 109), ("user:comes", 110, 10)]
    {
        bind(first, identity, false).await;
        bind(then, identity, true).await;
    }
    let records = [
        record(0, "user:stays", "stays"),
        record(0, "user:leaves", "leaves"),
        record(0, "user:comes", "comes"),
    ];
    let ack = front.send(&records).await;
    assert_eq!(refused(&ack, &records), ["comes", "leaves"], "{ack:?}");
    assert_eq!(ack.exceptions.len(), 2, "{ack:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_once_the_role_of_its_sender_is_revoked() {
    let world = world().await;
    let front = GuardedFront::start(&world).await;
    let (batches, stream) = tokio::sync::mpsc::channel::<BatchFrame>(4);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut ingest = IngestServiceClient::new(front.channel.clone());
    let mut answers = ingest.ingest(front.request(stream)).await.unwrap().into_inner();
    batches.send(batch(1, &[record(1, "", "one")])).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().accepted, 1);
    let grants = world.db.access(None).await.unwrap().tables.unwrap().grants;
    change(&world.db, AccessChange::Revoke(vec![grants[0].id])).await;
    front.access.refresh().await.unwrap();
    batches.send(batch(2, &[record(1, "", "two")])).await.unwrap();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(world.rated().into_values().flatten().collect::<Vec<_>>(), ["one"]);
}

/// A front that was wired without its guard serves nothing.
#[tokio::test(start_paused = true)]
async fn without_a_guard_a_front_refuses_every_request_that_has_a_range() {
    let world = World::new(FrontConfig { guarded: Guarded::Yes, ..config() }, 1).await;
    let mut accounts = AccountServiceClient::new(world.channel.clone());
    let mut suspense = SuspenseServiceClient::new(world.channel.clone());
    let codes = [
        world.ingest().ingest_once(batch(1, &[])).await.map(drop),
        world.ingest().ingest(tokio_stream::iter([batch(1, &[])])).await.map(drop),
        accounts.apply(ApplyRequest::default()).await.map(drop),
        accounts.check(ApplyRequest::default()).await.map(drop),
        accounts.show(ShowRequest::default()).await.map(drop),
        accounts.resolve(ResolveRequest::default()).await.map(drop),
        suspense.list(ListRequest::default()).await.map(drop),
        suspense.recycle(RecycleRequest::default()).await.map(drop),
    ];
    for (at, code) in codes.into_iter().enumerate() {
        assert_eq!(code.unwrap_err().code(), Code::Internal, "{at}");
    }
}
