//! Random histories: the steps, and the plans by which they are rated.
//!
//! All plans charge one price for an octet, and one for a second of a call. So the sum of the lines
//! of a record follows from the record alone, whichever plans the account has.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use turnpike_plan::Plan;
use turnpike_tariff::{Catalogue, VersionHead};

use super::driver::{HOUR_US, MINUTE_US};

/// 2024-05-01 06:00 in UTC: a month has begun, and the cycle of April closes in two days.
pub(super) const START: i64 = 1_714_543_200_000_000;
/// The price of an octet, in billionths.
pub(super) const OCTET: i128 = 1_000_000;
/// The price of a microsecond of a call, in billionths.
pub(super) const CALL_US: i128 = 1;
/// The accounts that a history opens first, and later.
pub(super) const ACCOUNTS: std::ops::RangeInclusive<u64> = 1..=8;
/// An account that another partition covers, and one that none covers.
pub(super) const FOREIGN: u64 = 1_500;
pub(super) const NOWHERE: u64 = 5_000;

/// A record to send. A record that was sent before under its number is sent again as it was, but for
/// the last two fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) number: u8,
    pub(super) account: u64,
    pub(super) usage: Usage,
    /// How long ago the usage began, at the first sending.
    pub(super) age_us: i64,
    pub(super) amount: u16,
    /// Whether the content differs from what is sent under this number otherwise.
    pub(super) conflicts: bool,
    /// Whether a duration of zero is stated.
    pub(super) states_zero: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Octets,
    /// A call of `amount` seconds; without a duration if the amount is small.
    Call,
    /// Octets that another account pays.
    Sponsored,
    /// Usage that no plan rates.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Open,
    Subscribe { plan: usize, from_us: i64 },
    Cancel { plan: usize, at_us: i64 },
    Offer { plans: [usize; 2], from_us: i64 },
    Pick { plan: usize, cycle: usize },
    OptOut { plan: usize, at_us: i64 },
    Amend { cycle_day: u32, from_us: i64 },
    Zone { zone: usize, from_us: i64 },
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Send {
        records: Vec<Sent>,
        is_recycled: bool,
        guided_ago_us: Option<i64>,
    },
    Apply(Vec<(u64, Order)>),
    /// Suspended records are recycled: those that this number selects.
    Recycle(u8),
    /// Records whose identity has moved to another account are decided.
    Reassign {
        records: Vec<(Sent, u64)>,
        is_recycled: bool,
    },
    /// Refusals of the account of a decision are noted.
    Refuse(u8),
    List,
    Show(u64),
    Sweep,
    TakePostings,
    Checkpoint {
        seals: bool,
    },
    /// Time passes.
    Advance(i64),
    /// The next plan is published.
    Publish,
    Heartbeat,
    StartAppend,
    FinishAppend,
    /// The owner ends after some more waits, or at once.
    Replace {
        after_waits: Option<usize>,
        commits: bool,
        from_checkpoint: bool,
    },
}

pub(super) const PLANS: [&str; 6] = ["octets", "monthly", "calls", "sponsored", "small", "large"];
/// Published during a history.
pub(super) const LATER: &str = "later";
pub(super) const ZONES: [&str; 3] = ["UTC", "America/New_York", "Asia/Tokyo"];
pub(super) const CYCLES: [&str; 3] = ["2024-04-01", "2024-05-01", "2024-04-15"];

fn plan_xml(id: &str, version: u32, starts: &str, graph: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="{version}" starts="{starts}" currency="USD" round="9 half-even">
  <graph>{graph}</graph>
</plan>"#
    )
}

fn read(xml: &str) -> Arc<Plan> {
    Arc::new(turnpike_plan::parse(xml).unwrap_or_else(|error| panic!("{error}\n{xml}")))
}

/// Levels count the octets of a month.
fn octets(step: &str) -> String {
    format!(
        r#"<UsageTypeSelector id="data" in="record.quantity" types="octets"/>
<MonthlyAccumulator id="volume" in="data.pass"/>
<StepRater id="tiers" in="volume.out" level="volume.total" mode="graduated">
<step id="{step}" upto="2 kB" price="1" per="1 kB"/><step id="beyond" price="1" per="1 kB"/>
</StepRater>
<AccountFinalizer id="post" in="tiers.charge"/>"#
    )
}

