//! These tests count the cost of resolving tariffs instead of timing it: the number of intervals,
//! and the number of start dates of versions that are compared.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::sync::Mutex;

use jiff::civil::date;
use turnpike_plan::Zone;

use super::*;
use crate::catalogue::VersionHead;
use crate::catalogue::tests::{catalogue_of, starts_asked};
use crate::notice::Tell;
use crate::resolve::SLOTS_MAX;
use crate::settings::Settings;
use crate::tariff::CodeSlot;

const DAY: i64 = 86_400_000_000;
/// 2016-01-01 in UTC.
const BEGIN: i64 = 1_451_606_400_000_000;
/// Days in ten years of daily rates.
const DAYS: u32 = 3_650;

/// A charge in advance in euros, converted to the account's currency by a table of rates.
const CONVERTED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="1" starts="2016-01-01" currency="EUR">
  <graph>
    <MonthlyRecurringCharge id="fee" amount="10.00"/>
    <StepRater id="calls" in="record.quantity"><step id="all" price="1" per="1"/></StepRater>
    <CurrencyConverter id="convert" in="fee.charge calls.charge" table="daily" to="account"/>
    <AccountFinalizer id="post" in="convert.charge"/>
  </graph>
</plan>"#;

/// Version `n` of the rates starts on the `n`-th day.
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
    Tariffs::new(
        Arc::new(catalogue_of(plans, rates(versions))),
        CodeCache::new(100, Tell::new(|_| ())),
    )
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
    let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &alive);
    assert_eq!(resolved.get(), 2, "one interval before the plan starts, and one after");
    assert_eq!(intervals.len(), 1, "one interval has a plan in force");
}

#[test]
fn due_charges_are_booked_by_the_tables_in_force_at_their_instant() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &|| ());
    let interval = intervals.last().unwrap();
    let zone = Zone::parse("America/New_York").unwrap();
    for (day, expected) in [(date(2016, 1, 1), 1), (date(2016, 3, 1), 61), (date(2024, 1, 1), 2923)]
    {
        let at = turnpike_plan::first_instant_of(&zone, day);
        let booking = tariffs.booking(ProfileId(0), interval, at).unwrap();
        assert_eq!(version_of(&booking), Some(expected), "{day}");
    }
}

/// Charges of one profile fall due at the same instants for all of its accounts.
#[test]
fn tables_are_looked_up_once_for_all_accounts_of_a_profile_that_are_charged_at_an_instant() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &|| ());
    let interval = intervals.last().unwrap();
    let at = Timestamp(BEGIN + 100 * DAY);
    let first = tariffs.booking(ProfileId(0), interval, at).unwrap();
    let asked = starts_asked(|| {
        for _ in 0..1000 {
            assert!(Arc::ptr_eq(&tariffs.booking(ProfileId(0), interval, at).unwrap(), &first));
        }
    });
    assert_eq!(asked, 0);
}

#[test]
fn a_record_is_rated_by_the_table_of_its_day_and_its_interval_is_that_day() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    // Records arrive in any order of their starts.
    for day in [40, 2, 41, 3_000, 1] {
        let at = Timestamp(BEGIN + i64::from(day) * DAY - DAY / 2);
        let tariff = tariffs.at(&profiles, ProfileId(0), at).unwrap();
        assert_eq!(version_of(&tariff), Some(day));
        let again = tariffs.at(&profiles, ProfileId(0), Timestamp(at.0 + DAY / 4)).unwrap();
        assert!(Arc::ptr_eq(&tariff, &again), "resolved once");
    }
}

/// The number of start dates of versions that are compared to resolve all charges of
/// `profiles_count` profiles and one day's usage of each.
fn asked(profiles_count: u32, versions: u32) -> usize {
    let mut tariffs = tariffs(&[CONVERTED], versions);
    let profiles = profiles(profiles_count);
    starts_asked(|| {
        for id in (0..profiles_count).map(ProfileId) {
            tariffs.due_intervals(&profiles, id, &|| ());
            tariffs.at(&profiles, id, Timestamp(BEGIN + 2 * DAY)).unwrap();
        }
    })
}

