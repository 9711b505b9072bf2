//! Tests of heads, of hashes, and of the look-up of each kind.

use jiff::civil::date;

use super::super::{SpecialDay, TableKind, parse_table};
use super::{SAMPLES, table, text};
use crate::language::measure::{Decimal, Unit};
use crate::{Zone, first_instant_of};

#[test]
fn a_head_says_which_version_of_which_table() {
    let rows = SAMPLES[0].1;
    let head = "\u{feff}#turnpike-table  starts=2026-03-08 supersedes=1 version=3 kind=dial-plan id=world-dial\r\n";
    let table = parse_table(&format!("{head}# a comment\n\n{rows}")).unwrap();
    assert_eq!((table.id(), table.kind()), ("world-dial", TableKind::DialPlan));
    assert_eq!((table.version(), table.supersedes()), (3, Some(1)));
    assert_eq!((table.starts(), table.rows()), (date(2026, 3, 8), 4));
    let zone = Zone::parse("America/New_York").unwrap();
    assert_eq!(table.starts_at(&zone), first_instant_of(&zone, date(2026, 3, 8)));
    assert!(table.warnings().is_empty());
}

#[test]
fn a_table_answers_for_its_own_kind_alone() {
    for (kind, rows) in SAMPLES {
        let table = table(kind, rows);
        let answers = [
            table.dial_plan().is_some(),
            table.tax().is_some(),
            table.holidays().is_some(),
            table.exchange_rates().is_some(),
            table.addresses().is_some(),
        ];
        assert_eq!(answers, TableKind::ALL.map(|other| other == kind));
        assert_eq!(kind.word().parse(), Ok(kind));
    }
    assert!("dial".parse::<TableKind>().unwrap_err().contains("dial-plan"));
}

#[test]
fn columns_may_be_in_any_order_with_comments_and_quotes() {
    let plain = table(
        TableKind::Addresses,
        "network,location\n10.0.0.0/8,a\n10.1.0.0/16,\"b, \"\"c\"\"\"\n",
    );
    let other = table(
        TableKind::Addresses,
        "# first\r\n\r\nlocation , network\r\n# between\r\n\"b, \"\"c\"\"\",10.1.0.0/16\r\n#,,,\r\n a ,\" 10.0.0.0/8\"",
    );
    assert_eq!(plain.content_hash(), other.content_hash());
    let inside = other.addresses().unwrap().location("10.1.9.9".parse().unwrap());
    assert_eq!(inside, Some("b, \"c\""));
}

/// The taxes of a place compound in the order of their rows (docs/plan-semantics.md section 3), so
/// that order is part of the content.
#[test]
fn the_hash_follows_content_and_not_the_order_of_rows() {
    let head = "# turnpike-table id=t kind=tax version=1 starts=2026-01-01";
    let rows = "place,tax,rate,compound\nA,x,1,\nA,y,2,yes\nB,x,3,\n";
    let hash =
        |head: &str, rows: &str| parse_table(&format!("{head}\n{rows}")).unwrap().content_hash();
    let first = hash(head, rows);
    assert_eq!(first, hash(head, "place,tax,rate,compound\nB,x,3,\nA,x,1,\nA,y,2,yes\n"));
    assert_eq!(first, hash(head, "place,tax,rate,compound,category\nB,x,3,,\nA,x,1,,\nA,y,2,yes,"));
    for other in [
        "place,tax,rate,compound\nA,y,2,yes\nA,x,1,\nB,x,3,\n",
        "place,tax,rate,compound\nA,x,1,\nA,y,2,yes\nB,x,3.0,\n",
        "place,tax,rate,compound\nA,x,1,\nA,y,2,no\nB,x,3,\n",
        "place,tax,rate,compound\nA,x,1,\nA,y,2,yes\n",
    ] {
        assert_ne!(first, hash(head, other), "{other}");
    }
    for (from, to) in [
        ("id=t", "id=u"),
        ("version=1", "version=2"),
        ("01-01", "01-02"),
        ("version=1", "version=2 supersedes=1"),
    ] {
        assert_ne!(first, hash(&head.replace(from, to), rows), "{to}");
    }
}

