//! Corrected dates of subscriptions, by commands at a node: what was charged by day and does not
//! belong to the final dates is given back once, whatever comes in between
//! (docs/plan-semantics.md section 5, P34).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use support::world::{World, apply};
use support::{HEARTBEAT, Running, log, octets, publish};
use turnpike_plan::{AccountContext, Zone};
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, Cancel, ChangeSettings, OpenAccount, Settings,
    Subscribe,
};
use turnpike_segment::Segment;
use turnpike_segment::head::Change;
use turnpike_store::{CatalogueKind, Publish, PublishOutcome};
use turnpike_trial::{Trial, TrialAccount, TrialAccounts, TrialCatalogue, TrialSubscription};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

const ACCOUNT: u64 = 7;
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2024-05-01 in UTC.
const MAY: i64 = 1_714_521_600_000_000;
const JUNE: i64 = MAY + 31 * DAY;
const JULY: i64 = JUNE + 30 * DAY;
const AUGUST: i64 = JULY + 31 * DAY;
/// Divides into whole cents by day in months of 30 and of 31 days.
const FEE: i64 = 93;

/// A monthly fee by day, and octets.
fn plan(version: u32, starts: &str, fees: &[(&str, i64)]) -> String {
    let charges: String = fees
        .iter()
        .map(|(id, amount)| {
            format!(
                "<MonthlyRecurringCharge id=\"{id}\" amount=\"{amount}.00\" prorate=\"day\"/>\n"
            )
        })
        .collect();
    let links: Vec<String> = fees.iter().map(|(id, _)| format!("{id}.charge")).collect();
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="line" version="{version}" starts="{starts}" currency="USD">
  <graph>
    {charges}<UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="tiers" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <Adder id="sum" in="{} tiers.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#,
        links.join(" ")
    )
}

fn settings(zone: &str, currency: &str) -> Settings {
    let (zone, currency) = (zone.to_owned(), currency.to_owned());
    Settings { zone, cycle_day: 1, currency, ..Settings::default() }
}

fn command(command: Command) -> AccountCommand {
    AccountCommand { account_number: ACCOUNT, command: Some(command), identities: Vec::new() }
}

fn open(zone: &str) -> AccountCommand {
    let settings = Some(settings(zone, "USD"));
    command(Command::Open(OpenAccount { settings, ..OpenAccount::default() }))
}

async fn one(node: &mut Running, asked: Command) -> AccountResult {
    apply(node, vec![command(asked)]).await.remove(0)
}

fn subscribe_to(plan_id: &str, from_us: i64) -> Command {
    let plan_id = plan_id.to_owned();
    Command::Subscribe(Subscribe { plan_id, from_us, priority: 1, ..Subscribe::default() })
}

fn subscribe(from_us: i64) -> Command {
    subscribe_to("line", from_us)
}

fn cancel(at_us: i64) -> Command {
    Command::Cancel(Cancel { plan_id: "line".to_owned(), at_us })
}

async fn done(node: &mut Running, asked: Command) -> String {
    let result = one(node, asked).await;
    assert_eq!(result.outcome(), AccountOutcome::Applied, "{}", result.message);
    result.message
}

async fn refused(node: &mut Running, asked: Command) -> String {
    let result = one(node, asked).await;
    assert_eq!(result.outcome(), AccountOutcome::Refused, "{result:?}");
    result.message
}

/// The booked lines of due charges, in the order of the log: component and billionths.
async fn booked(world: &World) -> Vec<(String, i128)> {
    let mut booked = Vec::new();
    for row in log(world.db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        for line in segment.lines() {
            if line.component.component != "all" {
                booked.push((line.component.component.clone(), line.amount.nanos()));
            }
        }
    }
    booked
}

/// Waits until the sweep has nothing to do.
async fn settle(world: &World) -> Vec<(String, i128)> {
    let mut before = booked(world).await;
    loop {
        tokio::time::sleep(HEARTBEAT * 8).await;
        let now = booked(world).await;
        if now == before {
            return now;
        }
        before = now;
    }
}

async fn settled(world: &World) -> Vec<(String, i64)> {
    settle(world).await.into_iter().map(|(name, nanos)| (name, cents(nanos))).collect()
}

fn lines(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(name, units)| ((*name).to_owned(), units * 100)).collect()
}