#[test]
fn resolving_costs_the_logarithm_of_the_versions_for_each_profile() {
    let (few, many) = (asked(10, 16), asked(10, 16 * 256));
    // 256 times as many versions cost eight more steps of a binary search per look-up.
    assert!(many <= few + 10 * 8 * 2, "{few} {many}");
    assert_eq!(asked(100, 1000), 10 * asked(10, 1000), "each profile costs the same");
}

/// A version of a plan that rates usage, with a monthly `fee` unless that is empty.
fn usage_only(version: u32, starts: &str, fee: &str, price: &str) -> String {
    let to_post = if fee.is_empty() { "calls.charge" } else { "fee.charge calls.charge" };
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="{version}" starts="{starts}" currency="USD">
  <graph>
    {fee}
    <StepRater id="calls" in="record.quantity"><step id="all" price="{price}" per="1"/></StepRater>
    <Adder id="sum" in="{to_post}"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
</plan>"#
    )
}

const FEE: &str = r#"<MonthlyRecurringCharge id="fee" amount="10.00"/>"#;

fn plan_version(tariff: &Tariff) -> u32 {
    tariff.plans[0].code.version()
}

/// P36: nothing that was resolved from an older catalogue is kept: not the tariffs of usage, not
/// those of due charges, and not the result that nothing falls due.
#[test]
fn p36_a_newer_catalogue_replaces_all_that_was_resolved_by_the_older_one() {
    let first = usage_only(1, "2016-01-01", "", "1");
    let both = [first.as_str(), &usage_only(2, "2016-03-01", FEE, "2")];
    let profiles = profiles(1);
    let mut tariffs = tariffs(&both[..1], 0);
    let march = Timestamp(BEGIN + 61 * DAY);
    assert_eq!(plan_version(&tariffs.at(&profiles, ProfileId(0), march).unwrap()), 1);
    assert!(!tariffs.is_swept(&profiles, ProfileId(0)), "nothing falls due by itself");
    assert_eq!(tariffs.due_intervals(&profiles, ProfileId(0), &|| ()).len(), 1);
    let newer = Arc::new(catalogue_of(&both, rates(0)));
    assert!(tariffs.update(&newer));
    assert!(!tariffs.update(&newer), "it is known already");
    assert_eq!(plan_version(&tariffs.at(&profiles, ProfileId(0), march).unwrap()), 2);
    assert!(tariffs.is_swept(&profiles, ProfileId(0)), "the fee of version 2 falls due by itself");
    let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &|| ());
    let versions: Vec<u32> = intervals.iter().map(|s| plan_version(&s.tariff)).collect();
    assert_eq!(versions, [1, 2]);
}

/// P36: the tables of the last booking are not kept when the catalogue changes.
#[test]
fn p36_a_newer_catalogue_replaces_the_tables_that_book_due_charges() {
    let profiles = profiles(1);
    let mut tariffs = tariffs(&[CONVERTED], 1);
    let at = Timestamp(BEGIN + 10 * DAY);
    let booked_by = |tariffs: &mut Tariffs| {
        let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &|| ());
        version_of(&tariffs.booking(ProfileId(0), intervals.last().unwrap(), at).unwrap())
    };
    assert_eq!(booked_by(&mut tariffs), Some(1));
    assert!(tariffs.update(&Arc::new(catalogue_of(&[CONVERTED], rates(5)))));
    assert_eq!(booked_by(&mut tariffs), Some(5));
}

