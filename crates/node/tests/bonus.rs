//! Bonuses are set off against charges when a cycle closes: once, whichever node owns the
//! partition, and so that a replay gives the same state (docs/plan-semantics.md section 5; P25,
//! P33, P34).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use support::{HEARTBEAT, Running, log, octets, publish, replay};
use turnpike_account::PartitionState;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult, Cancel};
use turnpike_proto::node::v1::NodeApplyRequest;
use turnpike_segment::Segment;
use turnpike_types::{AccountNumber, Outcome, Posting, Timestamp, UsageRecord};

const DAY: i64 = 86_400_000_000;
/// 2024-05-01 in UTC.
const MAY: i64 = 1_714_521_600_000_000;
const JUNE: i64 = MAY + 31 * DAY;
const JULY: i64 = JUNE + 30 * DAY;

/// A kilobyte costs 1 and is paid by the advertiser, who grants half of it to `to`. Each cycle has
/// a fee of 2.
fn sponsored(id: &str, to: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="units" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
    <CostResponsibilityMatrix id="who" in="units.charge"><party id="ad" account="902"/><row shares="ad=1"/></CostResponsibilityMatrix>
    <BonusCredit id="reward" in="who.others"><grant from="902" to="{to}" percent="50"/></BonusCredit>
    <SecondAccountFinalizer id="theirs" in="reward.charge"/>
    <BillingCycleRecurringCharge id="fee" amount="2"/>
    <AccountFinalizer id="mine" in="fee.charge"/>
  </graph>
</plan>"#
    )
}

const FEE: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="fee" version="1" starts="2020-01-01" currency="USD">
  <graph>
    <BillingCycleRecurringCharge id="fee" amount="3"/>
    <Ignore id="nothing" in="record.quantity"/>
    <AccountFinalizer id="mine" in="fee.charge"/>
  </graph>
</plan>"#;

/// The test cluster of `support::world`, with queries of its log for these tests.
struct World(support::world::World);

