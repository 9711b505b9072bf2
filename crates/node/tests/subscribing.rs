//! A subscription that could not rate is refused before it commits, and is not logged.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
use crate::support;

use std::sync::Arc;

use support::{
    HEARTBEAT, OCTETS, Running, config, create_partition, database, octets, publish, start,
};
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, Offer, ShowResponse, Subscribe,
};
use turnpike_proto::node::v1::{NodeApplyRequest, NodeShowRequest, Verdict};
use turnpike_store::SharedDatabase;

const PRICED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="priced" version="1" starts="2024-01-01" currency="USD">
  <parameter id="price" type="money" value="1.00"/>
  <graph>
    <StepRater id="rate" in="record.quantity"><step id="unit" price="$price" per="1"/></StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#;

async fn world() -> (Arc<dyn SharedDatabase>, Running) {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    publish(db.as_ref(), PRICED).await;
    let mut node = start(config("a"), &db).await;
    decided(&mut node, support::open(7)).await;
    (db, node)
}

/// The outcome of a command, which is sent again until it is decided.
async fn decided(node: &mut Running, command: AccountCommand) -> AccountResult {
    for _ in 0..400 {
        let request = NodeApplyRequest { partition: 1, commands: vec![command.clone()] };
        let mut response = node.client.apply(request).await.unwrap().into_inner();
        if response.standing.unwrap().verdict() == Verdict::Done {
            let result = response.results.remove(0);
            if result.outcome() != AccountOutcome::Retry {
                return result;
            }
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
    panic!("the command was not decided");
}

async fn shown(node: &mut Running) -> ShowResponse {
    let request = NodeShowRequest { partition: 1, account_number: 7 };
    node.client.show(request).await.unwrap().into_inner().account.unwrap()
}

fn subscribe(plan: &str, from_us: i64, parameters: &[(&str, &str)]) -> AccountCommand {
    let parameters =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let plan_id = plan.to_owned();
    let subscribe = Subscribe { plan_id, from_us, priority: 1, parameters };
    command(Command::Subscribe(subscribe))
}

fn command(command: Command) -> AccountCommand {
    AccountCommand { account_number: 7, command: Some(command), identities: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_could_not_rate_is_refused_and_changes_nothing() {
    let (db, mut node) = world().await;
    let in_2017 = 1_500_000_000_000_000;
    let euros = OCTETS.replace("\"octets\"", "\"euros\"").replace("\"USD\"", "\"EUR\"");
    publish(db.as_ref(), &euros).await;
    let offer = Offer {
        option: "best".to_owned(),
        plan_ids: vec!["octets".to_owned(), "prized".to_owned()],
        ..Offer::default()
    };
    for (asked, said) in [
        (subscribe("octet", 0, &[]), "did you mean \"octets\"?"),
        (subscribe("octets", in_2017, &[]), "version 1 starts on "),
        (subscribe("priced", 0, &[("prise", "2")]), "did you mean \"price\"?"),
        (subscribe("priced", 0, &[("price", "cheap")]), "can't have these parameters"),
        (subscribe("euros", 0, &[]), "posts in EUR, and the account is billed in USD"),
        (command(Command::Offer(offer)), "did you mean \"priced\"?"),
    ] {
        let result = decided(&mut node, asked.clone()).await;
        assert_eq!(result.outcome(), AccountOutcome::Refused, "{asked:?}");
        assert!(result.message.contains(said), "{said:?} is not in {:?}", result.message);
    }
    assert!(shown(&mut node).await.subscriptions.is_empty());
    assert!(node.send(&[octets(7, "r1", 5)]).await.exceptions[0].reason == "no-plan");
}

/// The plan was published just before the command, so the owner's catalogue does not hold it yet.
#[tokio::test(start_paused = true)]
async fn a_plan_that_was_published_just_before_is_taken() {
    let (db, mut node) = world().await;
    publish(db.as_ref(), &PRICED.replace("\"priced\"", "\"fresh\"")).await;
    let result = decided(&mut node, subscribe("fresh", 0, &[("price", "2.50")])).await;
    assert_eq!(result.outcome(), AccountOutcome::Applied, "{}", result.message);
    let again = decided(&mut node, subscribe("fresh", 0, &[("price", "2.50")])).await;
    assert_eq!(again.outcome(), AccountOutcome::Already);
    assert_eq!(node.send(&[octets(7, "r1", 2)]).await.accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn account_state_is_described_in_words() {
    let (_db, mut node) = world().await;
    decided(&mut node, subscribe("octets", 0, &[])).await;
    assert_eq!(node.send(&[octets(7, "r1", 1_500)]).await.accepted, 1);
    let shown = shown(&mut node).await;
    let words: Vec<(&str, &str)> = shown
        .variables
        .iter()
        .map(|variable| (variable.period_words.as_str(), variable.value_words.as_str()))
        .collect();
    assert!(!words.is_empty(), "the plan counts");
    assert!(
        words.iter().any(|(period, value)| *period == "2024-05-01" && *value == "1500 B"),
        "{words:?}"
    );
}