/// Tables that no plan reads any more are not kept in memory. They are asked for when they are needed,
/// and each instant has the same tables as before.
#[test]
fn a_released_table_is_asked_for_and_used_once_it_is_lent() {
    const KEPT: u32 = 40;
    let profiles = profiles(1);
    let whole = catalogue_of(&[CONVERTED], rates(60));
    // The plan was published by catalogue version 1, and version `n` of the table by `n + 1`.
    let lent = |unread: UnreadTable| {
        let text = rates(60).nth(unread.published as usize - 2).unwrap();
        Some(Arc::new(turnpike_plan::parse_table(&text).unwrap()))
    };
    let mut released = whole.clone();
    assert!(released.keep_from(date(2016, 2, 9)), "the 40th day");
    assert!(!released.keep_from(date(2016, 2, 9)), "again");
    assert_eq!(released.lacks(), []);
    let mut tariffs = tariffs(&[CONVERTED], 60);
    assert!(!tariffs.update(&Arc::new(released)), "nothing was published");
    let mut asked = Vec::new();
    for turn in 0..2 {
        for day in 1..60 {
            let at = Timestamp(BEGIN + i64::from(day) * DAY + DAY / 2);
            let used = match tariffs.at(&profiles, ProfileId(0), at) {
                Ok(tariff) => tariff,
                Err(NoTariff::Unread(unread)) => {
                    asked.push(unread.published - 1);
                    tariffs.lend(unread, lent(unread));
                    tariffs.at(&profiles, ProfileId(0), at).unwrap()
                }
                Err(NoTariff::Suspended(why)) => panic!("day {day}: {why:?}"),
            };
            assert_eq!(version_of(&used), Some(day + 1), "turn {turn}");
            let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &|| ());
            let booking = tariffs.booking(ProfileId(0), intervals.last().unwrap(), at).unwrap();
            assert_eq!(version_of(&booking), Some(day + 1), "turn {turn}");
        }
        tariffs.give_back();
    }
    let before: Vec<u64> = (2..u64::from(KEPT)).collect();
    assert_eq!(
        asked,
        [before.clone(), before].concat(),
        "the versions that ended before the 40th day"
    );
}

/// A table that only an ended version of a plan reads is released whole, and read again when a later
/// version of the plan reads it.
#[test]
fn a_table_is_kept_while_a_plan_in_force_reads_it() {
    let (first, second) = (CONVERTED, usage_only(2, "2016-03-01", "", "2"));
    let mut catalogue = catalogue_of(&[first, &second], rates(1));
    assert!(!catalogue.keep_from(date(2016, 2, 29)), "the plan reads it on this day");
    assert!(catalogue.is_table_used("daily"));
    assert!(catalogue.keep_from(date(2016, 3, 1)));
    assert!(!catalogue.is_table_used("daily") && catalogue.lacks().is_empty());
    let third =
        CONVERTED.replace("version=\"1\"", "version=\"3\"").replace("2016-01-01", "2016-05-01");
    let plan = Arc::new(turnpike_plan::parse(&third).unwrap());
    let head = VersionHead { id: "converted", version: 3, starts: date(2016, 5, 1), published: 9 };
    catalogue.add_plan(&head, Some(plan));
    assert_eq!(catalogue.lacks().iter().map(|head| head.version).collect::<Vec<_>>(), [1]);
}

/// A version is in force from its first instant to just before the next version's, whatever was
/// resolved before.
#[test]
fn a_record_at_the_first_instant_of_a_version_is_rated_by_that_version() {
    let first = usage_only(1, "2016-01-01", "", "1");
    let plans = [first.as_str(), &usage_only(2, "2016-03-01", "", "2")];
    let profiles = profiles(1);
    let zone = Zone::parse("America/New_York").unwrap();
    let begins = turnpike_plan::first_instant_of(&zone, date(2016, 3, 1)).0;
    let expected = [(begins - 1, 1), (begins, 2), (begins + 1, 2)];
    // In each order: the tariff of one interval must not be used for another one.
    for first in 0..3 {
        let mut tariffs = tariffs(&plans, 0);
        for turn in 0..3 {
            let (at, version) = expected[(first + turn) % 3];
            let tariff = tariffs.at(&profiles, ProfileId(0), Timestamp(at)).unwrap();
            assert_eq!(plan_version(&tariff), version, "{} us from the start", at - begins);
        }
    }
}

/// Due charges are booked by the version in force at their instant.
#[test]
fn a_charge_due_at_the_first_instant_of_a_table_is_booked_by_that_table() {
    let (mut tariffs, profiles) = (tariffs(&[CONVERTED], DAYS), profiles(1));
    let intervals = tariffs.due_intervals(&profiles, ProfileId(0), &|| ());
    let interval = intervals.last().unwrap();
    let zone = Zone::parse("America/New_York").unwrap();
    let begins = turnpike_plan::first_instant_of(&zone, date(2016, 3, 1)).0;
    for (at, version) in [(begins - 1, 60), (begins, 61), (begins + 1, 61), (begins - 1, 60)] {
        let booking = tariffs.booking(ProfileId(0), interval, Timestamp(at)).unwrap();
        assert_eq!(version_of(&booking), Some(version), "{} us from the start", at - begins);
    }
}

