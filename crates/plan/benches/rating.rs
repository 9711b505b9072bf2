//! The cost of rating on one core, with the account's state in memory.
//!
//!     cargo bench -p turnpike-plan --bench rating
//!
//! Each time is for one record; `fig6b/mix` is the reference figure. The benchmarks `quantity` and
//! `length_in_days` show that the cost of a record depends on the number of portions into which it
//! is split, not on its byte count or duration.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use turnpike_plan::{
    AccountContext, AccountState, ObjectCode, PlanInForce, Rater, Zone, compile, parse,
};
use turnpike_types::{AccountNumber, Timestamp, UsageView};

fn main() {
    divan::main();
}

const FIG6B: &str = include_str!("../tests/data/fig6b.xml");
const HOUR_US: i64 = 3_600_000_000;
/// 2026-03-02T05:00:00Z: midnight of a Monday in New York.
const MONDAY: i64 = 1_772_427_600_000_000;

fn code(xml: &str) -> ObjectCode {
    compile(&parse(xml).unwrap(), &BTreeMap::new()).unwrap()
}

fn account() -> AccountContext {
    AccountContext {
        zone: Zone::parse("America/New_York").unwrap(),
        cycle_day: 1,
        currency: "USD".parse().unwrap(),
        attributes: BTreeMap::new(),
    }
}

fn connected(start: i64, duration_us: i64) -> UsageView<'static> {
    UsageView {
        record_id: "r",
        account: AccountNumber(42),
        usage_type: "connect-time",
        start: Timestamp(start),
        duration_us,
        quantity: None,
        measures: &[],
        attributes: &[],
    }
}

/// An account with the plan of Fig. 6B at the start of 2 March, after some hours of usage in March.
struct Subscriber {
    code: ObjectCode,
    account: AccountContext,
    state: AccountState,
    rater: Rater,
}

impl Subscriber {
    fn with_hours(hours: i64) -> Self {
        let (code, account) = (code(FIG6B), account());
        let mut subscriber =
            Self { code, account, state: AccountState::default(), rater: Rater::new() };
        // All earlier hours are on Sunday 1 March, between 09:00 and 20:00 in New York.
        for day in 0..hours.div_euclid(10) {
            subscriber.keep(&connected(MONDAY - (30 - day % 3) * HOUR_US / 2, 10 * HOUR_US));
        }
        subscriber
    }

    fn keep(&mut self, record: &UsageView<'_>) {
        let plans = [PlanInForce::always(&self.code)];
        let now = Timestamp::MIN;
        let rated = self.rater.rate(&plans, &self.account, &self.state, record, now).unwrap();
        self.state.apply(&rated.changes);
    }

    fn rate(&mut self, records: &[UsageView<'_>]) -> i128 {
        let plans = [PlanInForce::always(&self.code)];
        let (account, state, rater) = (&self.account, &self.state, &mut self.rater);
        let mut sum = 0;
        for record in records {
            let rated = rater.rate(&plans, account, state, black_box(record), Timestamp::MIN);
            sum += rated.unwrap().lines.iter().map(|line| line.amount.nanos()).sum::<i128>();
        }
        sum
    }

    fn bench(&mut self, bencher: Bencher<'_, '_>, records: &[UsageView<'_>]) {
        bencher.counter(ItemsCount::new(records.len())).bench_local(|| self.rate(records));
    }
}

/// One hundred records of 5 to 55 minutes, spread over a week.
fn week_of_records() -> Vec<UsageView<'static>> {
    let minute = HOUR_US / 60;
    let record = |k: i64| connected(MONDAY + k * 101 * minute, (5 + k * 7 % 50) * minute);
    (0..100).map(record).collect()
}

#[divan::bench_group]
mod fig6b {
    use super::*;

    /// Half of the records fall within the 100 free hours of the month, the other half after them.
    #[divan::bench]
    fn mix(bencher: Bencher<'_, '_>) {
        let records = week_of_records();
        let (early, late) = records.split_at(50);
        let (mut fresh, mut heavy) = (Subscriber::with_hours(10), Subscriber::with_hours(120));
        bencher
            .counter(ItemsCount::new(records.len()))
            .bench_local(|| fresh.rate(early) + heavy.rate(late));
    }

    #[divan::bench]
    fn within_the_free_hours(bencher: Bencher<'_, '_>) {
        Subscriber::with_hours(10).bench(bencher, &week_of_records());
    }

    #[divan::bench]
    fn past_the_free_hours(bencher: Bencher<'_, '_>) {
        Subscriber::with_hours(120).bench(bencher, &week_of_records());
    }

