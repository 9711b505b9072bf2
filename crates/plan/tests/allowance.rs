//! Allowances: dated buckets, drawn by earliest expiry, priority, grant time
//! (docs/plan-semantics.md section 4).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::due::{Contract, Ledger, Subscription, at, plan_of};
use support::{event, plan, session};
use turnpike_plan::{Cause, PlanErrors, parse};
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

/// A graph with an allowance for bytes in front of a rater. If the buckets include bought units,
/// records of type `pass` buy such units.
fn allowing(buckets: &str) -> String {
    let topup = if buckets.contains("<bought") { "topup=\"pass.pass\"" } else { "" };
    let pass = if buckets.contains("<bought") {
        "<UsageTypeSelector id=\"pass\" in=\"record.quantity\" types=\"pass\"/>"
    } else {
        ""
    };
    format!(
        r#"{pass}
        <UsageTypeSelector id="data" in="record.octets" types="data"/>
        <Allowance id="a" in="data.pass" {topup}>
        {buckets}
        </Allowance>
        <StepRater id="free" in="a.covered"><step id="free" price="0" per="1 B"/></StepRater>
        <StepRater id="paid" in="a.rest"><step id="paid" price="1" per="1 B"/></StepRater>
        <AccountFinalizer id="post" in="free.charge paid.charge"/>"#
    )
}

struct Account {
    contract: Contract,
    ledger: Ledger,
}

impl Account {
    fn with(buckets: &str, zone: &str, since: &str) -> Self {
        let xml = plan_of("p", 1, "2024-01-01", &allowing(buckets));
        Self {
            contract: Contract::in_zone(zone).with(Subscription::to(&xml, since)),
            ledger: Ledger::new(),
        }
    }

    fn rate(&mut self, record: &UsageRecord) -> (i128, i128) {
        let before = self.ledger.lines.len();
        self.ledger.rate(&self.contract, record, Timestamp::MIN).unwrap();
        let of = |name: &str| {
            let new = self.ledger.lines[before..].iter().filter(|line| line.component == name);
            new.map(|line| line.quantity).sum()
        };
        (of("free"), of("paid"))
    }

    /// Rates a record of bytes at an instant. Returns the numbers of bytes that the allowance
    /// covered and that were charged.
    fn data(&mut self, at: &str, octets: i64) -> (i128, i128) {
        let mut record = session("data", at, at);
        record.measures.insert("octets".to_owned(), octets);
        self.rate(&record)
    }

    fn buy(&mut self, at: &str, octets: i64) {
        assert_eq!(self.rate(&event("pass", at, octets)), (0, 0));
    }
}

/// The month's grant covers usage, and the rest is charged. The next month has a new grant.
#[test]
fn a_monthly_bucket_covers_so_much_in_each_month_of_the_account() {
    let bucket = r#"<bucket id="m" grant="10 B" every="month"/>"#;
    let mut account = Account::with(bucket, "Asia/Kolkata", "2026-01-01T00:00:00Z");
    assert_eq!(account.data("2026-01-31T18:29:59Z", 7), (7, 0));
    assert_eq!(account.data("2026-01-10T00:00:00Z", 7), (3, 4));
    // 18:30 UTC is midnight in the account's zone, at which February begins.
    assert_eq!(account.data("2026-01-31T18:30:00Z", 12), (10, 2));
    assert_eq!(account.data("2026-01-31T18:29:59Z", 1), (0, 1));
}

/// docs/plan-semantics.md section 1: a record across the end of a month draws from both months,
/// unit by unit.
#[test]
fn a_record_over_a_months_end_draws_from_both_months() {
    let bucket = r#"<bucket id="m" grant="10 B" every="month"/>"#;
    let mut account = Account::with(bucket, "UTC", "2026-01-01T00:00:00Z");
    let mut record = session("data", "2026-01-31T23:00:00Z", "2026-02-01T03:00:00Z");
    record.measures.insert("octets".to_owned(), 80);
    // 20 of the 80 units are in January. Each month's grant covers 10 units.
    assert_eq!(account.rate(&record), (20, 60));
    let lines: Vec<(i128, i64)> = account.ledger.lines.iter().map(|l| (l.quantity, 0)).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(account.data("2026-02-20T00:00:00Z", 1), (0, 1));
}