/// A node that serves an account in UTC, with the plan since 2020.
async fn start(now: i64) -> (World, Running) {
    let world = World::at(now, 35 * DAY).await;
    publish(world.db.as_ref(), &plan(1, "2020-01-01", &[("fee", FEE)])).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![open("UTC")]).await;
    (world, node)
}

#[tokio::test(start_paused = true)]
async fn a_subscription_cancelled_at_its_start_gives_back_every_month_once_also_after_a_takeover() {
    let (world, mut node) = start(JULY + DAY).await;
    done(&mut node, subscribe(JUNE)).await;
    assert_eq!(settled(&world).await, lines(&[("fee", 93), ("fee", 93)]));
    // The node ends soon after the command, and another one sweeps.
    done(&mut node, cancel(JUNE)).await;
    node.node.shutdown().await;
    let mut node = world.node("b").await;
    let back = [("fee", 93), ("fee", 93), ("fee-unused", -93), ("fee-unused", -93)];
    assert_eq!(settled(&world).await, lines(&back));
    assert_eq!(one(&mut node, cancel(JUNE)).await.outcome(), AccountOutcome::Already);
    node.node.shutdown().await;
    let _node = world.node("a").await;
    world.set(AUGUST + DAY);
    assert_eq!(settled(&world).await, lines(&back), "nothing is given back twice");
    world.assert_checkpoints_match_the_log().await;
}

/// A node of an earlier release would charge the same days to another subscription before it gives
/// them back: it must not take the partition over.
#[tokio::test(start_paused = true)]
async fn i4_a_cancellation_at_the_start_is_logged_as_a_change_that_earlier_releases_refuse_to_read()
{
    let (world, mut node) = start(JUNE + DAY).await;
    done(&mut node, subscribe(JULY)).await;
    done(&mut node, cancel(JULY)).await;
    settle(&world).await;
    let mut kinds = Vec::new();
    for row in log(world.db.as_ref()).await {
        let segment = Segment::decode(&row.body).unwrap();
        kinds.extend(segment.entries().iter().map(|entry| entry.change.clone().unwrap()));
    }
    let moved = |kind: &Change| matches!(kind, Change::EndMoved(end) if end.until_us == JULY);
    assert!(kinds.iter().any(moved), "{kinds:?}");
    assert!(!kinds.iter().any(|kind| matches!(kind, Change::Cancelled(_))), "{kinds:?}");
}

/// Nothing was booked for the start, so it may be used again. The charges of the second subscription
/// belong to it: the first one does not give them back.
#[tokio::test(start_paused = true)]
async fn the_charges_of_a_second_subscription_with_the_same_start_are_not_given_back() {
    let (world, mut node) = start(JUNE + DAY).await;
    done(&mut node, subscribe(JULY)).await;
    done(&mut node, cancel(JULY)).await;
    done(&mut node, subscribe(JULY)).await;
    world.set(AUGUST + DAY);
    assert_eq!(settled(&world).await, lines(&[("fee", 93), ("fee", 93)]));
    // Cancelled at the start as well: given back once.
    done(&mut node, cancel(JULY)).await;
    let back = [("fee", 93), ("fee", 93), ("fee-unused", -93), ("fee-unused", -93)];
    assert_eq!(settled(&world).await, lines(&back));
    world.assert_checkpoints_match_the_log().await;
}