/// docs/plan-semantics.md section 8: the longest prefix of the number in the table gives the price.
#[test]
fn the_longest_prefix_wins() {
    let table = table(TableKind::DialPlan, SAMPLES[0].1);
    let plan = table.dial_plan().unwrap();
    let destination = |digits: &str| plan.longest(digits).map(|row| row.destination);
    assert_eq!(destination("12125550100"), Some("US, Canada"));
    assert_eq!(destination("442079460000"), Some("London"));
    assert_eq!(destination("447700900000"), Some("mobile \"M\""));
    assert_eq!(destination("449"), Some("Britain"));
    assert_eq!(destination("44"), Some("Britain"));
    for none in ["4", "49", "0", "", "+44", "44x", "9999999999999999999"] {
        assert_eq!(destination(none), None, "{none}");
    }
    let britain = plan.longest("44").unwrap();
    let (price, per, setup) = (britain.price, britain.per, britain.setup.unwrap());
    assert_eq!(price.value, Decimal { digits: 3, scale: 2 });
    assert_eq!((per.value.base, per.value.unit), (60_000_000, Unit::Microsecond));
    assert_eq!(setup.value, Decimal { digits: 1, scale: 1 });
    assert_eq!((&*price.text, &*per.text, &*setup.text), ("0.03", "1 min", "0.10"));
    assert_eq!((britain.index, britain.prefix.to_string().as_str()), (1, "44"));
    assert!(britain.prefix.is("44") && !britain.prefix.is("4") && !britain.prefix.is("440"));
    assert_eq!(plan.longest("447").unwrap().per.value.unit, Unit::One);
}