/// docs/plan-semantics.md section 4: a rollover extends the validity of a grant; the grant with the
/// earliest expiry is drawn first.
#[test]
fn an_unused_rest_stays_valid_for_so_many_further_periods() {
    let bucket = r#"<bucket id="m" grant="10 B" every="month" rollover="1"/>"#;
    let mut account = Account::with(bucket, "UTC", "2026-01-15T00:00:00Z");
    // Months before the subscription began have no grant.
    assert_eq!(account.data("2026-01-20T00:00:00Z", 4), (4, 0));
    // The record uses the 6 units left of January's grant, then 9 of February's.
    assert_eq!(account.data("2026-02-10T00:00:00Z", 15), (15, 0));
    // The rest of January's grant has expired. The record uses the last unit of February's grant
    // and the 10 of March's.
    assert_eq!(account.data("2026-03-10T00:00:00Z", 12), (11, 1));
    assert_eq!(account.data("2026-05-10T00:00:00Z", 25), (20, 5));
}

/// docs/plan-semantics.md section 4: a period that is running when the subscription begins has its
/// full grant, valid from the start of the period.
#[test]
fn a_period_that_ended_when_the_subscription_began_grants_nothing() {
    let bucket = r#"<bucket id="m" grant="10 B" every="month" rollover="2"/>"#;
    let mut at_midnight = Account::with(bucket, "Europe/Zurich", "2026-01-31T23:00:00Z");
    assert_eq!(at_midnight.data("2026-02-10T00:00:00Z", 50), (10, 40));
    let mut just_before = Account::with(bucket, "Europe/Zurich", "2026-01-31T22:59:59Z");
    assert_eq!(just_before.data("2026-02-10T00:00:00Z", 50), (20, 30));
}

/// docs/plan-semantics.md section 4: a bucket follows billing cycles from the account's cycle day,
/// weeks from Monday or another day, or dates.
#[test]
fn buckets_go_by_any_of_the_accounts_calendars() {
    let covered = |every: &str, cycle_day, instants: &[&str]| -> Vec<i128> {
        let bucket = format!("<bucket id=\"b\" grant=\"10 B\" {every}/>");
        let mut account = Account::with(&bucket, "UTC", "2026-01-01T00:00:00Z");
        account.contract.settings[0].1.cycle_day = cycle_day;
        instants.iter().map(|at| account.data(at, 6).0).collect()
    };
    let cycle = [
        "2026-01-30T23:59:59Z",
        "2026-01-31T00:00:00Z",
        "2026-02-27T23:00:00Z",
        "2026-02-28T00:00:00Z",
    ];
    assert_eq!(covered("every=\"billing-cycle\"", 31, &cycle), [6, 6, 4, 6]);
    let week = [
        "2026-03-01T12:00:00Z",
        "2026-03-02T00:00:00Z",
        "2026-03-07T12:00:00Z",
        "2026-03-08T00:00:00Z",
    ];
    assert_eq!(covered("every=\"week\"", 1, &week), [6, 6, 4, 0]);
    assert_eq!(covered("every=\"week\" starts=\"Sun\"", 1, &week), [6, 4, 0, 6]);
    let day = ["2026-03-01T12:00:00Z", "2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z"];
    assert_eq!(covered("every=\"day\"", 1, &day), [6, 4, 6]);
    assert_eq!(covered("every=\"day\" rollover=\"1\"", 1, &day), [6, 6, 6]);
}