/// One reason is enough for an account to be swept: each reason is tested alone.
#[test]
fn an_account_is_swept_for_charges_in_advance_for_closes_and_for_options() {
    let closes = r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="1" starts="2016-01-01" currency="USD">
  <graph>
    <StepRater id="units" in="record.quantity"><step id="all" price="1" per="1"/></StepRater>
    <CostResponsibilityMatrix id="who" in="units.charge"><party id="ad" account="902"/><row shares="ad=1"/></CostResponsibilityMatrix>
    <BonusCredit id="reward" in="who.others"><grant from="902" to="901" percent="50"/></BonusCredit>
    <SecondAccountFinalizer id="theirs" in="reward.charge"/>
  </graph>
</plan>"#;
    let swept = |plan: &str, option: &str| {
        let mut known = Profiles::default();
        let mut profile = profiles(1).get(ProfileId(0)).unwrap().clone();
        profile.subscriptions[0].option = option.to_owned();
        known.intern(profile);
        tariffs(&[plan], 0).is_swept(&known, ProfileId(0))
    };
    let plain = usage_only(1, "2016-01-01", "", "1");
    assert!(!swept(&plain, ""));
    assert!(swept(&plain, "summer"), "an option is compared at each close");
    assert!(swept(&usage_only(1, "2016-01-01", FEE, "1"), ""), "a charge in advance");
    assert!(swept(closes, ""), "a bonus is set off when the cycle closes");
}

/// Each subscription has its own price, and so its own compiled plan.
const PRICED: &str = r#"<plan xmlns="urn:turnpike:plan:1" id="converted" version="1" starts="2016-01-01" currency="USD">
  <parameter id="price" type="money" value="1.00"/>
  <graph>
    <StepRater id="calls" in="record.quantity"><step id="all" price="$price" per="1"/></StepRater>
    <AccountFinalizer id="post" in="calls.charge"/>
  </graph>
</plan>"#;

/// Slots start from zero together with all that is indexed by them: a slot never denotes two plans.
#[test]
fn after_a_trim_no_tariff_has_a_slot_of_before() {
    let profiles = profiles(SLOTS_MAX as u32 + 2);
    let mut known = Profiles::default();
    for id in 0..profiles.len() as u32 {
        let mut profile = profiles.get(ProfileId(id)).unwrap().clone();
        let price = ("price".to_owned(), format!("{}", id + 1));
        profile.subscriptions[0].parameters = [price].into();
        known.intern(profile);
    }
    let mut tariffs = Tariffs::new(
        Arc::new(catalogue_of(&[PRICED], rates(0))),
        CodeCache::new(1000, Tell::new(|_| ())),
    );
    let at = Timestamp(BEGIN + 10 * DAY);
    let slots = |tariffs: &mut Tariffs, ids: std::ops::Range<u32>| -> Vec<CodeSlot> {
        ids.map(|id| tariffs.at(&known, ProfileId(id), at).unwrap().plans[0].slot).collect()
    };
    let all = slots(&mut tariffs, 0..SLOTS_MAX as u32);
    assert!(!tariffs.trim(), "there is room");
    assert_eq!(all.len(), all.iter().collect::<std::collections::HashSet<_>>().len());
    slots(&mut tariffs, SLOTS_MAX as u32..SLOTS_MAX as u32 + 1);
    assert!(tariffs.trim());
    // In another order than before: each plan gets the next slot, and no two plans share one.
    let last = slots(&mut tariffs, 10..11);
    let first = slots(&mut tariffs, 0..10);
    assert_eq!(last, [CodeSlot(0)]);
    assert_eq!(first, (1..11).map(CodeSlot).collect::<Vec<_>>());
}