/// Subscriptions from the beginning of time take effect with the first version of the plan: their
/// charges have one start.
#[tokio::test(start_paused = true)]
async fn starts_before_the_first_version_of_the_plan_are_one_start() {
    let world = World::at(JUNE + DAY, 35 * DAY).await;
    publish(world.db.as_ref(), &plan(1, "2024-06-01", &[("fee", FEE)])).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![open("UTC")]).await;
    done(&mut node, subscribe(HOUR)).await;
    assert_eq!(settled(&world).await, lines(&[("fee", 93)]));
    done(&mut node, cancel(HOUR)).await;
    for start in [0, HOUR, 2 * HOUR, JUNE, JUNE + MINUTE - 1] {
        let why = refused(&mut node, subscribe(start)).await;
        assert!(why.contains("2024-06-01T00:01:00Z"), "{why}");
    }
    assert_eq!(settled(&world).await, lines(&[("fee", 93), ("fee-unused", -93)]));
    // The start that the refusal names.
    done(&mut node, subscribe(JUNE + MINUTE)).await;
    let all = [("fee", 93), ("fee-unused", -93), ("fee", 93)];
    assert_eq!(settled(&world).await, lines(&all));
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_before_the_first_version_of_the_plan_gives_everything_back() {
    for is_moved in [false, true] {
        let world = World::at(JULY + DAY, 35 * DAY).await;
        publish(world.db.as_ref(), &plan(1, "2024-06-01", &[("fee", FEE)])).await;
        let mut node = world.node("a").await;
        apply(&mut node, vec![open("UTC")]).await;
        done(&mut node, subscribe(0)).await;
        assert_eq!(settled(&world).await, lines(&[("fee", 93), ("fee", 93)]));
        if is_moved {
            done(&mut node, cancel(JULY)).await;
        }
        done(&mut node, cancel(MAY + 20 * DAY)).await;
        let back = [("fee", 93), ("fee", 93), ("fee-unused", -93), ("fee-unused", -93)];
        let mut booked = settled(&world).await;
        booked.sort();
        assert_eq!(booked, lines(&back), "moved: {is_moved}");
        world.assert_checkpoints_match_the_log().await;
    }
}

/// The charge of another plan with the same start is no obstacle.
#[tokio::test(start_paused = true)]
async fn only_charges_of_the_same_plan_keep_a_start_from_being_used_again() {
    let (world, mut node) = start(JUNE + DAY).await;
    let free = plan(1, "2020-01-01", &[]).replace("id=\"line\"", "id=\"free\"");
    publish(world.db.as_ref(), &free).await;
    done(&mut node, subscribe(JUNE)).await;
    done(&mut node, subscribe_to("free", JUNE)).await;
    assert_eq!(settled(&world).await, lines(&[("fee", 93)]));
    let end = Cancel { plan_id: "free".to_owned(), at_us: JUNE };
    done(&mut node, Command::Cancel(end)).await;
    done(&mut node, subscribe_to("free", JUNE)).await;
}

/// The version at the start has only one of the charges.
#[tokio::test(start_paused = true)]
async fn charges_of_later_versions_are_given_back_too() {
    let (world, mut node) = start(JUNE + DAY).await;
    publish(world.db.as_ref(), &plan(2, "2024-07-01", &[("fee", 2 * FEE), ("extra", FEE)])).await;
    tokio::time::sleep(HEARTBEAT * 8).await;
    done(&mut node, subscribe(JUNE)).await;
    world.set(AUGUST + DAY);
    let charged = settled(&world).await;
    assert_eq!(charged.iter().map(|(_, cents)| cents).sum::<i64>(), 100 * 93 * 7, "{charged:?}");
    done(&mut node, cancel(JUNE)).await;
    let all = settled(&world).await;
    assert_eq!(all.iter().map(|(_, cents)| cents).sum::<i64>(), 0, "{all:?}");
    assert_eq!(all.len(), 2 * charged.len(), "{all:?}");
    world.assert_checkpoints_match_the_log().await;
}

/// A version that is in force later has a one-time charge: it is not due at the instant of the credit,
/// which is the start of the subscription.
#[tokio::test(start_paused = true)]
async fn a_credit_does_not_bring_the_one_time_charge_of_a_later_version() {
    let (world, mut node) = start(JUNE + DAY).await;
    let newer = plan(2, "2024-07-01", &[("fee", FEE), ("extra", FEE)])
        .replace("<UsageTypeS", "<OneTimeCharge id=\"setup\" amount=\"50.00\"/><UsageTypeS")
        .replace("extra.charge", "extra.charge setup.charge");
    publish(world.db.as_ref(), &newer).await;
    tokio::time::sleep(HEARTBEAT * 8).await;
    done(&mut node, subscribe(JUNE)).await;
    world.set(JULY + DAY);
    assert_eq!(settled(&world).await, lines(&[("fee", 93), ("fee", 93), ("extra", 93)]));
    done(&mut node, cancel(JUNE)).await;
    let mut back = settled(&world).await.split_off(3);
    back.sort();
    assert_eq!(back, lines(&[("extra-unused", -93), ("fee-unused", -93), ("fee-unused", -93)]));
    world.assert_checkpoints_match_the_log().await;
}

