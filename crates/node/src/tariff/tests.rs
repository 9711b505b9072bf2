//! What resolving costs is counted here, not timed: stretches, and starts of versions looked at.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use jiff::civil::date;
use turnpike_account::Profile;
use turnpike_plan::Zone;
use turnpike_segment::head::{Settings, Subscription};

use super::*;
use crate::catalogue::tests::{catalogue_of, starts_asked};

const DAY: i64 = 86_400_000_000;
/// 2016-01-01 in UTC.
const BEGIN: i64 = 1_451_606_400_000_000;
/// Ten years of daily rates.
const DAYS: u32 = 3_650;

/// Charged in advance in euros, billed in the account's currency by a table of rates.
const CONVERTED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="1" starts="2016-01-01" currency="EUR">
  <graph>
    <MonthlyRecurringCharge id="fee" amount="10.00"/>
    <StepRater id="calls" in="record.quantity"><step id="all" price="1" per="1"/></StepRater>
    <CurrencyConverter id="convert" in="fee.charge calls.charge" table="daily" to="account"/>
    <AccountFinalizer id="post" in="convert.charge"/>
  </graph>
</plan>"#;

/// Version `n` of the rates is that of the `n`-th day.
fn rates(versions: u32) -> impl Iterator<Item = String> {
    let starts = date(2016, 1, 1).series(jiff::Span::new().days(1));
    (1..=versions).zip(starts).map(|(version, starts)| {
        format!(
            "# turnpike-table id=daily kind=exchange-rates version={version} starts={starts}\n\
             from,to,rate\nEUR,USD,1.{version:04}\n"
        )
    })
}

fn tariffs(plans: &[&str], versions: u32) -> Tariffs {
    Tariffs::new(Arc::new(catalogue_of(plans, rates(versions))), CodeCache::new(100))
}

/// Profiles that differ in one attribute of the account, all subscribed to the plan.
fn profiles(count: u32) -> Profiles {
    let mut profiles = Profiles::default();
    for number in 0..count {
        let settings = Settings {
            from_us: i64::MIN,
            zone: "America/New_York".to_owned(),
            cycle_day: 1,
            currency: "USD".to_owned(),
            attributes: [("site".to_owned(), number.to_string())].into(),
        };
        let subscription = Subscription {
            plan_id: "converted".to_owned(),
            from_us: BEGIN,
            until_us: i64::MAX,
            priority: 1,
            ..Subscription::default()
        };
        profiles.intern(Profile { settings: vec![settings], subscriptions: vec![subscription] });
    }
    profiles
}

fn version_of(tariff: &Tariff) -> Option<u32> {
    tariff.plans[0].tables[0].as_ref().map(|table| table.version())
}

#[test]
fn versions_of_tables_do_not_cut_the_time_in_which_things_fall_due() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    let resolved = Cell::new(0);
    let alive = || resolved.set(resolved.get() + 1);
    let stretches = tariffs.due_stretches(&profiles, ProfileId(0), &alive);
    assert_eq!(resolved.get(), 2, "before midnight in New York, when the plan begins, and since");
    assert_eq!(stretches.len(), 1, "in which a plan is in force");
}

#[test]
fn what_falls_due_is_booked_by_the_tables_in_force_at_its_instant() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    let stretches = tariffs.due_stretches(&profiles, ProfileId(0), &|| ());
    let stretch = stretches.last().unwrap();
    let zone = Zone::parse("America/New_York").unwrap();
    for (day, expected) in [(date(2016, 1, 1), 1), (date(2016, 3, 1), 61), (date(2024, 1, 1), 2923)]
    {
        let at = turnpike_plan::first_instant_of(&zone, day);
        let booking = tariffs.booking(ProfileId(0), stretch, at);
        assert_eq!(version_of(&booking), Some(expected), "{day}");
    }
}

/// Accounts of one profile are charged at the same instants.
#[test]
fn tables_are_looked_up_once_for_all_accounts_of_a_profile_that_are_charged_at_an_instant() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    let stretches = tariffs.due_stretches(&profiles, ProfileId(0), &|| ());
    let stretch = stretches.last().unwrap();
    let at = Timestamp(BEGIN + 100 * DAY);
    let first = tariffs.booking(ProfileId(0), stretch, at);
    let asked = starts_asked(|| {
        for _ in 0..1000 {
            assert!(Arc::ptr_eq(&tariffs.booking(ProfileId(0), stretch, at), &first));
        }
    });
    assert_eq!(asked, 0);
}

#[test]
fn a_record_is_rated_by_the_table_of_its_day_and_its_stretch_is_that_day() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    // Out of order, as records come.
    for day in [40, 2, 41, 3_000, 1] {
        let at = Timestamp(BEGIN + i64::from(day) * DAY - DAY / 2);
        let tariff = tariffs.at(&profiles, ProfileId(0), at).unwrap();
        assert_eq!(version_of(&tariff), Some(day));
        let again = tariffs.at(&profiles, ProfileId(0), Timestamp(at.0 + DAY / 4)).unwrap();
        assert!(Arc::ptr_eq(&tariff, &again), "resolved once");
    }
}

/// Starts of versions looked at, to resolve all that falls due of so many profiles, and a day's
/// usage of each.
fn asked(profiles_count: u32, versions: u32) -> usize {
    let mut tariffs = tariffs(&[CONVERTED], versions);
    let profiles = profiles(profiles_count);
    starts_asked(|| {
        for id in (0..profiles_count).map(ProfileId) {
            tariffs.due_stretches(&profiles, id, &|| ());
            tariffs.at(&profiles, id, Timestamp(BEGIN + 2 * DAY)).unwrap();
        }
    })
}

#[test]
fn resolving_costs_the_logarithm_of_the_versions_for_each_profile() {
    let (few, many) = (asked(10, 16), asked(10, 16 * 256));
    // 256 times the versions are eight more halvings in one look-up for usage.
    assert!(many <= few + 10 * 8 * 2, "{few} {many}");
    assert_eq!(asked(100, 1000), 10 * asked(10, 1000), "each profile costs the same");
}