const MONTHLY: &str = r#"<OneTimeCharge id="setup" amount="3.00"/>
<MonthlyRecurringCharge id="fee" amount="10.00"/>
<WeeklyRecurringCharge id="line" amount="0.25"/>
<UsageTypeSelector id="data" in="record.quantity" types="octets"/>
<StepRater id="tiers" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
<Adder id="sum" in="setup.charge fee.charge line.charge tiers.charge"/>
<AccountFinalizer id="post" in="sum.charge"/>"#;

const CALLS: &str = r#"<UsageTypeSelector id="calls" in="record.duration" types="call"/>
<StepRater id="talk" in="calls.pass"><step id="talk" price="3.60" per="1 h"/></StepRater>
<AccountFinalizer id="post" in="talk.charge"/>"#;

const SPONSORED: &str = r#"<UsageTypeSelector id="data" in="record.quantity" types="sponsored"/>
<StepRater id="units" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
<SecondAccountFinalizer id="post" in="units.charge" account="record.payer"/>"#;

fn alternative(fee: &str) -> String {
    format!(
        r#"<BillingCycleRecurringCharge id="fee" amount="{fee}"/>
<UsageTypeSelector id="data" in="record.quantity" types="octets"/>
<StepRater id="tiers" in="data.pass"><step id="all" price="1" per="1 kB"/></StepRater>
<Adder id="sum" in="fee.charge tiers.charge"/>
<AccountFinalizer id="post" in="sum.charge"/>"#
    )
}

/// The plans that are published before a history, and those that it publishes.
static PUBLISHED: LazyLock<Vec<Arc<Plan>>> = LazyLock::new(|| {
    let first = |id: &str, graph: &str| read(&plan_xml(id, 1, "2020-01-01", graph));
    vec![
        first("octets", &octets("first")),
        first("monthly", MONTHLY),
        first("calls", CALLS),
        first("sponsored", SPONSORED),
        first("small", &alternative("1.00")),
        first("large", &alternative("2.00")),
        first(LATER, &octets("first")),
        read(&plan_xml("octets", 2, "2024-04-30", &octets("second"))),
    ]
});

/// The catalogue before a history.
pub(super) fn first_catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    (0..PLANS.len()).for_each(|place| add(&mut catalogue, place));
    catalogue
}

/// Publishes the plan after those that the catalogue holds. Returns false if there is none.
pub(super) fn publish_next(catalogue: &mut Catalogue) {
    let next = usize::try_from(catalogue.version()).unwrap();
    if next < PUBLISHED.len() {
        add(catalogue, next);
    }
}

fn add(catalogue: &mut Catalogue, place: usize) {
    let plan = &PUBLISHED[place];
    let (id, version, starts) = (plan.id(), plan.version(), plan.starts());
    let head = VersionHead { id, version, starts, published: place as u64 + 1 };
    catalogue.add_plan(&head, Some(Arc::clone(plan)));
}

fn account() -> impl Strategy<Value = u64> {
    prop_oneof![20 => ACCOUNTS, 1 => Just(0u64), 1 => Just(NOWHERE), 1 => Just(900u64)]
}

fn sent() -> impl Strategy<Value = Sent> {
    let other = prop_oneof![
        3 => Just(Usage::Octets),
        3 => Just(Usage::Call),
        3 => Just(Usage::Sponsored),
        1 => Just(Usage::Unknown),
    ];
    // Mostly what the account's first plan rates.
    let usage = prop::option::weighted(0.25, other);
    let age = prop_oneof![
        12 => 0..6 * HOUR_US,
        4 => 0..110 * HOUR_US,
        1 => -20 * MINUTE_US..0,
    ];
    let account = prop_oneof![60 => account(), 1 => Just(FOREIGN)];
    let flags = (prop::bool::weighted(0.08), prop::bool::weighted(0.2));
    (0..24u8, account, usage, age, 0..3_000u16, flags).prop_map(
        |(number, account, usage, age_us, amount, (conflicts, states_zero))| Sent {
            number,
            account,
            usage: usage.unwrap_or_else(|| rated_by_plan(account)),
            age_us,
            amount,
            conflicts,
            states_zero,
        },
    )
}

/// What the plan rates to which a history subscribes the account first.
fn rated_by_plan(account: u64) -> Usage {
    match account {
        3 => Usage::Call,
        4 => Usage::Sponsored,
        _ => Usage::Octets,
    }
}

