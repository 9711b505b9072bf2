//! The import of MaxMind's files as tables of addresses.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::civil::date;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use support::{Value, mmdb};
use turnpike_collect::{
    AddressTableHead, ImportError, Imported, Level, import_maxmind_csv, import_maxmind_mmdb,
};
use turnpike_plan::{TableKind, parse_table};

const LOCATIONS: &str = include_str!("data/maxmind-locations.csv");
const IPV4: &str = include_str!("data/maxmind-blocks-ipv4.csv");
const IPV6: &str = include_str!("data/maxmind-blocks-ipv6.csv");

fn head() -> AddressTableHead {
    let (id, starts) = ("geo".to_owned(), date(2026, 2, 1));
    AddressTableHead { id, version: 2, starts, supersedes: Some(1) }
}

/// The rows of a table. Asserts that the cluster's parser accepts the table.
fn rows(text: &str, imported: Imported) -> Vec<&str> {
    let table = parse_table(text).unwrap();
    assert_eq!((table.id(), table.version(), table.supersedes()), ("geo", 2, Some(1)));
    assert_eq!((table.kind(), table.starts()), (TableKind::Addresses, date(2026, 2, 1)));
    assert_eq!((table.rows(), text.len()), (imported.rows, imported.bytes));
    text.lines().skip(2).collect()
}

fn import(
    level: Level,
    locations: &str,
    blocks: &[&str],
) -> Result<(String, Imported), ImportError> {
    let names = ["v4.csv", "v6.csv"].map(str::to_owned);
    let blocks = names.into_iter().zip(blocks.iter().map(|text| text.as_bytes()));
    let mut out = Vec::new();
    let locations = ("locations.csv", locations.as_bytes());
    let imported = import_maxmind_csv(&head(), level, locations, blocks, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), imported))
}

fn import_mmdb(level: Level, content: &[u8]) -> Result<(String, Imported), ImportError> {
    let mut out = Vec::new();
    let imported = import_maxmind_mmdb(&head(), level, ("geo.mmdb", content), &mut out)?;
    Ok((String::from_utf8(out).unwrap(), imported))
}

#[test]
fn blocks_and_locations_become_a_table() {
    let (text, imported) = import(Level::City, LOCATIONS, &[IPV4, IPV6]).unwrap();
    assert_eq!(imported.unplaced, 2);
    assert_eq!(
        rows(&text, imported),
        [
            "192.0.2.0/25,CH/BE/Biel-Bienne",
            "192.0.2.128/26,CH/ZH/Zurich",
            "192.0.2.192/26,CH/ZH",
            "198.51.100.0/25,US",
            "198.51.100.128/25,\"US/DC/Washington, D.C.\"",
            "203.0.113.0/24,SG/Singapore",
            "2001:db8::/33,CH/ZH/Zurich",
            "2001:db8:8000::/33,US",
        ]
    );
}

#[test]
fn a_coarser_level_merges_neighbours() {
    let (text, imported) = import(Level::Subdivision, LOCATIONS, &[IPV4]).unwrap();
    let rows_of_level = rows(&text, imported);
    assert_eq!(rows_of_level[..2], ["192.0.2.0/25,CH/BE", "192.0.2.128/25,CH/ZH"]);
    let (text, imported) = import(Level::Country, LOCATIONS, &[IPV4, IPV6]).unwrap();
    assert_eq!(
        rows(&text, imported),
        [
            "192.0.2.0/24,CH",
            "198.51.100.0/24,US",
            "203.0.113.0/24,SG",
            "2001:db8::/33,CH",
            "2001:db8:8000::/33,US",
        ]
    );
}

#[test]
fn levels_are_parsed_by_name() {
    for (word, level) in
        [("country", Level::Country), ("subdivision", Level::Subdivision), ("city", Level::City)]
    {
        assert_eq!(word.parse(), Ok(level));
    }
    assert!("town".parse::<Level>().unwrap_err().contains("country, subdivision or city"));
}

