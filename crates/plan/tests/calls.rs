//! E164DialPlanRater and IptoLocationMapper: prices by the called number, locations by address
//! (docs/plan-semantics.md section 8).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::{self, cycles, refused};

use cycles::{Billed, lines};
use proptest::prelude::*;
use refused::{refused, refused_plan};
use support::{begun, event, plan};
use turnpike_plan::{Cause, Period, TableKind};
use turnpike_types::{SuspenseReason, UsageRecord};

const DIALS: &str = "# turnpike-table id=world kind=dial-plan version=1 starts=2026-01-01
prefix,destination,price,per,setup
1,United States and Canada,0.01,1 min,
39,Italy,0.03,1 min,
3906,Rome,0.025,1 min,
44,Britain,0.02,1 min,0.05
447,Britain mobile,0.09,1 min,0
800,Freephone,0.50,1,
";
const HOME: &str = r#"country-code="41" international-prefix="00" national-prefix="0""#;

fn graph(input: &str, attributes: &str) -> String {
    format!(
        r#"<E164DialPlanRater id="dial" in="record.{input}" table="world" {attributes}/>
        <AccountFinalizer id="post" in="dial.charge"/>"#
    )
}

fn calls(attributes: &str) -> Billed {
    Billed::with_tables(&plan(&graph("duration", attributes)), "UTC", &[DIALS])
}

fn call(number: &str, seconds: i64) -> UsageRecord {
    let at = "2026-05-04T09:00:00Z";
    let mut record = begun("call", at);
    record.state_duration(Some(seconds * 1_000_000));
    record.attributes.insert("called".to_owned(), number.to_owned());
    record
}

/// docs/plan-semantics.md section 8: the longest prefix determines the price; the charge line names
/// the row of the dial plan, and so the destination.
#[test]
fn a_call_is_priced_by_its_longest_prefix() {
    let mut account = calls(HOME);
    assert_eq!(account.lines(&call("+39 02 1234", 120)), lines(&[("call", 120_000_000, "0.06")]));
    let rome = account.rate(&call("+39 06 698 1234", 60)).unwrap();
    let line = rome.lines[0];
    assert_eq!(account.shown(&line), ("call".to_owned(), 60_000_000, "0.025000000".to_owned()));
    // Rows are numbered in order of prefixes: 1, 39, 3906, 44, 447, 800.
    assert_eq!((line.row, line.period, line.first_unit), (Some(2), Period::EVER, 0));
}

/// A plan version that an earlier release published prices every call as that release did, even if
/// that release misread the number. A version that is published now checks each number by the rules
/// of its country.
#[test]
fn a_published_version_of_an_earlier_release_reads_numbers_as_before() {
    let home = r#"country-code="44" international-prefix="00" national-prefix="0""#;
    let xml = plan(&graph("duration", home));
    let dials = "# turnpike-table id=world kind=dial-plan version=1 starts=2026-01-01
prefix,destination,price,per,setup
44,Britain,0.02,1 min,
440,Trunk,0.30,1 min,
1,United States and Canada,0.01,1 min,
99999,Nowhere,0.40,1 min,
";
    let mut now = Billed::with_tables(&xml, "UTC", &[dials]);
    let earlier = turnpike_plan::parse_published_earlier(&xml).unwrap();
    assert!(earlier.has_unchecked_numbers());
    let mut before = Billed::of_plan(&earlier, "UTC", &[dials]);
    let bad = Err(SuspenseReason::BadAttribute);
    // Each case has the number, the price of a minute by the earlier release, and the price of a
    // minute now.
    for (number, was, is) in [
        ("020 7946 0000", "0.02", Ok("0.02")),
        ("+1 212 555 0100", "0.01", Ok("0.01")),
        ("118118", "0.02", bad),
        ("+44 (0)20 7946 0000", "0.30", Ok("0.02")),
        ("+999 99 123", "0.40", bad),
        ("+44 1", "0.02", bad),
        ("442079460000", "0.02", bad),
        // This may also be a number of Egypt (20).
        ("2079460000", "0.02", bad),
        ("2079460000.0", "0.02", bad),
    ] {
        let record = call(number, 60);
        assert_eq!(before.lines(&record), lines(&[("call", 60_000_000, was)]), "{number}");
        match is {
            Ok(is) => {
                assert_eq!(now.lines(&record), lines(&[("call", 60_000_000, is)]), "{number}");
            }
            Err(reason) => assert_eq!(now.rate(&record).err(), Some(reason), "{number}"),
        }
    }
    // The earlier release refused these numbers too.
    for number in ["", "+", "1-800-FLY", "+1234567890123456"] {
        assert_eq!(before.rate(&call(number, 60)).err(), bad.err(), "{number:?}");
    }
    // A plan version that is published now checks numbers.
    let published = turnpike_plan::parse_published(&xml).unwrap();
    assert!(!published.has_unchecked_numbers());
}