/// The plan in EUR, converted to the account's currency by a table of rates, which is published too.
async fn publish_converted(world: &World, plan: &str, (table, starts): (&str, &str)) {
    let converted = plan.replace("currency=\"USD\"", "currency=\"EUR\"").replace(
        "<AccountFinalizer id=\"post\" in=\"sum.charge\"/>",
        &format!(
            r#"<CurrencyConverter id="convert" in="sum.charge" table="{table}" to="account"/>
            <AccountFinalizer id="post" in="convert.charge"/>"#
        ),
    );
    publish(world.db.as_ref(), &converted).await;
    let body = format!(
        "# turnpike-table id={table} kind=exchange-rates version=1 starts={starts}\n\
         from,to,rate\nEUR,USD,1.5\n"
    );
    let parsed = turnpike_plan::parse_table(&body).unwrap();
    let rates = Publish {
        kind: CatalogueKind::Table,
        id: table.to_owned(),
        version: 1,
        starts: starts.to_owned(),
        supersedes: None,
        content_hash: [u8::try_from(table.len()).unwrap(); 32],
        form: parsed.kind().to_string(),
        rows: 1,
        body,
        tz_database: None,
    };
    let outcome = world.db.publish(&rates).await.unwrap();
    assert!(matches!(outcome, PublishOutcome::Published(_)), "{outcome:?}");
}

/// The converted charges in cents.
fn converted(booked: &[(String, i64)]) -> i64 {
    booked.iter().filter(|(id, _)| id == "convert").map(|(_, cents)| cents).sum()
}

/// A later version charges by a table whose first version starts when it does. Its charges are given
/// back by that table, although the credit lies before it.
#[tokio::test(start_paused = true)]
async fn a_credit_for_a_later_version_does_not_wait_for_tables_at_the_start() {
    let world = World::at(JUNE + DAY, 35 * DAY).await;
    let first = plan(1, "2020-01-01", &[("fee", FEE)]);
    publish_converted(&world, &first, ("fx", "2020-01-01")).await;
    let second = plan(2, "2024-07-01", &[("fee", FEE), ("extra", FEE)]);
    publish_converted(&world, &second, ("rates", "2024-07-01")).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![open("UTC")]).await;
    done(&mut node, subscribe(JUNE)).await;
    world.set(JULY + DAY);
    assert_eq!(converted(&settled(&world).await), 3 * 93 * 150);
    done(&mut node, cancel(JUNE)).await;
    let booked = settled(&world).await;
    assert_eq!(converted(&booked), 0, "{booked:?}");
    // The account's later charges do not wait for the credit.
    done(&mut node, subscribe(JULY)).await;
    assert_eq!(converted(&settled(&world).await), 2 * 93 * 150);
    world.assert_checkpoints_match_the_log().await;
}

/// The credit lies at the first instant of the date, in the middle of an interval in which the other
/// subscription was charged just before: it is not booked by the plans and tables of that interval.
#[tokio::test(start_paused = true)]
async fn a_credit_before_the_instant_of_its_start_is_booked_by_its_own_plan_and_tables() {
    let world = World::at(JULY + DAY, 35 * DAY).await;
    let plan = plan(1, "2020-01-01", &[("fee", FEE)]);
    publish_converted(&world, &plan, ("fx", "2020-01-01")).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![open("UTC")]).await;
    let noon = JUNE + 14 * DAY + 12 * HOUR;
    done(&mut node, subscribe(noon)).await;
    settle(&world).await;
    // One request, so that the sweep does not run in between.
    let asked = vec![command(cancel(noon)), command(subscribe(JUNE))];
    let results = apply(&mut node, asked).await;
    assert!(results.iter().all(|one| one.outcome() == AccountOutcome::Applied), "{results:?}");
    let booked = settled(&world).await;
    assert_eq!(converted(&booked), 2 * 93 * 150, "{booked:?}");
    let usage = UsageRecord { start: Timestamp(JULY + HOUR), ..octets(ACCOUNT, "r1", 1000) };
    assert_eq!(node.send(&[usage]).await.accepted, 1);
    world.assert_checkpoints_match_the_log().await;
}

