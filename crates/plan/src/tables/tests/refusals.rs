//! Tables that are refused: the line of the error, and a part of its message.

use turnpike_types::limits::TABLE_BYTES_MAX;

use super::super::TableKind::{Addresses, DialPlan, ExchangeRates, Holidays, Tax};
use super::super::holidays;
use super::super::rows::{self, Faults};
use super::{refused, text};

/// Asserts exactly one error, on this line of the text, with this part in its message.
fn assert_refused(text: &str, line: u32, word: &str) {
    let errors = refused(text);
    assert_eq!(errors.0.len(), 1, "{errors}\n{text}");
    assert_eq!(errors.0[0].line, line, "{errors}\n{text}");
    assert!(errors.to_string().contains(word), "{errors:?} lacks {word:?}");
}

#[test]
fn a_head_that_is_absent_or_wrong_is_refused() {
    let rows = "\nnetwork,location\n10.0.0.0/8,a\n";
    for (head, word) in [
        ("", "turnpike-table"),
        ("turnpike-table id=t kind=tax version=1 starts=2026-01-01", "\"# turnpike-table\""),
        ("# a comment", "turnpike-table"),
        ("# turnpike-table kind=addresses version=1 starts=2026-01-01", "no id: write id=my-table"),
        ("# turnpike-table id=t version=1 starts=2026-01-01", "no kind"),
        ("# turnpike-table id=t kind=addresses starts=2026-01-01", "no version"),
        ("# turnpike-table id=t kind=addresses version=1", "no starts"),
        ("# turnpike-table id=-t kind=addresses version=1 starts=2026-01-01", "is no id"),
        ("# turnpike-table id=t kind=Tax version=1 starts=2026-01-01", "not a kind of table"),
        ("# turnpike-table id=t kind=addresses version=0 starts=2026-01-01", "whole number from 1"),
        ("# turnpike-table id=t kind=addresses version=1 starts=2026-02-30", "is no date"),
        ("# turnpike-table id=t kind=addresses version=1 starts=2026-01-01 id=t", "id twice"),
        (
            "# turnpike-table id=t kind=addresses version=1 starts=2026-01-01 size=1",
            "no place for \"size=1\"",
        ),
        (
            "# turnpike-table id=t kind=addresses version=1 starts=2026-01-01 supersedes=1",
            "no earlier",
        ),
        (
            "# turnpike-table id=t kind=addresses version=1 starts=2026-01-01 supersedes=x",
            "no version",
        ),
    ] {
        assert_refused(&format!("{head}{rows}"), 1, word);
    }
    let long = format!("# turnpike-table id={}{rows}", "x".repeat(5000));
    assert!(refused(&long).to_string().len() < 200);
}

/// Spreadsheets in many countries separate values by semicolons, and pad the first line with empty
/// values.
#[test]
fn a_table_that_is_not_separated_by_commas_is_refused_by_what_separates_it() {
    for (rows, word) in [
        ("network;location\n10.0.0.0/8;a\n", "separated by semicolons"),
        ("network\tlocation\n10.0.0.0/8\ta\n", "separated by tabs"),
        ("\"network\"|\"location\"\n", "separated by bars"),
        ("sep=;\nnetwork;location\n10.0.0.0/8;a\n", "\"sep=;\" is not read"),
    ] {
        assert_refused(&text(Addresses, rows), 2, word);
    }
    let table = text(Addresses, "network;location\n10.0.0.0/8;a\n");
    assert_refused(&format!("sep=;\n{table}"), 1, "\"sep=;\" is not read");
    let (head, rows) = table.split_once('\n').unwrap();
    assert_refused(&format!("{head};;\r\n{rows}"), 1, "the first line ends in separators");
    assert_refused(&format!("{head},,,\n{rows}"), 1, "the first line ends in separators");
}

#[test]
fn columns_that_are_absent_doubled_or_unknown_are_refused() {
    assert_refused(&text(Addresses, ""), 2, "no header: write network,location");
    assert_refused(&text(Addresses, "network,location\n# none\n"), 4, "no rows");
    assert_refused(&text(Addresses, "# c\nnetwork\n10.0.0.0/8\n"), 3, "no column location");
    assert_refused(&text(Addresses, "network,location,colour\n"), 2, "\"colour\" is known");
    assert_refused(&text(Addresses, "network,location,network\n"), 2, "network twice");
    assert_refused(&text(Addresses, "network,location,\n"), 2, "no column \"\"");
}