/// The setup fee is charged once per record with units.
#[test]
fn a_connection_is_set_up_once_a_call() {
    let mut account = calls(HOME);
    let rated = account.rate(&call("0044 20 7946 0000", 90)).unwrap();
    let shown: Vec<_> = rated.lines.iter().map(|line| account.shown(line)).collect();
    assert_eq!(shown, lines(&[("call", 90_000_000, "0.03"), ("setup", 0, "0.05")]));
    assert_eq!(rated.lines[1].row, Some(3));
    // A zero fee is booked too (docs/plan-semantics.md section 3: a line for a zero amount).
    let mobile = lines(&[("call", 60_000_000, "0.09"), ("setup", 0, "0")]);
    assert_eq!(account.lines(&call("+44 7700 900000", 60)), mobile);
    // A zero-quantity record is not a call, whatever its number.
    assert_eq!(account.lines(&call("nobody", 0)), []);
}

/// docs/plan-semantics.md section 8: numbers are normalised by the dial plan of the country;
/// Italian numbers keep their 0.
#[test]
fn a_number_is_read_as_it_is_dialled_at_home() {
    let mut italy = calls(r#"country-code="39" international-prefix="00" national-prefix="0""#);
    let minute = |amount| lines(&[("call", 60_000_000, amount)]);
    assert_eq!(italy.lines(&call("06 698 1234", 60)), minute("0.025"));
    assert_eq!(italy.lines(&call("001 212 555 0100", 60)), minute("0.01"));
    let mut dropping = calls(
        r#"country-code="39" international-prefix="00" national-prefix="0" keeps-national-prefix="no""#,
    );
    assert_eq!(dropping.lines(&call("06 698 1234", 60)), minute("0.03"));
    let mut america =
        calls(r#"country-code="1" international-prefix="011" number="record.dialled""#);
    let mut record = call("ignored", 60);
    record.attributes.insert("dialled".to_owned(), "212 555 0100".to_owned());
    assert_eq!(america.lines(&record), minute("0.01"));
}

/// A record that can't be priced is suspended with the reason.
#[test]
fn a_number_that_no_price_can_be_found_for_suspends_the_record() {
    let mut account = calls(HOME);
    assert_eq!(account.rate(&call("+49 30 1234", 60)), Err(SuspenseReason::NoPrefix));
    assert_eq!(account.rate(&call("anonymous", 60)), Err(SuspenseReason::BadAttribute));
    let mut nameless = call("", 60);
    nameless.attributes.clear();
    assert_eq!(account.rate(&nameless), Err(SuspenseReason::MissingInput));
    // The price of the row is per call, but the usage is counted in time.
    assert_eq!(account.rate(&call("+800 1234 5678", 60)), Err(SuspenseReason::MissingInput));
    account.tables = vec![None];
    assert_eq!(account.rate(&call("+39 02", 60)), Err(SuspenseReason::NoTable));
    let mut counted = Billed::with_tables(&plan(&graph("quantity", HOME)), "UTC", &[DIALS]);
    let mut one = event("call", "2026-05-04T09:00:00Z", 1);
    one.attributes.insert("called".to_owned(), "+800 1234 5678".to_owned());
    assert_eq!(counted.lines(&one), lines(&[("call", 1, "0.50")]));
}

#[test]
fn a_home_plan_that_no_country_has() {
    for home in [
        r#"country-code="+41" international-prefix="00""#,
        r#"country-code="41" international-prefix="+""#,
        r#"country-code="41" international-prefix="0" national-prefix="0""#,
    ] {
        refused(&[&graph("duration", home)], 3, "dial", Cause::BadValue);
    }
    let half = r#"country-code="41""#;
    refused(&[&graph("duration", half)], 3, "dial", Cause::MissingProperty);
    let told = format!("{HOME} number=\"geo.number\"");
    refused(&[&graph("duration", &told)], 3, "dial", Cause::UnknownReference);
}

#[test]
fn bytes_and_running_totals_are_no_calls() {
    let bytes = r#"<DailyTimeFilter id="f" in="record.octets" from="00:00" to="12:00"/>
<E164DialPlanRater id="dial" in="f.pass" table="world" country-code="41" international-prefix="00"/>
<StepRater id="r" in="f.rest"><step id="s" price="1" per="1 MB"/></StepRater>
<AccountFinalizer id="post" in="dial.charge r.charge"/>"#;
    refused(&[bytes], 4, "dial", Cause::WrongUnit);
    let running =
        plan(&graph("duration", HOME)).replacen("currency=", "round=\"running\" currency=", 1);
    refused_plan(&running, 3, "dial", Cause::OpenInput);
}

const PLACES: &str = "# turnpike-table id=net kind=addresses version=1 starts=2026-01-01
network,location
10.0.0.0/8,inside
10.1.0.0/16,US/CA
2001:db8::/32,docs
";

/// An account whose units are weighed by the location of an address: `inside` 1, `US/CA` 2, `docs`
/// 3, unknown 4.
fn located(attributes: &str) -> Billed {
    let graph = format!(
        r#"<IptoLocationMapper id="geo" in="record.quantity" table="net" {attributes}/>
        <Weigher id="w" in="geo.out" attribute="geo.location">
          <weight value="inside" weight="1"/><weight value="US/CA" weight="2"/>
          <weight value="docs" weight="3"/><weight value="unknown" weight="4"/>
        </Weigher>
        <StepRater id="r" in="w.out"><step id="s" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#
    );
    Billed::with_tables(&plan(&graph), "UTC", &[PLACES])
}

fn from(address: &str) -> UsageRecord {
    let mut record = event("t", "2026-05-04T09:00:00Z", 1);
    record.attributes.insert("ip".to_owned(), address.to_owned());
    record
}

fn weight(account: &mut Billed, address: &str) -> i128 {
    account.lines(&from(address)).iter().map(|line| line.1).sum()
}

/// docs/plan-semantics.md section 8: the mapper derives a location attribute; `unknown` is a
/// location.
#[test]
fn an_address_has_a_location_and_unknown_is_one() {
    let mut account = located("");
    for (address, expected) in [
        ("10.2.3.4", 1),
        ("10.1.2.3", 2),
        ("::ffff:10.1.2.3", 2),
        ("2001:db8::1", 3),
        ("192.0.2.1", 4),
    ] {
        assert_eq!(weight(&mut account, address), expected, "{address}");
    }
    let mut renamed = located("unknown=\"inside\"");
    assert_eq!(weight(&mut renamed, "192.0.2.1"), 1);
    let mut elsewhere = located("address=\"account.ip\"");
    elsewhere.account.attributes.insert("ip".to_owned(), "2001:db8::7".to_owned());
    assert_eq!(weight(&mut elsewhere, "10.1.2.3"), 3);
    assert_eq!(account.code.tables()[0].kind, TableKind::Addresses);
}

/// A missing or invalid address suspends the record, and so does a missing table.
#[test]
fn an_invalid_address_suspends_the_record() {
    let mut account = located("");
    for wrong in ["", "10.0.0", "10.0.0.1:80", "host.example", "10.0.0.0/8"] {
        assert_eq!(account.rate(&from(wrong)), Err(SuspenseReason::BadAttribute), "{wrong}");
    }
    let mut none = from("");
    none.attributes.clear();
    assert_eq!(account.rate(&none), Err(SuspenseReason::MissingInput));
    account.tables.clear();
    assert_eq!(account.rate(&from("10.0.0.1")), Err(SuspenseReason::NoTable));
}

/// Units pass unchanged, and an invalid address suspends the record whether or not the location is
/// read.
#[test]
fn units_pass_the_mapper_unchanged() {
    let graph = r#"<IptoLocationMapper id="geo" in="record.quantity" table="net"/>
        <StepRater id="r" in="geo.out"><step id="s" price="1" per="1"/></StepRater>
        <AccountFinalizer id="post" in="r.charge"/>"#;
    let mut account = Billed::with_tables(&plan(graph), "UTC", &[PLACES]);
    let three = UsageRecord { quantity: Some(3), ..from("10.0.0.1") };
    assert_eq!(account.lines(&three), lines(&[("s", 3, "3")]));
    assert_eq!(account.rate(&from("wrong")), Err(SuspenseReason::BadAttribute));
}

#[test]
fn a_mapper_without_a_table_and_a_reader_of_an_unknown_output_are_refused() {
    let rest = r#"<Ignore id="i" in="geo.out"/>"#;
    let mapper = r#"<IptoLocationMapper id="geo" in="record.quantity"/>"#;
    refused(&[mapper, rest], 3, "geo", Cause::MissingProperty);
    let mapper = r#"<IptoLocationMapper id="geo" in="record.quantity" table="net"/>"#;
    let weigher = r#"<Weigher id="w" in="geo.out" attribute="geo.place"><weight value="a" weight="1"/></Weigher>"#;
    let rest = r#"<Ignore id="i" in="w.out"/>"#;
    refused(&[mapper, weigher, rest], 4, "w", Cause::UnknownReference);
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// A call costs its quantity times the unit price of its longest prefix, which the test finds
    /// by a search of all prefixes.
    #[test]
    fn calls_cost_their_longest_prefix(
        prefixes in proptest::collection::btree_map("49[1-3]{0,4}", 0i128..500, 1..12),
        number in "49[1-3]{4,8}", seconds in 1i64..100_000,
    ) {
        let rows: String = prefixes.iter()
            .map(|(prefix, cents)| format!("{prefix},d{prefix},{}.{:02},1 s,\n", cents / 100, cents % 100))
            .collect();
        let table = format!("# turnpike-table id=world kind=dial-plan version=1 starts=2026-01-01\nprefix,destination,price,per,setup\n{rows}");
        let mut account = Billed::with_tables(&plan(&graph("duration", HOME)), "UTC", &[&table]);
        let rated = account.rate(&call(&format!("+{number}"), seconds));
        let longest = prefixes.iter().filter(|(prefix, _)| number.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len());
        match longest {
            None => prop_assert_eq!(rated, Err(SuspenseReason::NoPrefix)),
            Some((prefix, cents)) => {
                let line = rated.unwrap().lines[0];
                prop_assert_eq!(line.amount.nanos(), i128::from(seconds) * cents * 10_000_000);
                let row = prefixes.keys().position(|known| known == prefix).unwrap();
                prop_assert_eq!(line.row, Some(row as u32));
            }
        }
    }

    /// The location equals the result of a linear search of all networks.
    #[test]
    fn addresses_are_in_their_smallest_network(
        bytes in proptest::collection::btree_map((0u8..4, 0u8..4), 0usize..3, 0..8),
        a in 0u8..4, b in 0u8..4, c: u8,
    ) {
        const NAMES: [&str; 3] = ["inside", "US/CA", "docs"];
        let mut rows: String = bytes.iter()
            .map(|((a, b), name)| format!("{a}.{b}.0.0/16,{}\n", NAMES[*name])).collect();
        rows += "1.0.0.0/8,inside\n";
        let mut account = located("");
        let table = format!("# turnpike-table id=net kind=addresses version=1 starts=2026-01-01\nnetwork,location\n{rows}");
        account.tables = vec![Some(std::sync::Arc::new(turnpike_plan::parse_table(&table).unwrap()))];
        let otherwise = if a == 1 { 1 } else { 4 };
        let expected = bytes.get(&(a, b)).map_or(otherwise, |name| *name as i128 + 1);
        prop_assert_eq!(weight(&mut account, &format!("{a}.{b}.{c}.9")), expected);
    }
}