/// The account has another currency by the time of the credit, also for the time of the charges.
#[tokio::test(start_paused = true)]
async fn a_credit_is_booked_in_the_currency_of_its_charge() {
    let (world, mut node) = start(JUNE + DAY).await;
    done(&mut node, subscribe(JUNE)).await;
    assert_eq!(settled(&world).await, lines(&[("fee", 93)]));
    let settings = Some(settings("UTC", "EUR"));
    let change = Command::ChangeSettings(ChangeSettings { settings, from_us: MAY });
    let results = apply(&mut node, vec![command(cancel(JUNE)), command(change)]).await;
    let outcomes: Vec<_> = results.iter().map(AccountResult::outcome).collect();
    assert_eq!(outcomes, [AccountOutcome::Applied, AccountOutcome::Applied], "{results:?}");
    assert_eq!(settled(&world).await, lines(&[("fee", 93), ("fee-unused", -93)]));
    world.assert_checkpoints_match_the_log().await;
}

/// Usage that was rated stays rated, and the answer says so.
/// The charges of two months were posted in two currencies. No cancellation gives back one of them
/// in the currency of the other.
#[tokio::test(start_paused = true)]
async fn a_cancellation_before_a_change_of_the_currency_of_posted_charges_is_refused() {
    let world = World::at(JUNE + DAY, 35 * DAY).await;
    let plan = plan(1, "2020-01-01", &[("fee", FEE)]);
    publish_converted(&world, &plan, ("fx", "2020-01-01")).await;
    let mut node = world.node("a").await;
    apply(&mut node, vec![open("UTC")]).await;
    done(&mut node, subscribe(JUNE)).await;
    settle(&world).await;
    let settings = Some(settings("UTC", "EUR"));
    done(&mut node, Command::ChangeSettings(ChangeSettings { settings, from_us: JULY })).await;
    world.set(JULY + DAY);
    let before = settle(&world).await;
    for at in [JUNE, JUNE + 10 * DAY] {
        let why = refused(&mut node, cancel(at)).await;
        assert!(why.contains("from USD to EUR at 2024-07-01T00:00:00Z"), "{why}");
    }
    assert_eq!(settle(&world).await, before, "nothing is given back");
    // From the change on, all charges are in one currency.
    done(&mut node, cancel(JULY)).await;
    assert_ne!(settle(&world).await, before);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_cancellation_in_the_past_names_what_stays_charged() {
    let (world, mut node) = start(JUNE + 5 * DAY).await;
    done(&mut node, subscribe(JUNE)).await;
    let usage = UsageRecord { start: Timestamp(JUNE + DAY), ..octets(ACCOUNT, "r1", 1000) };
    assert_eq!(node.send(std::slice::from_ref(&usage)).await.accepted, 1);
    let said = done(&mut node, cancel(JUNE)).await;
    for word in ["usage that was rated", "stay", "2024-06-01T00:00:00Z"] {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    // A retry is a duplicate (I5), and later usage has no plan.
    assert_eq!(node.send(std::slice::from_ref(&usage)).await.duplicates, [0]);
    let later = UsageRecord { record_id: "r2".to_owned(), ..usage };
    let answer = node.send(&[later]).await;
    assert_eq!((answer.accepted, answer.exceptions.len()), (0, 1), "{answer:?}");
    // Nothing was rated after an end in the future.
    done(&mut node, subscribe(JUNE + MINUTE)).await;
    assert_eq!(done(&mut node, cancel(JULY)).await, "");
    settle(&world).await;
}

/// One subscription ends where the next begins: the repeated cancellation says what goes on.
#[tokio::test(start_paused = true)]
async fn a_repeated_cancellation_names_the_subscription_that_begins_at_that_instant() {
    let (world, mut node) = start(JUNE + DAY).await;
    done(&mut node, subscribe(MAY)).await;
    done(&mut node, cancel(JUNE)).await;
    assert_eq!(one(&mut node, cancel(JUNE)).await.message, "");
    done(&mut node, subscribe(JUNE)).await;
    let again = one(&mut node, cancel(JUNE)).await;
    assert_eq!(again.outcome(), AccountOutcome::Already);
    for word in ["another subscription to line, from 2024-06-01T00:00:00Z on", "00:01:00Z"] {
        assert!(again.message.contains(word), "{again:?}");
    }
    settle(&world).await;
}

/// A subscription that ended is shortened while a later one goes on: the answer names the later one,
/// and does not claim that all later usage waits.
#[tokio::test(start_paused = true)]
async fn a_cancellation_names_a_later_subscription_to_the_plan_that_goes_on() {
    let (world, mut node) = start(JULY + DAY).await;
    done(&mut node, subscribe(MAY)).await;
    done(&mut node, cancel(JULY)).await;
    done(&mut node, subscribe(JULY)).await;
    let said = done(&mut node, cancel(JUNE)).await;
    for word in [
        "usage from then until 2024-07-01T00:00:00Z waits as no-plan",
        "another subscription to line, from 2024-07-01T00:00:00Z on, stays in force",
        "such as 2024-07-01T00:00:00Z",
    ] {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    assert!(!said.contains("from then on"), "{said}");
    let again = one(&mut node, cancel(JUNE)).await;
    assert_eq!(again.outcome(), AccountOutcome::Already);
    assert!(again.message.contains("from 2024-07-01T00:00:00Z on, stays"), "{again:?}");
    // The command of the answer ends it, and then nothing goes on.
    let said = done(&mut node, cancel(JULY)).await;
    assert!(said.contains("from then on waits") && !said.contains("stays in force"), "{said}");
    settle(&world).await;
}

/// The correction of a start is sent again, as a whole or in part: it changes nothing.
#[tokio::test(start_paused = true)]
async fn a_repeated_cancellation_at_a_start_does_not_end_the_subscription_that_took_its_place() {
    let (world, mut node) = start(JUNE + DAY).await;
    done(&mut node, subscribe(JUNE)).await;
    done(&mut node, cancel(JUNE)).await;
    done(&mut node, subscribe(MAY)).await;
    for _ in 0..2 {
        let again = one(&mut node, cancel(JUNE)).await;
        assert_eq!(again.outcome(), AccountOutcome::Already);
        let word = "another subscription to line, from 2024-05-01T00:00:00Z on, stays in force";
        assert!(again.message.contains(word), "{again:?}");
        assert_eq!(one(&mut node, subscribe(MAY)).await.outcome(), AccountOutcome::Already);
    }
    // One with other parameters is refused with commands that are then taken.
    let other = |from_us| {
        let Command::Subscribe(asked) = subscribe(from_us) else { panic!() };
        Command::Subscribe(Subscribe { priority: 2, ..asked })
    };
    let why = refused(&mut node, other(JUNE)).await;
    let words = ["--at 2024-06-01T00:01:00Z", "subscribe from 2024-06-01T00:01:00Z"];
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
    done(&mut node, cancel(JUNE + MINUTE)).await;
    done(&mut node, other(JUNE + MINUTE)).await;
    settle(&world).await;
    world.assert_checkpoints_match_the_log().await;
}

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    Subscribe(i64),
    Cancel(i64),
    /// Cancels the subscription of this number at its start.
    CancelAtStart(usize),
    /// Cancels the subscription of this number at its start, and subscribes so many hours earlier.
    Correct(usize, i64),
    /// Subscribes so many half minutes after the start of the subscription of this number.
    Again(usize, i64),
    /// Moves the end of the subscription of this number to an earlier instant.
    EndEarlier(usize, i64),
    /// The clock advances by hours; the sweep runs if `true`.
    Wait(i64, bool),
    /// Another node takes over.
    TakeOver,
    /// The second version of the plan, from August on, is published.
    Publish,
    /// A record at the present.
    Record,
}

/// An instant between April and October, on a grid of six hours with some minutes beside it; often
/// on the first date of a month.
fn instants() -> impl Strategy<Value = i64> {
    let any = -120..720i64;
    let firsts = (prop::sample::select(vec![0, 31, 61, 92, 123, 153]), 0..4i64);
    let quarters = prop_oneof![any, firsts.prop_map(|(day, quarter)| day * 4 + quarter)];
    (quarters, prop_oneof![3 => Just(0i64), 1 => 0..3i64])
        .prop_map(|(quarter, minutes)| MAY + quarter * 6 * HOUR + minutes * MINUTE)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => instants().prop_map(Step::Subscribe),
        3 => instants().prop_map(Step::Cancel),
        4 => (0..4usize).prop_map(Step::CancelAtStart),
        4 => (0..4usize, 1..1500i64).prop_map(|(n, hours)| Step::Correct(n, hours)),
        3 => (0..4usize, 0..3i64).prop_map(|(n, halves)| Step::Again(n, halves)),
        3 => (0..4usize, 1..200i64).prop_map(|(n, hours)| Step::EndEarlier(n, hours)),
        4 => (1..900i64, any::<bool>()).prop_map(|(hours, sweeps)| Step::Wait(hours, sweeps)),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Publish),
        1 => Just(Step::Record),
    ];
    proptest::collection::vec(step, 4..24)
}