#[test]
fn faults_of_a_file_are_reported_with_their_line() {
    let (countries, blocks) = ("geoname_id,country_iso_code\n1,CH\n", "network,geoname_id\n");
    let block = |row: &str| format!("{blocks}10.0.0.0/24,1\n{row}\n");
    for (level, locations, ipv4, expected) in [
        (
            Level::City,
            countries,
            blocks.to_owned(),
            "locations.csv:1: the header has no column sub",
        ),
        (
            Level::Country,
            "",
            blocks.to_owned(),
            "locations.csv:1: the header has no column geoname",
        ),
        (
            Level::Country,
            "geoname_id,country_iso_code\n1,CH\nx,CH\n",
            blocks.to_owned(),
            "locations.csv:3, column geoname_id: \"x\"",
        ),
        (
            Level::Country,
            "geoname_id,country_iso_code\n,CH\n",
            blocks.to_owned(),
            "locations.csv:2, column geoname_id: it is empty",
        ),
        (
            Level::Country,
            countries,
            "network\n".to_owned(),
            "v4.csv:1: the header has no column geoname_id",
        ),
        (
            Level::Country,
            countries,
            block("10.0.1.0,1"),
            "v4.csv:3, column network: \"10.0.1.0\" is not a network",
        ),
        (Level::Country, countries, block("10.0.1.1/24,1"), "v4.csv:3, column network"),
        (
            Level::Country,
            countries,
            block("10.0.1.0/24,2"),
            "v4.csv:3, column geoname_id: no location has the number 2",
        ),
        (Level::Country, countries, block("10.0.1.0/24"), "v4.csv:3: the row has 1 fields"),
        (Level::Country, countries, block("10.0.0.128/25,1"), "10.0.0.128/25 does not follow"),
        (Level::Country, countries, block("9.0.0.0/24,1"), "9.0.0.0/24 does not follow"),
        (Level::Country, countries, blocks.to_owned(), "no network has a location"),
    ] {
        let said = import(level, locations, &[&ipv4]).unwrap_err().to_string();
        assert!(said.contains(expected), "{said:?} lacks {expected:?}");
        assert!(said.contains("; "), "{said:?} has no remedy");
    }
}

#[test]
fn more_networks_than_a_table_holds_are_refused() {
    let locations = "geoname_id,country_iso_code\n1,CH\n2,US\n";
    let mut blocks = "network,geoname_id\n".to_owned();
    for at in 0..1_000_001u32 {
        blocks += &format!("{}/32,{}\n", Ipv4Addr::from_bits(at), at % 2 + 1);
    }
    let refused = import(Level::Country, locations, &[&blocks]).unwrap_err();
    assert!(matches!(refused, ImportError::TooLarge { .. }), "{refused}");
}

fn country(code: &'static str) -> (&'static str, Value) {
    ("country", Value::Map(vec![("iso_code", Value::Text(code))]))
}

fn city(code: &'static str, subdivision: &'static str, name: &'static str) -> Value {
    let subdivision = Value::Map(vec![("iso_code", Value::Text(subdivision))]);
    let name = Value::Map(vec![("names", Value::Map(vec![("en", Value::Text(name))]))]);
    Value::Map(vec![
        country(code),
        ("city", name),
        ("subdivisions", Value::List(vec![subdivision])),
    ])
}

fn database() -> Vec<u8> {
    let registered = Value::Map(vec![("iso_code", Value::Text("US"))]);
    mmdb(
        "GeoLite2-City",
        &[
            ("192.0.2.0/25", city("CH", "ZH", "Zurich")),
            ("192.0.2.128/25", city("CH", "BE", "Biel/Bienne")),
            ("198.51.100.0/24", Value::Map(vec![("registered_country", registered)])),
            ("203.0.113.0/24", Value::Map(vec![])),
            ("2001:db8::/33", Value::Map(vec![country("CH")])),
        ],
    )
}