#[test]
fn rows_that_do_not_fit_the_header_or_hold_no_plain_text_are_refused() {
    let with =
        |row: &str| text(Addresses, &format!("network,location\n\n# c\n{row}\n10.2.0.0/16,b\n"));
    assert_refused(&with("10.0.0.0/8"), 5, "1 values, the header has 2");
    assert_refused(&with("10.0.0.0/8,a,b"), 5, "3 values");
    assert_refused(&with(",a"), 5, "network: it is empty");
    assert_refused(&with("10.0.0.0/8, "), 5, "location: it is empty");
    assert_refused(&with(&format!("10.0.0.0/8,{}", "é".repeat(129))), 5, "258 bytes");
    assert_refused(&with("10.0.0.0/8,a\u{7}b"), 5, "control character");
    assert_refused(&with("10.0.0.0/8,\"a"), 5, "left open");
    assert_refused(&with("10.0.0.0/8,a\"b"), 5, "left open");
    assert_refused(&with("10.0.0.0/8,\"a\"b"), 5, "follows the closing quote");
    // Each line of a value that spans two lines is refused, and the line numbers after it are
    // correct.
    let errors = refused(&with("10.0.0.0/8,\"a\nb\"\n10.1.0.0/8,c"));
    let lines: Vec<u32> = errors.0.iter().map(|error| error.line).collect();
    assert_eq!(lines, [5, 6, 7]);
    assert_eq!(errors.to_string().lines().count(), 3);
}

#[test]
fn a_dial_plan_refuses() {
    let with = |row: &str| {
        text(DialPlan, &format!("prefix,destination,price,per,setup\n{row}\n1,x,1,1 s,\n"))
    };
    for (row, word) in [
        ("+44,x,1,1 min,", "prefix: \"+44\" is not a prefix"),
        ("4412345678901234,x,1,1 min,", "1 to 15 digits"),
        ("44,x,-1,1 min,", "price: \"-1\""),
        ("44,x,1e3,1 min,", "price: "),
        ("44,x,1,0 min,", "per: it is zero"),
        ("44,x,1,1 MB,", "per: \"1 MB\" is a quantity of bytes"),
        ("44,x,1,1 fortnight,", "per: unknown unit"),
        ("44,x,1,1 min,free", "setup: \"free\""),
        ("44,x,0.00000000000000000000000001,99999999999999999999 d,", "more digits"),
    ] {
        assert_refused(&with(row), 3, word);
    }
    assert_refused(&with("1,y,2,1 min,"), 4, "prefix 1 is on line 3 already");
}

#[test]
fn a_tax_table_refuses() {
    let with =
        |row: &str| text(Tax, &format!("place,tax,rate,category,compound\n{row}\nUS,x,1,calls,\n"));
    for (row, word) in [
        ("US/,x,1,,", "is not a place"),
        ("/US,x,1,,", "is not a place"),
        ("US / CA,x,1,,", "is not a place"),
        ("CH,x,-1,,", "never negative"),
        ("CH,x,1000.01,,", "more than 1000 percent"),
        ("CH,x,7.7%,,", "is not a number"),
        ("CH,x,1,,true", "compound: \"true\" is unknown: write yes or no"),
    ] {
        assert_refused(&with(row), 3, word);
    }
    assert_refused(&with("US,x,2,calls,"), 4, "tax x of US for calls is on line 3");
    assert!(super::parse_table(&with("CH,x,1000,,yes")).is_ok());
}

#[test]
fn a_table_of_holidays_refuses() {
    for (row, word) in [
        ("2026-02-29,x,", "date: \"2026-02-29\" is no date"),
        ("--02-30,x,", "not a day of the year"),
        ("2026-01-01,,", "name: it is empty"),
        ("2026-01-01,x,US//CA", "place: \"US//CA\" is not a place"),
    ] {
        assert_refused(&text(Holidays, &format!("date,name,place\n{row}\n")), 3, word);
    }
}