/// What the commands that were applied come to: the start and end of each subscription.
#[derive(Debug, Default)]
struct Model(Vec<(i64, i64)>);

impl Model {
    /// As documented: the subscription in force just before the instant, else the one that begins
    /// at it.
    fn cancelled(&mut self, at: i64) {
        let live = |(from, until): &(i64, i64)| from < until;
        let before = self.0.iter().position(|s| live(s) && s.0 < at && at <= s.1);
        let begins = || self.0.iter().position(|s| live(s) && s.0 == at);
        let place = before.or_else(begins).expect("a cancellation of nothing was applied");
        self.0[place].1 = at;
    }

    /// Carries a command out that the node applied.
    fn applied(&mut self, asked: &Command) {
        let count = |kind: usize| APPLIED[kind].fetch_add(1, Ordering::Relaxed);
        match asked {
            Command::Subscribe(asked) => {
                count(0);
                let overlaps = self.0.iter().any(|s| s.0 < s.1 && asked.from_us < s.1);
                assert!(!overlaps, "{asked:?} overlaps with {self:?}");
                self.0.push((asked.from_us, i64::MAX));
            }
            Command::Cancel(asked) => {
                let is_open = |model: &Self| model.0.iter().any(|s| s.1 == i64::MAX);
                let was_open = is_open(self);
                self.cancelled(asked.at_us);
                let never_began = self.0.contains(&(asked.at_us, asked.at_us));
                let is_ended = was_open && !is_open(self);
                count(if never_began {
                    2
                } else if is_ended {
                    1
                } else {
                    3
                });
            }
            other => panic!("{other:?}"),
        }
    }