    #[divan::bench]
    fn across_free_peak_and_midnight(bencher: Bencher<'_, '_>) {
        // The record lasts from 12:00 to 02:00: ten free hours until 22:00, two peak hours until
        // midnight, and two off-peak hours.
        let evening = connected(MONDAY + 12 * HOUR_US, 14 * HOUR_US);
        Subscriber::with_hours(90).bench(bencher, &[evening; 10]);
    }

    /// Parses the XML, checks it and compiles it.
    #[divan::bench]
    fn parse_and_compile(bencher: Bencher<'_, '_>) {
        bencher.bench(|| code(black_box(FIG6B)));
    }

    #[divan::bench]
    fn compile_parsed(bencher: Bencher<'_, '_>) {
        let plan = parse(FIG6B).unwrap();
        bencher.bench(|| compile(black_box(&plan), &BTreeMap::new()).unwrap());
    }
}

const OCTETS: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="octets" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <MonthlyAccumulator id="volume" in="data.pass"/>
    <StepRater id="tiers" in="volume.out" level="volume.total">
      <step id="included" upto="5 GB" price="0" per="1 GB"/>
      <step id="overage" price="2.00" per="1 GB"/>
    </StepRater>
    <AccountFinalizer id="post" in="tiers.charge"/>
  </graph>
</plan>"#;

/// Rates a record of one byte to one petabyte. The cost must not depend on the quantity.
#[divan::bench(args = [1, 1_000_000, 1_000_000_000_000_000])]
fn quantity(bencher: Bencher<'_, '_>, octets: i64) {
    let (code, account, state, mut rater) =
        (code(OCTETS), account(), AccountState::default(), Rater::new());
    let record =
        UsageView { usage_type: "octets", quantity: Some(octets), ..connected(MONDAY, 60_000_000) };
    bencher.bench_local(|| {
        let plans = [PlanInForce::always(&code)];
        rater
            .rate(&plans, &account, &state, black_box(&record), Timestamp::MIN)
            .unwrap()
            .lines
            .len()
    });
}

/// Rates sessions of one day, one week and four weeks that are split only at the end of the month.
/// The cost must depend only on the number of splits.
#[divan::bench(args = [1, 7, 28])]
fn length_in_days(bencher: Bencher<'_, '_>, days: i64) {
    let flat = OCTETS
        .replace("record.quantity", "record.duration")
        .replace("octets", "connect-time")
        .replace("5 GB", "900 h")
        .replace("1 GB", "1 h");
    let (code, account, state, mut rater) =
        (code(&flat), account(), AccountState::default(), Rater::new());
    let record = connected(MONDAY, days * 24 * HOUR_US);
    bencher.bench_local(|| {
        let plans = [PlanInForce::always(&code)];
        rater
            .rate(&plans, &account, &state, black_box(&record), Timestamp::MIN)
            .unwrap()
            .lines
            .len()
    });
}

/// The cost of adding amounts to the account's totals, which only accounts with bonuses keep.
/// Rating by a plan without bonuses must not have this cost.
#[divan::bench(args = ["without bonuses", "with bonuses"])]
fn totals(bencher: Bencher<'_, '_>, plan: &str) {
    let ads = r#"<UsageTypeSelector id="ads" in="record.quantity" types="ad"/>
        <StepRater id="show" in="ads.pass"><step id="ad" price="2" per="1"/></StepRater>
        <CostResponsibilityMatrix id="who" in="show.charge"><party id="ad" account="902"/><row shares="ad=1"/></CostResponsibilityMatrix>
        <BonusCredit id="reward" in="who.others"><grant from="902" to="TO" percent="50"/></BonusCredit>
        <SecondAccountFinalizer id="theirs" in="reward.charge"/>
      </graph>"#;
    // For the comparison, the plan "without bonuses" has the same primitives, but grants the bonus
    // to account 901 instead of the rated account.
    let to = if plan == "with bonuses" { "self" } else { "901" };
    let xml = OCTETS
        .replace("</graph>", &ads.replace("TO", to))
        .replace("upto=\"5 GB\"", "upto=\"1 GB\"");
    let (code, account, mut state, mut rater) =
        (code(&xml), account(), AccountState::default(), Rater::new());
    let record = UsageView {
        usage_type: "octets",
        quantity: Some(1_500_000_000),
        ..connected(MONDAY, 60_000_000)
    };
    let plans = [PlanInForce::always(&code)];
    let rated = rater.rate(&plans, &account, &state, &record, Timestamp::MIN).unwrap();
    state.apply(&rated.changes);
    const RECORDS: usize = 100;
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut lines = 0;
        for _ in 0..RECORDS {
            let record = black_box(&record);
            let rated = rater.rate(&plans, &account, &state, record, Timestamp::MIN);
            lines += rated.unwrap().lines.len();
        }
        lines
    });
}
