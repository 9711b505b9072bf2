//! Charges that fall due without usage: swept, or booked before a record, and booked once
//! (docs/plan-semantics.md section 5, P34).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::support;

use support::world::apply;
use support::{HEARTBEAT, Running, log, octets, publish};
use turnpike_mutants::{Check, all_caught};
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, Cancel, ChangeSettings, Offer, OptOut, Pick,
    Settings, ShowResponse,
};
use turnpike_proto::node::v1::{NodeRecycleRequest, NodeShowRequest, RecycleKey};
use turnpike_segment::Segment;
use turnpike_store::{Call, CatalogueKind, Interpose, Interposed, Publish, StoreResult};
use turnpike_types::{Outcome, Posting, Timestamp, UsageRecord};

const ACCOUNT: u64 = 7;
const DAY: i64 = 86_400_000_000;
/// 2024-05-01 in UTC.
const MAY: i64 = 1_714_521_600_000_000;
const JUNE: i64 = MAY + 31 * DAY;
const JULY: i64 = JUNE + 30 * DAY;

/// A monthly fee of 10 in advance, a set-up charge of 3, and octets.
const MONTHLY: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="monthly" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <OneTimeCharge id="setup" amount="3.00"/>
    <MonthlyRecurringCharge id="fee" amount="10.00"/>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="tiers" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <Adder id="sum" in="setup.charge fee.charge tiers.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#;

fn alternative(id: &str, price: &str, fee: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <BillingCycleRecurringCharge id="fee" amount="{fee}"/>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="tiers" in="data.pass"><step id="all" price="{price}" per="1 kB"/></StepRater>
    <Adder id="sum" in="fee.charge tiers.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#
    )
}

/// The test cluster of `support::world`, with queries of its log for these tests.
struct World(support::world::World);

impl std::ops::Deref for World {
    type Target = support::world::World;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl World {
    async fn at(now: i64) -> Self {
        Self(support::world::World::at(now, 35 * DAY).await)
    }

    /// All booked lines: date, component, amount, and posting.
    async fn booked(&self) -> Vec<String> {
        let mut booked = Vec::new();
        for row in log(self.db.as_ref()).await {
            let segment = Segment::decode(&row.body).unwrap();
            for line in segment.lines() {
                let record = segment.record(line.record).unwrap();
                let at = jiff::Timestamp::from_microsecond(record.start.0).unwrap();
                let at = at.strftime("%F");
                let amount = line.amount.to_string();
                let amount = amount.trim_end_matches('0').trim_end_matches('.');
                let name = &line.component.component;
                let goes = if line.posting == Posting::Tentative { " trial" } else { "" };
                booked.push(format!("{at} {name} {amount}{goes}"));
            }
        }
        booked
    }

    /// Waits until that many lines are booked, and then longer, to see that no more follow.
    async fn settled(&self, lines: usize) -> Vec<String> {
        for _ in 0..400 {
            if self.booked().await.len() >= lines {
                break;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        tokio::time::sleep(HEARTBEAT * 8).await;
        self.booked().await
    }
}

fn subscribe(plan: &str, from_us: i64) -> AccountCommand {
    let mut command = support::subscribe(ACCOUNT, plan);
    if let Some(Command::Subscribe(subscribe)) = &mut command.command {
        subscribe.from_us = from_us;
    }
    command
}

fn command(command: Command) -> AccountCommand {
    AccountCommand { account_number: ACCOUNT, command: Some(command), identities: Vec::new() }
}

async fn open(node: &mut Running, plan: &str, from_us: i64) {
    let results = apply(node, vec![support::open(ACCOUNT), subscribe(plan, from_us)]).await;
    assert!(results.iter().all(|r| r.outcome() == AccountOutcome::Applied), "{results:?}");
}

async fn show(node: &mut Running) -> ShowResponse {
    let request = NodeShowRequest { partition: 1, account_number: ACCOUNT };
    node.client.show(request).await.unwrap().into_inner().account.unwrap()
}

fn at(start: i64, id: &str, quantity: i64) -> UsageRecord {
    UsageRecord { start: Timestamp(start), ..octets(ACCOUNT, id, quantity) }
}

#[tokio::test(start_paused = true)]
async fn p34_the_sweep_books_each_charge_without_usage_once_and_i4_a_replay_agrees() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), MONTHLY).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", MAY).await;
    assert_eq!(world.settled(2).await, ["2024-05-01 setup 3", "2024-05-01 fee 10"]);
    // Nothing is logged in between, so that the sweep itself advances logged time (P26).
    world.set(JULY + DAY);
    let booked = world.settled(4).await;
    assert_eq!(booked[2..], ["2024-06-01 fee 10", "2024-07-01 fee 10"]);
    world.assert_checkpoints_match_the_log().await;
    let rows = log(world.db.as_ref()).await;
    let outcomes: Vec<(String, Outcome)> = rows
        .iter()
        .map(|row| Segment::decode(&row.body).unwrap())
        .flat_map(|segment| {
            let records = segment.records().map(|(_, r)| (r.record_id.to_owned(), r.outcome));
            records.collect::<Vec<_>>()
        })
        .collect();
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::FellDue));
    assert_eq!(outcomes.last().unwrap().0, "due:2024-07-01");
}