    /// The sum by independent arithmetic: the days of each subscription, from its first date to
    /// before the date of its end, each at the price of its month.
    fn cents(&self, zone: &TimeZone, is_dearer_from_august: bool) -> i64 {
        let day = |at: i64| jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(zone.clone());
        let price = |day: Date| {
            let second = is_dearer_from_august && day >= date(2024, 8, 1);
            let month = if second { 2 * FEE } else { FEE };
            month * 100 / i64::from(day.days_in_month())
        };
        let days = |&(from, until): &(i64, i64)| -> i64 {
            let (from, until) = (day(from).date(), day(until).date());
            let dates = from.series(jiff::Span::new().days(1));
            dates.take_while(|day| *day < until).map(price).sum()
        };
        self.0.iter().map(days).sum()
    }
}

impl Model {
    /// The sum that a trial without a cluster books for the final dates.
    fn cents_of_a_trial(&self, zone: &str, plans: &[String]) -> i64 {
        let settings = AccountContext {
            zone: Zone::parse(zone).unwrap(),
            cycle_day: 1,
            currency: "USD".parse().unwrap(),
            attributes: Default::default(),
        };
        let final_dates = self.0.iter().map(|&(from, until)| TrialSubscription {
            from: Timestamp(from),
            until: Timestamp(until),
            ..TrialSubscription::to("line")
        });
        let account = final_dates.fold(TrialAccount::new(settings), TrialAccount::with);
        let mut accounts = TrialAccounts::none();
        accounts.open(AccountNumber(ACCOUNT), account).unwrap();
        let plans = plans.iter().map(|xml| turnpike_plan::parse(xml).unwrap());
        let mut trial = Trial::new(TrialCatalogue::new(plans), accounts);
        trial.advance(Timestamp(LAST)).unwrap();
        let mut balances = trial.balance(AccountNumber(ACCOUNT));
        balances.next().map_or(0, |(_, sum)| cents(sum.unwrap().nanos()))
    }
}

/// When all charges of a history are booked.
const LAST: i64 = MAY + 300 * DAY;

fn cents(nanos: i128) -> i64 {
    assert_eq!(nanos % 10_000_000, 0, "whole cents");
    i64::try_from(nanos / 10_000_000).unwrap()
}

/// How many of the commands were applied, over all cases: subscriptions, cancellations,
/// cancellations at the start, and ends that moved.
static APPLIED: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

