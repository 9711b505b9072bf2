//! The usage that an option rates is billed exactly once after any sequence of commands, for past or
//! future dates, and also if records arrive late (docs/plan-semantics.md section 6).
//!
//! All plans charge the same price for a unit, and each record has a distinct power of two as its
//! units. So the sum of the posted amounts shows which records were billed and how often, whichever
//! alternative wins.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use turnpike_account::{AccountChange, LoggedTime, PartitionState};
use turnpike_plan::{
    AccountContext, Due, DueInterval, ObjectCode, OptionInForce, Period, PlanInForce, Rated, Rater,
    Zone,
};
use turnpike_segment::head::{Cancellation, Change, Offer, OptOut, Pick, Settings, Subscription};
use turnpike_tariff::Profile;
use turnpike_types::{
    AccountNumber, Money, Posting, SegmentHash, SegmentNumber, Timestamp, UsageView,
};

const ACCOUNT: AccountNumber = AccountNumber(7);
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// 2026-03-10 in UTC.
const BEGIN: i64 = 20_522 * DAY;
const HORIZON: i64 = 70 * DAY;
const PLANS: [&str; 4] = ["a", "b", "c", "d"];
const OPTIONS: [&str; 2] = ["phone", "data"];
const ZONES: [&str; 3] = ["UTC", "America/New_York", "Asia/Tokyo"];

static CODES: LazyLock<Vec<ObjectCode>> = LazyLock::new(|| {
    let code = |id: &&str| {
        let xml = format!(
            r#"<plan xmlns="urn:turnpike:plan:1" id="{id}" version="1" starts="2020-01-01" currency="USD">
<graph><UsageTypeSelector id="s" in="record.quantity" types="call"/>
<StepRater id="r" in="s.pass"><step id="used" price="1" per="1"/></StepRater>
<AccountFinalizer id="post" in="r.charge"/></graph></plan>"#
        );
        turnpike_plan::compile(&turnpike_plan::parse(&xml).unwrap(), &BTreeMap::new()).unwrap()
    };
    PLANS.iter().map(code).collect()
});

#[derive(Clone, Debug)]
enum Step {
    /// A record that started this many hours ago.
    Record(i64),
    Offer {
        option: usize,
        plans: [usize; 2],
        from: i64,
    },
    OptOut {
        option: usize,
        plan: usize,
        at: i64,
    },
    Cancel {
        plan: usize,
        at: i64,
    },
    Subscribe {
        plan: usize,
        from: i64,
    },
    Pick {
        option: usize,
        plan: usize,
        cycle: i32,
    },
    Settings {
        day: u32,
        zone: usize,
        from: i64,
    },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let (option, plan) = (0..OPTIONS.len(), 0..PLANS.len());
    // Hours relative to now, mostly in the past.
    let when = -40 * 24i64..10 * 24;
    let two = (0..PLANS.len(), 1..PLANS.len()).prop_map(|(a, b)| [a, (a + b) % PLANS.len()]);
    let day = prop_oneof![Just(1u32), Just(15), Just(30), Just(31), 1u32..32];
    prop_oneof![
        8 => (0i64..60 * 24).prop_map(Step::Record),
        4 => (0i64..72).prop_map(Step::Record),
        4 => (option.clone(), two, when.clone())
            .prop_map(|(option, plans, from)| Step::Offer { option, plans, from }),
        2 => (option.clone(), plan.clone(), when.clone())
            .prop_map(|(option, plan, at)| Step::OptOut { option, plan, at }),
        2 => (plan.clone(), when.clone()).prop_map(|(plan, at)| Step::Cancel { plan, at }),
        1 => (plan.clone(), when.clone()).prop_map(|(plan, from)| Step::Subscribe { plan, from }),
        1 => (option, plan, -40i32..40)
            .prop_map(|(option, plan, cycle)| Step::Pick { option, plan, cycle }),
        1 => (day, 0..ZONES.len(), when)
            .prop_map(|(day, zone, from)| Step::Settings { day, zone, from }),
        3 => Just(Step::Sweep),
    ]
}

fn settings(from_us: i64, zone: usize, cycle_day: u32) -> Settings {
    let (zone, currency) = (ZONES[zone].to_owned(), "USD".to_owned());
    Settings { from_us, zone, cycle_day, currency, ..Settings::default() }
}

