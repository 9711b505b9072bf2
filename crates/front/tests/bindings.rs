//! The account that a record is rated for, through a front (P28): spellings of identities,
//! prefixes, moves and releases.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use tonic::transport::Server;
use turnpike_front::FrontServer;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, ApplyRequest, BindIdentity, IdentityBinding,
    ShowRequest, UnbindIdentity,
};
use turnpike_proto::ingest::v1::ingest_service_client::IngestServiceClient;
use turnpike_proto::ingest::v1::{BatchAck, RecordStatus};
use turnpike_proto::suspense::v1::{ListRequest, RecycleRequest};
use turnpike_store::{Binding, IdentityStore as _, PartitionSpec, TopologyStore as _};
use turnpike_types::{AccountNumber, AccountRange, PartitionId, Timestamp, UsageRecord, limits};
use world::{Ledger, NEVER_OPENED, World, batch, config, record};

/// Partitions of accounts 1 to 100 and 101 to 200, which accept records of any age.
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

async fn apply(world: &World, account: u64, command: Command) -> AccountResult {
    let command =
        AccountCommand { account_number: account, command: Some(command), ..Default::default() };
    let request = ApplyRequest { commands: vec![command] };
    world.accounts().apply(request).await.unwrap().into_inner().results.remove(0)
}

