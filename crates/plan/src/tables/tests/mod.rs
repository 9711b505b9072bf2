//! Tests of the tables of every kind.

mod lookups;
mod properties;
mod refusals;

use super::{Table, TableErrors, TableKind, parse_table};

/// The text of a table: a head of this kind, then these rows.
fn text(kind: TableKind, rows: &str) -> String {
    format!("# turnpike-table id=t kind={kind} version=1 starts=2026-01-01\n{rows}")
}

fn table(kind: TableKind, rows: &str) -> Table {
    parse_table(&text(kind, rows)).unwrap_or_else(|errors| panic!("{errors}\n{rows}"))
}

fn refused(text: &str) -> TableErrors {
    parse_table(text).expect_err(text)
}

/// Sample rows of every kind, for the tests that apply to all kinds.
const SAMPLES: [(TableKind, &str); 5] = [
    (
        TableKind::DialPlan,
        "prefix,destination,price,per,setup\n1,\"US, Canada\",0.02,1 min,\n44,Britain,0.03,1 min,0.10\n442,London,0.01,1 min,\n447,\"mobile \"\"M\"\"\",0.2,60,\n",
    ),
    (
        TableKind::Tax,
        "place,tax,rate,category,compound\nUS,federal,3,,\nUS/CA,state,7.25,,no\nUS/CA,fund,1,calls,yes\nCH,VAT,8.1,,\n",
    ),
    (
        TableKind::Holidays,
        "date,name,place\n--12-25,Christmas,\n2026-07-03,Independence Day,US\n--08-01,National Day,CH\n",
    ),
    (
        TableKind::ExchangeRates,
        "from,to,rate,since\nUSD,EUR,0.9,\nUSD,EUR,0.85,2026-03-01\nEUR,USD,1.1,2026-01-01\n",
    ),
    (
        TableKind::Addresses,
        "network,location\n10.0.0.0/8,inside\n10.1.0.0/16,US/CA\n10.1.2.3,router\n2001:db8::/32,docs\n",
    ),
];