impl std::ops::Deref for World {
    type Target = support::world::World;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl World {
    async fn new() -> Self {
        let world = support::world::World::at(MAY + DAY, 35 * DAY).await;
        for plan in [&sponsored("own", "self"), &sponsored("portal", "901"), FEE] {
            publish(world.db.as_ref(), plan).await;
        }
        Self(world)
    }

    /// The lines that set off bonuses against the account's charges: date, name and amount.
    async fn offsets(&self, account: u64) -> Vec<String> {
        let mut booked = Vec::new();
        for row in log(self.db.as_ref()).await {
            let segment = Segment::decode(&row.body).unwrap();
            for line in segment.lines() {
                let record = segment.record(line.record).unwrap();
                let name = &line.component.component;
                if record.account.0 == account && name.starts_with("bonus-") {
                    assert_eq!(line.posting, Posting::Account);
                    let at = jiff::Timestamp::from_microsecond(record.start.0).unwrap();
                    booked.push(format!("{} {name} {}", at.strftime("%F"), line.amount));
                }
            }
        }
        booked
    }

    /// Waits until a posting to the account is taken.
    async fn taken(&self, account: u64) {
        for _ in 0..400 {
            for row in log(self.db.as_ref()).await {
                let segment = Segment::decode(&row.body).unwrap();
                let is_it = |account_of: AccountNumber, outcome| {
                    account_of.0 == account && outcome == Outcome::Posted
                };
                if segment.records().any(|(_, record)| is_it(record.account, record.outcome)) {
                    return;
                }
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        panic!("no posting to account {account}");
    }

    /// Waits until that many lines are booked, and then longer, to see that no more follow.
    async fn settled(&self, account: u64, lines: usize) -> Vec<String> {
        for _ in 0..400 {
            if self.offsets(account).await.len() >= lines {
                break;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
        tokio::time::sleep(HEARTBEAT * 8).await;
        self.offsets(account).await
    }
}

async fn open(node: &mut Running, account: u64, plan: &str) {
    apply(node, vec![support::open(account), subscribe(account, plan, MAY)]).await;
}

fn subscribe(account: u64, plan: &str, from_us: i64) -> AccountCommand {
    let mut subscribe = support::subscribe(account, plan);
    if let Some(Command::Subscribe(subscribe)) = &mut subscribe.command {
        subscribe.from_us = from_us;
    }
    subscribe
}

fn cancel(account: u64, plan: &str, at_us: i64) -> AccountCommand {
    let command = Some(Command::Cancel(Cancel { plan_id: plan.to_owned(), at_us }));
    AccountCommand { account_number: account, command, identities: Vec::new() }
}

async fn apply(node: &mut Running, commands: Vec<AccountCommand>) {
    let results = support::world::apply(node, commands).await;
    let applied = |result: &AccountResult| result.outcome() == AccountOutcome::Applied;
    assert!(results.iter().all(applied), "{results:?}");
}

fn used(account: u64, id: &str, start: i64, kilobytes: i64) -> UsageRecord {
    let start = Timestamp(start);
    UsageRecord { account: AccountNumber(account), start, ..octets(account, id, kilobytes * 1000) }
}

#[tokio::test(start_paused = true)]
async fn plans_5_the_rest_of_a_bonus_is_carried_on_and_i4_a_replay_gives_the_same_state() {
    let world = World::new().await;
    let mut node = world.node("a").await;
    open(&mut node, 7, "own").await;
    assert_eq!(node.send(&[used(7, "r", MAY + DAY, 12)]).await.accepted, 1);
    world.set(JULY + 3 * DAY);
    // Each cycle has a fee of 2. The bonus of 6 pays the fee of May, and 4 are carried on. They pay
    // the fee of June, and 2 are carried on.
    let expected = [
        "2024-06-03 bonus-carried-forward 4.000000000",
        "2024-06-03 bonus-brought-forward -4.000000000",
        "2024-07-03 bonus-carried-forward 2.000000000",
        "2024-07-03 bonus-brought-forward -2.000000000",
    ];
    assert_eq!(world.settled(7, 4).await, expected);
    world.assert_checkpoints_match_the_log().await;
}

/// Only the bonus causes a sweep of the account: no charge falls due, and no record arrives.
#[tokio::test(start_paused = true)]
async fn p34_a_bonus_closes_its_cycle_even_if_nothing_else_falls_due() {
    let world = World::new().await;
    let fee = "<BillingCycleRecurringCharge id=\"fee\" amount=\"2\"/>";
    let plan = sponsored("feeless", "self").replace(fee, "").replace(
        "<AccountFinalizer id=\"mine\" in=\"fee.charge\"/>",
        "<AccountFinalizer id=\"mine\" in=\"who.own\"/>",
    );
    publish(world.db.as_ref(), &plan).await;
    let mut node = world.node("a").await;
    open(&mut node, 7, "feeless").await;
    // The sweep visits the account once, and finds that nothing will fall due.
    tokio::time::sleep(HEARTBEAT * 8).await;
    assert_eq!(node.send(&[used(7, "r", MAY + DAY, 12)]).await.accepted, 1);
    world.set(JUNE + 3 * DAY);
    let expected = [
        "2024-06-03 bonus-carried-forward 6.000000000",
        "2024-06-03 bonus-brought-forward -6.000000000",
    ];
    assert_eq!(world.settled(7, 2).await, expected);
    world.assert_checkpoints_match_the_log().await;
}

/// The owner dies while the append that closes a cycle is between check and commit.
#[tokio::test(start_paused = true)]
async fn p34_a_bonus_is_carried_once_across_a_takeover() {
    let world = World::new().await;
    let mut first = world.node("a").await;
    open(&mut first, 7, "own").await;
    assert_eq!(first.send(&[used(7, "r", MAY + DAY, 12)]).await.accepted, 1);
    let (mut node, mut expected) = (first.node, Vec::new());
    for (round, (now, day, rest)) in
        [(JUNE, "2024-06-03", 4), (JULY, "2024-07-03", 2)].into_iter().enumerate()
    {
        // The fee of the next cycle is booked first, in another append.
        world.set(now + DAY);
        tokio::time::sleep(HEARTBEAT * 8).await;
        let paused = world.memory.pause_appends().await;
        world.set(now + 3 * DAY);
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
        expected.push(format!("{day} bonus-carried-forward {rest}.000000000"));
        expected.push(format!("{day} bonus-brought-forward -{rest}.000000000"));
        assert_eq!(world.settled(7, expected.len()).await, expected);
    }
    world.assert_checkpoints_match_the_log().await;
}

/// The plan `portal` of account 7 closes the account's cycles, but grants its bonuses to account
/// 901.
#[tokio::test(start_paused = true)]
async fn p33_a_bonus_that_another_account_posts_is_set_off_against_the_receivers_charges() {
    let world = World::new().await;
    let mut node = world.node("a").await;
    open(&mut node, 901, "fee").await;
    open(&mut node, 7, "portal").await;
    assert_eq!(node.send(&[used(7, "r1", MAY + DAY, 10)]).await.accepted, 1);
    world.taken(901).await;
    world.set(JUNE + 3 * DAY);
    // An account keeps totals from its first bonus on; earlier charges are not in them.
    let expected = [
        "2024-06-03 bonus-carried-forward 5.000000000",
        "2024-06-03 bonus-brought-forward -5.000000000",
    ];
    assert_eq!(world.settled(901, 2).await, expected);
    assert!(world.offsets(7).await.is_empty(), "bonuses that it grants to others are not its own");
    world.set(JULY + 3 * DAY);
    let booked = world.settled(901, 4).await;
    assert_eq!(booked[2], "2024-07-03 bonus-carried-forward 2.000000000");
    world.assert_checkpoints_match_the_log().await;
}

/// An account without a plan is charged nothing, so a bonus is paid to it in full.
#[tokio::test(start_paused = true)]
async fn a_bonus_for_an_account_without_a_plan_is_not_held_back() {
    let world = World::new().await;
    let mut node = world.node("a").await;
    open(&mut node, 7, "portal").await;
    let request = NodeApplyRequest { partition: 1, commands: vec![support::open(901)] };
    node.client.apply(request).await.unwrap();
    assert_eq!(node.send(&[used(7, "r1", MAY + DAY, 10)]).await.accepted, 1);
    world.taken(901).await;
    world.set(JULY + 3 * DAY);
    assert_eq!(world.settled(901, 0).await, Vec::<String>::new());
    let rows = log(world.db.as_ref()).await;
    let state = replay(PartitionState::default(), &rows);
    assert!(!state.account(AccountNumber(901)).unwrap().state.keeps_totals());
}

/// The sweep closes the cycle by the plans in force. A bonus that did not count by then would never
/// count.
#[tokio::test(start_paused = true)]
async fn p33_a_bonus_counts_though_one_of_the_receivers_plans_has_not_begun() {
    let world = World::new().await;
    let next =
        FEE.replace("id=\"fee\" version", "id=\"next\" version").replace("2020-01", "2024-09");
    publish(world.db.as_ref(), &next).await;
    let mut node = world.node("a").await;
    open(&mut node, 901, "fee").await;
    // The subscription begins with the start of the plan, whenever that is.
    apply(&mut node, vec![subscribe(901, "next", 0)]).await;
    open(&mut node, 7, "portal").await;
    assert_eq!(node.send(&[used(7, "r1", MAY + DAY, 10)]).await.accepted, 1);
    world.taken(901).await;
    world.set(JUNE + 3 * DAY);
    let expected = [
        "2024-06-03 bonus-carried-forward 5.000000000",
        "2024-06-03 bonus-brought-forward -5.000000000",
    ];
    assert_eq!(world.settled(901, 2).await, expected);
    world.assert_checkpoints_match_the_log().await;
}

#[tokio::test(start_paused = true)]
async fn p33_a_bonus_counts_in_a_gap_between_subscriptions_and_stands_after_the_last() {
    let world = World::new().await;
    let mut node = world.node("a").await;
    publish(world.db.as_ref(), &sponsored("other", "903")).await;
    for account in [901, 903] {
        open(&mut node, account, "fee").await;
        apply(&mut node, vec![cancel(account, "fee", JUNE)]).await;
    }
    apply(&mut node, vec![subscribe(901, "own", JULY)]).await;
    open(&mut node, 7, "portal").await;
    open(&mut node, 8, "other").await;
    world.set(JUNE + DAY);
    // Wait until the new time has reached the owner.
    tokio::time::sleep(HEARTBEAT * 8).await;
    let records = [used(7, "r1", JUNE + DAY, 10), used(8, "r2", JUNE + DAY, 10)];
    let answer = node.send(&records).await;
    assert_eq!(answer.accepted, 2, "{answer:?}");
    world.taken(901).await;
    world.taken(903).await;
    world.set(JULY + 3 * DAY);
    let expected = [
        "2024-07-03 bonus-carried-forward 5.000000000",
        "2024-07-03 bonus-brought-forward -5.000000000",
    ];
    assert_eq!(world.settled(901, 2).await, expected);
    assert!(world.offsets(903).await.is_empty(), "the bonus is paid in full");
    world.assert_checkpoints_match_the_log().await;
}

/// A subscription that was cancelled at its start is not a later subscription.
#[tokio::test(start_paused = true)]
async fn a_bonus_is_not_carried_forward_to_a_subscription_that_never_began() {
    let world = World::new().await;
    let mut node = world.node("a").await;
    open(&mut node, 901, "fee").await;
    open(&mut node, 7, "portal").await;
    assert_eq!(node.send(&[used(7, "r1", MAY + DAY, 10)]).await.accepted, 1);
    world.taken(901).await;
    apply(&mut node, vec![cancel(901, "fee", JUNE)]).await;
    apply(&mut node, vec![subscribe(901, "fee", JULY)]).await;
    apply(&mut node, vec![cancel(901, "fee", JULY)]).await;
    world.set(JUNE + 3 * DAY);
    assert_eq!(world.settled(901, 1).await, ["2024-06-03 bonus-lapsed 5.000000000"]);
    world.assert_checkpoints_match_the_log().await;
}

/// By then the account keeps totals for bonuses, and it keeps them also after its last subscription
/// has ended.
#[tokio::test(start_paused = true)]
async fn p33_a_bonus_granted_after_the_last_subscription_lapses_where_totals_are_kept() {
    let world = World::new().await;
    let mut node = world.node("a").await;
    open(&mut node, 901, "fee").await;
    open(&mut node, 7, "portal").await;
    assert_eq!(node.send(&[used(7, "r1", MAY + DAY, 10)]).await.accepted, 1);
    world.taken(901).await;
    apply(&mut node, vec![cancel(901, "fee", JUNE)]).await;
    world.set(JUNE + 3 * DAY);
    let lapsed = ["2024-06-03 bonus-lapsed 5.000000000", "2024-07-03 bonus-lapsed 2.000000000"];
    assert_eq!(world.settled(901, 1).await, lapsed[..1]);
    assert_eq!(node.send(&[used(7, "r2", JUNE + 3 * DAY, 4)]).await.accepted, 1);
    tokio::time::sleep(HEARTBEAT * 8).await;
    world.set(JULY + 3 * DAY);
    assert_eq!(world.settled(901, 2).await, lapsed);
    world.assert_checkpoints_match_the_log().await;
}