/// An account is opened with a plan from before the history, so that its usage need not wait.
fn opened() -> impl Strategy<Value = Step> {
    let subscribe = Order::Subscribe { plan: 0, from_us: -200 * HOUR_US };
    (7..=8u64)
        .prop_map(move |account| Step::Apply(vec![(account, Order::Open), (account, subscribe)]))
}

fn order() -> impl Strategy<Value = Order> {
    let plan = || 0..=PLANS.len();
    let when = || prop_oneof![-60 * HOUR_US..30 * HOUR_US, Just(0)];
    let two = (0..PLANS.len(), 1..PLANS.len());
    let two = two.prop_map(|(one, step)| [one, (one + step) % PLANS.len()]);
    prop_oneof![
        3 => Just(Order::Open),
        5 => (plan(), when()).prop_map(|(plan, from_us)| Order::Subscribe { plan, from_us }),
        3 => (plan(), when()).prop_map(|(plan, at_us)| Order::Cancel { plan, at_us }),
        2 => (two, when()).prop_map(|(plans, from_us)| Order::Offer { plans, from_us }),
        1 => (4..6usize, 0..CYCLES.len()).prop_map(|(plan, cycle)| Order::Pick { plan, cycle }),
        1 => (4..6usize, when()).prop_map(|(plan, at_us)| Order::OptOut { plan, at_us }),
        2 => (prop::sample::select(vec![1u32, 15, 30, 31]), when())
            .prop_map(|(cycle_day, from_us)| Order::Amend { cycle_day, from_us }),
        1 => (0..ZONES.len(), when()).prop_map(|(zone, from_us)| Order::Zone { zone, from_us }),
    ]
}

fn request() -> BoxedStrategy<Step> {
    let records = prop::collection::vec(sent(), 1..8);
    let guided = prop::option::weighted(0.15, 0..14 * MINUTE_US);
    let moved = prop::collection::vec((sent(), prop_oneof![1 => Just(0u64), 4 => ACCOUNTS]), 1..4);
    prop_oneof![
        20 => (records, prop::bool::weighted(0.1), guided).prop_map(
            |(records, is_recycled, guided_ago_us)| Step::Send { records, is_recycled, guided_ago_us }
        ),
        5 => prop::collection::vec((ACCOUNTS, order()), 1..4).prop_map(Step::Apply),
        2 => opened(),
        7 => any::<u8>().prop_map(Step::Recycle),
        3 => (moved, any::<bool>())
            .prop_map(|(records, is_recycled)| Step::Reassign { records, is_recycled }),
        1 => any::<u8>().prop_map(Step::Refuse),
        1 => Just(Step::List),
        1 => ACCOUNTS.prop_map(Step::Show),
    ]
    .boxed()
}

fn time() -> BoxedStrategy<Step> {
    prop_oneof![
        8 => (0..30 * HOUR_US).prop_map(Step::Advance),
        2 => Just(Step::Sweep),
        4 => Just(Step::TakePostings),
        1 => Just(Step::Publish),
        1 => Just(Step::Heartbeat),
    ]
    .boxed()
}

/// A history in which one owner serves, and appends at its own discretion.
pub(super) fn quiet() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![3 => request(), 1 => time()], 8..30)
}

/// The history without the orders for an account that are not the first of their request. A client
/// that repeats one order is answered that it is in effect already. A client that repeats two orders
/// of which the second one changes what the first one does gets another answer to the first one.
pub(super) fn one_order_an_account(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        if let Step::Apply(orders) = step {
            let mut named = BTreeSet::new();
            orders.retain(|(account, _)| named.insert(*account));
        }
    }
    steps
}

/// A history in which owners end, with appends in flight, and checkpoints are written.
pub(super) fn restless() -> impl Strategy<Value = Vec<Step>> {
    let replace = (prop::option::of(0..6usize), any::<bool>(), any::<bool>());
    let replace = replace.prop_map(|(after_waits, commits, from_checkpoint)| Step::Replace {
        after_waits,
        commits,
        from_checkpoint,
    });
    let step = prop_oneof![
        12 => request(),
        6 => time(),
        4 => Just(Step::StartAppend),
        5 => Just(Step::FinishAppend),
        2 => any::<bool>().prop_map(|seals| Step::Checkpoint { seals }),
        2 => replace,
    ];
    prop::collection::vec(step, 10..45)
}