#[test]
fn a_table_of_exchange_rates_refuses() {
    let with =
        |row: &str| text(ExchangeRates, &format!("from,to,rate,since\n{row}\nUSD,EUR,0.9,\n"));
    for (row, word) in [
        ("usd,EUR,1,", "from: \"usd\" is not a currency"),
        ("ZZZ,EUR,1,", "from: \"ZZZ\" is not a currency"),
        ("EUR,XXX,1,", "to: \"XXX\" is not a currency"),
        ("EUR,EUR,1,", "write another currency"),
        ("EUR,USD,0.00,", "rate: it is zero"),
        ("EUR,USD,-1,", "never negative"),
        ("EUR,USD,1.123456789012345678901234567,", "more than 27 digits"),
        ("EUR,USD,1,today", "since: \"today\" is no date"),
    ] {
        assert_refused(&with(row), 3, word);
    }
    assert_refused(&with("USD,EUR,0.8,"), 4, "USD in EUR from the beginning is on line 3");
    let dated =
        text(ExchangeRates, "from,to,rate,since\nUSD,EUR,1,2026-01-01\nUSD,EUR,1,2026-01-01\n");
    assert_refused(&dated, 4, "since 2026-01-01 is on line 3");
}

#[test]
fn a_table_of_addresses_refuses() {
    let with =
        |network: &str| text(Addresses, &format!("network,location\n{network},a\n10.0.0.0/8,b\n"));
    for (network, word) in [
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("255.255.255.255/0", "write 0.0.0.0/0"),
        ("ffff::/0", "write ::/0"),
        ("10.0.0.0/33", "32 at most"),
        ("2001:db8::/129", "128 at most"),
        ("10.0.0.0/", "is not a network"),
        ("10.0.0.0/+8", "is not a network"),
        ("10.0.0.0/8/8", "is not a network"),
        ("10.0.0/8", "is not a network"),
        ("010.0.0.0/8", "is not a network"),
        ("fe80::1%eth0", "is not a network"),
        ("example.com", "is not a network"),
        ("10.0.0.0/999", "is not a network"),
    ] {
        assert_refused(&with(network), 3, word);
    }
    assert_refused(&with("10.0.0.0/8"), 4, "network 10.0.0.0/8 is on line 3");
    assert_refused(&with("::ffff:10.0.0.0/104"), 4, "network 10.0.0.0/8 is on line 3");
    let single = text(Addresses, "network,location\n10.0.0.1,a\n10.0.0.1/32,b\n");
    assert_refused(&single, 4, "10.0.0.1/32 is on");
}

#[test]
fn at_most_a_hundred_errors_are_collected() {
    let rows = "network,location\n".to_owned() + &"x,y\n".repeat(1000);
    assert_eq!(refused(&text(Addresses, &rows)).0.len(), 100);
    let doubles = "network,location\n".to_owned() + &"10.0.0.0/8,y\n".repeat(1000);
    assert_eq!(refused(&text(Addresses, &doubles)).0.len(), 100);
}

#[test]
fn a_table_past_its_limits_is_refused() {
    let long = text(Addresses, &"#".repeat(TABLE_BYTES_MAX));
    assert_refused(&long, 1, "bytes, at most");
    let rows = text(Holidays, "date,name\n--01-01,x\n# c\n--01-02,x\n--01-03,x\n");
    for rows_max in [2, 3] {
        let mut faults = Faults::default();
        let read = rows::read::<holidays::Rows>(&rows, rows_max, &mut faults);
        assert_eq!(read.map(|(_, rows)| rows.len()), (rows_max == 3).then_some(3));
        let said = faults.into_result().map_err(|errors| errors.to_string());
        let refusal = Err("line 6: more than 2 rows: split the table".to_owned());
        assert_eq!(said, if rows_max == 3 { Ok(vec![]) } else { refusal });
    }
}

/// An earlier release accepted text after a closing quote. A published table with such text is
/// still read, with the same content; it is refused only when it is published again.
#[test]
fn a_published_table_is_read_by_the_rules_of_the_release_that_accepted_it() {
    let table = |name: &str| {
        format!(
            "# turnpike-table id=h kind=holidays version=1 starts=2026-01-01\ndate,name,place\n\
             2026-12-25,{name},TT\n"
        )
    };
    let odd = table("\"Trinidad\" & Tobago");
    assert!(super::parse_table(&odd).is_err());
    let read = crate::parse_published_table(&odd).unwrap();
    let plain = super::parse_table(&table("Trinidad & Tobago")).unwrap();
    assert_eq!(read.content_hash(), plain.content_hash());
    assert!(crate::parse_published_table(&table("\"open")).is_err());
    // The earlier release also accepted any three capital letters as a currency.
    let rates = "# turnpike-table id=x kind=exchange-rates version=1 starts=2026-01-01\n\
                 from,to,rate\nZZZ,EUR,2\n";
    assert!(super::parse_table(rates).is_err());
    assert!(crate::parse_published_table(rates).is_ok());
}