#[tokio::test(start_paused = true)]
async fn plans_5_charges_due_at_a_records_start_are_booked_before_it_even_without_a_sweep() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), MONTHLY).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", MAY + DAY).await;
    world.settled(2).await;
    // The records start ahead of the database's clock: the sweep finds nothing due yet.
    world.set(JUNE - 60_000_000);
    tokio::time::sleep(HEARTBEAT * 8).await;
    assert_eq!(world.booked().await.len(), 2);
    let answer = node.send(&[at(JUNE - 1, "r1", 1000), at(JUNE, "r2", 1000)]).await;
    assert_eq!(answer.accepted, 2);
    world.set(JUNE + DAY);
    let booked = world.settled(5).await;
    assert_eq!(booked[2..], ["2024-05-31 all 1", "2024-06-01 fee 10", "2024-06-01 all 1"]);
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn p34_a_takeover_in_the_middle_of_an_append_books_everything_once() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), MONTHLY).await;
    let mut first = world.node("a").await;
    open(&mut first, "monthly", MAY).await;
    world.settled(2).await;
    let mut months = vec!["2024-05-01 setup 3".to_owned(), "2024-05-01 fee 10".to_owned()];
    let mut node = first.node;
    for (round, month) in [JUNE, JULY, JULY + 31 * DAY].into_iter().enumerate() {
        // The node dies while the append of due charges is between check and commit.
        let paused = world.memory.pause_appends().await;
        world.set(month + DAY);
        for _ in 0..400 {
            if world.memory.appends_in_flight() > 0 {
                break;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        assert!(world.memory.appends_in_flight() > 0, "the sweep booked nothing");
        let successor = world.node(if round % 2 == 0 { "b" } else { "a" }).await;
        let dying = tokio::spawn(node.shutdown());
        tokio::time::sleep(HEARTBEAT * 6).await;
        drop(paused);
        dying.await.unwrap();
        node = successor.node;
        let date = jiff::Timestamp::from_microsecond(month).unwrap().strftime("%F").to_string();
        months.push(format!("{date} fee 10"));
        assert_eq!(world.settled(months.len()).await, months);
    }
}

#[tokio::test(start_paused = true)]
async fn plans_4_a_record_of_a_closed_cycle_is_marked_late() {
    let world = World::at(JUNE + DAY).await;
    publish(world.db.as_ref(), MONTHLY).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", MAY).await;
    assert_eq!(node.send(&[at(JUNE - 1, "in grace", 1000)]).await.accepted, 1);
    world.set(JUNE + 3 * DAY);
    tokio::time::sleep(HEARTBEAT * 8).await;
    assert_eq!(node.send(&[at(JUNE - 1, "late", 1000)]).await.accepted, 1);
    // A retry gets the first answer (I5).
    assert_eq!(node.send(&[at(JUNE - 1, "late", 1000)]).await.duplicates, [0]);
    let mut outcomes = Vec::new();
    for row in log(world.db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        let usage = segment.records().filter(|(_, record)| record.usage_type == "octets");
        outcomes.extend(usage.map(|(_, record)| (record.record_id.to_owned(), record.outcome)));
    }
    let expected =
        [("in grace".to_owned(), Outcome::Rated), ("late".to_owned(), Outcome::RatedLate)];
    assert_eq!(outcomes, expected);
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn plans_5_a_cancellation_gives_unused_days_back_and_ends_the_charges() {
    let world = World::at(JUNE + DAY).await;
    let daily = MONTHLY.replace("amount=\"10.00\"", "amount=\"30.00\" prorate=\"day\"");
    publish(world.db.as_ref(), &daily).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", JUNE).await;
    world.settled(2).await;
    let cancel = Cancel { plan_id: "monthly".to_owned(), at_us: JUNE + 10 * DAY };
    apply(&mut node, vec![command(Command::Cancel(cancel))]).await;
    world.set(JULY + 31 * DAY);
    let booked = world.settled(3).await;
    let expected = ["2024-06-01 setup 3", "2024-06-01 fee 30", "2024-06-11 fee-unused -20"];
    assert_eq!(booked, expected);
    world.assert_checkpoints_match_the_log().await;
}

/// [`MONTHLY`] with a fee of 30 by days.
fn daily() -> String {
    MONTHLY.replace("amount=\"10.00\"", "amount=\"30.00\" prorate=\"day\"")
}

async fn cancel(node: &mut Running, at_us: i64) -> AccountResult {
    let cancel = Cancel { plan_id: "monthly".to_owned(), at_us };
    apply(node, vec![command(Command::Cancel(cancel))]).await.remove(0)
}

#[tokio::test(start_paused = true)]
async fn plans_5_a_subscription_cancelled_at_its_start_gives_all_days_back_and_may_begin_earlier() {
    let world = World::at(JUNE + DAY).await;
    publish(world.db.as_ref(), &daily()).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", JUNE).await;
    assert_eq!(world.settled(2).await, ["2024-06-01 setup 3", "2024-06-01 fee 30"]);
    let cancelled = cancel(&mut node, JUNE).await;
    assert_eq!(cancelled.outcome(), AccountOutcome::Applied, "{}", cancelled.message);
    // No wait: the credit comes before the charges of the new subscription for the same days.
    let earlier = apply(&mut node, vec![subscribe("monthly", MAY)]).await.remove(0);
    assert_eq!(earlier.outcome(), AccountOutcome::Applied, "{}", earlier.message);
    let mut booked = world.settled(6).await.split_off(2);
    booked.sort();
    let expected = [
        "2024-05-01 fee 30",
        "2024-05-01 setup 3",
        "2024-06-01 fee 30",
        "2024-06-01 fee-unused -30",
    ];
    assert_eq!(booked, expected);
    assert_eq!(node.send(&[at(JUNE, "r1", 1000)]).await.accepted, 1);
    world.assert_checkpoints_match_the_log().await;
}

/// The subscription begins at noon, so the later one charges the same date from midnight on.
#[tokio::test(start_paused = true)]
async fn plans_5_days_of_a_start_within_a_day_are_given_back_before_they_are_charged_again() {
    let world = World::at(JUNE + DAY).await;
    publish(world.db.as_ref(), &daily()).await;
    let mut node = world.node("a").await;
    let noon = JUNE + DAY / 2;
    open(&mut node, "monthly", noon).await;
    assert_eq!(world.settled(2).await, ["2024-06-01 setup 3", "2024-06-01 fee 30"]);
    cancel(&mut node, noon).await;
    apply(&mut node, vec![subscribe("monthly", MAY)]).await;
    let booked = world.settled(6).await.split_off(2);
    let sum = |name: &str| booked.iter().filter(|line| line.contains(name)).count();
    assert_eq!((sum(" fee 30"), sum(" fee-unused -30")), (2, 1), "{booked:?}");
    world.assert_checkpoints_match_the_log().await;
}

/// What was booked for a start is not booked twice: the fee of June would be given back, and never
/// charged again.
#[tokio::test(start_paused = true)]
async fn a_start_whose_charges_were_booked_is_not_used_again() {
    let world = World::at(JUNE + DAY).await;
    publish(world.db.as_ref(), &daily()).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", JUNE).await;
    world.settled(2).await;
    assert_eq!(cancel(&mut node, JUNE).await.outcome(), AccountOutcome::Applied);
    let again = apply(&mut node, vec![subscribe("monthly", JUNE)]).await.remove(0);
    assert_eq!(again.outcome(), AccountOutcome::Refused);
    assert!(again.message.contains("2024-06-01T00:01:00Z"), "{}", again.message);
    // A start whose charges were not booked may be used again.
    let future = subscribe("monthly", JULY);
    assert_eq!(apply(&mut node, vec![future.clone()]).await[0].outcome(), AccountOutcome::Applied);
    assert_eq!(cancel(&mut node, JULY).await.outcome(), AccountOutcome::Applied);
    assert_eq!(apply(&mut node, vec![future]).await[0].outcome(), AccountOutcome::Applied);
}

#[tokio::test(start_paused = true)]
async fn plans_5_an_earlier_end_gives_more_days_back_and_i4_a_replay_agrees() {
    let world = World::at(JUNE + DAY).await;
    publish(world.db.as_ref(), &daily()).await;
    let mut node = world.node("a").await;
    open(&mut node, "monthly", JUNE).await;
    world.settled(2).await;
    for (end, back) in [
        (JUNE + 20 * DAY, "2024-06-21 fee-unused -10"),
        (JUNE + 5 * DAY, "2024-06-06 fee-unused -15"),
    ] {
        let cancelled = cancel(&mut node, end).await;
        assert_eq!(cancelled.outcome(), AccountOutcome::Applied, "{}", cancelled.message);
        world.set(JUNE + 25 * DAY);
        let booked = world.settled(3).await;
        assert_eq!(booked.last().unwrap(), back, "{booked:?}");
    }
    assert_eq!(cancel(&mut node, JUNE + 5 * DAY).await.outcome(), AccountOutcome::Already);
    let later = cancel(&mut node, JUNE + 6 * DAY).await;
    assert_eq!(later.outcome(), AccountOutcome::Refused);
    let words = ["ended at 2024-06-06T00:00:00Z", "account subscribe 7 --plan monthly --from"];
    assert!(words.iter().all(|word| later.message.contains(word)), "{}", later.message);
    // Another owner has the same state.
    world.assert_checkpoints_match_the_log().await;
    node.node.shutdown().await;
    let mut node = world.node("b").await;
    let subscriptions = loop {
        let request = NodeShowRequest { partition: 1, account_number: ACCOUNT };
        match node.client.show(request).await.ok().and_then(|shown| shown.into_inner().account) {
            Some(account) => break account.subscriptions,
            None => tokio::time::sleep(HEARTBEAT).await,
        }
    };
    assert_eq!(subscriptions[0].until_us, Some(JUNE + 5 * DAY), "{subscriptions:?}");
}

/// A plan in EUR that converts to an account in USD by a table of rates.
const CONVERTED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="1" starts="2020-01-01" currency="EUR">
  <graph>
    <MonthlyRecurringCharge id="fee" amount="10.00"/>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="tiers" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <CurrencyConverter id="convert" in="fee.charge tiers.charge" table="fx" to="account"/>
    <AccountFinalizer id="post" in="convert.charge"/>
  </graph>
</plan>"#;

async fn publish_rates(world: &World, version: u32, starts: &str, rate: &str) {
    let body = format!(
        "# turnpike-table id=fx kind=exchange-rates version={version} starts={starts}\n\
         from,to,rate\nEUR,USD,{rate}\n"
    );
    let table = turnpike_plan::parse_table(&body).unwrap();
    let publish = Publish {
        kind: CatalogueKind::Table,
        id: "fx".to_owned(),
        version,
        starts: starts.to_owned(),
        supersedes: None,
        content_hash: [u8::try_from(version).unwrap(); 32],
        form: table.kind().to_string(),
        rows: 1,
        body,
        tz_database: None,
    };
    let outcome = world.db.publish(&publish).await.unwrap();
    assert!(matches!(outcome, turnpike_store::PublishOutcome::Published(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn p36_a_table_version_takes_effect_at_its_date_and_charges_without_one_wait_until_then() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), CONVERTED).await;
    let mut node = world.node("a").await;
    open(&mut node, "converted", MAY).await;
    tokio::time::sleep(HEARTBEAT * 8).await;
    // The charge of May can't be booked, so later records can't be rated.
    let answer = node.send(&[at(MAY + DAY, "r1", 1000)]).await;
    assert_eq!(answer.exceptions[0].reason, "no-table");
    assert_eq!(world.booked().await, Vec::<String>::new());
    publish_rates(&world, 1, "2020-01-01", "1.5").await;
    assert_eq!(world.settled(2).await, ["2024-05-01 fee 10", "2024-05-01 convert 15"]);
    let key =
        RecycleKey { account_number: ACCOUNT, record_id: "r1".to_owned(), ..RecycleKey::default() };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    assert!(node.client.recycle(request).await.unwrap().into_inner().outcomes[0].rated);
    publish_rates(&world, 2, "2024-06-01", "2").await;
    world.set(JUNE - 60_000_000);
    tokio::time::sleep(HEARTBEAT * 8).await;
    let answer = node.send(&[at(JUNE - 1, "r2", 1000), at(JUNE, "r3", 1000)]).await;
    assert_eq!(answer.accepted, 2, "{answer:?}");
    let booked = world.settled(10).await;
    assert_eq!(
        booked[2..],
        [
            "2024-05-02 all 1",
            "2024-05-02 convert 1.5",
            "2024-05-31 all 1",
            "2024-05-31 convert 1.5",
            "2024-06-01 fee 10",
            "2024-06-01 convert 20",
            "2024-06-01 all 1",
            "2024-06-01 convert 2",
        ]
    );
    // Converted lines are in the account's currency, and name the line that they replace and the
    // row of the table.
    let rows = log(world.db.as_ref()).await;
    let segment = Segment::decode(&rows.last().unwrap().body).unwrap();
    let lines: Vec<_> = segment.lines().collect();
    let last = lines.last().unwrap();
    assert_eq!(last.component.currency.to_string(), "USD");
    assert_eq!(lines[last.of.unwrap() as usize].posting, Posting::Replaced);
    assert_eq!(last.row, Some(0));
    world.assert_checkpoints_match_the_log().await;
}

/// How often entries of the catalogue were read.
#[derive(Default)]
struct CatalogueReads(AtomicUsize);

#[async_trait]
impl Interpose for CatalogueReads {
    async fn before(&self, call: Call) -> StoreResult<()> {
        if call == Call::CatalogueSince {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn after(&self, _call: Call) -> StoreResult<()> {
        Ok(())
    }
}

/// After the acceptance horizon a node keeps no table that no plan reads any more. What waited since then
/// is rated by the table of its time all the same: a record that is recycled, and charges that fall due.
#[tokio::test(start_paused = true)]
async fn p36_what_waited_longer_than_its_table_was_kept_is_rated_by_that_table() {
    let mut world = World::at(MAY + DAY).await;
    let reads = Arc::new(CatalogueReads::default());
    world.0.db = Arc::new(Interposed::new(Arc::clone(&world.db), Arc::clone(&reads)));
    publish(world.db.as_ref(), CONVERTED).await;
    publish_rates(&world, 1, "2020-01-01", "1.5").await;
    publish_rates(&world, 2, "2024-06-01", "2").await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![support::open(ACCOUNT)]).await;
    let answer = node.send(&[at(MAY + DAY, "r1", 1000)]).await;
    assert_eq!(answer.exceptions[0].reason, "no-plan");
    // The horizon is 35 days: 50 days after the beginning of July, the rate of May is not kept.
    world.set(JULY + 50 * DAY);
    tokio::time::sleep(HEARTBEAT * 8).await;
    let before = reads.0.load(Ordering::Relaxed);
    let results = apply(&mut node, vec![subscribe("converted", MAY)]).await;
    assert_eq!(results[0].outcome(), AccountOutcome::Applied, "{results:?}");
    let key =
        RecycleKey { account_number: ACCOUNT, record_id: "r1".to_owned(), ..RecycleKey::default() };
    let request = NodeRecycleRequest { partition: 1, keys: vec![key], ..Default::default() };
    assert!(node.client.recycle(request).await.unwrap().into_inner().outcomes[0].rated);
    let booked = world.settled(10).await;
    let converted: Vec<&str> =
        booked.iter().filter(|line| line.contains("convert")).map(String::as_str).collect();
    let expected = [
        "2024-05-01 convert 15",
        "2024-06-01 convert 20",
        "2024-07-01 convert 20",
        "2024-08-01 convert 20",
        "2024-05-02 convert 1.5",
    ];
    assert_eq!(converted, expected);
    assert!(reads.0.load(Ordering::Relaxed) > before, "the rate of May was in memory all the time");
    world.assert_checkpoints_match_the_log().await;
}

/// Each cycle has a minimum of three euros of usage.
const COMMITTED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="committed" version="1" starts="2020-01-01" currency="EUR">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="tiers" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <Commitment id="committed" in="tiers.charge" amount="3.00"/>
    <CurrencyConverter id="convert" in="committed.charge" table="fx" to="account"/>
    <AccountFinalizer id="post" in="convert.charge"/>
  </graph>
</plan>"#;

/// The table has a version for each of many days. None of them bounds an interval of due charges.
#[tokio::test(start_paused = true)]
async fn amounts_booked_at_a_close_are_converted_by_the_table_of_the_cycles_last_day() {
    let world = World::at(MAY - 10 * DAY).await;
    publish(world.db.as_ref(), COMMITTED).await;
    let may = (1..=31).map(|day| (day, format!("2024-05-{day:02}")));
    let june = (1..=5).map(|day| (31 + day, format!("2024-06-{day:02}")));
    for (version, starts) in may.chain(june) {
        publish_rates(&world, version, &starts, &format!("1.{version:02}")).await;
    }
    world.set(MAY + DAY);
    let mut node = world.node("a").await;
    open(&mut node, "committed", MAY).await;
    assert_eq!(node.send(&[at(MAY + DAY, "r1", 1000)]).await.accepted, 1);
    world.set(JUNE + 4 * DAY);
    let booked = world.settled(4).await;
    let expected = [
        "2024-05-02 all 1",
        "2024-05-02 convert 1.02",
        "2024-06-03 committed 2",
        "2024-06-03 convert 2.62",
    ];
    assert_eq!(booked, expected);
    world.assert_checkpoints_match_the_log().await;
}

fn offer(from_us: i64) -> AccountCommand {
    command(Command::Offer(Offer {
        option: "phone".to_owned(),
        plan_ids: vec!["small".to_owned(), "large".to_owned()],
        fee: "0.5".to_owned(),
        from_us,
        priority: 2,
    }))
}

fn pick(plan: &str, cycle: &str) -> AccountCommand {
    let (option, plan_id) = ("phone".to_owned(), plan.to_owned());
    command(Command::Pick(Pick { option, plan_id, cycle: cycle.to_owned() }))
}

#[tokio::test(start_paused = true)]
async fn plans_6_alternatives_are_compared_and_the_best_or_the_picked_is_billed_at_the_close() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), &alternative("small", "1", "1.00")).await;
    publish(world.db.as_ref(), &alternative("large", "0.1", "5.00")).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![support::open(ACCOUNT), offer(MAY)]).await;
    assert_eq!(node.send(&[at(MAY + DAY, "r1", 2000)]).await.accepted, 1);
    let trials = ["2024-05-01 fee 1 trial", "2024-05-01 fee 5 trial"];
    let booked = world.settled(4).await;
    assert_eq!(booked[..2], trials);
    assert_eq!(booked[2..], ["2024-05-02 all 2 trial", "2024-05-02 all 0.2 trial"]);
    let standing = show(&mut node).await.options.remove(0);
    let sums: Vec<_> = standing
        .alternatives
        .iter()
        .map(|one| (one.plan_id.as_str(), one.running.as_str(), one.picked))
        .collect();
    assert_eq!(sums, [("small", "3.000000000", false), ("large", "5.200000000", false)]);
    assert_eq!((standing.cycle.as_str(), standing.winner.as_str()), ("2024-05-01", "small"));
    // The client picks the plan `large` for June, though the other alternative is cheaper.
    let picked = apply(&mut node, vec![pick("large", "2024-06-01")]).await;
    assert_eq!(picked[0].outcome(), AccountOutcome::Applied);
    world.set(JUNE + 3 * DAY);
    let booked = world.settled(8).await;
    let may = &booked[4..];
    assert!(may.iter().any(|line| line.starts_with("2024-06-03 ") && line.ends_with(" 3")));
    assert!(may.iter().any(|line| line.starts_with("2024-06-03 ") && line.ends_with(" 0.5")));
    // May is closed, so that no alternative can be picked for it. June is still open.
    let refused = apply(&mut node, vec![pick("large", "2024-05-01")]).await;
    assert_eq!(refused[0].outcome(), AccountOutcome::Refused);
    assert!(refused[0].message.contains("closed"), "{}", refused[0].message);
    let end = OptOut { option: "phone".to_owned(), plan_id: "small".to_owned(), at_us: JULY };
    apply(&mut node, vec![command(Command::OptOut(end))]).await;
    world.set(JULY + 3 * DAY);
    let booked = world.settled(11).await;
    let july: Vec<_> = booked.iter().filter(|line| line.starts_with("2024-07")).collect();
    // The plan that the client kept continues as a plain subscription, and June is billed by the
    // plan that the client picked.
    assert!(july.contains(&&"2024-07-01 fee 1".to_owned()), "{july:?}");
    assert!(july.iter().any(|l| l.starts_with("2024-07-03 ") && l.ends_with(" 5")), "{july:?}");
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn plans_4_a_cycle_that_is_closed_late_keeps_its_sums() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), &alternative("small", "1", "1.00")).await;
    publish(world.db.as_ref(), &alternative("large", "0.1", "5.00")).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![support::open(ACCOUNT), offer(MAY)]).await;
    assert_eq!(node.send(&[at(MAY + DAY, "r1", 2000)]).await.accepted, 1);
    world.settled(4).await;
    // No owner sweeps for longer than records are accepted: four cycles are then closed at once.
    world.set(JULY + 65 * DAY);
    let booked = world.settled(4 + 4 * 4).await;
    let closed = |date: &str| {
        let mut of: Vec<_> =
            booked.iter().filter(|l| l.starts_with(date) && !l.ends_with(" trial")).collect();
        of.sort();
        of.iter().map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(closed("2024-06-03"), ["0.5", "3"], "May has usage: {booked:#?}");
    for later in ["2024-07-03", "2024-08-03", "2024-09-03"] {
        assert_eq!(closed(later), ["0.5", "1"], "{later}: {booked:#?}");
    }
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn plans_5_a_fee_for_setting_up_is_charged_once_whatever_becomes_of_the_zone() {
    let world = World::at(JUNE + DAY).await;
    publish(world.db.as_ref(), &MONTHLY.replace("2020-01-01", "2024-06-01")).await;
    let mut node = world.node("a").await;
    // The subscription begins with the start of the plan, which is the plan's first day.
    open(&mut node, "monthly", 0).await;
    assert_eq!(world.settled(2).await, ["2024-06-01 setup 3", "2024-06-01 fee 10"]);
    let settings = Settings {
        zone: "Asia/Tokyo".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    let change = ChangeSettings { settings: Some(settings), from_us: JUNE + 10 * DAY };
    let results = apply(&mut node, vec![command(Command::ChangeSettings(change))]).await;
    assert_eq!(results[0].outcome(), AccountOutcome::Applied, "{results:?}");
    world.set(JULY + 5 * DAY);
    let booked = world.settled(3).await;
    assert_eq!(booked[2..], ["2024-06-30 fee 10"], "July begins earlier in Tokyo");
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn plans_6_opting_out_within_a_cycle_charges_once_and_the_cycle_continues() {
    let world = World::at(MAY + DAY).await;
    publish(world.db.as_ref(), &MONTHLY.replace("monthly", "large")).await;
    publish(world.db.as_ref(), &alternative("small", "0.1", "1.00")).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![support::open(ACCOUNT), offer(MAY)]).await;
    assert_eq!(node.send(&[at(MAY + DAY, "r1", 2000)]).await.accepted, 1);
    world.set(MAY + 10 * DAY + 60_000_000);
    tokio::time::sleep(HEARTBEAT * 8).await;
    let end =
        OptOut { option: "phone".to_owned(), plan_id: "large".to_owned(), at_us: MAY + 9 * DAY };
    let results =
        apply(&mut node, vec![command(Command::OptOut(end)), pick("small", "2024-05-01")]).await;
    let outcomes: Vec<_> = results.iter().map(AccountResult::outcome).collect();
    assert_eq!(outcomes, [AccountOutcome::Applied, AccountOutcome::Refused], "{results:?}");
    assert_eq!(node.send(&[at(MAY + 10 * DAY, "r2", 1000)]).await.accepted, 1);
    // Another owner closes the cycle, from the replayed state.
    node.node.shutdown().await;
    let mut node = world.node("b").await;
    assert_eq!(node.send(&[at(MAY + 10 * DAY, "r3", 1000)]).await.accepted, 1);
    world.set(JUNE + 3 * DAY);
    let booked = world.settled(10).await;
    let mut posted: Vec<_> = booked.iter().filter(|line| !line.ends_with(" trial")).collect();
    posted.sort();
    // At the close, the monthly fee, the set-up charge and the earlier usage are booked once. The
    // fee of the option is not booked.
    let expected = [
        "2024-05-11 all 1",
        "2024-05-11 all 1",
        "2024-06-01 fee 10",
        "2024-06-03 one-time 3",
        "2024-06-03 sum 12",
    ];
    assert_eq!(posted, expected);
    let cancel = Cancel { plan_id: "large".to_owned(), at_us: MAY + 5 * DAY };
    let late = apply(&mut node, vec![command(Command::Cancel(cancel))]).await;
    assert!(late[0].message.contains("2024-05-10T00:00:00Z"), "{late:?}");
    world.assert_checkpoints_match_the_log().await;
}

#[test]
fn mutants_are_caught() {
    all_caught(&[(
        Check::DueBefore,
        "plans_5_charges_due_at_a_records_start_are_booked_before_it_even_without_a_sweep",
        "left: [\"2024-05-31 all 1\", \"2024-06-01 all 1",
    )]);
}