/// The state of an account, and what was billed to it.
struct World {
    state: PartitionState,
    rater: Rater,
    now: i64,
    /// The sum of the units of all rated records. `posted` is the sum of the units of all posted
    /// lines.
    rated: i128,
    posted: i128,
    records: u32,
    /// The fees that were booked: plan, cycle, day of the month on which cycles begin, and start of
    /// the subscription.
    fees: BTreeSet<(usize, Period, u8, Timestamp)>,
}

fn context(profile: &Profile, at: Timestamp) -> AccountContext {
    let settings = profile.settings_at(at).unwrap();
    AccountContext {
        zone: Zone::parse(&settings.zone).unwrap(),
        cycle_day: u8::try_from(settings.cycle_day).unwrap(),
        currency: settings.currency.parse().unwrap(),
        attributes: BTreeMap::new(),
    }
}

fn plans(profile: &Profile, at: Timestamp) -> Vec<PlanInForce<'_>> {
    let in_force = profile.subscriptions_at(at).map(|s: &Subscription| {
        let code = &CODES[PLANS.iter().position(|plan| *plan == s.plan_id).unwrap()];
        let fee = if s.fee.is_empty() { Money::ZERO } else { s.fee.parse().unwrap() };
        let option = OptionInForce::new(&s.option, fee, Timestamp(s.from_us));
        let kept = s.kept_from_us.map_or(Timestamp::MAX, Timestamp);
        PlanInForce {
            code,
            tables: &[],
            since: Timestamp(s.from_us),
            until: Timestamp(s.until_us),
            option: (!s.option.is_empty()).then(|| option.kept(kept, at)),
        }
    });
    in_force.collect()
}

impl World {
    fn new() -> Self {
        let mut state = PartitionState::default();
        state.change(ACCOUNT, &Change::Opened(settings(i64::MIN, 0, 1)));
        Self {
            state,
            rater: Rater::new(),
            now: BEGIN,
            rated: 0,
            posted: 0,
            records: 0,
            fees: BTreeSet::new(),
        }
    }

    fn profile(&self) -> Profile {
        let account = self.state.account(ACCOUNT).unwrap();
        self.state.profiles().get(account.profile).unwrap().clone()
    }

