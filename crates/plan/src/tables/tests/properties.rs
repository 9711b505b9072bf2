//! Compares every look-up with a scan of all rows, and checks that no text makes parsing panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::civil::{Date, date};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::{TableKind, parse_table};
use super::{SAMPLES, table, text};

/// A network in these tests: an address, and the bits of its prefix.
type Network = (IpAddr, u8);

/// An address as a number, IPv4 in the low bits, and its width in bits.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn holds(network: &Network, address: IpAddr) -> bool {
    let ((net, width), (bits, other)) = (bits(network.0), bits(address));
    let shift = u32::from(width - network.1);
    let high = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
    width == other && high(net) == high(bits)
}

fn cleared((address, prefix): Network) -> Network {
    let (bits, width) = bits(address);
    let shift = u32::from(width - prefix);
    let kept = bits.checked_shr(shift).and_then(|high| high.checked_shl(shift)).unwrap_or(0);
    let address = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(kept).unwrap())),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(kept)),
    };
    (address, prefix)
}

/// Addresses that are close together, so that networks nest and touch, also at both ends of the
/// address range.
fn address() -> impl Strategy<Value = IpAddr> {
    let low = select(vec![0u32, 1, 2, 3, 4, 7, 8, 15, 16, 255]);
    let four = (select(vec![0u32, 0x0a00_0000, 0xffff_ff00]), low.clone())
        .prop_map(|(a, b)| IpAddr::V4(Ipv4Addr::from_bits(a | b)));
    let six = (select(vec![0x2001u128 << 112, u128::MAX << 8, 1 << 120]), low)
        .prop_map(|(a, b)| IpAddr::V6(Ipv6Addr::from_bits(a | u128::from(b))));
    prop_oneof![four, six]
}

fn network() -> impl Strategy<Value = Network> {
    (address(), 0u8..=8, any::<bool>()).prop_map(|(address, short, near)| {
        let (_, width) = bits(address);
        cleared((address, if near { width - short } else { short }))
    })
}

fn day() -> impl Strategy<Value = Date> {
    (2026i16..2028, 1i8..=2, 1i8..=28).prop_map(|(year, month, day)| date(year, month, day))
}

fn places() -> impl Strategy<Value = String> {
    vec(select(vec!["A", "B"]), 1..4).prop_map(|parts| parts.join("/"))
}