fn bind(identity: &str, from: Option<i64>, r#move: bool) -> Command {
    let identity = identity.to_owned();
    Command::Bind(BindIdentity { identity, from_us: from, until_us: None, r#move })
}

fn unbind(identity: &str, from_us: i64) -> Command {
    let identity = identity.to_owned();
    Command::Unbind(UnbindIdentity { identity, from_us, until_us: None })
}

async fn done(world: &World, account: u64, command: Command) -> AccountResult {
    let result = apply(world, account, command).await;
    assert_eq!(result.outcome(), AccountOutcome::Applied, "{}", result.message);
    result
}

fn at(start: i64, identity: &str, id: &str) -> UsageRecord {
    UsageRecord { start: Timestamp(start), ..record(0, identity, id) }
}

async fn send(world: &World, records: &[UsageRecord]) -> BatchAck {
    world.ingest().ingest_once(batch(1, records)).await.unwrap().into_inner()
}

/// The account under which a record was rated.
fn rated_by(world: &World, id: &str) -> Option<u64> {
    let rated = world.rated();
    let mut found = rated.iter().filter(|(_, ids)| ids.iter().any(|known| known == id));
    found.next().map(|(account, _)| *account)
}

#[tokio::test(start_paused = true)]
async fn any_spelling_of_an_address_finds_its_account() {
    let world = world().await;
    done(&world, 5, bind("ip:2001:DB8:0:0::77", None, false)).await;
    done(&world, 6, bind("ip:::ffff:198.51.100.8", None, false)).await;
    done(&world, 7, bind("ip:198.51.100.9/32", None, false)).await;
    done(&world, 8, bind("tel:+41 44 123 45 67", None, false)).await;
    let spellings = [
        (5, "ip:2001:db8::77"),
        (5, "ip:2001:0DB8:0000::0077"),
        (5, "ip:2001:db8:0:0:0:0:0.0.0.119"),
        (6, "ip:198.51.100.8"),
        (6, "ip:::FFFF:C633:6408"),
        (7, "ip:198.51.100.9"),
        (7, "ip:::ffff:198.51.100.9"),
        (8, "tel:+41441234567"),
        (8, "tel:+41-44-123.45.67"),
    ];
    let records: Vec<UsageRecord> =
        spellings.iter().map(|(_, spelling)| at(50, spelling, spelling)).collect();
    assert_eq!(send(&world, &records).await.accepted as usize, spellings.len());
    for (account, spelling) in spellings {
        assert_eq!(rated_by(&world, spelling), Some(account), "{spelling}");
    }
    // An identity has one account at a time: the refusal names the holder and its interval.
    let taken = apply(&world, 9, bind("ip:2001:db8:0::77", Some(60), false)).await;
    assert_eq!(taken.outcome(), AccountOutcome::Refused);
    assert!(taken.message.contains("account 5 holds ip:2001:db8::77 at all times"), "{taken:?}");
    assert!(taken.message.contains("--move"), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_identity_is_refused_on_arrival() {
    let world = world().await;
    for (identity, word) in [
        ("ip:not-an-address", "user:NAME"),
        ("ip:fe80::1%eth0", "%ZONE"),
        ("ip:198.51.100.9/29", "ip:198.51.100.8/29"),
        ("tel:anna", "digits"),
        ("alice", "user:NAME"),
    ] {
        let result = apply(&world, 5, bind(identity, None, false)).await;
        assert_eq!(result.outcome(), AccountOutcome::Refused, "{identity}");
        assert!(result.message.contains(word), "{identity}: {}", result.message);
        let bound = IdentityBinding { identity: identity.to_owned(), ..Default::default() };
        let command =
            AccountCommand { account_number: 5, identities: vec![bound], ..Default::default() };
        let request = ApplyRequest { commands: vec![command] };
        let result = world.accounts().apply(request).await.unwrap().into_inner().results.remove(0);
        assert_eq!(result.outcome(), AccountOutcome::Refused, "{identity}");
    }
    let bad = [at(50, "ip:not-an-address", "r0"), at(50, "ip:192.0.2.0/24", "r1")];
    let ack = send(&world, &bad).await;
    let reasons: Vec<&str> = ack.exceptions.iter().map(|found| found.reason.as_str()).collect();
    assert_eq!(reasons, ["bad-identity", "bad-identity"], "{ack:?}");
    // An identity that an older release bound, though it is now invalid, is still resolved.
    let old = Binding {
        identity: "ip:not-an-address".to_owned(),
        account: AccountNumber(5),
        from: Timestamp::MIN,
        until: Timestamp::MAX,
    };
    world.db.bind_identities(&[old]).await.unwrap();
    assert_eq!(send(&world, &bad[..1]).await.accepted, 1);
    assert_eq!(rated_by(&world, "r0"), Some(5));
}

#[tokio::test(start_paused = true)]
async fn p28_a_record_that_begins_with_a_move_goes_to_the_next_holder() {
    let world = world().await;
    done(&world, 5, bind("user:alice", Some(10), false)).await;
    let moved = done(&world, 105, bind("user:alice", Some(60), true)).await;
    assert!(moved.message.contains("account 5 no longer holds user:alice"), "{moved:?}");
    assert!(moved.message.contains("stay with their account"), "{moved:?}");
    let again = apply(&world, 105, bind("user:alice", Some(60), true)).await;
    assert_eq!(again.outcome(), AccountOutcome::Already);
    let records = [(9, "before"), (10, "first"), (59, "last"), (60, "next")]
        .map(|(start, id)| at(start, "user:alice", id));
    let ack = send(&world, &records).await;
    assert_eq!((ack.accepted, ack.exceptions[0].reason.as_str()), (3, "unbound-identity"));
    let holders = ["before", "first", "last", "next"].map(|id| rated_by(&world, id));
    assert_eq!(holders, [None, Some(5), Some(5), Some(105)]);
}

/// Tests the front that carried out the command, and another front.
#[tokio::test(start_paused = true)]
async fn p28_after_the_answer_no_front_uses_an_older_history() {
    let world = world().await;
    let other = FrontServer::start(config(), world.db.clone(), world.network.dial()).unwrap();
    let server = Server::builder().add_service(other.ingest());
    tokio::spawn(server.serve_with_incoming(world.network.listen("other-front:1")));
    let mut other = IngestServiceClient::new(world.network.channel("other-front:1").unwrap());
    let mut number = 0;
    let mut guided = async |identity: &str| {
        let mut found = Vec::new();
        for _ in 0..2 {
            number += 1;
            let id = format!("r{number}");
            let frame = batch(number, &[at(50, identity, &id)]);
            let ack = if number % 2 == 0 {
                other.ingest_once(frame).await.unwrap().into_inner()
            } else {
                world.ingest().ingest_once(frame).await.unwrap().into_inner()
            };
            assert_eq!(ack.accepted as usize + ack.exceptions.len(), 1, "{ack:?}");
            found.push(rated_by(&world, &id));
        }
        found
    };
    let both = |account| [account, account];
    done(&world, 5, bind("ip:198.51.100.0/24", None, false)).await;
    assert_eq!(guided("ip:198.51.100.9").await, both(Some(5)));
    done(&world, 6, bind("ip:198.51.100.8/29", Some(40), false)).await;
    assert_eq!(guided("ip:198.51.100.9").await, both(Some(6)), "a longer prefix");
    done(&world, 7, bind("ip:198.51.100.9", Some(40), false)).await;
    assert_eq!(guided("ip:198.51.100.9").await, both(Some(7)), "the address itself");
    done(&world, 8, bind("ip:198.51.100.9", Some(45), true)).await;
    assert_eq!(guided("ip:198.51.100.9").await, both(Some(8)), "moved");
    done(&world, 8, unbind("ip:::ffff:198.51.100.9", 50)).await;
    assert_eq!(guided("ip:198.51.100.9").await, both(Some(6)), "released: the prefix holds it");
    done(&world, 6, unbind("ip:198.51.100.8/29", 50)).await;
    done(&world, 5, unbind("ip:198.51.100.0/24", 50)).await;
    assert_eq!(guided("ip:198.51.100.9").await, both(None), "released everywhere");
    assert_eq!(guided("ip:198.51.101.9").await, both(None), "never bound");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_never_opened_gets_no_identity() {
    let world = world().await;
    for command in [bind("user:x", None, false), unbind("user:x", 5)] {
        let result = apply(&world, NEVER_OPENED, command).await;
        assert_eq!(result.outcome(), AccountOutcome::Refused);
        assert!(result.message.contains("is not open"), "{}", result.message);
    }
    let bound = world.db.guide(&["user:x".to_owned()]).await.unwrap();
    assert!(bound[0].bindings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_names_the_holder_of_the_identity_and_the_limit_of_final_bindings() {
    let world = world().await;
    done(&world, 5, bind("user:x", Some(10), false)).await;
    let not_held = apply(&world, 6, unbind("user:x", 50)).await;
    assert!(not_held.message.contains("account 5 holds user:x from 1970-01-01T"), "{not_held:?}");
    let nobody = apply(&world, 6, unbind("user:y", 50)).await;
    assert!(nobody.message.contains("no other account"), "{nobody:?}");
    // Records are accepted from time 0 on: bindings before it are final.
    done(&world, 5, bind("user:z", None, false)).await;
    for command in [unbind("user:z", -1), bind("user:z", Some(-1), true)] {
        let account = if matches!(command, Command::Bind(_)) { 6 } else { 5 };
        let early = apply(&world, account, command).await;
        assert_eq!(early.outcome(), AccountOutcome::Refused);
        let said = early.message.contains("are final") && early.message.contains("horizon");
        assert!(said, "{early:?}");
    }
    let both = AccountCommand {
        account_number: 5,
        command: Some(unbind("user:x", 50)),
        identities: vec![IdentityBinding { identity: "user:n".to_owned(), ..Default::default() }],
    };
    let request = ApplyRequest { commands: vec![both] };
    let both = world.accounts().apply(request).await.unwrap().into_inner().results.remove(0);
    assert!(both.message.contains("leave identities empty"), "{both:?}");
    for (from, until) in [(5, 5), (6, 5)] {
        let identity = "user:x".to_owned();
        let empty = UnbindIdentity { identity, from_us: from, until_us: Some(until) };
        let result = apply(&world, 5, Command::Unbind(empty)).await;
        assert!(result.message.contains("not after"), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_with_the_maximum_number_of_bindings_is_released_but_not_bound() {
    let world = world().await;
    let binding = |at: i64| Binding {
        identity: "user:x".to_owned(),
        account: AccountNumber(5),
        from: Timestamp(3 * at),
        until: Timestamp(3 * at + 2),
    };
    let most = i64::try_from(limits::IDENTITY_BINDINGS_MAX).unwrap();
    let all: Vec<Binding> = (0..most).map(binding).collect();
    world.db.bind_identities(&all).await.unwrap();
    for command in [bind("user:x", Some(3 * most), false), bind("user:x", Some(5), true)] {
        let full = apply(&world, 6, command).await;
        assert_eq!(full.outcome(), AccountOutcome::Refused);
        let said = "user:x is not bound: it has 10000 bindings";
        assert!(full.message.starts_with(said), "{full:?}");
    }
    let identities = vec![IdentityBinding {
        identity: "user:x".to_owned(),
        from_us: 3 * most,
        ..Default::default()
    }];
    let command = Some(Command::Open(Default::default()));
    let opened = AccountCommand { account_number: 7, command, identities };
    let request = ApplyRequest { commands: vec![opened] };
    let full = world.accounts().apply(request).await.unwrap().into_inner().results.remove(0);
    let said = "the account is changed, but user:x is not bound: it has 10000 bindings";
    assert!(full.message.starts_with(said), "{full:?}");
    done(&world, 5, unbind("user:x", 4)).await;
    let bound = world.db.guide(&["user:x".to_owned()]).await.unwrap();
    assert_eq!(bound[0].bindings.len(), 2);
}

/// Account 5 holds the identity in [10, 20) and from 30 on, account 6 in [20, 30).
#[tokio::test(start_paused = true)]
async fn a_refused_bind_names_the_other_holder_and_an_account_extends_its_own_interval() {
    let world = world().await;
    let until = |from: i64, until: i64| {
        let (identity, until_us) = ("user:x".to_owned(), Some(until));
        Command::Bind(BindIdentity { identity, from_us: Some(from), until_us, r#move: false })
    };
    done(&world, 5, until(10, 20)).await;
    done(&world, 6, until(20, 30)).await;
    done(&world, 5, bind("user:x", Some(30), false)).await;
    let always = IdentityBinding { identity: "user:x".to_owned(), ..Default::default() };
    let with_a_command = AccountCommand {
        account_number: 5,
        command: Some(Command::Open(Default::default())),
        identities: vec![IdentityBinding { from_us: 10, ..always }],
    };
    let request = ApplyRequest { commands: vec![with_a_command] };
    let opened = world.accounts().apply(request).await.unwrap().into_inner().results.remove(0);
    for taken in [apply(&world, 5, bind("user:x", Some(10), false)).await, opened] {
        assert_eq!(taken.outcome(), AccountOutcome::Refused);
        assert!(taken.message.contains("account 6 holds user:x"), "{taken:?}");
        assert!(!taken.message.contains("account 5 holds"), "{taken:?}");
    }
    // The part of the requested interval that no account holds is added to the account's own
    // interval.
    done(&world, 5, until(5, 20)).await;
    let held = world.db.guide(&["user:x".to_owned()]).await.unwrap().remove(0).bindings;
    let held = held.iter().map(|row| (row.account.0, row.from.0, row.until.0));
    let expected = [(5, 5, 10), (5, 10, 20), (6, 20, 30), (5, 30, i64::MAX)];
    assert_eq!(held.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_suspended_under_the_canonical_spelling_of_its_identity() {
    let world = world().await;
    let first = at(50, "ip:2001:DB8:0::77", "r0");
    let again = UsageRecord { identity: "ip:2001:db8::77".to_owned(), ..first.clone() };
    for record in [first, again] {
        let ack = send(&world, &[record]).await;
        assert_eq!(ack.exceptions[0].reason, "unbound-identity");
    }
    let waiting = |world: &World| -> Vec<String> {
        let ledgers = world.shared.ledgers.lock().unwrap();
        let all = ledgers.values().flat_map(|ledger| ledger.suspended.clone());
        all.map(|record| record.identity).collect()
    };
    assert_eq!(waiting(&world), ["ip:2001:db8::77"], "sent twice, it waits once");
    done(&world, 5, bind("ip:2001:db8:0:0::/64", Some(0), false)).await;
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (1, 0, 0), "{tally:?}");
    assert_eq!((rated_by(&world, "r0"), waiting(&world).len()), (Some(5), 0));
}

#[tokio::test(start_paused = true)]
async fn an_account_is_shown_with_its_bindings() {
    let world = world().await;
    done(&world, 5, bind("ip:198.51.100.8/29", None, false)).await;
    done(&world, 5, bind("user:x", Some(10), false)).await;
    done(&world, 6, bind("user:x", Some(60), true)).await;
    let request = ShowRequest { account_number: 5 };
    let shown = world.accounts().show(request).await.unwrap().into_inner();
    let binding = |identity: &str, from_us, until_us| IdentityBinding {
        identity: identity.to_owned(),
        from_us,
        until_us,
    };
    let expected = [binding("ip:198.51.100.8/29", i64::MIN, None), binding("user:x", 10, Some(60))];
    assert_eq!(shown.bindings, expected);
    assert!(!shown.more_bindings);
}

/// The accounts under which a record was rated.
fn payers(world: &World, id: &str) -> Vec<u64> {
    let rated = world.rated();
    let paid = rated.iter().filter(|(_, ids)| ids.iter().any(|known| known == id));
    paid.map(|(account, _)| *account).collect()
}

/// The record is sent again after each kind of change that takes the identity from its account.
#[tokio::test(start_paused = true)]
async fn p28_i2_a_record_that_was_rated_is_a_duplicate_after_its_identity_changed_hands() {
    let prefix = "ip:198.51.100.0/24";
    type Change = (u64, Command);
    let cases: [(&str, Command, Vec<Change>); 5] = [
        ("user:a", bind("user:a", Some(0), false), vec![(105, bind("user:a", Some(40), true))]),
        ("user:a", bind("user:a", Some(0), false), vec![(5, unbind("user:a", 40))]),
        (
            "user:a",
            bind("user:a", Some(0), false),
            vec![(5, unbind("user:a", 40)), (106, bind("user:a", Some(40), false))],
        ),
        (
            "user:a",
            bind("user:a", Some(0), false),
            vec![(105, bind("user:a", Some(40), true)), (5, bind("user:a", Some(45), true))],
        ),
        (
            "ip:198.51.100.9",
            bind(prefix, Some(0), false),
            vec![(105, bind("ip:198.51.100.9", Some(40), false))],
        ),
    ];
    for (identity, first, changes) in cases {
        let world = world().await;
        done(&world, 5, first).await;
        let record = [at(50, identity, "r0")];
        assert_eq!(send(&world, &record).await.accepted, 1);
        for (account, change) in &changes {
            done(&world, *account, change.clone()).await;
            let ack = send(&world, &record).await;
            let told = (ack.accepted, ack.duplicates.as_slice(), ack.exceptions.len());
            assert_eq!(told, (0, [0].as_slice(), 0), "{changes:?}: {ack:?}");
        }
        assert_eq!(payers(&world, "r0"), [5], "{changes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p28_a_new_record_is_rated_for_the_holder_now_and_its_retry_is_a_duplicate() {
    let world = world().await;
    done(&world, 5, bind("user:a", Some(0), false)).await;
    done(&world, 105, bind("user:a", Some(40), true)).await;
    let records = [at(39, "user:a", "r0"), at(50, "user:a", "r1"), at(51, "user:a", "r2")];
    let ack = send(&world, &records).await;
    assert_eq!((ack.accepted, ack.exceptions.len()), (3, 0), "{ack:?}");
    let ack = send(&world, &records).await;
    assert_eq!((ack.accepted, ack.duplicates), (0, vec![0, 1, 2]));
    let paid = ["r0", "r1", "r2"].map(|id| payers(&world, id));
    assert_eq!(paid, [vec![5], vec![105], vec![105]]);
    // The decision stays when the identity moves to a third account, and back to the first holder.
    done(&world, 106, bind("user:a", Some(40), true)).await;
    done(&world, 5, bind("user:a", Some(40), true)).await;
    let ack = send(&world, &records).await;
    assert_eq!((ack.accepted, ack.duplicates), (0, vec![0, 1, 2]));
    assert_eq!(payers(&world, "r1"), [105]);
    // A new record is rated for the first holder: that account holds the identity again.
    assert_eq!(send(&world, &[at(52, "user:a", "r3")]).await.accepted, 1);
    assert_eq!(payers(&world, "r3"), [5]);
}

/// The front fails after the record was rated for account 105, and before the first holder's
/// partition removed it from suspense. Then the identity moves to a third account.
#[tokio::test(start_paused = true)]
async fn p28_i2_a_reassignment_that_stopped_half_way_is_finished_as_decided() {
    let world = world().await;
    done(&world, 5, bind("user:a", Some(0), false)).await;
    done(&world, 105, bind("user:a", Some(40), true)).await;
    world.set_faults(world::Faults { fails_to_recycle: true, ..world::Faults::default() });
    let record = [at(50, "user:a", "r0")];
    assert_eq!(send(&world, &record).await.accepted, 1);
    world.set_faults(world::Faults::default());
    let waiting = |world: &World| -> usize {
        world.shared.ledgers.lock().unwrap().values().map(|ledger| ledger.suspended.len()).sum()
    };
    assert_eq!((payers(&world, "r0"), waiting(&world)), (vec![105], 1));
    done(&world, 7, bind("user:a", Some(40), true)).await;
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (1, 0, 0), "{tally:?}");
    assert_eq!((payers(&world, "r0"), waiting(&world)), (vec![105], 0));
    assert_eq!(send(&world, &record).await.duplicates, [0]);
}

/// The identity moved to an account that does not take the record: the list of the first holder's
/// partition names the account and its reason.
#[tokio::test(start_paused = true)]
async fn p28_the_refusal_of_the_account_that_a_record_was_reassigned_to_is_listed() {
    let world = world().await;
    done(&world, 5, bind("user:a", Some(0), false)).await;
    done(&world, 105, bind("user:a", Some(40), true)).await;
    world.set_faults(world::Faults { too_old: Some("r0"), ..world::Faults::default() });
    let ack = send(&world, &[at(50, "user:a", "r0"), at(51, "user:a", "r1")]).await;
    assert_eq!((ack.accepted, ack.exceptions.len()), (1, 1), "{ack:?}");
    let told = &ack.exceptions[0];
    assert_eq!(told.status(), RecordStatus::Suspended);
    assert_eq!(told.detail, "account 105 refuses it: too-old");
    let listed = async || {
        let request = ListRequest::default();
        let mut records = world.suspense().list(request).await.unwrap().into_inner();
        let mut listed = Vec::new();
        while let Some(record) = records.message().await.unwrap() {
            listed.push((record.account_number, record.record_id, record.detail));
        }
        listed
    };
    let refused = (5, "r0".to_owned(), "105 refuses it: too-old".to_owned());
    assert_eq!(listed().await, std::slice::from_ref(&refused));
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended), (0, 1), "{tally:?}");
    assert_eq!(listed().await, [refused], "it is refused again");
    world.set_faults(world::Faults::default());
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended), (1, 0), "{tally:?}");
    assert_eq!((listed().await, payers(&world, "r0")), (Vec::new(), vec![105]));
}

/// A recycling stopped after the record was rated for the account that held its identity, and
/// before the home partition removed the record from suspense. Then the identity moves to another
/// account.
#[tokio::test(start_paused = true)]
async fn p28_i2_a_recycled_record_is_not_rated_again_after_its_identity_moved() {
    let world = world().await;
    let record = [at(50, "user:a", "r0")];
    assert_eq!(send(&world, &record).await.exceptions[0].reason, "unbound-identity");
    done(&world, 5, bind("user:a", Some(0), false)).await;
    world.set_faults(world::Faults { fails_to_recycle: true, ..world::Faults::default() });
    world.suspense().recycle(RecycleRequest::default()).await.unwrap();
    world.set_faults(world::Faults::default());
    assert_eq!(payers(&world, "r0"), [5]);
    done(&world, 105, bind("user:a", Some(40), true)).await;
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended, tally.retry), (1, 0, 0), "{tally:?}");
    assert_eq!(payers(&world, "r0"), [5]);
    let again = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!(again.rated, 0, "it left its home partition");
}

#[tokio::test(start_paused = true)]
async fn p28_a_record_of_a_released_identity_waits_and_is_rated_for_the_next_holder() {
    let world = world().await;
    done(&world, 5, bind("user:a", Some(0), false)).await;
    done(&world, 5, unbind("user:a", 40)).await;
    let record = [at(50, "user:a", "r0")];
    let ack = send(&world, &record).await;
    assert_eq!(ack.exceptions[0].reason, "unbound-identity", "{ack:?}");
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended), (0, 1), "{tally:?}");
    done(&world, 105, bind("user:a", Some(40), false)).await;
    let tally = world.suspense().recycle(RecycleRequest::default()).await.unwrap().into_inner();
    assert_eq!((tally.rated, tally.still_suspended), (1, 0), "{tally:?}");
    assert_eq!(payers(&world, "r0"), [105]);
    assert_eq!(send(&world, &record).await.duplicates, [0]);
}

/// A look-up returns a first holder only for records that may have arrived before the move.
#[tokio::test(start_paused = true)]
async fn p28_a_record_that_starts_long_after_a_move_goes_straight_to_its_account() {
    let world = world().await;
    done(&world, 5, bind("user:a", Some(0), false)).await;
    done(&world, 105, bind("user:a", Some(40), true)).await;
    let years = 50 * 366 * 86_400 * 1_000_000;
    let later = world.db.observe().await.unwrap().now.saturating_add(years);
    let record = UsageRecord { start: later, ..at(50, "user:a", "r0") };
    assert_eq!(send(&world, &[record]).await.accepted, 1);
    assert_eq!(payers(&world, "r0"), [105]);
    let ledgers = world.shared.ledgers.lock().unwrap();
    assert!(ledgers.values().all(|ledger| ledger.reassigned.is_empty()), "no decision was asked");
}

/// On PostgreSQL, such an identity made the look-up fail, and the whole batch was answered RETRY for
/// ever. The conformance suite of the store looks it up there.
#[tokio::test(start_paused = true)]
async fn a_record_of_an_identity_with_a_nul_is_rejected_and_the_batch_goes_on() {
    let world = world().await;
    done(&world, 5, bind("user:a", None, false)).await;
    let records = [at(50, "user:a", "good"), at(50, "user:a\0b", "bad"), at(50, "user:a", "too")];
    let ack = send(&world, &records).await;
    assert_eq!(ack.accepted, 2, "{ack:?}");
    assert_eq!((ack.exceptions[0].index, ack.exceptions[0].reason.as_str()), (1, "bad-identity"));
    let result = apply(&world, 5, bind("user:a\0b", None, false)).await;
    assert_eq!(result.outcome(), AccountOutcome::Refused, "{}", result.message);
}
