//! A front checks commands against the present catalogue, and refuses invalid ones before it
//! forwards anything.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
use crate::world;

use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, ApplyRequest, OpenAccount, Settings, Subscribe,
};
use turnpike_proto::plan::v1::PublishRequest;
use world::{World, config};

async fn world() -> World {
    let world = World::new(config(), 1).await;
    world.partition(1, 1, 1000).await;
    world.give(1, 0).await;
    world.routed().await;
    world
}

async fn publish(world: &World, id: &str) {
    let xml = format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2026-01-01" currency="USD">
  <parameter id="price" type="money" value="1.00"/>
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="unit" price="$price" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#
    );
    world.plans().publish(PublishRequest { xml, ..Default::default() }).await.unwrap();
}

fn open(account_number: u64, currency: &str) -> AccountCommand {
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: currency.to_owned(),
        ..Settings::default()
    };
    let open = OpenAccount { settings: Some(settings), ..OpenAccount::default() };
    AccountCommand { account_number, command: Some(Command::Open(open)), identities: Vec::new() }
}

fn subscribe(account_number: u64, plan: &str, parameters: &[(&str, &str)]) -> AccountCommand {
    let parameters =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let subscribe = Subscribe { plan_id: plan.to_owned(), parameters, ..Subscribe::default() };
    let command = Some(Command::Subscribe(subscribe));
    AccountCommand { account_number, command, identities: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_could_not_rate_is_refused_at_the_front() {
    let world = world().await;
    publish(&world, "mobile").await;
    let commands = vec![
        open(7, "USD"),
        subscribe(7, "moble", &[]),
        subscribe(7, "mobile", &[("prise", "2")]),
        subscribe(7, "mobile", &[("price", "cheap")]),
        subscribe(7, "mobile", &[("price", "2.00")]),
    ];
    let answer = world.accounts().apply(ApplyRequest { commands }).await.unwrap().into_inner();
    let results: Vec<_> = answer.results.iter().map(|one| (one.outcome(), &*one.message)).collect();
    let refused = AccountOutcome::Refused;
    assert_eq!((results[0].0, results[4].0), (AccountOutcome::Applied, AccountOutcome::Applied));
    for (at, said) in
        [(1, "did you mean \"mobile\"?"), (2, "did you mean \"price\"?"), (3, "cheap")]
    {
        assert_eq!(results[at].0, refused);
        assert!(results[at].1.contains(said), "{said:?} is not in {:?}", results[at].1);
    }
}

/// The catalogue is read for each request, so a plan that was just published is known.
#[tokio::test(start_paused = true)]
async fn a_plan_is_known_as_soon_as_it_is_published() {
    let world = world().await;
    let apply = async || {
        let commands = vec![subscribe(7, "later", &[])];
        let answer = world.accounts().apply(ApplyRequest { commands }).await.unwrap();
        answer.into_inner().results[0].outcome()
    };
    assert_eq!(apply().await, AccountOutcome::Refused);
    publish(&world, "later").await;
    assert_eq!(apply().await, AccountOutcome::Applied);
}

/// With this check an import can skip an invalid row before any of its commands is carried out.
#[tokio::test(start_paused = true)]
async fn a_check_reports_refusals_and_changes_nothing() {
    let world = world().await;
    publish(&world, "mobile").await;
    let commands = vec![
        open(7, "EUR"),
        subscribe(7, "mobile", &[]),
        open(8, "USD"),
        subscribe(8, "mobile", &[]),
        subscribe(5_000, "mobile", &[]),
    ];
    let answer = world.accounts().check(ApplyRequest { commands }).await.unwrap().into_inner();
    let is_fault: Vec<bool> = answer.faults.iter().map(|fault| !fault.is_empty()).collect();
    assert_eq!(is_fault, [false, true, false, false, true], "{:?}", answer.faults);
    assert!(answer.faults[1].contains("billed in EUR"), "{}", answer.faults[1]);
    assert!(answer.faults[4].contains("no partition covers"), "{}", answer.faults[4]);
    assert!(world.rated().is_empty());
}