/// Whether a place is in another place, or is that place.
fn lies_in(place: &str, outer: &str) -> bool {
    place == outer || place.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// docs/plan-semantics.md section 8: the longest prefix gives the price.
    #[test]
    fn a_dial_plan_answers_as_a_scan_of_all_prefixes(
        prefixes in vec("[0-2]{1,5}|[0-9]{14,15}", 1..40), numbers in vec("[0-2]{0,8}|[0-9]{13,18}", 1..40),
    ) {
        let mut prefixes = prefixes;
        prefixes.sort();
        prefixes.dedup();
        let mut rows = "prefix,destination,price,per\n".to_owned();
        for prefix in prefixes.iter().rev() {
            rows += &format!("{prefix},d{prefix},1,1 s\n");
        }
        let table = table(TableKind::DialPlan, &rows);
        for number in numbers.iter().chain(&prefixes) {
            let fits = prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str()));
            let longest = fits.max_by_key(|prefix| prefix.len()).map(String::as_str);
            let found = table.dial_plan().unwrap().longest(number);
            let found = found.map(|row| row.prefix.to_string());
            prop_assert_eq!(found.as_deref(), longest);
        }
    }

    /// docs/plan-semantics.md section 8: among nested networks, the innermost one gives the
    /// location.
    #[test]
    fn addresses_answer_as_a_scan_of_all_networks(
        networks in vec(network(), 1..40), addresses in vec(address(), 1..40),
    ) {
        let mut networks = networks;
        let mut seen = std::collections::BTreeSet::new();
        networks.retain(|network| seen.insert(*network));
        let mut rows = "network,location\n".to_owned();
        for (at, (address, prefix)) in networks.iter().enumerate() {
            // There are only three locations, so that adjacent and nested networks share locations.
            rows += &format!("{address}/{prefix},{}\n", at % 3);
        }
        let table = table(TableKind::Addresses, &rows);
        for address in addresses {
            let fits = networks.iter().enumerate().filter(|(_, network)| holds(network, address));
            let longest = fits.max_by_key(|(_, network)| network.1).map(|(at, _)| (at % 3).to_string());
            let found = |address| table.addresses().unwrap().location(address);
            prop_assert_eq!(found(address), longest.as_deref());
            if let IpAddr::V4(four) = address {
                prop_assert_eq!(found(IpAddr::V6(four.to_ipv6_mapped())), longest.as_deref());
            }
        }
    }

    /// docs/plan-semantics.md section 3: a conversion uses the rate in force on the date.
    #[test]
    fn exchange_rates_answer_as_a_scan_of_all_rows(
        rates in vec((0usize..4, 0usize..4, prop::option::of(day())), 1..30),
        asked in vec((0usize..4, 0usize..4, day()), 1..30),
    ) {
        const CODES: [&str; 4] = ["CHF", "EUR", "GBP", "USD"];
        let mut seen = std::collections::BTreeSet::new();
        let mut rates = rates;
        rates.retain(|&(from, to, since)| from != to && seen.insert((from, to, since)));
        prop_assume!(!rates.is_empty());
        let mut rows = "since,from,to,rate\n".to_owned();
        for (at, (from, to, since)) in rates.iter().enumerate() {
            let since = since.map_or(String::new(), |date| date.to_string());
            rows += &format!("{since},{},{},{}\n", CODES[*from], CODES[*to], at + 1);
        }
        let table = table(TableKind::ExchangeRates, &rows);
        for (from, to, on) in asked {
            let in_force = rates.iter().enumerate().filter(|(_, rate)| {
                (rate.0, rate.1) == (from, to) && rate.2.is_none_or(|since| since <= on)
            });
            let latest = in_force.max_by_key(|(_, rate)| rate.2).map(|(at, _)| (at + 1).to_string());
            let (from, to) = (CODES[from].parse().unwrap(), CODES[to].parse().unwrap());
            let found = table.exchange_rates().unwrap().rate(from, to, on);
            prop_assert_eq!(found.map(|row| row.rate_text.to_string()), latest);
        }
    }

    /// docs/plan-semantics.md section 3: the taxes of one place apply in the order of the table.
    #[test]
    fn taxes_answer_as_a_scan_of_all_rows(
        taxes in vec((places(), 0usize..3), 1..30), asked in vec((places(), 0usize..3), 1..20),
    ) {
        const CATEGORIES: [&str; 3] = ["", "calls", "data"];
        let mut rows = "place,tax,rate,category\n".to_owned();
        for (at, (place, category)) in taxes.iter().enumerate() {
            rows += &format!("{place},tax {at},{at},{}\n", CATEGORIES[*category]);
        }
        let table = table(TableKind::Tax, &rows);
        for (place, category) in asked {
            let mut there: Vec<_> =
                taxes.iter().enumerate().filter(|(_, tax)| lies_in(&place, &tax.0)).collect();
            there.sort_by_key(|(at, tax)| (tax.0.len(), *at));
            let borne = there.iter().filter(|(_, tax)| tax.1 == 0 || tax.1 == category);
            let expected: Vec<_> = borne.map(|(at, _)| format!("tax {at}")).collect();
            let found = table.tax().unwrap().taxes(&place, CATEGORIES[category]);
            let found = found.map(|taxes| taxes.iter().map(|row| row.tax.to_string()).collect());
            prop_assert_eq!(found, (!there.is_empty()).then_some(expected));
        }
    }

    #[test]
    fn holidays_answer_as_a_scan_of_all_rows(
        days in vec((day(), any::<bool>(), prop::option::of(places())), 1..20),
        asked in vec((day(), places()), 1..20),
    ) {
        let mut rows = "place,name,date\n".to_owned();
        for (date, yearly, place) in &days {
            let date = date.to_string();
            let date = if *yearly { format!("-{}", &date[4..]) } else { date };
            rows += &format!("{},x,{date}\n", place.as_deref().unwrap_or(""));
        }
        let table = table(TableKind::Holidays, &rows);
        for (on, place) in asked {
            let special = days.iter().any(|(date, yearly, at)| {
                let same = (date.month(), date.day()) == (on.month(), on.day());
                same && (*yearly || date.year() == on.year())
                    && at.as_ref().is_none_or(|at| lies_in(&place, at))
            });
            prop_assert_eq!(table.holidays().unwrap().is_special(on, &place), special);
        }
    }

    /// The test renames the place of one tax, so that no two rows have the same place, and the
    /// order of rows is not part of the content.
    #[test]
    fn the_hash_does_not_see_the_order_of_rows_and_comments(
        which in 0usize..5, swaps in vec((any::<Index>(), any::<Index>()), 0..6), comments in vec(any::<Index>(), 0..4),
        dropped in any::<Index>(),
    ) {
        let (kind, rows) = SAMPLES[which];
        let rows = rows.replace("US/CA,fund", "US/TX,fund");
        let hash = |lines: &[String]| table(kind, &lines.join("\n")).content_hash();
        let original: Vec<String> = rows.lines().map(str::to_owned).collect();
        let mut lines = original.clone();
        for (a, b) in swaps {
            let count = lines.len() - 1;
            lines.swap(1 + a.index(count), 1 + b.index(count));
        }
        for at in comments {
            lines.insert(at.index(lines.len() + 1), "# \"a comment".to_owned());
        }
        prop_assert_eq!(hash(&original), hash(&lines));
        let mut fewer = original.clone();
        fewer.remove(1 + dropped.index(original.len() - 1));
        prop_assert_ne!(hash(&original), hash(&fewer));
    }

    /// docs/architecture.md section 9: bad input never panics; each refusal names a reason and a
    /// line of the text.
    #[test]
    fn no_text_makes_parsing_panic(
        which in 0usize..5, cut in any::<Index>(),
        edits in vec((any::<Index>(), 0usize..8, "[ -~\\n\\r]{0,6}|\\PC{0,3}"), 0..5),
    ) {
        let (kind, rows) = SAMPLES[which];
        let mut characters: Vec<char> = text(kind, rows).chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, inserted.chars());
        }
        for length in [characters.len(), cut.index(characters.len() + 1)] {
            let text: String = characters.iter().take(length).collect();
            if let Err(errors) = parse_table(&text) {
                let lines = u32::try_from(text.split('\n').count()).unwrap();
                prop_assert!(!errors.0.is_empty());
                prop_assert!(errors.0.iter().all(|error| (1..=lines).contains(&error.line)));
                prop_assert!(errors.0.iter().all(|error| error.message.len() < 1500));
            }
        }
    }

    #[test]
    fn no_rows_make_parsing_panic(which in 0usize..5, rows in "(\\PC|\n|\"|,|#){0,80}") {
        let (kind, sample) = SAMPLES[which];
        let header = sample.lines().next().unwrap();
        for text in [rows.clone(), text(kind, &rows), text(kind, &format!("{header}\n{rows}"))] {
            if let Ok(table) = parse_table(&text) {
                prop_assert!(table.rows() > 0);
            }
        }
    }
}