/// A single grant is valid from the date on which the subscription begins, for some days or without
/// an end.
#[test]
fn a_single_grant_is_valid_for_its_days() {
    let mut account = Account::with(
        r#"<bucket id="w" grant="10 B" valid="30 d"/>"#,
        "Europe/Zurich",
        "2026-01-01T12:00:00Z",
    );
    assert_eq!(account.data("2026-01-30T22:59:59Z", 4), (4, 0));
    assert_eq!(account.data("2026-01-30T23:00:00Z", 1), (0, 1));
    let mut for_good =
        Account::with(r#"<bucket id="w" grant="10 B"/>"#, "UTC", "2026-01-01T12:00:00Z");
    assert_eq!(for_good.data("2029-01-01T00:00:00Z", 15), (10, 5));
    assert_eq!(for_good.data("2030-01-01T00:00:00Z", 1), (0, 1));
}

/// Each subscription has its own grant, also if one account subscribes twice.
#[test]
fn a_single_grant_is_granted_to_each_subscription() {
    let mut account =
        Account::with(r#"<bucket id="w" grant="10 B"/>"#, "UTC", "2026-01-01T00:00:00Z");
    assert_eq!(account.data("2026-01-10T00:00:00Z", 15), (10, 5));
    account.contract.subscriptions[0].until = at("2026-02-01");
    let xml = plan_of("p", 1, "2024-01-01", &allowing(r#"<bucket id="w" grant="10 B"/>"#));
    account.contract.subscriptions.push(Subscription::to(&xml, "2026-03-01"));
    assert_eq!(account.data("2026-03-10T00:00:00Z", 15), (10, 5));
}

/// docs/plan-semantics.md section 4: units are drawn from the bucket with the earliest expiry, then
/// the highest priority, then the oldest grant.
#[test]
fn the_order_of_drawing() {
    let names = |account: &Account| -> Vec<(String, i128)> {
        let variables = account.contract.subscriptions[0].versions[0].variables().to_vec();
        let name = |id| variables.iter().find(|known| known.id == id).unwrap().primitive.clone();
        account
            .ledger
            .state
            .iter()
            .map(|e| (name(e.variable), e.value))
            .filter(|(name, _)| !name.ends_with("since"))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect()
    };
    let pairs = |pairs: &[(&str, i128)]| {
        pairs.iter().map(|(n, v)| (format!("a/{n}"), *v)).collect::<Vec<_>>()
    };
    // The week ends before the month: its bucket is drawn first, whatever the priority.
    let week = r#"<bucket id="m" grant="10 B" every="month" priority="9"/><bucket id="w" grant="10 B" every="week"/>"#;
    let mut account = Account::with(week, "UTC", "2026-01-01T00:00:00Z");
    account.data("2026-03-10T00:00:00Z", 12);
    assert_eq!(names(&account), pairs(&[("m", 2), ("w", 10)]));
    // Both grants end with the month, so the higher priority is drawn first; with equal priority,
    // the first one in the plan.
    let equal = r#"<bucket id="m" grant="10 B" every="month"/><bucket id="n" grant="10 B" every="month" priority="1"/><bucket id="o" grant="10 B" every="month"/>"#;
    let mut account = Account::with(equal, "UTC", "2026-01-01T00:00:00Z");
    account.data("2026-03-10T00:00:00Z", 12);
    assert_eq!(names(&account), pairs(&[("m", 2), ("n", 10)]));
    // Both grants expire at the end of April, so the grant of March is drawn before that of April.
    let older = r#"<bucket id="m" grant="10 B" every="month"/><bucket id="r" grant="10 B" every="month" rollover="1"/>"#;
    let mut account = Account::with(older, "UTC", "2026-03-01T00:00:00Z");
    account.data("2026-04-10T00:00:00Z", 12);
    assert_eq!(names(&account), pairs(&[("m", 2), ("r", 10)]));
    // Bought units with a later expiry are drawn after the units of the month.
    let bought =
        r#"<bought id="b" valid="60 d" priority="5"/><bucket id="m" grant="10 B" every="month"/>"#;
    let mut account = Account::with(bought, "UTC", "2026-03-01T00:00:00Z");
    account.buy("2026-03-05T00:00:00Z", 100);
    account.data("2026-03-10T00:00:00Z", 12);
    assert_eq!(names(&account), pairs(&[("b", 98), ("m", 10)]));
}

/// Bought units are valid from the date of purchase, and expire at the first instant of a date.
#[test]
fn a_bought_allowance_is_valid_for_its_days() {
    let mut account =
        Account::with(r#"<bought id="b" valid="2 d"/>"#, "Europe/Zurich", "2026-01-01T00:00:00Z");
    assert_eq!(account.data("2026-03-09T12:00:00Z", 1), (0, 1));
    account.buy("2026-03-10T12:00:00Z", 100);
    // Late records from before the purchase are covered on the date of the purchase, but not on the
    // day before.
    assert_eq!(account.data("2026-03-10T08:00:00Z", 10), (10, 0));
    assert_eq!(account.data("2026-03-09T22:59:59Z", 10), (0, 10));
    // The bought units are valid on 10 and 11 March in Zurich.
    assert_eq!(account.data("2026-03-11T22:59:59Z", 10), (10, 0));
    assert_eq!(account.data("2026-03-11T23:00:00Z", 10), (0, 10));
}

/// Bought units keep their validity when a new plan version sells units of shorter validity.
#[test]
fn a_new_version_does_not_shorten_what_was_bought_before() {
    let xml = |version, starts: &str, valid| {
        plan_of("p", version, starts, &allowing(&format!("<bought id=\"b\" valid=\"{valid} d\"/>")))
    };
    let mut account =
        Account::with(r#"<bought id="b" valid="60 d"/>"#, "UTC", "2026-03-01T00:00:00Z");
    account.contract.subscriptions[0].versions.push(support::compiled(&xml(2, "2026-03-15", 5)));
    account.buy("2026-03-10T00:00:00Z", 100);
    account.buy("2026-03-20T00:00:00Z", 100);
    assert_eq!(account.data("2026-03-22T00:00:00Z", 150), (150, 0));
    assert_eq!(account.data("2026-05-08T00:00:00Z", 60), (50, 10));
    assert_eq!(account.data("2026-05-09T00:00:00Z", 60), (0, 60));
}

/// A zero-quantity record leaves by the output by which a first unit would leave.
#[test]
fn a_record_without_units_goes_where_its_first_unit_would_have() {
    let graph = r#"<Allowance id="a" in="record.octets"><bucket id="m" grant="1 B" every="month"/></Allowance>
        <OneTimeCharge id="in" trigger="a.covered" amount="1" due="first-use"/>
        <OneTimeCharge id="out" trigger="a.rest" amount="2" due="first-use"/>
        <AccountFinalizer id="post" in="in.charge out.charge"/>"#;
    let mut account = Account {
        contract: Contract::in_zone("UTC").with(Subscription::to(&plan(graph), "2026-01-01")),
        ledger: Ledger::new(),
    };
    account.data("2026-03-10T00:00:00Z", 0);
    account.data("2026-03-10T00:00:00Z", 1);
    account.data("2026-03-10T00:00:00Z", 0);
    let booked: Vec<&str> = account.ledger.lines.iter().map(|l| l.component.as_str()).collect();
    assert_eq!(booked, ["in", "out"]);
}

/// A unit that a Weigher counts several times may be covered in part.
#[test]
fn the_copies_of_a_unit_may_be_drawn_from_several_buckets_and_fall_between() {
    let graph = r#"<Weigher id="w" in="record.octets" attribute="f" default="5"><weight value="x" weight="1"/></Weigher>
        <Allowance id="a" in="w.out"><bucket id="d" grant="7 B" every="day"/><bucket id="m" grant="4 B" every="month"/></Allowance>
        <StepRater id="free" in="a.covered"><step id="free" price="0" per="1 B"/></StepRater>
        <StepRater id="paid" in="a.rest"><step id="paid" price="1" per="1 B"/></StepRater>
        <AccountFinalizer id="post" in="free.charge paid.charge"/>"#;
    let mut account = Account {
        contract: Contract::in_zone("UTC").with(Subscription::to(&plan(graph), "2026-01-01")),
        ledger: Ledger::new(),
    };
    // Each of the 4 units counts 5 times. The day's bucket covers the first unit and 2 copies of
    // the second. The month's bucket covers the other 3 copies and 1 copy of the third unit.
    assert_eq!(account.data("2026-03-10T00:00:00Z", 4), (11, 9));
}

/// A number that exceeds 128 bits is an error.
#[test]
fn more_than_128_bits_are_an_error() {
    let mut account =
        Account::with(r#"<bought id="b" valid="2 d"/>"#, "UTC", "2026-01-01T00:00:00Z");
    account.buy("2026-03-10T12:00:00Z", 100);
    let entries: Vec<_> = account.ledger.state.iter().copied().filter(|e| e.value == 100).collect();
    for entry in entries {
        account.ledger.state.set(turnpike_plan::StateEntry { value: i128::MAX - 50, ..entry });
    }
    let record = event("pass", "2026-03-10T12:00:00Z", 100);
    let rated = account.ledger.rate(&account.contract, &record, Timestamp::MIN);
    assert_eq!(rated, Err(SuspenseReason::Overflow));
}

/// Parses a plan that must be refused. Returns (line, primitive, cause) of every error.
fn refused(buckets: &str) -> Vec<(u32, String, Cause)> {
    let PlanErrors(errors) = parse(&plan(&allowing(buckets))).expect_err(buckets);
    errors.into_iter().map(|e| (e.line, e.primitive.unwrap_or_default(), e.cause)).collect()
}

#[test]
fn allowances_that_can_not_be_are_refused_by_name_and_line() {
    // The graph begins on line 3, the allowance on line 5, its buckets on line 6.
    for (buckets, line, cause) in [
        ("", 5, Cause::MissingProperty),
        (r#"<bucket id="m" every="month"/>"#, 6, Cause::MissingProperty),
        (r#"<bucket id="m" grant="0 B" every="month"/>"#, 6, Cause::BadValue),
        ("<bucket id=\"m\" grant=\"1 B\"/>\n<bucket id=\"n\" grant=\"2 h\"/>", 7, Cause::WrongUnit),
        (r#"<bucket id="m" grant="1 B" every="year"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" rollover="1"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" every="month" valid="30 d"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" every="month" starts="Sun"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" every="month" rollover="13"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" every="week" rollover="53"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" every="day" rollover="367"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" valid="30 h"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" valid="0 d"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" valid="3661 d"/>"#, 6, Cause::BadValue),
        (r#"<bucket id="m" grant="1 B" priority="-1"/>"#, 6, Cause::BadValue),
        (
            "<bucket id=\"m\" grant=\"1 B\"/>\n<bucket id=\"m\" grant=\"2 B\"/>",
            7,
            Cause::DuplicateId,
        ),
        ("<bought id=\"b\" valid=\"1 d\"/>\n<bought id=\"c\" valid=\"2 d\"/>", 7, Cause::BadValue),
        (r#"<bought id="b"/>"#, 6, Cause::MissingProperty),
        (r#"<bought id="b" valid="30 d" grant="1 B"/>"#, 6, Cause::UnknownProperty),
    ] {
        assert_eq!(refused(buckets), [(line, "a".to_owned(), cause)], "{buckets}");
    }
}

#[test]
fn topup_and_bought_go_together() {
    let graph = |topup: &str, bucket: &str| {
        format!(
            "<Allowance id=\"a\" in=\"record.octets\"{topup}>{bucket}</Allowance>\n<Ignore id=\"i\" in=\"a.covered a.rest\"/>"
        )
    };
    let error = |graph: &str| {
        let PlanErrors(errors) = parse(&plan(graph)).expect_err(graph);
        (errors[0].line, errors[0].cause)
    };
    let (bought, bucket) = (r#"<bought id="b" valid="1 d"/>"#, r#"<bucket id="m" grant="1 B"/>"#);
    assert_eq!(error(&graph("", bought)), (3, Cause::OpenInput));
    assert_eq!(error(&graph(" topup=\"record.quantity\"", bucket)), (3, Cause::MissingProperty));
    parse(&plan(&graph(" topup=\"record.quantity\"", bought))).unwrap();
    // The output `covered` may have no consumer, but the output `rest` must have one.
    let open = |port: &str| parse(&plan(&graph("", bucket).replace("a.covered a.rest", port)));
    open("a.rest").unwrap();
    assert_eq!(open("a.covered").unwrap_err().0[0].cause, Cause::OpenUsage);
}

/// docs/plan-semantics.md section 2: a unit is either covered or not, also with an input `topup`.
/// So linking both outputs to one input gives no warning of units that count twice.
#[test]
fn covered_and_rest_meeting_again_is_no_unit_twice() {
    let graph = allowing(r#"<bought id="b" valid="1 d"/>"#)
        .replace("in=\"a.rest\"", "in=\"a.rest a.covered\"");
    let parsed = parse(&plan(&graph)).unwrap();
    let twice: Vec<_> = parsed.warnings().iter().filter(|w| w.message.contains("twice")).collect();
    assert_eq!(twice, Vec::<&turnpike_plan::Warning>::new());
}

/// A purchase in the reference model: the date, and the units left.
struct Pass {
    day: i64,
    left: i64,
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// The model keeps every purchase and draws unit by unit. The allowance must cover the same
    /// units.
    #[test]
    fn bought_units_are_drawn_as_a_list_of_purchases_would_be(
        events in proptest::collection::vec((any::<bool>(), 0i64..40, 0i64..24, 1i64..30, 0i64..3 * 24), 1..25),
        valid in 1i64..12, grant in 1i64..20, rollover in 0i64..4,
    ) {
        let buckets = format!(
            "<bought id=\"b\" valid=\"{valid} d\"/><bucket id=\"d\" grant=\"{grant} B\" every=\"day\" rollover=\"{rollover}\" priority=\"1\"/>"
        );
        let mut account = Account::with(&buckets, "UTC", "2026-01-03T00:00:00Z");
        let epoch = at("2026-01-01").micros();
        let (mut passes, mut days): (Vec<Pass>, BTreeMap<i64, i64>) = (Vec::new(), BTreeMap::new());
        const HOUR_US: i64 = 3_600_000_000;
        for (buys, day, hour, units, hours) in events {
            let start = epoch + (2 * 24 + day * 24 + hour) * HOUR_US;
            if buys {
                let mut record = event("pass", "2026-01-01T00:00:00Z", units);
                record.start = Timestamp(start);
                account.rate(&record);
                passes.push(Pass { day: day + 2, left: units });
                continue;
            }
            let mut record = session("data", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
            (record.start, record.duration_us) = (Timestamp(start), hours * HOUR_US);
            record.measures.insert("octets".to_owned(), units);
            let rated = account.rate(&record);
            let mut covered = 0;
            for unit in 0..units {
                let today = (start + unit * record.duration_us / units - epoch).div_euclid(24 * HOUR_US);
                // (expiry, priority, grant time) of each bucket with units left.
                let bought = passes.iter().enumerate()
                    .filter(|(_, p)| p.left > 0 && p.day <= today && today < p.day + valid)
                    .map(|(n, p)| ((p.day + valid, 0, p.day), Some(n), p.day));
                let granted = (today - rollover..=today)
                    .filter(|day| *day >= 2 && days.get(day).copied().unwrap_or(0) < grant)
                    .map(|day| ((day + rollover + 1, -1, day), None, day));
                let Some((_, pass, day)) = bought.chain(granted).min_by_key(|known| known.0) else { continue };
                covered += 1;
                match pass {
                    Some(pass) => passes[pass].left -= 1,
                    None => *days.entry(day).or_default() += 1,
                }
            }
            prop_assert_eq!(rated, (covered, i128::from(units) - covered));
        }
    }
}

proptest! {
    // Each case rates the records of several years twice, so few cases are run.
    #![proptest_config(test_cases::cases(4))]

    /// docs/plan-semantics.md section 4: state is sparse. However long an account is used, its
    /// state stays small.
    #[test]
    fn state_stays_bounded_over_years_of_use(
        gaps in proptest::collection::vec(1i64..16, 150..200), zone in 0usize..3,
    ) {
        let zone = ["UTC", "Pacific/Auckland", "America/New_York"][zone];
        let graph = format!(
            "{}<MonthlyRecurringCharge id=\"fee\" amount=\"5\" prorate=\"day\"/><DailyAccumulator id=\"daily\" in=\"data.pass\"/><Ignore id=\"i\" in=\"daily.out\"/>",
            allowing(r#"<bought id="b" valid="10 d"/><bucket id="d" grant="3 B" every="day" rollover="366"/><bucket id="m" grant="2 B" every="month" rollover="12"/>"#)
                .replace("free.charge", "free.charge fee.charge")
        );
        let contract = Contract::in_zone(zone).with(Subscription::to(&plan_of("p", 1, "2020-01-01", &graph), "2020-01-01"));
        let (mut bounded, mut whole) = (Ledger::new(), Ledger::new());
        bounded.horizon_us = Some(35 * 86_400_000_000);
        let mut now = at("2020-01-03").micros();
        for gap in gaps {
            now += gap * 86_400_000_000;
            for (kind, late) in [("pass", 0), ("data", 30 * 86_400_000_000 * (gap % 2))] {
                let mut record = event(kind, "2020-01-01T00:00:00Z", 40);
                record.measures.insert("octets".to_owned(), 40);
                record.start = Timestamp((now - late).max(at("2020-01-03").micros()));
                for ledger in [&mut bounded, &mut whole] {
                    ledger.rate(&contract, &record, Timestamp(now)).unwrap();
                }
            }
        }
        // Only state that is never read again is removed, so the charge lines are equal.
        prop_assert_eq!(&bounded.lines, &whole.lines);
        let (most, entries) = (5 * 440, bounded.state.entries().len());
        prop_assert!(entries <= most, "{entries}");
    }
}