    fn book(
        &mut self,
        rated: &Rated,
        start: Timestamp,
        close: Option<(&Due, u8, &[PlanInForce<'_>])>,
    ) {
        for line in rated.lines.iter().filter(|line| line.posting == Posting::Account) {
            let plan = close.map(|(_, day, plans)| (day, &plans[usize::from(line.plan)]));
            match plan {
                Some((day, plan))
                    if plan.code.components()[usize::from(line.component)].component == "fee" =>
                {
                    let place = PLANS.iter().position(|id| *id == plan.code.plan_id()).unwrap();
                    let is_new = self.fees.insert((place, line.period, day, plan.since));
                    assert!(is_new, "a fee twice: {line:?}");
                }
                _ => self.posted += line.amount.nanos() / 1_000_000_000,
            }
        }
        let floor = Timestamp(self.now - HORIZON);
        self.state.set_variables(ACCOUNT, rated.changes.iter().copied(), start, floor);
    }

    fn book_due(&mut self, through: i64) {
        let profile = self.profile();
        let cuts: BTreeSet<Timestamp> =
            profile.boundaries().chain([Timestamp::MIN, Timestamp::MAX]).collect();
        let cuts: Vec<Timestamp> = cuts.into_iter().collect();
        let pieces: Vec<_> = cuts
            .windows(2)
            .map(|pair| (pair[0], pair[1], context(&profile, pair[0]), plans(&profile, pair[0])))
            .collect();
        let intervals: Vec<DueInterval<'_>> = pieces
            .iter()
            .map(|(from, until, account, plans)| DueInterval {
                from: *from,
                until: *until,
                account,
                plans,
            })
            .collect();
        for turn in 0.. {
            assert!(turn < 5_000, "the sweep does not end");
            let state = &self.state.account(ACCOUNT).unwrap().state;
            let now = Timestamp(self.now);
            let due = self.rater.next_due(&intervals, state, Timestamp(through), now);
            let Some(due) = due else { break };
            let rated = self.rater.fall_due(&intervals, &due, state, now).unwrap().clone();
            let interval = &intervals[due.interval];
            self.book(&rated, due.at, Some((&due, interval.account.cycle_day, interval.plans)));
        }
    }

    fn record(&mut self, start: i64) {
        self.book_due(start);
        let (profile, at) = (self.profile(), Timestamp(start));
        let quantity = 1i64 << self.records;
        let view = UsageView {
            record_id: "",
            account: ACCOUNT,
            usage_type: "call",
            start: at,
            duration_us: 0,
            quantity: Some(quantity),
            measures: &[],
            attributes: &[],
        };
        let state = &self.state.account(ACCOUNT).unwrap().state;
        let now = Timestamp(self.now);
        let rated =
            self.rater.rate(&plans(&profile, at), &context(&profile, at), state, &view, now);
        // Suspended records are not rated.
        if let Ok(rated) = rated.cloned() {
            self.records += 1;
            self.rated += i128::from(quantity);
            self.book(&rated, at, None);
        }
    }

    fn change(&mut self, change: &Change) {
        if self.state.judge(ACCOUNT, change) == AccountChange::Changes {
            self.state.change(ACCOUNT, change);
        }
    }

    fn take(&mut self, step: &Step) {
        let now = self.now;
        let when = |hours: &i64| now + hours * HOUR;
        let plan = |place: &usize| PLANS[*place].to_owned();
        let option = |place: &usize| OPTIONS[*place].to_owned();
        match step {
            Step::Record(ago) => self.record(now - ago * HOUR),
            Step::Sweep => self.book_due(now),
            Step::Offer { option: name, plans, from } => self.change(&Change::Offered(Offer {
                option: option(name),
                plans: plans.iter().map(plan).collect(),
                fee: "0.5".to_owned(),
                from_us: when(from),
                priority: 2,
            })),
            Step::OptOut { option: name, plan: kept, at } => {
                self.change(&Change::OptedOut(OptOut {
                    option: option(name),
                    plan_id: plan(kept),
                    at_us: when(at),
                }))
            }
            Step::Cancel { plan: ended, at } => self
                .change(&Change::Cancelled(Cancellation { plan_id: plan(ended), at_us: when(at) })),
            Step::Subscribe { plan: new, from } => self.change(&Change::Subscribed(Subscription {
                plan_id: plan(new),
                from_us: when(from),
                until_us: i64::MAX,
                priority: 1,
                ..Subscription::default()
            })),
            Step::Pick { option: name, plan: picked, cycle } => {
                let today = i32::try_from(now / DAY).unwrap();
                for days in 0..31 {
                    self.change(&Change::Picked(Pick {
                        option: option(name),
                        plan_id: plan(picked),
                        cycle: today + cycle + days,
                    }));
                }
            }
            Step::Settings { day, zone, from } => {
                self.change(&Change::SettingsChanged(settings(when(from), *zone, *day)));
            }
        }
        let time = LoggedTime { now: Timestamp(self.now), floor: Timestamp(self.now - HORIZON) };
        let (last, _) = self.state.last();
        self.state.advance(SegmentNumber(last.0 + 1), SegmentHash::default(), time);
    }
}

#[test]
fn every_record_that_was_rated_is_billed_once_and_every_fee_too() {
    let config = test_cases::cases(600);
    // The number of cases in which records were rated, and the number of these records. A test that
    // rates no record would prove nothing.
    let tried = std::cell::Cell::new((0usize, 0usize));
    let steps = proptest::collection::vec((step(), 0i64..9 * 24), 1..60);
    let checked = TestRunner::new(config).run(&steps, |steps| {
        let mut world = World::new();
        for (step, hours) in &steps {
            world.now += hours * HOUR;
            world.take(step);
        }
        world.now += 200 * DAY;
        world.take(&Step::Sweep);
        prop_assert_eq!(world.posted, world.rated, "{:#b} of {:#b}", world.posted, world.rated);
        let (cases, records) = tried.get();
        tried.set((cases + usize::from(world.records > 0), records + world.records as usize));
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
    let (cases, records) = tried.get();
    assert!(cases > 200 && records > 1000, "{cases} cases rated {records} records");
}