#[test]
fn mutants_are_caught() {
    turnpike_mutants::all_caught(&[(
        turnpike_mutants::Check::SweptAnew,
        "tariffs::tests::p36_a_newer_catalogue_replaces_all_that_was_resolved_by_the_older_one",
        "the fee of version 2",
    )]);
}

/// The tariffs of one account whose stored profile is changed by `change`, and what they told.
fn stored(change: impl FnOnce(&mut Profile)) -> (Tariffs, Profiles, Arc<Mutex<Vec<String>>>) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&told);
    let tell = Tell::new(move |notice| heard.lock().unwrap().push(notice.to_string()));
    let catalogue = Arc::new(catalogue_of(&[CONVERTED], rates(DAYS)));
    let mut profile = profiles(1).get(ProfileId(0)).unwrap().clone();
    change(&mut profile);
    let mut changed = Profiles::default();
    changed.intern(profile);
    (Tariffs::new(catalogue, CodeCache::new(10, tell)), changed, told)
}

/// A newer program may store what this one can't read.
#[test]
fn an_option_whose_stored_fee_can_not_be_read_rates_nothing_and_is_not_free() {
    let (mut tariffs, profiles, told) = stored(|profile| {
        profile.subscriptions[0].option = "summer".to_owned();
        profile.subscriptions[0].fee = "2.5e0".to_owned();
    });
    let refused = tariffs
        .at(&profiles, ProfileId(0), Timestamp(BEGIN + DAY))
        .unwrap_err()
        .suspension()
        .unwrap();
    assert_eq!(refused.reason, SuspenseReason::UnknownPlan);
    let detail = refused.detail.as_str();
    assert!(detail.contains("fee of option summer can't be read"), "{detail}");
    assert!(tariffs.due_intervals(&profiles, ProfileId(0), &|| ()).is_empty());
    assert!(told.lock().unwrap().iter().all(|notice| notice.contains("2.5e0")));
    assert!(!told.lock().unwrap().is_empty());
}

#[test]
fn an_option_without_a_fee_is_free() {
    let (mut tariffs, profiles, _) =
        stored(|profile| profile.subscriptions[0].option = "summer".to_owned());
    let tariff = tariffs.at(&profiles, ProfileId(0), Timestamp(BEGIN + DAY)).unwrap();
    assert_eq!(tariff.plans[0].option.as_ref().unwrap().fee, turnpike_types::Money::ZERO);
}

#[test]
fn a_stored_cycle_day_that_is_no_day_of_a_month_suspends_instead_of_counting_as_the_first() {
    for day in [0, 32, 257, 300] {
        let (mut tariffs, profiles, _) = stored(|profile| profile.settings[0].cycle_day = day);
        let refused = tariffs
            .at(&profiles, ProfileId(0), Timestamp(BEGIN + DAY))
            .unwrap_err()
            .suspension()
            .unwrap();
        assert_eq!(refused.reason, SuspenseReason::UnknownAccount, "{day}");
        assert_eq!(refused.detail.as_str(), format!("cycle day {day}"));
    }
}

/// Charges are identified by the start in the zone of the opening. With another start they would be
/// booked a second time.
#[test]
fn an_unknown_zone_of_the_opening_suspends_instead_of_moving_the_start_of_subscriptions() {
    let (mut tariffs, profiles, _) = stored(|profile| {
        let opened = Settings { zone: "Mars/Base".to_owned(), ..profile.settings[0].clone() };
        profile.settings[0].from_us = BEGIN;
        profile.settings.insert(0, opened);
    });
    let refused = tariffs
        .at(&profiles, ProfileId(0), Timestamp(BEGIN + DAY))
        .unwrap_err()
        .suspension()
        .unwrap();
    assert_eq!(refused.reason, SuspenseReason::UnknownAccount);
    assert!(refused.detail.as_str().contains("Mars/Base"), "{}", refused.detail.as_str());
    assert!(tariffs.due_intervals(&profiles, ProfileId(0), &|| ()).is_empty());
    let subscription = profiles.get(ProfileId(0)).unwrap().subscriptions[0].clone();
    let why = tariffs.why_not_from(
        profiles.get(ProfileId(0)).unwrap(),
        &AccountState::default(),
        &subscription,
    );
    assert!(why.unwrap().contains("Mars/Base"));
}