#[test]
fn a_database_becomes_the_same_table() {
    let (text, imported) = import_mmdb(Level::City, &database()).unwrap();
    assert_eq!(imported.unplaced, 1);
    assert_eq!(
        rows(&text, imported),
        [
            "192.0.2.0/25,CH/ZH/Zurich",
            "192.0.2.128/25,CH/BE/Biel-Bienne",
            "198.51.100.0/24,US",
            "2001:db8::/33,CH",
        ]
    );
    let (text, imported) = import_mmdb(Level::Country, &database()).unwrap();
    assert_eq!(
        rows(&text, imported),
        ["192.0.2.0/24,CH", "198.51.100.0/24,US", "2001:db8::/33,CH"]
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name() {
    let whole = database();
    for wrong in [&b""[..], b"not a database", &whole[..whole.len() - 20], &whole[40..]] {
        let said = import_mmdb(Level::Country, wrong).unwrap_err().to_string();
        assert!(
            said.starts_with("geo.mmdb: ") && said.contains("download a Country or City database"),
            "{said}"
        );
    }
    let empty = import_mmdb(Level::Country, &mmdb("GeoLite2-City", &[]));
    assert!(matches!(empty, Err(ImportError::Empty)));
}

/// The location that the rows of a table give to each address that they contain.
fn placed(rows: &[&str]) -> BTreeMap<u32, String> {
    let mut placed = BTreeMap::new();
    for row in rows {
        let (network, location) = row.split_once(',').unwrap();
        let (start, prefix) = network.split_once('/').unwrap();
        let (start, prefix): (Ipv4Addr, u32) = (start.parse().unwrap(), prefix.parse().unwrap());
        for address in start.to_bits()..start.to_bits() + (1 << (32 - prefix)) {
            assert!(placed.insert(address, location.to_owned()).is_none(), "{row} overlaps");
        }
    }
    placed
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// Merging changes the location of no address, and leaves no two halves of a network with the
    /// same location.
    #[test]
    fn merging_keeps_every_address_where_it_was(
        places in vec(prop_oneof![1 => Just(0u32), 6 => Just(1), 2 => Just(2)], 64),
    ) {
        prop_assume!(places.iter().any(|place| *place > 0));
        let locations = "geoname_id,country_iso_code\n1,CH\n2,US\n";
        let (mut blocks, mut expected) = ("network,geoname_id\n".to_owned(), BTreeMap::new());
        for (at, place) in (0u32..).zip(&places).filter(|(_, place)| **place > 0) {
            blocks += &format!("{}/32,{place}\n", Ipv4Addr::from_bits(at));
            expected.insert(at, if *place == 1 { "CH".to_owned() } else { "US".to_owned() });
        }
        let (text, imported) = import(Level::Country, locations, &[&blocks]).unwrap();
        let rows = rows(&text, imported);
        prop_assert_eq!(placed(&rows), expected);
        for pair in rows.windows(2) {
            let parts = |row: &str| {
                let (network, location) = row.split_once(',').unwrap();
                let (start, prefix) = network.split_once('/').unwrap();
                let start: Ipv4Addr = start.parse().unwrap();
                (start.to_bits(), prefix.parse::<u32>().unwrap(), location.to_owned())
            };
            let ((a, wide, here), (b, other, there)) = (parts(pair[0]), parts(pair[1]));
            let halves = wide == other && a ^ b == 1 << (32 - wide);
            prop_assert!(!(halves && here == there), "{} and {}", pair[0], pair[1]);
        }
    }

    /// docs/architecture.md section 9: bad input never causes a panic. A table that is written is
    /// valid.
    #[test]
    fn no_file_makes_importing_panic(
        which in 0usize..2, edits in vec((any::<Index>(), 0usize..8, "[ -~\\n\"]{0,6}|\\PC{0,3}"), 1..4),
    ) {
        let mut files = [LOCATIONS.to_owned(), IPV4.to_owned()];
        for (at, removed, inserted) in edits {
            let mut characters: Vec<char> = files[which].chars().collect();
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, inserted.chars());
            files[which] = characters.into_iter().collect();
        }
        if let Ok((text, imported)) = import(Level::City, &files[0], &[&files[1]]) {
            prop_assert_eq!(text.len(), imported.bytes);
        }
    }

    #[test]
    fn no_database_makes_importing_panic(
        edits in vec((any::<Index>(), any::<u8>()), 1..8), cut in prop::option::of(any::<Index>()),
    ) {
        let mut content = database();
        for (at, byte) in edits {
            let at = at.index(content.len());
            content[at] = byte;
        }
        content.truncate(cut.map_or(content.len(), |cut| cut.index(content.len())));
        if let Ok((text, imported)) = import_mmdb(Level::City, &content) {
            prop_assert_eq!(text.len(), imported.bytes);
        }
    }
}