/// docs/plan-semantics.md sections 3 and 8: a place has the taxes of all places that contain it,
/// the outermost place first.
#[test]
fn a_place_has_the_taxes_of_all_enclosing_places_outermost_first() {
    let rows = "tax,place,rate,category,compound\ncity,US/CA/Los Angeles,1.5,,yes\nb,US,2,,\na,US,0,,\nfund,US/CA,1,calls,\nVAT,CH,8.1,,\n";
    let table = table(TableKind::Tax, rows);
    let tax = table.tax().unwrap();
    let names = |place: &str, category: &str| {
        let taxes = tax.taxes(place, category)?;
        Some(taxes.iter().map(|row| &*row.tax).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("US/CA/Los Angeles", "calls").unwrap(), "b a fund city");
    assert_eq!(names("US/CA/Los Angeles", "").unwrap(), "b a city");
    assert_eq!(names("US/CA/Los Angeles/Venice", "data").unwrap(), "b a city");
    assert_eq!(names("US/CAX", "calls").unwrap(), "b a");
    assert_eq!(names("CH", "calls").unwrap(), "VAT");
    for none in ["", "U", "USA", "FR/US", "/", "/US"] {
        assert_eq!(names(none, "calls"), None, "{none}");
    }
    let city = tax.taxes("US/CA/Los Angeles", "").unwrap()[2];
    assert!(city.compound && city.rate == Decimal { digits: 15, scale: 1 });
    assert_eq!((&*city.rate_text, city.index), ("1.5", 4));
}

#[test]
fn a_place_with_taxes_of_another_category_only_is_known_and_has_no_tax() {
    let table = table(TableKind::Tax, "place,tax,rate,category\nUS,fund,1,calls\n");
    assert!(table.tax().unwrap().taxes("US/CA", "data").unwrap().is_empty());
}

/// docs/plan-semantics.md section 8: a date is special at all places, or at one place and the
/// places within it.
#[test]
fn a_day_is_special_everywhere_or_at_a_place() {
    let rows = "date,name,place\n--12-25,Christmas,\n--02-29,leap,\n2026-07-03,observed,US\n--09-09,admission,US/CA\n";
    let table = table(TableKind::Holidays, rows);
    let special = |year, month, day, place: &str| {
        table.holidays().unwrap().is_special(date(year, month, day), place)
    };
    assert!(special(2026, 12, 25, "") && special(1999, 12, 25, "CH/ZH"));
    assert!(special(2024, 2, 29, "") && !special(2023, 2, 28, "") && !special(2023, 3, 1, ""));
    assert!(special(2026, 7, 3, "US") && special(2026, 7, 3, "US/CA"));
    assert!(!special(2027, 7, 3, "US") && !special(2026, 7, 3, "") && !special(2026, 7, 3, "USA"));
    assert!(special(2026, 9, 9, "US/CA/Fresno") && !special(2026, 9, 9, "US"));
}

#[test]
fn a_special_day_reads_the_same_in_a_plan() {
    assert_eq!(SpecialDay::parse("2026-12-25"), Ok(SpecialDay::Once(date(2026, 12, 25))));
    assert_eq!(SpecialDay::parse("--02-29"), Ok(SpecialDay::Yearly(2, 29)));
    for wrong in ["", "--", "--2-3", "--13-01", "--02-30", "12-25", "2026-02-29", "--+2-03"] {
        assert!(SpecialDay::parse(wrong).unwrap_err().contains("--MM-DD"), "{wrong}");
    }
}

/// docs/plan-semantics.md section 3: a conversion uses the rate in force at the record's start, and
/// never the inverse of the opposite rate.
#[test]
fn the_latest_rate_of_the_very_pair_counts() {
    let table = table(TableKind::ExchangeRates, SAMPLES[3].1);
    let rate = |from: &str, to: &str, year, month, day| {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let row = table.exchange_rates().unwrap().rate(from, to, date(year, month, day));
        row.map(|row| (&*row.rate_text, row.index))
    };
    assert_eq!(rate("USD", "EUR", 1970, 1, 1), Some(("0.9", 1)));
    assert_eq!(rate("USD", "EUR", 2026, 2, 28), Some(("0.9", 1)));
    assert_eq!(rate("USD", "EUR", 2026, 3, 1), Some(("0.85", 2)));
    assert_eq!(rate("EUR", "USD", 2025, 12, 31), None);
    assert_eq!(rate("EUR", "USD", 2030, 1, 1), Some(("1.1", 0)));
    assert_eq!(rate("EUR", "CHF", 2030, 1, 1), None);
}

/// docs/plan-semantics.md section 8: among nested networks, the innermost one gives the location.
#[test]
fn the_innermost_network_places_an_address() {
    let table = table(TableKind::Addresses, SAMPLES[4].1);
    let place = |text: &str| table.addresses().unwrap().location(text.parse().unwrap());
    assert_eq!(place("10.0.0.0"), Some("inside"));
    assert_eq!(place("10.1.0.0"), Some("US/CA"));
    assert_eq!(place("10.1.2.2"), Some("US/CA"));
    assert_eq!(place("10.1.2.3"), Some("router"));
    assert_eq!(place("10.1.2.4"), Some("US/CA"));
    assert_eq!(place("10.2.0.0"), Some("inside"));
    assert_eq!(place("10.255.255.255"), Some("inside"));
    assert_eq!((place("9.255.255.255"), place("11.0.0.0")), (None, None));
    assert_eq!(place("2001:db8:ffff::1"), Some("docs"));
    assert_eq!((place("2001:db9::"), place("::a01:203")), (None, None));
    assert_eq!(place("::ffff:10.1.2.3"), Some("router"));
}

#[test]
fn networks_include_both_ends_and_mapped_ones_are_ipv4() {
    let rows = "network,location\n0.0.0.0/0,four\n::/0,six\n255.255.255.255,last\n::ffff:192.0.2.0/120,mapped\nffff::/16,top\n";
    let table = table(TableKind::Addresses, rows);
    let place = |text: &str| table.addresses().unwrap().location(text.parse().unwrap()).unwrap();
    assert_eq!((place("0.0.0.0"), place("::"), place("255.255.255.255")), ("four", "six", "last"));
    assert_eq!((place("192.0.2.255"), place("::ffff:192.0.2.1")), ("mapped", "mapped"));
    assert_eq!(place("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "top");
    assert_eq!((place("255.255.255.254"), place("fffe::")), ("four", "six"));
}

#[test]
fn a_probable_mistake_is_a_warning_with_its_line() {
    for (kind, rows, line, word) in [
        (
            TableKind::DialPlan,
            "prefix,destination,price,per\n044,x,1,1 s\n",
            "line 3",
            "country code",
        ),
        (
            TableKind::Tax,
            "place,tax,rate,category\nDE,VAT,19,\nDE,VAT,7,books\n",
            "line 4",
            "on top",
        ),
        (TableKind::Holidays, "date,name\n--05-01,Labour\n--05-01,May\n", "line 4", "line 3"),
    ] {
        let table = parse_table(&text(kind, rows)).unwrap();
        let [warning] = table.warnings() else { panic!("{:?}", table.warnings()) };
        assert!(warning.starts_with(line) && warning.contains(word), "{warning}");
    }
}