async fn run(zone: &str, steps: &[Step]) {
    let plans =
        [plan(1, "2020-01-01", &[("fee", FEE)]), plan(2, "2024-08-01", &[("fee", 2 * FEE)])];
    let mut now = MAY;
    let world = World::at(now, 35 * DAY).await;
    publish(world.db.as_ref(), &plans[0]).await;
    let mut names = ["b", "a"].into_iter().cycle();
    let mut node = world.node("a").await;
    apply(&mut node, vec![open(zone)]).await;
    let (mut model, mut is_published) = (Model::default(), false);
    for (number, step) in steps.iter().enumerate() {
        let chosen = |n: usize| model.0.get(n % model.0.len().max(1)).copied();
        let asked = match step {
            Step::Subscribe(from) => vec![subscribe(*from)],
            Step::Cancel(at) => vec![cancel(*at)],
            Step::CancelAtStart(n) => {
                chosen(*n).map(|(from, _)| cancel(from)).into_iter().collect()
            }
            // Not before March: the fee divides into whole cents from then on.
            Step::Correct(n, hours) => chosen(*n).map_or_else(Vec::new, |(from, _)| {
                let earlier = (from - hours * HOUR).max(MAY - 60 * DAY);
                vec![cancel(from), subscribe(earlier)]
            }),
            Step::Again(n, halves) => chosen(*n)
                .map(|(from, _)| subscribe(from + halves * MINUTE / 2))
                .into_iter()
                .collect(),
            Step::EndEarlier(n, hours) => chosen(*n)
                .filter(|(_, until)| *until < i64::MAX)
                .map(|(_, until)| cancel(until - hours * HOUR))
                .into_iter()
                .collect(),
            Step::Wait(hours, sweeps) => {
                now += hours * HOUR;
                world.set(now);
                if *sweeps {
                    settle(&world).await;
                }
                Vec::new()
            }
            Step::TakeOver => {
                node.node.shutdown().await;
                node = world.node(names.next().unwrap()).await;
                Vec::new()
            }
            Step::Publish => {
                // Not within August: a month is charged by the version that began before it.
                if !is_published && now < JULY {
                    publish(world.db.as_ref(), &plans[1]).await;
                    tokio::time::sleep(HEARTBEAT * 8).await;
                    is_published = true;
                }
                Vec::new()
            }
            Step::Record => {
                let record = octets(ACCOUNT, &format!("r{number}"), 1);
                node.send(&[UsageRecord { start: Timestamp(now), ..record }]).await;
                Vec::new()
            }
        };
        for asked in asked {
            let result = one(&mut node, asked.clone()).await;
            if result.outcome() == AccountOutcome::Applied {
                model.applied(&asked);
            }
        }
    }
    // Every month that was charged ends before the last instant.
    let last = MAY + 190 * DAY;
    if let Some((from, until)) = model.0.iter_mut().find(|(_, until)| *until == i64::MAX) {
        *until = last.max(*from + DAY) + 7 * MINUTE;
        done(&mut node, cancel(*until)).await;
    }
    world.set(LAST);
    let lines = settle(&world).await;
    let sum = cents(lines.iter().map(|(_, nanos)| nanos).sum());
    let expected = model.cents(&TimeZone::get(zone).unwrap(), is_published);
    assert_eq!(sum, expected, "{model:?} {lines:?}");
    let versions = if is_published { &plans[..] } else { &plans[..1] };
    assert_eq!(model.cents_of_a_trial(zone, versions), expected, "{model:?}");
    world.assert_checkpoints_match_the_log().await;
    // Another owner books nothing more.
    node.node.shutdown().await;
    let _node = world.node(names.next().unwrap()).await;
    assert_eq!(settle(&world).await, lines);
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    fn any_history(
        zone in prop::sample::select(vec!["UTC", "Europe/Zurich", "America/New_York", "Asia/Tokyo"]),
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(zone, &steps));
    }
}

/// The by-day charges of any history of commands, sweeps and takeovers come to those of the final
/// dates, as by independent arithmetic and by a trial. Clocks change within the histories.
#[test]
fn p34_the_charges_of_any_history_come_to_those_of_the_final_dates() {
    any_history();
    let applied = APPLIED.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert!(applied.iter().all(|count| *count >= 10), "{applied:?}");
}
